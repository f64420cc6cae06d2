// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The front-end: a session's beginning and end, and what is negotiated.
 */
#include <stdio.h>
#include <stdlib.h>

#include "vhost_user_frontend_internal.h"

#define PROTOCOL(name) CVMM_VHOST_USER_PROTOCOL(name)
#define F_PROTOCOL_FEATURES (UINT64_C(1) << CVMM_VHOST_USER_F_PROTOCOL_FEATURES)
#define F_LOG_ALL (UINT64_C(1) << CVMM_VHOST_USER_F_LOG_ALL)

/* ---- life ---------------------------------------------------------------------------------------- */

int frontend_connect(struct cvmm_vhost_user_frontend *fe, int fd, struct cvmm_error *err)
{
	int r = cvmm_vhost_user_conn_create(fd, &fe->conn, err);

	if (!r)
		__atomic_store_n(&fe->lost, 0, __ATOMIC_RELAXED);
	return r;
}

void frontend_disconnect(struct cvmm_vhost_user_frontend *fe)
{
	pthread_mutex_lock(&fe->lock);
	if (!fe->lost) {
		__atomic_store_n(&fe->lost, -ECONNRESET, __ATOMIC_RELAXED);
		snprintf(fe->lost_message, sizeof(fe->lost_message), "it was let go of");
	}
	pthread_mutex_unlock(&fe->lock);
	frontend_channel_close(fe);
	cvmm_vhost_user_conn_destroy(fe->conn);
	fe->conn = NULL;
}

static int check_config(const struct cvmm_vhost_user_frontend_config *config,
			struct cvmm_error *err)
{
	if (config->table_regions > CVMM_VHOST_USER_TABLE_REGIONS_MAX)
		return cvmm_fail(err, -EINVAL, "a table has at most %u regions, and not %u",
				 CVMM_VHOST_USER_TABLE_REGIONS_MAX, config->table_regions);
	return 0;
}

/* Callers may be built with an older, shorter struct. */
static void copy_ops(struct cvmm_vhost_user_frontend_ops *to,
		     const struct cvmm_vhost_user_frontend_ops *from)
{
	if (from)
		memcpy(to, from, from->size < sizeof(*to) ? from->size : sizeof(*to));
}

static struct cvmm_vhost_user_frontend *
alloc_frontend(const struct cvmm_vhost_user_frontend_config *config)
{
	struct cvmm_vhost_user_frontend *fe = calloc(1, sizeof(*fe));

	if (!fe)
		return NULL;
	fe->config = *config;
	/* Regions of Xen's domains have another form, and no descriptors. */
	fe->config.protocol_want &= ~PROTOCOL(XEN_MMAP);
	copy_ops(&fe->ops, config->ops);
	fe->timeout_ns = CVMM_NS_PER_MS * (config->timeout_ms ? config->timeout_ms
							      : CVMM_VHOST_USER_TIMEOUT_DEFAULT_MS);
	fe->queue_count = 1;
	fe->inflight_fd = fe->log_fd = fe->log_event = -1;
	for (unsigned int i = 0; i < FRONTEND_CALLS_MAX; i++)
		fe->wakes[i] = CVMM_NOTIFIER_NONE;
	pthread_mutex_init(&fe->lock, NULL);
	return fe;
}

int cvmm_vhost_user_frontend_create(const struct cvmm_vhost_user_frontend_config *config, int fd,
				    struct cvmm_vhost_user_frontend **ret_fe,
				    struct cvmm_error *err)
{
	struct cvmm_vhost_user_frontend *fe;
	int r = check_config(config, err);

	if (r) {
		cvmm_close_fd(&fd);
		return r;
	}
	fe = alloc_frontend(config);
	if (!fe) {
		cvmm_close_fd(&fd);
		return cvmm_fail(err, -ENOMEM, "out of memory");
	}
	r = frontend_connect(fe, fd, err);
	if (r) {
		cvmm_vhost_user_frontend_destroy(fe);
		return r;
	}
	*ret_fe = fe;
	return 0;
}

void cvmm_vhost_user_frontend_destroy(struct cvmm_vhost_user_frontend *fe)
{
	if (!fe)
		return;
	frontend_disconnect(fe);
	for (unsigned int i = 0; i < FRONTEND_CALLS_MAX; i++)
		cvmm_notifier_fini(&fe->wakes[i]);
	pthread_mutex_destroy(&fe->lock);
	if (fe->raw_answer)
		cvmm_vhost_user_msg_fini(fe->raw_answer);
	free(fe->raw_answer);
	cvmm_close_fd(&fe->inflight_fd);
	cvmm_close_fd(&fe->log_fd);
	cvmm_close_fd(&fe->log_event);
	cvmm_mem_unref(fe->mem);
	free(fe->regions);
	free(fe->postcopy_addrs);
	free(fe);
}

int cvmm_vhost_user_frontend_fd(const struct cvmm_vhost_user_frontend *fe)
{
	return cvmm_vhost_user_frontend_is_lost(fe) ? -1 : cvmm_vhost_user_conn_fd(fe->conn);
}

bool cvmm_vhost_user_frontend_is_lost(const struct cvmm_vhost_user_frontend *fe)
{
	return !fe->conn || __atomic_load_n(&fe->lost, __ATOMIC_RELAXED);
}

