#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""Counts the tests in a Meson testlog.json: "PASSED FAILED SKIPPED", single test functions
where a program is a cmocka one, else the program. Skipped ones are named on standard error."""
import json
import re
import sys

passed = failed = skipped = 0
for line in open(sys.argv[1], encoding="utf-8"):
    test = json.loads(line)
    output = (test.get("stdout") or "") + (test.get("stderr") or "")

    def count(word):
        return sum(int(n) for n in re.findall(r"\[ *%s *\] (\d+) test" % word, output))

    ok, bad, skip = count("PASSED"), count("FAILED"), count("SKIPPED")
    if test["result"] == "SKIP":
        ok, bad, skip = 0, 0, 1
    elif test["result"] not in ("OK", "EXPECTEDFAIL"):
        bad = max(bad, 1)  # also for a program that died before its summary
    elif ok + bad + skip == 0:
        ok = 1
    passed, failed, skipped = passed + ok, failed + bad, skipped + skip
    if skip:
        names = re.findall(r"\[  SKIPPED \] (\S+)$", output, re.M)
        reasons = re.findall(r"(?im)^.*\bskip(?:ped)?:? .*$", output)
        for text in sorted(set(reasons or names)):
            print("SKIP %s: %s" % (test["name"], text.strip()), file=sys.stderr)
print(passed, failed, skipped)
