# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2016
# Disks and roots.

test_disk_keeps_what_is_written() {
	needs_images
	truncate -s 4M raw
	cp "$T/empty.ext4" fs
	vm 0 --module ext4 --disk raw --disk fs -- sh -c 'cat /sys/block/vda/size
		echo raw bytes | dd of=/dev/vda seek=5 bs=4096 conv=notrunc 2>/dev/null &&
		mount -t ext4 /dev/vdb /mnt && echo kept >/mnt/file'
	is_empty err
	is_text out 8192
	[ "$(dd if=raw bs=4096 skip=5 count=1 2>/dev/null | head -n 1)" = 'raw bytes' ] || fail "not in the file"
	vm 0 --module ext4 --disk raw --disk fs -- sh -c \
		'dd if=/dev/vda skip=5 bs=4096 count=1 2>/dev/null | head -n 1; mount -t ext4 /dev/vdb /mnt && cat /mnt/file'
	is_text out $'raw bytes\nkept'
	is_empty err
}

test_read_only_disk_refuses_writes() {
	truncate -s 1M disk
	cp disk copy
	chmod 444 disk
	vm 0 --disk disk,ro -- sh -c 'cat /sys/block/vda/ro; echo x 2>/dev/null >/dev/vda && sync && echo written; head -c 1048576 /dev/vda | wc -c'
	is_text out $'1\n1048576'
	cmp disk copy || fail "the disk was changed"
}

test_two_machines_do_not_share_a_disk() {
	truncate -s 1M disk
	start_vm --disk disk -- sh -c 'echo ready; exec sleep 1000'
	wait_for ready out
	refuse 'disk.*in use' --disk disk -- true
	refuse 'disk.*in use' --disk disk,ro -- true
	kill -KILL "$vm"
	wait "$vm" 2>/dev/null
}

test_readers_share_a_disk() {
	truncate -s 1M disk
	"$CVMM" run --disk disk,ro -- sh -c 'wc -c </dev/vda' </dev/null >out1 2>err1 &
	vm 0 --disk disk,ro -- sh -c 'wc -c </dev/vda'
	wait $! || fail "the first: status $?"
	is_text out 1048576
	is_text out1 1048576
}

test_root_directory_is_a_copy() {
	cp -r "$T/root" root
	vm 0 --root root -- sh -c 'cat /etc/marker; echo changed >/etc/marker; touch /new; ls /usr 2>/dev/null; id'
	is_text out $'marker of the root\nuid=0 gid=0'
	is_text root/etc/marker 'marker of the root'
	[ ! -e root/new ] || fail "a new file in the host's directory"
	is_empty err
}

test_root_image_keeps_changes() {
	needs_images
	cp "$T/root.ext4" image
	vm 0 --root image -- sh -c 'cat /etc/marker; echo changed >/etc/marker; stat -f -c %T /'
	is_text out $'marker of the root\next2/ext3'
	is_empty err
	vm 0 --root image,ro -- sh -c 'cat /etc/marker; echo again 2>/dev/null >/etc/marker || echo refused'
	is_text out $'changed\nrefused'
}

test_root_image_is_the_first_disk() {
	needs_images
	truncate -s 2M data
	vm 0 --root "$T/root.ext4,ro" --disk data -- sh -c 'cat /sys/block/vda/size /sys/block/vdb/size'
	is_text out $'32768\n4096'
}

test_initrd_is_the_root() {
	vm 0 --initrd "$T/root.initrd" -- sh -c 'cat /etc/marker; ls /hang'
	is_text out $'marker of the root\n/hang'
	is_empty err
}

# The same work of disk, console and entropy device over rings of one kind. FEATURES are what every device must
# have negotiated: bits 28 (indirect), 29 (event index) and 34 (packed), 0 or 1 each.
rings() { # FEATURES [OPTION...]
	local features=$1 device
	shift
	head -c 4194304 /dev/urandom >data
	truncate -s 4M disk
	IN=data vm 0 "$@" --module virtio_rng --disk disk -- sh -c '
		for d in /sys/bus/virtio/devices/*; do
			f=$(cat $d/features)
			echo "${f:28:1}${f:29:1}${f:34:1}"
		done
		cat >/tmp/data && dd if=/tmp/data of=/dev/vda bs=64k conv=fsync 2>/dev/null
		echo 3 >/proc/sys/vm/drop_caches
		for i in 1 2 3 4; do dd if=/dev/vda bs=4k skip=$((i * 256 - 256)) count=256 2>/dev/null; done | sha256sum
		dd if=/dev/hwrng bs=512 count=8 2>/dev/null | wc -c
		cat /tmp/data >&2'
	{
		for device in console rng disk; do echo "$features"; done
		echo "$(sha256sum <data)"
		echo 4096
	} >want
	cmp want out || fail "$(cat out)"
	cmp data disk || fail "the disk has other data"
	cmp data err || fail "standard error has other data"
}

test_rings_split() { rings 110; }
test_rings_split_plain() { rings 000 --virtio no-indirect,no-event-idx; }
test_rings_split_indirect() { rings 100 --virtio no-event-idx; }
test_rings_split_event_index() { rings 010 --virtio no-indirect; }
test_rings_packed() { rings 111 --virtio packed; }
test_rings_packed_plain() { rings 001 --virtio packed,no-indirect,no-event-idx; }
test_rings_packed_indirect() { rings 101 --virtio packed,no-event-idx; }
test_rings_packed_event_index() { rings 011 --virtio packed,no-indirect; }
