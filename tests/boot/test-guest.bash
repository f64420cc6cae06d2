# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2016
# What a command finds in its guest: kernels, processors, memory, settings, devices.

test_version_is_that_of_the_kernel() {
	facts_boot
	[[ $(fact version) == "Linux version $KERNEL_VERSION "* ]] || fail "$(fact version)"
}

test_processors_and_topology() {
	facts_boot
	is_fact nproc $FACTS_CPUS
	[ "$(fact packages | sort -u)" = 0 ] || fail "not one package: $(fact packages)"
	is_fact cores $'0\n1\n2\n3'
	is_fact siblings $'0\n1\n2\n3'
}

test_append_reaches_the_command_line_and_wins() {
	facts_boot
	[[ $(fact cmdline) == *"panic=-1"*" panic=7 cvmm.test=last" ]] || fail "$(fact cmdline)"
	is_fact panic 7
}

test_entropy_device() {
	facts_boot
	[[ $(fact rng) == virtio_rng* ]] || fail "rng_current is '$(fact rng)'"
	is_fact random 64
	[ "$(fact different | sort -u | wc -l)" = 2 ] || fail "the same bytes twice"
}

test_environment_directory_and_name() {
	facts_boot
	is_fact colour "light blue"
	is_fact path /bin:/sbin:/usr/bin
	is_fact workdir /usr/bin
	is_fact hostname cvmm
	is_fact lo 0x9
}

test_memory_is_256M_by_default() {
	facts_boot
	local kb
	kb=$(fact mem)
	[ "$kb" -gt 180000 ] && [ "$kb" -le 262144 ] || fail "MemTotal is $kb kB"
}

# The machine has no PCI, which a PC kernel reports as an error whatever it was told; all else counts.
test_kernel_says_nothing_bad() {
	local bad
	facts_boot
	bad=$(fact dmesg | grep -vF 'PCI: Fatal: No config space access function found')
	[ -z "$bad" ] || fail "the kernel said: $bad"
}

test_timing_table() {
	local phase
	facts_boot
	for phase in set-up load kernel init command tear-down; do
		grep -qE "^$phase +[0-9]+\.[0-9]{3} +[0-9]+\.[0-9]{3}\$" "$T/facts.err" || fail "no time of $phase"
	done
	[ "$(wc -l <"$T/facts.err")" = 7 ] || fail "more than the table: $(cat "$T/facts.err")"
}

test_32_processors() {
	vm 0 --cpus 32 --memory 512M -- nproc
	is_text out 32
	is_empty err
}

# What a bare command line finds: the newest kernel in CVMM_KERNELS.
test_newest_kernel_is_the_default() {
	local newest=${VERSIONS[-1]}
	[ ${#VERSIONS[@]} -gt 1 ] || skip "only one kernel is there"
	CVMM_KERNELS=/nonexistent:$T/kernels vm 0 -- uname -r
	is_text out "$newest"
}

test_every_kernel_boots_as_bzimage() { # VERSION
	vm 0 --kernel "$T/kernels/$1/boot/vmlinuz-$1" -- uname -r
	is_text out "$1"
	is_empty err
}

needs_vmlinux() { # VERSION
	[ ! -e "$T/kernels/$1/no-vmlinux" ] || skip "$(cat "$T/kernels/$1/no-vmlinux")"
}

test_every_kernel_boots_as_elf_through_linux64() { # VERSION
	needs_vmlinux "$1"
	vm 0 --protocol linux64 --kernel "$T/kernels/$1/boot/vmlinux-$1" -- uname -r
	is_text out "$1"
	is_empty err
}

test_every_kernel_boots_as_elf_through_pvh() { # VERSION
	needs_vmlinux "$1"
	vm 0 --protocol pvh --kernel "$T/kernels/$1/boot/vmlinux-$1" -- uname -r
	is_text out "$1"
	is_empty err
}

test_a_second_kernel_is_there() {
	[ ${#VERSIONS[@]} -gt 1 ] || skip "only ${VERSIONS[*]} is there: no second kernel could be fetched"
}

mem_total() { # SIZE MIN_KB MAX_KB
	vm 0 --memory "$1" -- sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo
	is_empty err
	[ "$(cat out)" -gt "$2" ] && [ "$(cat out)" -le "$3" ] || fail "MemTotal is $(cat out) kB with $1"
}

test_memory_of_128M() { mem_total 128M 60000 131072; }
test_memory_of_1G() { mem_total 1G 900000 1048576; }

# The kernel prefers memory above 4 GiB: rings and data are there. The file is as large as what is there.
test_memory_above_4G() {
	vm 0 --memory 4G -- sh -c 'sed -n "s/^MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo
		grep -c "^ *1[0-9a-f]*-1[0-9a-f]* : System RAM" /proc/iomem
		dd if=/dev/urandom of=/tmp/a bs=1M count=16 2>/dev/null
		cat /tmp/a /tmp/a >/tmp/b && head -c 16777216 /tmp/b | cmp - /tmp/a && tail -c 16777216 /tmp/b | cmp - /tmp/a && echo same'
	is_empty err
	[ "$(sed -n 1p out)" -gt 3900000 ] || fail "MemTotal is $(sed -n 1p out) kB"
	[ "$(sed -n '2,$p' out)" = $'1\nsame' ] || fail "no memory above 4 GiB, or it is not itself"
}

# Too little for a stock kernel: it ends, and does so as a failure.
test_too_little_memory_is_a_failure() {
	local size
	for size in 32M 48M 64M; do
		timeout -k 2 "$VM_DEADLINE_S" "$CVMM" run --memory $size -- true </dev/null >out 2>err
		case $? in
		0) [ $size = 64M ] || fail "boots with $size: test more" ;;
		125) has err '^cvmm: ' ;;
		*) fail "status $? with $size" ;;
		esac
		echo "$size: $(cat err)"
	done
}

test_two_machines_at_once() {
	local first
	"$CVMM" run -- sh -c 'sleep 1; echo one' </dev/null >out1 2>err1 &
	first=$!
	vm 0 -- echo two
	wait $first || fail "the first: status $?"
	is_text out two
	is_text out1 one
	is_empty err
	is_empty err1
}

test_nothing_is_left_behind() {
	local pid session stat
	mkdir empty
	# A session of its own: whatever it started and left has its number.
	TMPDIR=$W/empty setsid bash -c 'echo $$ >session; exec "$0" run -- true' "$CVMM" </dev/null >out 2>err || fail "status $?"
	session=$(cat session)
	for stat in /proc/[0-9]*/stat; do
		stat=$(cat "$stat" 2>/dev/null) || continue
		pid=${stat%% *}
		read -ra fields <<<"${stat##*) }"
		[ "${fields[3]}" != "$session" ] || fail "process $pid is left: $stat"
	done
	[ -z "$(ls -A empty)" ] || fail "files are left: $(ls -A empty)"
	is_empty out
	is_empty err
}
