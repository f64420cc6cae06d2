#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""cvmm-drive probe, load and replay with qemu-storage-daemon, a back-end that is not ours.

    test_drive.py CVMM-DRIVE          exit status 0 passed, 1 failed, 77 there is no qemu-storage-daemon
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

DAEMON = "qemu-storage-daemon"
DISK_BYTES = 8 << 20
SECTOR = 512
DEADLINE_S = 60
SKIP = 77


# ---- captures, as docs/virtq-trace.md describes them ---------------------------------------------

AVAILABLE, USED = 1, 2
LINKTYPE_USER0 = 147
HEADER_BYTES = 32
SNAP_BYTES = 65536


def block(kind, body):
    body += b"\0" * (-len(body) % 4)
    total = 12 + len(body)
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def section():
    return block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1))


def interface():
    nanoseconds = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
    return block(1, struct.pack("<HHI", LINKTYPE_USER0, 0, HEADER_BYTES + 4 * 256 + SNAP_BYTES) +
                 nanoseconds)


def packet(kind, time_ns, head, readable, writable, data, written=0):
    pieces = readable + writable if kind == AVAILABLE else []
    payload = struct.pack("<BBBBHHHHIIIIHH", 1, kind, 0, 0, 0, head, len(readable), len(writable),
                          sum(readable), sum(writable), written, len(data), len(pieces), 0)
    payload += b"".join(struct.pack("<I", piece) for piece in pieces) + data
    head_of_block = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xffffffff, len(payload),
                                len(payload))
    return block(6, head_of_block + payload)


def read_chain(number, sector, pieces, answer):
    """A read of a disk, and how it was answered."""
    readable, writable = [16], pieces + [1]
    request = struct.pack("<IIQ", 0, 0, sector)
    return (packet(AVAILABLE, 1000 * number, number % 64, readable, writable, request) +
            packet(USED, 1000 * number + 500, number % 64, readable, writable, answer + b"\0",
                   len(answer) + 1))


