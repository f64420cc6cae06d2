/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_EVENT_INTERNAL_H
#define CVMM_EVENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <cvmm/event.h>

#define EVENT_ASKABLE (CVMM_EVENT_READ | CVMM_EVENT_WRITE)
#define EVENT_UNASKED (CVMM_EVENT_HANGUP | CVMM_EVENT_ERROR)

/* In event_watch.wanted: do not even report errors. No bit of enum cvmm_event_mask. */
#define EVENT_SILENT 0x100U

/* No place in a heap or a poll set. */
#define EVENT_NO_SLOT SIZE_MAX

enum event_source_kind {
	EVENT_SOURCE_FD,
	EVENT_SOURCE_TIMER,
};

struct cvmm_source {
	struct cvmm_loop *loop;
	struct cvmm_source *prev; /* same watch (fds) or same loop (timers) */
	struct cvmm_source *next;
	void *ctx;
	enum event_source_kind kind;
	union {
		struct {
			void (*fn)(void *ctx, int fd, unsigned int events);
			struct event_watch *watch;
			uint64_t added_round;
			unsigned int events; /* asked for */
			bool silent;	     /* paused, and has seen its error or hang-up */
			bool internal;	     /* the mailbox's wake-up: not counted as a callback */
		} io;
		struct {
			void (*fn)(void *ctx);
			uint64_t deadline_ns;
			uint64_t interval_ns;
			uint64_t sequence; /* equal deadlines fire in arming order */
			size_t slot;	   /* in the heap, or EVENT_NO_SLOT while not armed */
		} timer;
	};
};

/* What the system watches for us: one per descriptor, shared by all sources on it. */
struct event_watch {
	int fd;
	uint32_t generation; /* tells this use of the fd's number from earlier ones */
	unsigned int wanted; /* EVENT_ASKABLE bits of all sources, or EVENT_SILENT */
	struct cvmm_source *sources;

	/* The back-end's. */
	size_t slot;
	bool registered;
	bool always_ready;
};

struct event_ready {
	int fd;
	uint32_t generation;
	unsigned int events;
};

struct event_mail {
	struct event_mail *next;
	void (*fn)(struct event_mail *mail, bool cancelled);
};

struct event_heap {
	struct cvmm_source **slots;
	size_t used;
	size_t capacity;
};

/*
 * struct event_ops - one way of waiting
 * @open: sets loop->backend
 * @close: frees it; called only after a successful @open
 * @update: make the system watch for watch->wanted; on failure nothing has changed
 * @remove: forget a watch; its descriptor may be closed already
 * @wait: fill loop->ready; -1 waits for ever. A signal ends the wait early: 0 with nothing ready
 * @fd: for embedding, or NULL
 * @set_deadline: when to make @fd readable for a timer (0: never), or NULL
 */
struct event_ops {
	int (*open)(struct cvmm_loop *loop);
	void (*close)(struct cvmm_loop *loop);
	int (*update)(struct cvmm_loop *loop, struct event_watch *watch);
	void (*remove)(struct cvmm_loop *loop, struct event_watch *watch);
	int (*wait)(struct cvmm_loop *loop, int timeout_ms);
	int (*fd)(struct cvmm_loop *loop);
	void (*set_deadline)(struct cvmm_loop *loop, uint64_t deadline_ns);
};

extern const struct event_ops cvmm_event_epoll_ops; /* Linux */
extern const struct event_ops cvmm_event_poll_ops;

struct cvmm_loop {
	const struct event_ops *ops;
	void *backend;
	_Atomic uintptr_t owner; /* cvmm_event_thread_id(), or 0: nobody */
	atomic_bool stop;

	/* The owner's. */
	bool in_round;
	uint64_t round;
	uint64_t round_now_ns;
	struct event_watch **watches; /* by descriptor */
	size_t watches_size;
	size_t watch_count;
	uint32_t last_generation;
	struct cvmm_source *cursor; /* next source to dispatch on the current watch */
	struct event_ready *ready;  /* room for every watch */
	size_t ready_count;
	size_t ready_capacity;
	struct event_heap heap;
	struct cvmm_source *timers;
	size_t timer_count;
	uint64_t last_sequence;
	bool mail_due;

	/* Under mail_lock, except that the notifier itself never changes. */
	pthread_mutex_t mail_lock;
	struct event_mail *mail_head;
	struct event_mail **mail_tail;
	struct cvmm_notifier wake;
};

/* event.c */
/* cvmm_loop_create() with a choice of the mailbox's notifier. */
int cvmm_event_create_loop(enum cvmm_loop_backend backend, enum cvmm_notifier_kind wake_kind,
			   struct cvmm_loop **ret_loop);
uintptr_t cvmm_event_thread_id(void);
struct event_watch *cvmm_event_find_watch(const struct cvmm_loop *loop, int fd);
void cvmm_event_push_ready(struct cvmm_loop *loop, int fd, uint32_t generation,
			   unsigned int events);
void cvmm_event_sync_deadline(struct cvmm_loop *loop);

/* event_host_linux.c, event_host_posix.c: what the system has beyond POSIX */
/* A better way of waiting than poll(), or NULL. */
const struct event_ops *cvmm_event_host_ops(void);
/* A new eventfd, non-blocking and close-on-exec, or -ENOTSUP or another negative errno. */
int cvmm_event_open_eventfd(void);
/* A new pipe, both of whose ends are non-blocking and close-on-exec. Return: 0 or negative errno. */
int cvmm_event_open_pipe(int ret_fds[2]);
/* As read(), but where possible without blocking even if the descriptor has no O_NONBLOCK. */
ssize_t cvmm_event_read_now(int fd, void *buf, size_t len);

/* event_notifier.c */
/* A peer that writes faster than we read must not hold us for ever: what is left wakes us again. */
#define EVENT_CONSUME_MAX_READS 256

/* event_timer.c */
uint64_t cvmm_event_next_deadline(const struct cvmm_loop *loop); /* 0: none */
int cvmm_event_timer_timeout(const struct cvmm_loop *loop, int timeout_ms);
int cvmm_event_run_timers(struct cvmm_loop *loop);
void cvmm_event_remove_timer(struct cvmm_source *timer);
void cvmm_event_free_timers(struct cvmm_loop *loop);

/* event_mail.c */
int cvmm_event_mail_init(struct cvmm_loop *loop, enum cvmm_notifier_kind wake_kind);
int cvmm_event_run_mail(struct cvmm_loop *loop);
void cvmm_event_mail_fini(struct cvmm_loop *loop); /* cancels what waits */

#endif /* CVMM_EVENT_INTERNAL_H */
