# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash
# An interactive command. The dialogues are in the program tty.

terminal_test() { # DIALOGUE
	local python=/usr/bin/python3 status
	[ -x $python ] || python=$(type -P python3) || skip "python3 is not installed"
	"$python" -I -S "$HERE/tty" "$1" "$CVMM" $VM_DEADLINE_S
	status=$?
	[ $status = 0 ] || fail "$(tail -n 1 log)"
}

test_terminal_shell_is_interactive() { terminal_test shell; }
test_terminal_is_restored_after_kill() { terminal_test kill; }
test_terminal_without_stderr() { terminal_test two_streams; }
