# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# shellcheck shell=bash disable=SC2016
# What cannot work is refused before a boot: status 125, and a message that names the problem.

# Little-endian bytes as printf wants them.
le() { # BYTES VALUE
	local i value=$(($2))
	for ((i = 0; i < $1; i++)); do
		printf '\\x%02x' $((value & 255))
		value=$((value >> 8))
	done
}

# An ELF kernel of one segment: the header, one program header, and four bytes.
tiny_elf() { # ENTRY PADDR FILESZ MEMSZ
	# shellcheck disable=SC2059
	printf "\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0$(le 2 2)$(le 2 62)$(le 4 1)$(le 8 "$1")$(le 8 64)$(le 8 0)"
	# shellcheck disable=SC2059
	printf "$(le 4 0)$(le 2 64)$(le 2 56)$(le 2 1)$(le 2 64)$(le 2 0)$(le 2 0)"
	# shellcheck disable=SC2059
	printf "$(le 4 1)$(le 4 5)$(le 8 120)$(le 8 "$2")$(le 8 "$2")$(le 8 "$3")$(le 8 "$4")$(le 8 4096)\xf4\xeb\xfd\0"
}

test_no_kernel() {
	mkdir empty
	refuse 'cannot open the kernel missing: No such file' --kernel missing -- true
	refuse 'kernel . is not a regular file' --kernel . -- true
	refuse 'not a regular file' --kernel /dev/null -- true
}

test_files_that_are_no_kernels() {
	: >empty
	head -c 100000 /dev/urandom >random
	head -c 100000 /dev/zero >zeros
	gzip -c random >random.gz
	echo 'text' >text
	refuse 'kernel empty' --kernel empty -- true
	refuse 'kernel random' --kernel random -- true
	refuse 'kernel zeros' --kernel zeros -- true
	refuse 'kernel random.gz' --kernel random.gz -- true
	refuse 'kernel text' --kernel text -- true
}

test_truncated_bzimage() {
	local size setup payload_end
	setup=$((($(od -An -tu1 -j $((0x1f1)) -N 1 "$KERNEL") + 1) * 512))
	payload_end=$((setup + $(od -An -tu4 -j $((0x248)) -N 4 "$KERNEL") + $(od -An -tu4 -j $((0x24c)) -N 4 "$KERNEL")))
	for size in 1 2 63 64 $((0x1f1)) $((0x1f2)) $((0x1fe)) $((0x200)) $((0x201)) $((0x202)) $((0x206)) $((0x208)) \
		$((0x210)) $((0x230)) $((0x250)) $((0x260)) $((0x264)) $((0x268)) 1024 $((setup - 1)) $setup $((setup + 1)) \
		$((setup + 4096)) $((payload_end / 2)) $((payload_end - 1)); do
		head -c "$size" "$KERNEL" >cut
		refuse 'cut|trunc|short|not a kernel|no kernel|ends|known' --modules "$T/default/$KERNEL_VERSION/lib/modules/$KERNEL_VERSION" --kernel cut -- true
	done
}

elf_is_refused() { # PATTERN ENTRY PADDR FILESZ MEMSZ
	local pattern=$1
	shift
	tiny_elf "$@" >elf
	refuse "$pattern" --modules "$T/default/$KERNEL_VERSION/lib/modules/$KERNEL_VERSION" --protocol linux64 --kernel elf -- true
}

test_elf_segments_that_do_not_fit() {
	elf_is_refused 'memory|RAM' 0x20000000 0x20000000 4 4096   # beyond 256M
	elf_is_refused 'memory|RAM' 0x1000000 0x1000000 4 0x20000000 # too long
	elf_is_refused 'memory|RAM|low|overlap|reserved' 0 0 4 4096  # where firmware tables are
	elf_is_refused 'memory|RAM|low|overlap|reserved' 0xe0000 0xe0000 4 4096
	elf_is_refused 'trunc|cut|beyond|ends|file' 0x1000000 0x1000000 0x100000 0x100000 # not in the file
	elf_is_refused 'size|larger|memory|malformed' 0x1000000 0x1000000 4 1 # file size above memory size
	elf_is_refused '.' 0xfffffffffffff000 0xfffffffffffff000 4 0x2000 # wraps
	elf_is_refused 'entry' 0x5000000 0x1000000 4 4096
}

test_initrds() {
	truncate -s 600M large
	refuse 'initrd.*(fit|room|memory|large)|memory' --initrd large -- true
	refuse 'cannot open the initrd missing' --initrd missing -- true
	refuse 'initrd . is not a regular file' --initrd . -- true
}