def capture(path, disk, change=None):
    """Reads of several lengths; @change is the number of one whose recorded answer is another."""
    with open(path, "wb") as f:
        f.write(section() + interface())
        for number in range(40):
            pieces = [SECTOR] * (1 + number % 5)
            sector = number * 97 % (DISK_BYTES // SECTOR - 8)
            answer = bytearray(disk[sector * SECTOR:sector * SECTOR + sum(pieces)])
            if number == change:
                answer[100] ^= 1
            f.write(read_chain(number, sector, pieces, bytes(answer)))


# ---- the daemon ---------------------------------------------------------------------------------

class Daemon:
    def __init__(self, folder, image):
        self.socket = os.path.join(folder, "socket")
        self.process = subprocess.Popen([
            DAEMON, "--blockdev", f"driver=file,node-name=disk,filename={image}", "--export",
            f"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={self.socket},"
            "writable=on,num-queues=2"])

    def stop(self):
        self.process.kill()
        self.process.wait()


def run(drive, *args):
    """Return (exit status, output)."""
    done = subprocess.run([drive, *args], stdout=subprocess.PIPE, timeout=DEADLINE_S, check=False)
    return done.returncode, done.stdout.decode()


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


# ---- tests --------------------------------------------------------------------------------------

def a_probe_says_what_the_daemon_offers(drive, daemon, _disk, _folder):
    status, text = run(drive, "probe", daemon.socket, "--device", "blk", "--json")
    expect(status == 0, f"probe ended with {status}")
    found = json.loads(text)
    expect(found["queues"] == 2, f"{found['queues']} queues")
    names = [bit["name"] for bit in found["features"]["bits"]]
    expect({"FLUSH", "MQ", "VERSION_1", "PROTOCOL_FEATURES"} <= set(names), f"features {names}")
    names = [bit["name"] for bit in found["protocol_features"]["bits"]]
    expect({"MQ", "REPLY_ACK", "CONFIG"} <= set(names), f"protocol features {names}")
    sectors = struct.unpack("<Q", bytes.fromhex(found["config"]["hex"][:16]))[0]
    expect(sectors == DISK_BYTES // SECTOR, f"{sectors} sectors")
    status, text = run(drive, "probe", daemon.socket)
    expect(status == 0 and "queues: 2\n" in text, text)


def load_reads_and_writes(drive, daemon, _disk, _folder):
    for options in (["--depth", "8"], ["--rw", "read", "--queues", "2", "--poll"],
                    ["--rw", "randwrite", "--block-size", "8k", "--no-event-idx"],
                    ["--rw", "write", "--depth", "64", "--queue-size", "64"]):
        status, text = run(drive, "load", daemon.socket, "--device", "blk", "--seconds", "0.2",
                           "--json", *options)
        expect(status == 0, f"load {options} ended with {status}")
        found = json.loads(text)
        expect(found["requests"] > 0 and found["failed"] == 0, text)
        expect(sum(count for _, count in found["histogram"]) == found["requests"], text)
        expect(found["latency_us"]["min"] <= found["latency_us"]["p50"] <= found["latency_us"]["max"],
               text)


def load_refuses_what_the_daemon_cannot_do(drive, daemon, _disk, _folder):
    for options in (["--device", "blk", "--packed"], ["--device", "blk", "--block-size", "1000"],
                    ["--device", "nothing"], ["--device", "blk", "--queues", "0"], []):
        status, _ = run(drive, "load", daemon.socket, "--seconds", "0.1", *options)
        expect(status == 2, f"load {options} ended with {status}")


def a_replay_matches_what_was_recorded(drive, daemon, disk, folder):
    path = os.path.join(folder, "good.pcapng")
    capture(path, disk)
    for options in ([], ["--timing"], ["--queue-size", "8"]):
        status, text = run(drive, "replay", path, daemon.socket, "--json", *options)
        expect(status == 0, f"replay {options} ended with {status}: {text}")
        queue = json.loads(text)["queues"][0]
        expect(queue["chains"] == queue["given"] == 40, text)


def a_replay_finds_what_differs(drive, daemon, disk, folder):
    path = os.path.join(folder, "bad.pcapng")
    capture(path, disk, change=7)
    status, text = run(drive, "replay", path, daemon.socket)
    expect(status == 1, f"replay ended with {status}: {text}")
    expect("queue 0, chain 7" in text and "from byte 100" in text, text)
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) - 10)
    expect(run(drive, "replay", path, daemon.socket)[0] == 2, "a damaged file was replayed")
    status, text = run(drive, "replay", path, daemon.socket, "--ignore-damage")
    expect(status == 1 and "damage was ignored" in text, text)


def load_tells_when_the_daemon_dies(drive, daemon, _disk, _folder):
    """The last test: there is no daemon behind it."""
    load = subprocess.Popen([drive, "load", daemon.socket, "--device", "blk", "--seconds", "30",
                             "--timeout-ms", "100"], stdout=subprocess.DEVNULL)
    time.sleep(0.3)
    daemon.stop()
    expect(load.wait(timeout=DEADLINE_S) in (1, 2), f"load ended with {load.returncode}")


TESTS = [
    a_probe_says_what_the_daemon_offers,
    a_replay_matches_what_was_recorded,
    a_replay_finds_what_differs,
    load_reads_and_writes,
    load_refuses_what_the_daemon_cannot_do,
    load_tells_when_the_daemon_dies,
]


def main(drive):
    if not shutil.which(DAEMON):
        print(f"SKIP: there is no {DAEMON}")
        return SKIP
    with tempfile.TemporaryDirectory(prefix="cvmm-drive-") as folder:
        image = os.path.join(folder, "disk")
        disk = os.urandom(DISK_BYTES)
        with open(image, "wb") as f:
            f.write(disk)
        daemon = Daemon(folder, image)
        try:
            for test in TESTS:
                test(drive, daemon, disk, folder)
                print(f"ok: {test.__name__}")
        finally:
            daemon.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
