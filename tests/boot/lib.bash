# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2034
#
# What the tests use. A test is a function test_NAME in a test-*.bash; it runs in an empty directory
# that is removed afterwards, and ends with its return, fail or skip.

# The machine is emulated, and may be shared: these only keep a test from hanging.
VM_DEADLINE_S=180
TEST_DEADLINE_S=400
REFUSAL_DEADLINE_S=30

KERNEL_VERSION=${VERSIONS[0]}
KERNEL=$T/kernels/$KERNEL_VERSION/boot/vmlinuz-$KERNEL_VERSION
PATH=$T/bin:$PATH:/usr/sbin:/sbin
CVMM=$T/bin/cvmm
export CVMM_KERNELS=$T/default PATH
export TMPDIR=$T/tmp
unset TERM

fail() {
	[ -e "$W/why" ] || printf '%s\n' "$*" >"$W/why"
	exit 1
}

skip() {
	printf '%s\n' "$*" >"$W/why"
	exit 77
}

end_children() {
	local pids
	pids=$(jobs -p)
	# shellcheck disable=SC2086 # a list
	[ -z "$pids" ] || kill -KILL $pids 2>/dev/null
}

# Runs cvmm with its output in out and err, and its input from $IN or nowhere.
vm() { # STATUS ARG...
	local want=$1 status
	shift
	timeout -k 2 "$VM_DEADLINE_S" "$CVMM" run "$@" <"${IN:-/dev/null}" >out 2>err
	status=$?
	[ $status = "$want" ] || fail "cvmm run $*: status $status, not $want"
}

# The same in the background, as $vm; for tests that talk to it meanwhile. A shell ignores some signals on
# behalf of its background jobs: not here.
start_vm() { # ARG...
	env --default-signal=INT,QUIT "$CVMM" run "$@" <"${IN:-/dev/null}" >out 2>err &
	vm=$!
}

end_vm() { # STATUS
	local status
	wait "$vm"
	status=$?
	[ $status = "$1" ] || fail "status $status, not $1"
}

# Runs cvmm and expects that it refuses: status 125 in time, nothing on stdout, and a message like PATTERN.
refuse() { # PATTERN ARG...
	local pattern=$1 status
	shift
	timeout -k 2 "$REFUSAL_DEADLINE_S" "$CVMM" run "$@" </dev/null >refused.out 2>refused.err
	status=$?
	echo "refuse $*: $(head -c 400 refused.err)"
	[ $status != 124 ] || fail "no end: $*"
	[ $status -lt 128 ] || fail "crashed with $status: $*"
	[ $status = 125 ] || fail "status $status, not 125: $*"
	[ ! -s refused.out ] || fail "something on standard output: $*"
	grep -q '^cvmm: ' refused.err || fail "no message: $*"
	grep -qiE -e "$pattern" refused.err || fail "the message does not say '$pattern': $*: $(head -c 300 refused.err)"
}

wait_for() { # TEXT FILE
	local i
	for ((i = 0; i < VM_DEADLINE_S * 10; i++)); do
		grep -qF -- "$1" "$2" 2>/dev/null && return
		sleep 0.1
	done
	fail "'$1' does not appear in $2"
}

is_empty() { # FILE
	[ ! -s "$1" ] || fail "$1 is not empty: $(head -c 300 "$1")"
}

is_text() { # FILE TEXT
	[ "$(cat "$1")" = "$2" ] || fail "$1 is not '$2'"
}

has() { # FILE PATTERN
	grep -qE -- "$2" "$1" || fail "$1 has no '$2'"
}

needs_images() {
	[ -e "$T/root.ext4" ] || skip "mkfs.ext4 is not installed (e2fsprogs)"
}

# Many small questions share one boot: fact NAME prints the answer.
FACTS_CPUS=4
facts_boot() {
	local i
	exec 9>"$T/facts.lock"
	# Locks as flock(1) would, which may not be installed.
	for ((i = 0; i < TEST_DEADLINE_S * 10; i++)); do
		mkdir "$T/facts.busy" 2>/dev/null && break
		[ -e "$T/facts" ] && return
		[ -e "$T/facts.failed" ] && fail "the boot that all facts come from failed"
		sleep 0.1
	done
	[ -e "$T/facts" ] && return
	# shellcheck disable=SC2016 # for the guest
	timeout -k 2 "$VM_DEADLINE_S" "$CVMM" run --timing --cpus $FACTS_CPUS --append 'panic=7 cvmm.test=last' \
		--env 'COLOUR=light blue' --env PATH=/bin:/sbin:/usr/bin --workdir /usr/bin -- sh -c '
		fact() { echo "[$1]"; shift; "$@"; echo; }
		fact version cat /proc/version
		fact nproc nproc
		fact packages sh -c "cat /sys/devices/system/cpu/cpu*/topology/physical_package_id"
		fact cores sh -c "cat /sys/devices/system/cpu/cpu*/topology/core_id"
		fact siblings sh -c "cat /sys/devices/system/cpu/cpu*/topology/thread_siblings_list"
		fact cmdline cat /proc/cmdline
		fact panic cat /proc/sys/kernel/panic
		fact rng cat /sys/class/misc/hw_random/rng_current
		fact random sh -c "head -c 64 /dev/hwrng | wc -c"
		fact different sh -c "head -c 32 /dev/hwrng | md5sum; head -c 32 /dev/hwrng | md5sum"
		fact colour sh -c "echo \$COLOUR"
		fact path sh -c "echo \$PATH"
		fact workdir pwd
		fact mem sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo
		fact hostname hostname
		fact lo cat /sys/class/net/lo/flags
		fact dmesg sh -c "dmesg -r | grep -E \"^<[0-3]>\"; true"
		fact clock cat /sys/devices/system/clocksource/clocksource0/current_clocksource
		fact kvm sh -c "dmesg | grep -ci hypervisor"
		' </dev/null >"$T/facts.out" 2>"$T/facts.err"
	if [ $? != 0 ]; then
		cat "$T/facts.err"
		touch "$T/facts.failed"
		fail "the boot that all facts come from failed"
	fi
	mv "$T/facts.out" "$T/facts"
}

fact() { # NAME
	sed -n "/^\[$1\]\$/,/^\$/p" "$T/facts" | sed '1d;$d'
}

is_fact() { # NAME TEXT
	[ "$(fact "$1")" = "$2" ] || fail "$1 is '$(fact "$1")', not '$2'"
}
