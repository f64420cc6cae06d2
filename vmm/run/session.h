/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The host's side of the conversation with the guest's init (guest/protocol.h). */
#ifndef CVMM_RUN_SESSION_H
#define CVMM_RUN_SESSION_H

#include <cvmm/event.h>

struct cvmm_session;

/**
 * struct cvmm_session_events - what the owner of a session is told, on the loop
 * @hello: the guest reached user space
 * @started: the command was started
 * @exited: the command ended with @status, after exactly so many bytes of output
 * @failed: the guest could not start the command, or spoke nonsense; @message says why
 */
struct cvmm_session_events {
	void (*hello)(void *ctx);
	void (*started)(void *ctx);
	void (*exited)(void *ctx, unsigned int status, uint64_t stdout_bytes,
		       uint64_t stderr_bytes);
	void (*failed)(void *ctx, const char *message);
	void *ctx;
};

/*
 * Callbacks must not destroy the session. After @exited or @failed nothing more is reported.
 *
 * @control_fd: stream to the guest's control port, non-blocking; stays the caller's.
 */
int cvmm_session_create(struct cvmm_loop *loop, int control_fd,
			const struct cvmm_session_events *events,
			struct cvmm_session **ret_session);
void cvmm_session_destroy(struct cvmm_session *session);

/* Each tells the guest; what is said before the guest listens is kept for it. */
void cvmm_session_input_end(struct cvmm_session *session, uint64_t total_bytes);
void cvmm_session_output_gone(struct cvmm_session *session, unsigned int port);
void cvmm_session_window(struct cvmm_session *session, uint16_t rows, uint16_t cols);
void cvmm_session_signal(struct cvmm_session *session, int number);

#endif /* CVMM_RUN_SESSION_H */
