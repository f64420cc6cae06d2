# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
"""What the benchmarks against Rust crates share: building both halves, running them, numbers.

The crates are Debian's (sid), fetched with a configuration of apt of their own and unpacked below
build/bench-NAME.
"""
import ctypes
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUITE = "sid"
LISTS_SECONDS = 3600  # sid changes several times a day: older lists name files that are gone
CARGO_OLDEST = (1, 77)  # what the crates of sid need
# The newest first: Debian keeps one for its browsers that is newer than the plain one.
CARGO_PACKAGES = (["cargo-web", "rustc-web"], ["cargo", "rustc"])
# How a Rust half is built. By default the crates' accessors are shared functions wherever a program
# has several kinds of access; told to inline nearly everything, the compiler makes the best of them.
RUST_HALVES = {"rust": "", "inlined": "-C llvm-args=--inline-threshold=1000"}
PR_SET_THP_DISABLE = 41


class Missing(Exception):
    """Why the Rust half cannot be had."""


def say(text):
    print(f"bench: {text}", file=sys.stderr)


class Workshop:
    """Builds the halves of one benchmark below build/bench-NAME."""

    def __init__(self, name):
        self.name = name
        self.here = os.path.join(ROOT, "bench", name)
        self.work = os.path.join(ROOT, "build", "bench-" + name)
        self.crates = os.path.join(self.work, "crates", "usr", "share", "cargo", "registry")

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def run_quietly(self, what, command, failure=SystemExit, **options):
        os.makedirs(self.path("log"), exist_ok=True)
        log = self.path("log", what + ".log")
        with open(log, "w") as out:
            if subprocess.run(command, stdout=out, stderr=out, **options).returncode == 0:
                return
        with open(log) as text:
            sys.stderr.write("".join(text.readlines()[-20:]))
        raise failure(f"{what} failed (all of its output is in {log})")

    def build_ours(self, components):
        """NAME.c with the static libraries of @components, in the order of linking."""
        library = self.path("lib")
        if not os.path.exists(os.path.join(library, "build.ninja")):
            # Other optimisation brings other warnings, and false ones: here they stay warnings.
            self.run_quietly("meson", ["meson", "setup", library, ROOT, "--buildtype=release",
                                       "-Dtests=disabled"])
        archives = [f"meson/component/libcvmm-{name}.a" for name in components]
        self.run_quietly("ninja", ["ninja", "-C", library, *archives])
        program = self.path(self.name)
        self.run_quietly("cc", [os.environ.get("CC", "cc"), "-std=gnu11", "-O3", "-D_GNU_SOURCE",
                                "-Wall", "-Wextra", "-Werror", "-I", os.path.join(ROOT, "include"),
                                os.path.join(self.here, self.name + ".c"),
                                *[os.path.join(library, archive) for archive in archives],
                                "-pthread", "-o", program])
        return program

    # ---- the Rust half ---------------------------------------------------------------------------

    def apt_environment(self):
        """A private configuration of apt: the system's own is not touched."""
        base = self.path("apt")
        config = os.path.join(base, "apt.conf")
        stamp = os.path.join(base, ".updated")
        environment = dict(os.environ, APT_CONFIG=config)
        if os.path.exists(stamp) and time.time() - os.path.getmtime(stamp) < LISTS_SECONDS:
            return environment
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        if not shutil.which("apt-get") or not os.path.exists(keys):
            raise Missing("the crates are fetched with apt and Debian's keys (debian-archive-keyring)")
        for name in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(base, name), exist_ok=True)
        with open(os.path.join(base, "sources.list"), "w") as out:
            out.write(f"deb [signed-by={keys}] {debian_site()} {SUITE} main\n")
        with open(config, "w") as out:
            out.write(f'Dir::Etc::sourcelist "{base}/sources.list";\n'
                      'Dir::Etc::sourceparts "-";\n'
                      f'Dir::State::lists "{base}/lists";\n'
                      f'Dir::Cache "{base}/cache";\n'
                      'APT::Sandbox::User "root";\n'
                      'Acquire::Check-Valid-Until "false";\n')
        self.run_quietly("apt-update", ["apt-get", "update"], Missing, env=environment)
        open(stamp, "w").close()
        return environment

    def fetch_crates(self, names):
        stamp = self.path("crates", ".complete")
        wanted = " ".join(names)
        if os.path.exists(stamp):
            with open(stamp) as text:
                if text.read() in ("", wanted):
                    return
        environment = self.apt_environment()
        say(f"fetching the crate {names[0]} and what it needs from Debian {SUITE}")
        debs = self.path("debs")
        shutil.rmtree(debs, ignore_errors=True)
        shutil.rmtree(self.path("crates"), ignore_errors=True)
        os.makedirs(debs)
        self.run_quietly("apt-download",
                         ["apt-get", "download", *[f"librust-{name}-dev" for name in names]],
                         Missing, cwd=debs, env=environment)
        for name in sorted(os.listdir(debs)):
            self.run_quietly("dpkg", ["dpkg", "-x", os.path.join(debs, name), self.path("crates")],
                             Missing)
        shutil.rmtree(debs)
        with open(stamp, "w") as out:
            out.write(wanted)

    def need_cargo(self):
        cargo = find_cargo()
        if cargo:
            return cargo
        wanted = "a cargo of version {}.{} or newer".format(*CARGO_OLDEST)
        if os.getuid() != 0:
            raise Missing(f"{wanted} is missing; Debian has it in {' '.join(CARGO_PACKAGES[0])}")
        for packages in CARGO_PACKAGES:
            say(f"installing {' '.join(packages)}")
            try:
                # An older one that is installed stays.
                self.run_quietly("apt-install", ["apt-get", "install", "-y", "--no-install-recommends",
                                                 "--no-remove", *packages], Missing,
                                 env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
            except Missing:
                continue
            cargo = find_cargo()
            if cargo:
                return cargo
        raise Missing(f"{wanted} cannot be installed with apt")

    def build_rust(self, names):
        """The program in NAME/rust, once for each of RUST_HALVES. @names: crates, the main one first."""
        cargo = self.need_cargo()
        self.fetch_crates(names)
        home = self.path("cargo-home")
        os.makedirs(home, exist_ok=True)
        with open(os.path.join(home, "config.toml"), "w") as out:
            out.write('[source.crates-io]\nreplace-with = "debian"\n'
                      f'[source.debian]\ndirectory = "{self.crates}"\n')
        # A copy: cargo writes its lock file beside the manifest.
        copy = self.path("rust")
        shutil.copytree(os.path.join(self.here, "rust"), copy, dirs_exist_ok=True)
        programs = {}
        for half, flags in RUST_HALVES.items():
            target = self.path("target-" + half)
            self.run_quietly("cargo-" + half, [cargo, "build", "--offline", "--release",
                                               "--target-dir", target],
                             Missing, cwd=copy, env=dict(os.environ, CARGO_HOME=home, RUSTFLAGS=flags))
            programs[half] = os.path.join(target, "release", self.name + "-rust")
        return programs

    def rust_versions(self, *names):
        matches = [re.match(r"([a-z-]+)-(\d.*)", name) for name in sorted(os.listdir(self.crates))]
        return ", ".join(f"{match[1]} {match[2]}" for match in matches if match and match[1] in names)


def debian_site():
    sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(COMPONENT) $(RELEASE)",
                            "Created-By: Packages"], stdout=subprocess.PIPE).stdout.decode().split("\n")
    sites = [line.split() for line in sites]
    sites = [words[0] for words in sites
             if len(words) == 3 and words[1] == "main" and "-" not in words[2] and "debian" in words[0]]
    return sites[0] if sites else "http://deb.debian.org/debian"


