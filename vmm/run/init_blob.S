/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The guest's init as bytes of this program; the build gives its path. */
	.section .rodata
	.globl cvmm_guest_init_start
	.globl cvmm_guest_init_end
	.balign 16
cvmm_guest_init_start:
	.incbin CVMM_GUEST_INIT_FILE
cvmm_guest_init_end:
	.byte 0
	.section .note.GNU-stack, "", @progbits
