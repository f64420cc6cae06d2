# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2016
# Devices that other programs serve over vhost-user.

needs_program() { # NAME
	[ -x "$T/bin/$1" ] || skip "$1 is not there (CVMM_DAEMONS)"
}

# An entropy device whose bytes can be told from all others.
start_rng() {
	rm -f rng.sock0
	[ -e source ] || head -c 16777216 /dev/zero | tr '\0' x >source
	vhost-device-rng --socket-path rng.sock --rng-source source >>rng.log 2>&1 &
	rng=$!
}

test_entropy_of_another_program() {
	needs_program vhost-device-rng
	start_rng
	vm 0 --dev rng,where=socket:rng.sock0 -- sh -c '
		cat /sys/class/misc/hw_random/rng_available
		dd if=/dev/hwrng bs=512 count=64 2>/dev/null | tee /tmp/bytes | wc -c
		tr -d x </tmp/bytes | wc -c'
	is_text out $'virtio_rng.0 \n32768\n0'
	is_empty err
	kill -TERM "$rng"
	wait "$rng" || fail "the program: status $?"
}

# The device by its number, with settings that change nothing.
test_device_by_its_number() {
	needs_program vhost-device-rng
	start_rng
	vm 0 --module virtio_rng --dev vhost-user,id=4,queues=1,queue-size=8,config-size=0,where=socket:rng.sock0 -- sh -c '
		cat /sys/class/misc/hw_random/rng_available
		for d in /sys/bus/virtio/devices/*; do cat $d/device; done
		dd if=/dev/hwrng bs=512 count=4 2>/dev/null | tr -d x | wc -c'
	is_text out $'virtio_rng.0 \n0x0003\n0x0004\n0'
}

lines() { wc -l <out; }

wait_for_lines() { # N
	local i
	for ((i = 0; i < VM_DEADLINE_S * 10; i++)); do
		[ "$(lines)" -ge "$1" ] && return
		sleep 0.1
	done
	fail "there are $(lines) lines, and not $1"
}

# The guest reads all the time. It gets no other bytes than those of the program, and it gets them.
test_entropy_goes_on_when_its_program_is_killed() {
	local round
	needs_program vhost-device-rng
	start_rng
	mkfifo in
	IN=in start_vm --dev rng,where=socket:rng.sock0 -- sh -c '
		while dd if=/dev/hwrng bs=256 count=4 2>/dev/null | tr -d x | wc -c; do :; done &
		cat >/dev/null
		kill $!'
	exec 8>in
	for round in 1 2 3 4; do
		wait_for_lines $(($(lines) + 5))
		kill -KILL "$rng"
		wait "$rng" 2>/dev/null
		[ "$round" != 2 ] || sleep 2
		start_rng
	done
	wait_for_lines $(($(lines) + 5))
	exec 8>&-
	end_vm 0
	[ -z "$(grep -v '^0$' out)" ] || fail "bytes of somebody else"
	[ "$(grep -c 'connected to another' err)" = 4 ] || fail "not 4 times: $(cat err)"
}

# The device stops, and nothing else.
test_a_machine_outlives_a_device_that_is_gone() {
	needs_program vhost-device-rng
	start_rng
	mkfifo in
	IN=in start_vm --dev rng,reconnect=1,where=socket:rng.sock0 -- sh -c 'dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c
		read -r line; echo "$line"; exit 3'
	exec 8>in
	wait_for_lines 1
	kill -KILL "$rng"
	wait_for 'must reset the device' err
	echo goes on >&8
	exec 8>&-
	end_vm 3
	is_text out $'64\ngoes on'
}

test_devices_that_cannot_be_are_refused() {
	: >file
	refuse 'no kind of device' --dev nothing,where=socket:a -- true
	refuse 'where' --dev rng -- true
	refuse 'id=N' --dev vhost-user,where=socket:a -- true
	refuse 'no setting' --dev rng,size=3,where=socket:a -- true
	refuse 'file: cannot connect' --dev rng,where=socket:file -- true
	refuse 'absent: no back-end' --dev rng,where=socket:absent -- true
}