def find_cargo():
    if not shutil.which("cargo") or not shutil.which("rustc"):
        return None
    text = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout.decode()
    match = re.match(r"rustc (\d+)\.(\d+)", text)
    return "cargo" if match and (int(match[1]), int(match[2])) >= CARGO_OLDEST else None


# ---- measuring -----------------------------------------------------------------------------------

def same_pages():
    """Huge pages would come to whom they come by chance: none for both halves."""
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def run_half(command, cores=None):
    """Run one half once, on @cores. Return the lines that it printed."""
    command = list(map(str, command))
    if cores and shutil.which("taskset"):
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    run = subprocess.run(command, stdout=subprocess.PIPE, preexec_fn=same_pages)
    if run.returncode:
        raise SystemExit(f"{command} failed")
    return run.stdout.decode().splitlines()


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\033[K")


def summary(values):
    """Median and spread: half of the distance of the 10th and the 90th percentile, relative."""
    values = sorted(values)
    middle = statistics.median(values)
    low = values[round((len(values) - 1) * 0.1)]
    high = values[round((len(values) - 1) * 0.9)]
    return {"median_ns": round(middle, 3), "min_ns": round(values[0], 3),
            "spread": round((high - low) / 2 / middle, 3) if middle else 0}


# ---- showing -------------------------------------------------------------------------------------

def number(entry, name):
    if name not in entry:
        return "-"
    value = entry[name]["median_ns"]
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(entry, above, below, digits):
    if above not in entry or below not in entry:
        return "-"
    return f"{entry[above]['median_ns'] / entry[below]['median_ns']:.{digits}f}x"


def write_svg(path, lines):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def processor():
    try:
        with open("/proc/cpuinfo") as text:
            return re.search(r"^model name\s*: (.*)$", text.read(), re.M)[1]
    except (OSError, TypeError):
        return os.uname().machine