/* ---- negotiation --------------------------------------------------------------------------------- */

static uint64_t drop_without(uint64_t features, uint64_t what, uint64_t needed)
{
	return (features & needed) == needed ? features : features & ~what;
}

/* Of what both sides want, that which makes sense together. */
static uint64_t choose(uint64_t both)
{
	both = drop_without(both, PROTOCOL(INBAND_NOTIFICATIONS),
			    PROTOCOL(BACKEND_REQ) | PROTOCOL(REPLY_ACK));
	both = drop_without(both,
			    PROTOCOL(BACKEND_SEND_FD) | PROTOCOL(HOST_NOTIFIER) | PROTOCOL(SHMEM),
			    PROTOCOL(BACKEND_REQ));
	return drop_without(both, PROTOCOL(GET_VRING_BASE_SKIP_DRAIN),
			    PROTOCOL(GET_VRING_BASE_INFLIGHT) | PROTOCOL(INFLIGHT_SHMFD));
}

static int negotiate_protocol(struct cvmm_vhost_user_frontend *fe, uint64_t want,
			      struct cvmm_error *err)
{
	uint64_t offered, chosen;
	int r = frontend_ask_u64(fe, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES, &offered, err);

	if (r)
		return r;
	chosen = choose(offered & want);
	r = frontend_tell(fe, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, &chosen, sizeof(chosen), NULL,
			  0, err);
	if (!r)
		fe->protocol = chosen;
	return r;
}

static int ask_queue_count(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	uint64_t count;
	int r;

	fe->queue_count = 1;
	if (!frontend_has(fe, PROTOCOL(MQ)))
		return 0;
	r = frontend_ask_u64(fe, CVMM_VHOST_USER_GET_QUEUE_NUM, &count, err);
	if (r)
		return r;
	if (count > UINT16_MAX + 1U)
		return frontend_violated(fe, err, "GET_QUEUE_NUM: %llu queues cannot be",
					 (unsigned long long)count);
	/* Some have room for more than the messages with descriptors can name. */
	fe->queue_count = count < CVMM_VHOST_USER_QUEUES_MAX ? (unsigned int)count
							     : CVMM_VHOST_USER_QUEUES_MAX;
	return 0;
}

int frontend_negotiate(struct cvmm_vhost_user_frontend *fe, uint64_t protocol_want,
		       struct cvmm_error *err)
{
	int r;

	fe->protocol = 0;
	r = frontend_tell(fe, CVMM_VHOST_USER_SET_OWNER, NULL, 0, NULL, 0, err);
	if (!r)
		r = frontend_ask_u64(fe, CVMM_VHOST_USER_GET_FEATURES, &fe->offered, err);
	if (!r && fe->offered & F_PROTOCOL_FEATURES)
		r = negotiate_protocol(fe, protocol_want, err);
	if (!r)
		r = ask_queue_count(fe, err);
	if (!r && frontend_has(fe, PROTOCOL(BACKEND_REQ)))
		r = frontend_channel_open(fe, err);
	return r;
}

int cvmm_vhost_user_frontend_negotiate(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r;

	if (fe->negotiated)
		return cvmm_fail(err, -EBUSY, "negotiated already");
	r = frontend_negotiate(fe, fe->config.protocol_want, err);
	if (!r)
		fe->negotiated = true;
	return r;
}

uint64_t cvmm_vhost_user_frontend_features(const struct cvmm_vhost_user_frontend *fe)
{
	return fe->offered & ~F_PROTOCOL_FEATURES;
}

uint64_t cvmm_vhost_user_frontend_protocol(const struct cvmm_vhost_user_frontend *fe)
{
	return fe->protocol;
}

unsigned int cvmm_vhost_user_frontend_queue_count(const struct cvmm_vhost_user_frontend *fe)
{
	return fe->queue_count;
}

/* ---- the device's features ----------------------------------------------------------------------- */

int frontend_send_features(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	uint64_t features = fe->acked;

	if (fe->offered & F_PROTOCOL_FEATURES)
		features |= F_PROTOCOL_FEATURES;
	if (fe->logging)
		features |= F_LOG_ALL;
	return frontend_tell(fe, CVMM_VHOST_USER_SET_FEATURES, &features, sizeof(features), NULL, 0,
			     err);
}

int cvmm_vhost_user_frontend_set_features(struct cvmm_vhost_user_frontend *fe, uint64_t features,
					  struct cvmm_error *err)
{
	uint64_t before = fe->acked;
	int r;

	if (!fe->negotiated)
		return cvmm_fail(err, -EINVAL, "nothing was negotiated yet");
	if (features & ~fe->offered)
		return cvmm_fail(err, -EINVAL, "the back-end does not offer the features 0x%llx",
				 (unsigned long long)(features & ~fe->offered));
	__atomic_store_n(&fe->acked, features & ~(F_PROTOCOL_FEATURES | F_LOG_ALL),
			 __ATOMIC_RELAXED);
	r = frontend_send_features(fe, err);
	if (r)
		__atomic_store_n(&fe->acked, before, __ATOMIC_RELAXED);
	else
		fe->features_set = true;
	return r;
}
