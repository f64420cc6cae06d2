# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2016
# Standard streams pass unchanged.

MANY=67108864

# Bytes that are not the same everywhere, at no great cost.
many_bytes() { # FILE
	[ -e "$T/many" ] || {
		head -c 1048573 /dev/urandom >"$W/part"
		for ((i = 0; i < 65; i++)); do cat "$W/part"; done | head -c $MANY >"$W/many"
		mv "$W/many" "$T/many"
	}
}

test_streams_are_split_and_the_status_passes() {
	vm 7 -- sh -c 'echo to stdout; echo to stderr >&2; printf more; exit 7'
	is_text out $'to stdout\nmore'
	is_text err 'to stderr'
}

test_64_MiB_of_input() {
	many_bytes
	IN=$T/many vm 0 --memory 512M -- sha256sum
	is_text out "$(sha256sum <"$T/many")"
	is_empty err
}

test_64_MiB_through_and_out() {
	many_bytes
	IN=$T/many vm 0 --memory 512M -- cat
	cmp out "$T/many" || fail "not the same bytes"
	rm out
	is_empty err
}

test_input_from_a_pipe_comes_as_it_is_written() {
	mkfifo to_vm
	start_vm_with_fifo
	exec 8>to_vm
	echo first >&8
	wait_for 'got first' out
	echo second >&8
	wait_for 'got second' out
	exec 8>&-
	end_vm 3
	is_text out $'got first\ngot second\nend'
}
start_vm_with_fifo() {
	env "$CVMM" run -- sh -c 'while read -r line; do echo "got $line"; done; echo end; exit 3' <to_vm >out 2>err &
	vm=$!
}

test_no_input() {
	vm 0 -- sh -c 'cat; wc -c'
	is_text out 0
}

test_closed_streams_are_as_if_null() {
	timeout -k 2 "$VM_DEADLINE_S" "$CVMM" run -- sh -c 'cat; echo gone; exit 4' <&- >&- 2>&-
	local status=$?
	[ $status = 4 ] || fail "status $status"
}

test_unread_input_does_not_keep_the_machine() {
	mkfifo never
	exec 8<>never
	timeout -k 2 "$VM_DEADLINE_S" "$CVMM" run -- echo done <&8 >out 2>err || fail "status $?"
	is_text out "done"
}

test_broken_pipe_reaches_the_command() {
	timeout -k 2 "$VM_DEADLINE_S" "$CVMM" run -- yes </dev/null 2>err | head -n 1 >out
	local status=("${PIPESTATUS[@]}")
	[ "${status[0]}" = 141 ] || fail "status ${status[0]}, not 141"
	is_text out y
	is_empty err
}

test_slow_reader_gets_everything() {
	timeout -k 2 "$VM_DEADLINE_S" "$CVMM" run -- sh -c 'yes 0123456 | head -c 8000000; exit 9' </dev/null 2>err | {
		# Byte by byte: a program that reads ahead would take more than it passes on.
		dd bs=1 count=1000 2>/dev/null >out
		sleep 3
		cat >>out
	}
	[ "${PIPESTATUS[0]}" = 9 ] || fail "status ${PIPESTATUS[0]}"
	[ "$(wc -c <out)" = 8000000 ] || fail "$(wc -c <out) bytes"
	[ "$(sort -u out)" = 0123456 ] || fail "not what was written"
	is_empty err
}

test_output_to_a_file_is_complete_and_in_order() {
	vm 0 -- sh -c 'i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done'
	[ "$(wc -l <out)" = 20000 ] || fail "$(wc -l <out) lines"
	sort -n -c out || fail "not in order"
}

test_background_children_do_not_keep_the_machine() {
	vm 0 -- sh -c 'sleep 1000 & echo started'
	is_text out started
}

test_dev_stdout_can_be_opened() {
	vm 0 -- sh -c 'echo a >/dev/stdout; echo b >/dev/stderr; cat /dev/stdin'
	is_text out a
	is_text err b
}
