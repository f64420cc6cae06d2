// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Requests of the right form for each row of the table of messages, for tests that go through all of it. */
#include "conf.h"

static void set(struct conf_form *form, const void *payload, size_t size)
{
	CVMM_BUG_ON(size > sizeof(form->payload));
	if (size)
		memcpy(form->payload, payload, size);
	form->size = size;
}

static void set_region(struct conf *t, struct conf_form *form)
{
	const struct cvmm_vhost_user_mem_slot slot = {
		.region = { .gpa = UINT64_C(1) << 40,
			    .len_bytes = CONF_PAGE,
			    .user_addr = UINT64_C(1) << 41 },
	};

	(void)t;
	set(form, &slot, sizeof(slot));
}

static void set_table(struct conf *t, struct conf_form *form)
{
	struct {
		struct cvmm_vhost_user_mem_table head;
		struct cvmm_vhost_user_mem_region region;
	} table = { .head = { .count = 1 },
		    .region = { .gpa = UINT64_C(1) << 40,
				.len_bytes = CONF_PAGE,
				.user_addr = UINT64_C(1) << 41 } };

	(void)t;
	set(form, &table, sizeof(table));
}

static void set_config(struct conf_form *form)
{
	struct {
		struct cvmm_vhost_user_config head;
		uint8_t bytes[4];
	} config = { .head = { .size = sizeof(config.bytes) } };

	set(form, &config, sizeof(config));
}

static void set_payload(struct conf *t, enum cvmm_vhost_user_payload payload,
			struct conf_form *form)
{
	static const uint8_t zeroes[sizeof(form->payload)];
	const struct cvmm_vhost_user_inflight inflight = { .queue_count = 1,
							   .queue_size = CONF_QUEUE_SIZE };
	const struct cvmm_vhost_user_log log = { .size_bytes = CONF_PAGE };

	switch (payload) {
	case CVMM_VHOST_USER_MEM_TABLE:
		set_table(t, form);
		break;
	case CVMM_VHOST_USER_MEM_SLOT:
		set_region(t, form);
		break;
	case CVMM_VHOST_USER_CONFIG:
		set_config(form);
		break;
	case CVMM_VHOST_USER_INFLIGHT:
		set(form, &inflight, sizeof(inflight));
		break;
	case CVMM_VHOST_USER_LOG:
		set(form, &log, sizeof(log));
		break;
	case CVMM_VHOST_USER_EMPTY:
	case CVMM_VHOST_USER_EMPTY_OR_U64:
		set(form, zeroes, 0);
		break;
	default:
		/* The rest may be zeroes, as long as they are enough of them. */
		for (size_t size = 8; size <= sizeof(zeroes); size += 8)
			if (cvmm_vhost_user_payload_fits(payload, zeroes, size, 0)) {
				set(form, zeroes, size);
				break;
			}
	}
}

void conf_form_make(struct conf *t, const struct cvmm_vhost_user_message *row,
		    struct conf_form *ret_form)
{
	memset(ret_form, 0, sizeof(*ret_form));
	set_payload(t, row->payload, ret_form);
	switch (row->fds) {
	case CVMM_VHOST_USER_FDS_NONE:
		break;
	case CVMM_VHOST_USER_FDS_BIT_8:
		ret_form->fds[ret_form->fd_count++] = conf_eventfd(t);
		break;
	default:
		ret_form->fds[ret_form->fd_count++] = conf_memfd(t, CONF_PAGE);
	}
}

/* Of requests that have an answer in any case: whether this one says that there was something. */
static bool says_yes(struct conf *t, const struct cvmm_vhost_user_message *row)
{
	uint64_t value = 0;

	if (row->reply_fds != CVMM_VHOST_USER_FDS_NONE)
		return t->msg->fd_count > 0;
	if (row->reply_payload == CVMM_VHOST_USER_CONFIG)
		return t->msg->size > sizeof(struct cvmm_vhost_user_config);
	if (t->msg->size < sizeof(value))
		return false;
	memcpy(&value, t->msg->payload, sizeof(value));
	switch (row->id) {
	case CVMM_VHOST_USER_GET_FEATURES:
	case CVMM_VHOST_USER_GET_PROTOCOL_FEATURES:
	case CVMM_VHOST_USER_GET_QUEUE_NUM:
	case CVMM_VHOST_USER_GET_MAX_MEM_SLOTS:
	case CVMM_VHOST_USER_GET_SHMEM_CONFIG:
		return value != 0;
	case CVMM_VHOST_USER_GET_VRING_BASE:
	case CVMM_VHOST_USER_GET_VRING_BASE_SKIP_DRAIN:
	case CVMM_VHOST_USER_SET_LOG_BASE:
		return true;
	default:
		return value == 0;
	}
}

bool conf_form_is_done(struct conf *t, const struct cvmm_vhost_user_message *row,
		       const struct conf_form *form, size_t size)
{
	conf_send(t, row->id, CVMM_VHOST_USER_FLAG_NEED_REPLY, form->payload, size, form->fds,
		  form->fd_count);
	if (conf_receive_answer(t, row->id) != CONF_ANSWERED)
		return false;
	if (row->reply == CVMM_VHOST_USER_REPLY_ALWAYS)
		return says_yes(t, row);
	return t->msg->size == sizeof(uint64_t) && conf_answer_u64(t) == 0;
}

void conf_add_word(char *list, const char *word)
{
	size_t len = strlen(list);

	snprintf(list + len, CONF_TEXT_SIZE - len, "%s%s", len ? ", " : "", word);
}
