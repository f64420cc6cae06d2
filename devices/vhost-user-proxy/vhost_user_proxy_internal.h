/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the files of the proxy share. There are two threads: the owner of the device's loop, on which
 * the operations of the device run, and the proxy's own, which has the connection.
 */
#ifndef CVMM_VHOST_USER_PROXY_INTERNAL_H
#define CVMM_VHOST_USER_PROXY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <cvmm/vhost-user-proxy.h>
#include <cvmm/vhost-user_frontend.h>

/* Lengths of the configuration space to ask for, one after the other. */
#define PROXY_CONFIG_LENGTHS_MAX 10U

/**
 * struct proxy_kind - what is known of a kind of devices
 * @name: for messages
 * @lengths: of the configuration space, the longest first; 0 ends the list
 * @queues: how many devices have whose back-ends cannot say
 * @queues_max: how many they can have at most
 * @config_optional: there are back-ends without a configuration space, and drivers that do without
 */
struct proxy_kind {
	uint32_t device_id;
	const char *name;
	uint16_t lengths[PROXY_CONFIG_LENGTHS_MAX + 1];
	uint8_t queues;
	uint8_t queues_max;
	bool config_optional;
};

/**
 * struct proxy_queue - a queue
 * @call: the back-end signals it; constant after creation
 * @own_kick: for transports that do not give their notifiers away
 * @kick: what the back-end waits for. The loop sets it, and @config, while the thread does not want them.
 * @call_source: loop
 * @wanted: thread: the driver has enabled it
 * @running: thread: the back-end has it, or had when it died
 */
struct proxy_queue {
	struct cvmm_vhost_user_proxy *proxy;
	unsigned int index;
	struct cvmm_notifier call;
	struct cvmm_notifier own_kick;
	const struct cvmm_notifier *kick;
	struct cvmm_virtq_config config;
	struct cvmm_source *call_source;
	bool wanted;
	bool running;
};

/* What the thread has to tell the loop. */
enum proxy_event {
	PROXY_CONFIG_CHANGED = 1,
	PROXY_LOOK_AT_QUEUES =
		2, /* somebody may have died between giving buffers back and saying so */
	PROXY_NEEDS_RESET = 4,
};

struct cvmm_vhost_user_proxy {
	/* constant after creation */
	struct cvmm_vhost_user_proxy_config config;
	char *path;
	const struct proxy_kind *kind;
	struct cvmm_virtio_device_ops ops;
	struct cvmm_virtio_config_space space;
	bool has_space;
	uint32_t config_bytes;
	uint64_t offered;  /* by the back-end */
	uint64_t features; /* of these, what drivers may have of the device's own */
	unsigned int backend_queue_count;
	unsigned int queue_count;
	struct cvmm_log frontend_log;
	pthread_t thread;
	bool has_thread;
	struct cvmm_loop *thread_loop;

	/* any thread */
	atomic_uint events;
	struct cvmm_notifier events_notifier;
	struct cvmm_notifier err_notifier; /* the back-end signals it when a queue has failed */
	atomic_bool is_connected;

	/* loop */
	struct cvmm_virtio_host *host; /* NULL while not started */
	struct cvmm_virtq *virtqs;     /* of the transport: for their configurations alone */
	struct cvmm_source *events_source;
	struct cvmm_source *err_source;

	/* thread; the loop sets the first two while it is not started */
	struct cvmm_mem *mem;
	uint64_t driver_features;
	bool started;
	struct cvmm_vhost_user_frontend *fe; /* kept while queues wait for another back-end */
	uint64_t protocol;		     /* protocol features in use */
	struct cvmm_source *connection;	     /* NULL while there is none */
	struct cvmm_source *retry;
	struct cvmm_source *fetch;
	bool is_set_up; /* memory, features and inflight region, for this start */
	uint64_t connected_at_ns;
	uint64_t deadline_ns;
	uint64_t delay_ns;
	bool gave_up;
	struct cvmm_log_limit log_limit;
	struct cvmm_log_limit frontend_log_limit;

	struct proxy_queue queues[CVMM_VIRTIO_QUEUES_MAX];
};

/* ---- vhost_user_proxy_kinds.c ---- */

const struct proxy_kind *proxy_kind_find(uint32_t device_id);

/* Of the device's own features, those that need nothing of us that we do not have. */
uint64_t proxy_kind_features(const struct cvmm_vhost_user_proxy *p, uint64_t features);

/* How many queues there are if nobody has said it. @config is what the back-end has sent. */
unsigned int proxy_kind_queue_count(const struct cvmm_vhost_user_proxy *p, const uint8_t *config);

/* Change what the back-end says of itself and is not so behind this proxy. */
void proxy_kind_adapt_config(const struct cvmm_vhost_user_proxy *p, uint8_t *config);

/* ---- vhost_user_proxy_identity.c: what a back-end is; thread ---- */

/* Of the first back-end, which decides. */
int proxy_identity_learn(struct cvmm_vhost_user_proxy *p, struct cvmm_error *err);
/* Whether another one is the same, as far as a driver can tell. */
int proxy_identity_check(const struct cvmm_vhost_user_proxy *p, struct cvmm_error *err);
/* Get the configuration space again. Return: whether it has changed. */
bool proxy_identity_refresh(struct cvmm_vhost_user_proxy *p);

/* ---- vhost_user_proxy_session.c: functions for the thread's loop, with the proxy, or another struct ---- */

int proxy_session_first(void *ctx); /* struct proxy_first */
int proxy_session_stop(void *ctx);
int proxy_session_queue_stop(void *ctx);   /* struct proxy_queue */
int proxy_session_write_config(void *ctx); /* struct proxy_config_write */
int proxy_session_end(void *ctx);
void proxy_session_start(void *ctx);
void proxy_session_queue_start(void *ctx); /* struct proxy_queue */

struct proxy_first {
	struct cvmm_vhost_user_proxy *proxy;
	struct cvmm_error *err;
};

struct proxy_config_write {
	struct cvmm_vhost_user_proxy *proxy;
	size_t offset;
	const void *bytes;
	size_t len_bytes;
};

#define proxy_has_protocol(p, name) ((p)->protocol & CVMM_VHOST_USER_PROTOCOL(name))

#endif /* CVMM_VHOST_USER_PROXY_INTERNAL_H */
