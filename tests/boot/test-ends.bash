# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2016
# How a run can end, and the status that it gives.

test_statuses_of_commands() {
	local status
	for status in 1 125 255; do
		vm $status -- sh -c "exit $status"
		is_empty out
		is_empty err
	done
}

test_command_killed_by_a_signal() {
	vm 137 -- sh -c 'kill -9 $$'
	is_empty err
}

test_command_not_found() {
	vm 127 -- no-such-command
	has err 'cannot run no-such-command: No such file'
	is_empty out
}

test_command_not_executable() {
	vm 126 -- /etc/passwd
	has err 'cannot run /etc/passwd: Permission denied'
}

test_missing_directory_is_126() {
	vm 126 --workdir /nonexistent -- true
	has err '/nonexistent: No such file'
}

# The signal goes to the command; the status is the command's.
test_SIGTERM_goes_to_the_command() {
	start_vm -- sh -c 'trap "echo got it; exit 5" TERM; echo ready; while :; do sleep 0.1; done'
	wait_for ready out
	kill -TERM "$vm"
	end_vm 5
	has out '^got it$'
}

test_SIGINT_ends_the_command() {
	start_vm -- sh -c 'echo ready; exec sleep 1000'
	wait_for ready out
	kill -INT "$vm"
	end_vm 130
	is_empty err
}

test_second_signal_ends_the_machine() {
	start_vm -- sh -c 'trap "echo ignored" INT TERM; echo ready; while :; do sleep 0.1; done'
	wait_for ready out
	kill -INT "$vm"
	wait_for ignored out
	kill -TERM "$vm"
	end_vm 143
}

test_signal_before_the_command_ends_the_machine() {
	start_vm --root "$T/root" --append rdinit=/hang -- true
	sleep 1
	kill -TERM "$vm"
	end_vm 143
}

# A shell ignores SIGINT for its background jobs, nohup ignores SIGHUP: so does cvmm.
test_ignored_signals_stay_ignored() {
	(
		trap '' HUP
		exec "$CVMM" run -- sh -c 'echo ready; sleep 2; echo survived' </dev/null >out 2>err
	) &
	vm=$!
	wait_for ready out
	kill -HUP $vm
	end_vm 0
	has out survived
}

test_killed_cvmm_leaves_nothing() {
	start_vm -- sh -c 'echo ready; exec sleep 1000'
	wait_for ready out
	kill -KILL "$vm"
	end_vm 137
}

test_guest_powers_off() {
	vm 125 -- poweroff -f
	has err 'powered off'
}

test_guest_reboots() {
	vm 125 -- reboot -f
	has err 'rebooted'
}

test_guest_asks_its_init_to_power_off() {
	vm 125 -- sh -c 'head -c 300000 /dev/zero; echo last; poweroff; sleep 100'
	has err 'powered off'
	[ "$(wc -c <out)" = 300005 ] || fail "$(wc -c <out) bytes of output, not 300005"
}

test_guest_panics() {
	vm 125 -- sh -c 'echo before; echo c >/proc/sysrq-trigger; sleep 100'
	has err 'panic'
	has err 'sysrq'
	is_text out before
}

test_init_cannot_be_killed() {
	vm 6 -- sh -c 'kill -9 1; kill -SEGV 1; echo still here; exit 6'
	is_text out 'still here'
}

# Root of a guest can overwrite its init.
test_init_dies() {
	vm 125 -- sh -c 'while read -r range perms rest; do
			case $perms in *x*) case $rest in *init) break;; esac;; esac
		done </proc/1/maps
		start=$((0x${range%%-*})) end=$((0x${range##*-}))
		dd if=/dev/zero of=/proc/1/mem bs=4096 seek=$((start / 4096)) count=$(((end - start) / 4096)) conv=notrunc 2>/dev/null
		exit 0'
	has err 'Attempted to kill init'
	has err '^cvmm: the guest'
}

test_timeout_before_the_command() {
	vm 125 --timeout 1s --root "$T/root" --append rdinit=/hang -- true
	has err 'time is up, and the command was never started'
}

# Long enough for the boot: three times what the boot of the facts took.
test_timeout_after_the_command_started() {
	local boot_s
	facts_boot
	boot_s=$(sed -n 's/^init .* \([0-9]*\)\.[0-9]*$/\1/p' "$T/facts.err")
	vm 124 --timeout $((3 + boot_s * 3 / 1000))s -- sh -c 'echo started; exec sleep 1000'
	is_text out started
	has err 'time is up'
}

test_quiet_and_verbose() {
	vm 0 --verbose -- echo hello
	is_text out hello
	has err 'Linux version'
	vm 125 --quiet -- poweroff -f
	has err 'powered off'
}
