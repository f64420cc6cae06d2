# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2016
# Devices that other programs serve over vhost-user.

needs_program() { # NAME
	[ -x "$T/bin/$1" ] || skip "$1 is not there (CVMM_DAEMONS, CVMM_TEST_BLK)"
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
		while read -r -n 64 line; do echo "$line"; done </dev/hwrng &
		cat >/dev/null
		kill $!'
	exec 8>in
	for round in 1 2 3 4 5 6; do
		wait_for_lines $(($(lines) + 20))
		kill -KILL "$rng" || fail "the program has ended: $(cat rng.log)"
		wait "$rng" 2>/dev/null
		[ "$round" != 2 ] || sleep 2
		start_rng
	done
	wait_for_lines $(($(lines) + 20))
	exec 8>&-
	end_vm 0
	[ -z "$(tr -d 'x\n' <out)" ] || fail "bytes of somebody else"
	[ "$(grep -c 'connected to another' err)" = 6 ] || fail "not 6 times: $(cat err)"
}

start_blk() {
	rm -f blk.sock
	test-blk --sandbox none --image disk --socket-path blk.sock >>blk.log 2>&1 &
	blk=$!
}

# The guest writes and reads a disk whose program is killed again and again.
disk_of_another_program() { # [OPTION...]
	local rounds=0
	needs_program test-blk
	head -c 4194304 /dev/urandom >data
	truncate -s 4M disk
	start_blk
	IN=data start_vm --dev blk,where=socket:blk.sock "$@" -- sh -c '
		cat >/tmp/data
		echo ready
		for i in 1 2 3 4 5 6; do
			dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null
			echo 3 >/proc/sys/vm/drop_caches
			sha256sum </dev/vda
			[ $i = 6 ] || dd if=/dev/zero of=/dev/vda bs=256k count=16 conv=fsync 2>/dev/null
		done
		echo done'
	wait_for ready out
	while kill -0 "$vm" 2>/dev/null && ! grep -q done out; do
		sleep 0.7
		kill -KILL "$blk" || fail "the program has ended: $(cat blk.log)"
		wait "$blk" 2>/dev/null
		start_blk
		rounds=$((rounds + 1))
	done
	end_vm 0
	{
		echo ready
		for _ in 1 2 3 4 5 6; do sha256sum <data; done
		echo done
	} >want
	cmp want out || fail "other data: $(cat out)"
	cmp data disk || fail "the disk has other data"
	echo "killed $rounds times"
	[ "$rounds" -ge 3 ] || fail "killed $rounds times only"
}

test_disk_of_a_program_that_is_killed() { disk_of_another_program; }
test_disk_of_a_program_that_is_killed_packed() { disk_of_another_program --virtio packed; }

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
	refuse 'file: no back-end' --dev rng,where=socket:file -- true
	refuse 'absent: no back-end' --dev rng,where=socket:absent -- true
}
