#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""Whether the tables of docs/vhost-user.md are what `cvmm-drive list --markdown` prints.

    check_document.py CVMM-DRIVE DOCUMENT             exit status 0 if so, 1 if not
    check_document.py CVMM-DRIVE DOCUMENT --write     put them there
"""
import difflib
import subprocess
import sys

MARKER = "<!-- From here on: cvmm-drive list --markdown -->\n"


def main(drive, path, write=False):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    head, marker, found = text.partition(MARKER)
    if not marker:
        print(f"{path} lacks the line {MARKER}", end="")
        return 1
    wanted = "\n" + subprocess.run([drive, "list", "--markdown"], check=True,
                                   stdout=subprocess.PIPE).stdout.decode()
    if found == wanted:
        return 0
    if write:
        with open(path, "w", encoding="utf-8") as f:
            f.write(head + marker + wanted)
        return 0
    sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), wanted.splitlines(True),
                                               path, "cvmm-drive list --markdown"))
    print("put them there with tools/drive/check_document.py CVMM-DRIVE DOCUMENT --write")
    return 1


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["--write"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:] == ["--write"]))
