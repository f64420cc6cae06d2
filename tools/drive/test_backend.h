/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A back-end to test the conformance suite with: our own one, serving a small device of any kind that the
 * suite knows, behind a relay that can have one defect. What the relay does to a message is data, so that a
 * defect is a row of a table.
 */
#ifndef CVMM_DRIVE_TEST_BACKEND_H
#define CVMM_DRIVE_TEST_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include <cvmm/vhost-user.h>

/* What becomes of a request, instead of being passed on. */
enum request_action {
	R_PASS,
	R_SWALLOW, /* not passed on, and acknowledged with 0 if an answer is expected */
	R_NACK,	   /* not passed on, and answered with 1 */
	R_SAY,	   /* not passed on, and answered with @value */
	R_OBJECT,  /* not passed on, and answered with 2056 bytes that begin with @value */
	R_HANG_UP,
	R_DEAF, /* from here on nothing is answered, nor closed */
	R_DIE,
	R_SET_BITS,   /* of the u64 */
	R_CLEAR_BITS, /* of the u64 */
	R_SWAP_FDS,   /* other files of the same kind take the place of all descriptors */
	R_OFFSET_0, /* GET_CONFIG is passed on for offset 0, and the answer is for what was asked for */
};

/* What becomes of an answer. */
enum answer_action {
	A_PASS,
	A_DROP,
	A_HANG_UP,
	A_SAY,	     /* its first u64 becomes @value */
	A_XOR,	     /* its first u64 is changed by @value */
	A_GROW,	     /* the second 32-bit word grows by one with each answer */
	A_FLAGS,     /* @value is added to its flags */
	A_STRIP_FDS, /* without its descriptors */
	A_CONTENT,   /* GET_CONFIG: errors become content, and content other content */
};

enum defect_flags {
	D_ACK_ALL = 1 << 0,	       /* refusals become acknowledgements */
	D_UNASKED_ACKS = 1 << 1,       /* every request is acknowledged */
	D_HANG_UP_ON_NACK = 1 << 2,    /* the connection ends where a refusal would be answered */
	D_KEEP_FDS = 1 << 3,	       /* no descriptor that comes is ever closed */
	D_KEEP_MAPS = 1 << 4,	       /* nor is memory unmapped */
	D_WHOLE_MESSAGES = 1 << 5,     /* a message must come as one piece */
	D_FORGETFUL = 1 << 6,	       /* what comes along with a message is thrown away */
	D_TOLERANT = 1 << 7,	       /* bad headers are taken as good ones */
	D_DEAF_ON_FDS = 1 << 8,	       /* more than 8 descriptors make it deaf */
	D_DIE_IN_MESSAGE = 1 << 9,     /* a connection that ends in a message ends the process */
	D_DIE_AT_END = 1 << 10,	       /* any connection that ends does */
	D_HALF_CLOSE_IS_END = 1 << 11, /* a half-close ends the connection at once */
	D_DIE_ON_KICK = 1 << 12,
	D_HANG_UP_ON_ERR = 1 << 13, /* a broken queue ends the connection */
	D_NO_KICK = 1 << 14,	    /* kicks are lost */
	D_SPURIOUS_CALLS = 1 << 15,
	D_SCRIBBLE = 1 << 16,	  /* the device writes in front of its buffers, too */
	D_FORCE_ENABLE = 1 << 17, /* queues are enabled when they start, and stay so */
	D_DISABLE_ON_STOP = 1 << 18,
	D_STOP_ON_NACK = 1 << 19,  /* a refusal stops queue 0 */
	D_LINGER = 1 << 20,	   /* the device goes on for a while when a connection has ended */
	D_ONE_FRONT_END = 1 << 21, /* a second connection ends the first */
	D_CHATTY = 1 << 22,	   /* sends a request over the back-end channel at once */
	D_STAY_OPEN = 1 << 23,	   /* answers for the device where it would hang up */
	D_ODD_LENGTH = 1 << 24,	   /* the device counts what it reads as written */
	D_BROKEN_DEVICE = 1 << 25, /* the device answers, and wrongly */
	D_SHMEM_IS_21 = 1 << 26,   /* shared memory has the number of an early draft */
};

/**
 * struct defect - one way of being wrong
 * @only: tests that must find it, as for --only
 * @device: kind, "blk" if NULL
 * @request: the actions are for this one; 0: for every one
 * @nth: and only from so many on within a connection, counted from 1; 0 is 1
 * @when: and only if this is so; may be NULL
 * @on_request: what becomes of it
 * @on_answer: what becomes of its answer
 * @value: for the actions
 * @flags: enum defect_flags
 * @offer: protocol features that are offered besides those of the back-end, and not passed on to it
 */
struct defect {
	const char *only;
	const char *device;
	uint32_t request;
	unsigned int nth;
	bool (*when)(const struct cvmm_vhost_user_msg *msg);
	enum request_action on_request;
	enum answer_action on_answer;
	uint64_t value;
	uint32_t flags;
	uint64_t offer;
};

/* The table, and what it has no defect for because the tests cannot run here. */
extern const struct defect defects[];
extern const unsigned int defect_count;

/* Serve connections to a socket at @path until something ends the process. @defect may be NULL. */
_Noreturn void serve_with_defect(const struct defect *defect, const char *device, const char *path);

#endif /* CVMM_DRIVE_TEST_BACKEND_H */