test_memory_sizes() {
	local size
	for size in 0 1M 31M 2T 1k -1 x '' 256Q 256MM 99999999999999999999; do
		refuse '--memory' "--memory=$size" -- true
	done
}

test_kernel_larger_than_memory() {
	refuse 'memory' --memory 32M -- true
}

test_disks_that_cannot_be_used() {
	refuse 'disk missing' --disk missing -- true
	refuse 'disk' --disk . -- true
	refuse 'disk' --disk /dev/null -- true
}

test_roots_that_cannot_be_used() {
	refuse 'root missing' --root missing -- true
	printf 'QFI\xfb' >qcow2
	truncate -s 1M qcow2
	refuse 'qcow2' --root qcow2 -- true
	truncate -s 510 mbr
	printf '\x55\xaa' >>mbr
	truncate -s 1M mbr
	refuse 'partition' --root mbr -- true
	truncate -s 1M zeros
	refuse 'no file system' --root zeros -- true
	refuse 'initrd or --root' --root "$T/root" --initrd "$T/root.initrd" -- true
}

test_modules_that_are_missing() {
	mkdir -p k/boot
	cp "$KERNEL" k/boot/
	refuse 'no modules of kernel' --kernel "k/boot/${KERNEL##*/}" -- true
	refuse 'modules.dep' --modules /nonexistent -- true
	refuse 'no module no_such_module' --module no_such_module -- true
}

test_options() {
	refuse 'unknown option --no-such' --no-such -- true
	refuse 'no command'
	refuse 'no command' --
	refuse 'needs a value' --kernel
	refuse 'takes no value' --timing=1 -- true
	local cpus time
	for cpus in 0 33 -1 x 1x ''; do
		refuse '--cpus' "--cpus=$cpus" -- true
	done
	for time in 0 x 5d -1 '' 99999999h; do
		refuse '--timeout' "--timeout=$time" -- true
	done
	refuse '--env' --env NAME -- true
	refuse '--env' --env =x -- true
	refuse '--protocol' --protocol multiboot -- true
	refuse 'append|command line' --append "$(head -c 5000 /dev/zero | tr '\0' x)" -- true
	refuse 'exceed' --env "A=$(head -c 120000 /dev/zero | tr '\0' x)" --env "B=$(head -c 120000 /dev/zero | tr '\0' x)" \
		--env "C=$(head -c 120000 /dev/zero | tr '\0' x)" --env "D=$(head -c 120000 /dev/zero | tr '\0' x)" \
		--env "E=$(head -c 120000 /dev/zero | tr '\0' x)" --env "F=$(head -c 120000 /dev/zero | tr '\0' x)" \
		--env "G=$(head -c 120000 /dev/zero | tr '\0' x)" --env "H=$(head -c 120000 /dev/zero | tr '\0' x)" \
		--env "I=$(head -c 120000 /dev/zero | tr '\0' x)" -- true
}

in_private_mounts() { # SCRIPT
	unshare -m true 2>/dev/null || skip "no right to make a mount namespace"
	cat >wrapper <<-WRAPPER
		#!/bin/bash
		exec unshare -m bash -c '$1; exec "$CVMM" "\$@"' wrapper "\$@"
	WRAPPER
	chmod 755 wrapper
	CVMM=$W/wrapper
}

test_kvm_is_no_kvm() {
	: >empty
	in_private_mounts "mount --bind $W/empty /dev/kvm"
	refuse '/dev/kvm' -- true
}

test_kvm_is_missing() {
	in_private_mounts 'mkdir -p d/shm; touch d/null; mount --bind /dev/null d/null; mount --bind /dev/shm d/shm; mount --rbind d /dev'
	refuse '/dev/kvm' -- true
}

test_kvm_is_not_permitted() {
	[ "$(id -u)" = 0 ] || skip "not root: cannot become nobody"
	type -P setpriv >/dev/null || skip "setpriv is not installed"
	[ $((0$(stat -L -c %a /dev/kvm) & 06)) = 0 ] || skip "everybody may use /dev/kvm here"
	cat >wrapper <<-WRAPPER
		#!/bin/bash
		exec setpriv --reuid=65534 --regid=65534 --clear-groups "$CVMM" "\$@"
	WRAPPER
	chmod 755 wrapper
	CVMM=$W/wrapper
	refuse '/dev/kvm.*(permission|group)|permission.*/dev/kvm' -- true
}
