// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The inflight region: memory that the back-end keeps track of its requests in, and that we keep for the one
 * that comes after it.
 *
 * Theory of operation: the back-end makes the region, and knows what is in it. All we need of it is its
 * size, and for a packed queue whose back-end died its part, which says where the queue was: nothing else
 * does. It may be changed by whoever has it at any time, so it is read once, and checked.
 */
#include <fcntl.h>

#include <cvmm/virtio.h>

#include "vhost_user_frontend_internal.h"

/* DescStateSplit and DescStatePacked of the specification; no region has room for less. */
#define SPLIT_ENTRY_BYTES 16U
#define PACKED_ENTRY_BYTES 32U

#define REGION_VERSION 1U

/* The head of QueueRegionPacked. */
struct packed_head {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[10];
};

_Static_assert(sizeof(struct packed_head) == 32, "vhost-user, QueueRegionPacked");

/* ---- what the back-end made ---------------------------------------------------------------------- */

/* Return: NULL, or what is wrong. */
static const char *check_region(const struct cvmm_vhost_user_inflight *asked,
				const struct cvmm_vhost_user_inflight *got, int fd, bool packed)
{
	uint64_t least = (uint64_t)asked->queue_count * asked->queue_size *
			 (packed ? PACKED_ENTRY_BYTES : SPLIT_ENTRY_BYTES);
	struct stat st;
	uint64_t end;

	if (got->queue_count != asked->queue_count || got->queue_size != asked->queue_size)
		return "it is for other queues";
	if (got->mmap_size < least)
		return "it is too small for the queues";
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return "its descriptor is no memory";
	if (!cvmm_add_u64(got->mmap_offset, got->mmap_size, &end) || end > (uint64_t)st.st_size)
		return "its file is shorter than that";
	return NULL;
}

static int get_region(struct cvmm_vhost_user_frontend *fe,
		      const struct cvmm_vhost_user_inflight *asked, struct cvmm_error *err)
{
	struct cvmm_vhost_user_inflight got = { 0 };
	struct cvmm_vhost_user_msg answer;
	const char *wrong;
	int fd, r;

	r = frontend_ask(fe, CVMM_VHOST_USER_GET_INFLIGHT_FD, asked, sizeof(*asked), NULL, 0,
			 &answer, err);
	if (r)
		return r;
	memcpy(&got, answer.payload, answer.size);
	fd = cvmm_vhost_user_msg_take_fd(&answer, 0);
	cvmm_vhost_user_msg_fini(&answer);
	if (fd < 0)
		return cvmm_fail(err, -EREMOTEIO, "GET_INFLIGHT_FD: the back-end refused");
	wrong = check_region(asked, &got, fd, frontend_acked(fe, CVMM_VIRTIO_F_RING_PACKED));
	if (wrong) {
		cvmm_close_fd(&fd);
		return frontend_violated(fe, err,
					 "GET_INFLIGHT_FD: %llu bytes at %llu for %u queues of %u: "
					 "%s",
					 (unsigned long long)got.mmap_size,
					 (unsigned long long)got.mmap_offset, got.queue_count,
					 got.queue_size, wrong);
	}
	cvmm_close_fd(&fe->inflight_fd);
	fe->inflight_fd = fd;
	fe->inflight = got;
	fe->inflight.padding = 0;
	return 0;
}

/* ---- giving it ----------------------------------------------------------------------------------- */

/*
 * Some back-ends make a queue at its first message, and give only queues that there are their part of the
 * region. So all have a base before it comes.
 */
int frontend_send_inflight(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	const struct cvmm_virtq_base start = CVMM_VIRTQ_BASE_START;
	int r = 0;

	if (fe->inflight_fd < 0)
		return 0;
	for (unsigned int i = 0; i < fe->inflight.queue_count && !r; i++)
		if (i < CVMM_VHOST_USER_QUEUES_MAX && !fe->queues[i].started)
			r = frontend_queue_send_base(fe, i, &start, err);
	if (r)
		return r;
	return frontend_tell(fe, CVMM_VHOST_USER_SET_INFLIGHT_FD, &fe->inflight,
			     sizeof(fe->inflight), &fe->inflight_fd, 1, err);
}

static int check_state(const struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = frontend_check_gate(fe, CVMM_VHOST_USER_GET_INFLIGHT_FD, err);

	if (r)
		return r;
	if (!fe->features_set)
		return cvmm_fail(err, -EINVAL,
				 "the form of the inflight region depends on the features: set "
				 "them first");
	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX; i++)
		if (fe->queues[i].started)
			return cvmm_fail(err, -EBUSY,
					 "queue %u is started: the inflight region comes before",
					 i);
	return 0;
}

int cvmm_vhost_user_frontend_init_inflight(struct cvmm_vhost_user_frontend *fe,
					   uint16_t queue_count, uint16_t queue_size,
					   struct cvmm_error *err)
{
	struct cvmm_vhost_user_inflight asked = { .queue_count = queue_count,
						  .queue_size = queue_size };
	bool there = fe->inflight_fd >= 0 && fe->inflight.queue_count == queue_count &&
		     fe->inflight.queue_size == queue_size;
	int r;

	if (!queue_count) {
		cvmm_close_fd(&fe->inflight_fd);
		return 0;
	}
	if (!queue_size || queue_count > CVMM_VHOST_USER_QUEUES_MAX)
		return cvmm_fail(err, -EINVAL, "%u queues of %u entries cannot be", queue_count,
				 queue_size);
	r = check_state(fe, err);
	if (!r && !there)
		r = get_region(fe, &asked, err);
	if (!r)
		r = frontend_send_inflight(fe, err);
	return r ? r : frontend_settle(fe, err);
}

/* ---- a queue that begins anew ---------------------------------------------------------------------- */

/* The parts are equally long. */
static uint64_t part_bytes(const struct cvmm_vhost_user_frontend *fe)
{
	return fe->inflight.mmap_size / fe->inflight.queue_count;
}

int cvmm_vhost_user_frontend_clear_inflight(struct cvmm_vhost_user_frontend *fe, unsigned int queue,
					    struct cvmm_error *err)
{
	static const uint8_t zeroes[4096];
	uint64_t at, left;
	int r = 0;

	if (fe->inflight_fd < 0 || queue >= fe->inflight.queue_count)
		return 0;
	if (queue < CVMM_VHOST_USER_QUEUES_MAX && fe->queues[queue].started)
		return cvmm_fail(err, -EBUSY, "queue %u is started: its requests are in flight",
				 queue);
	left = part_bytes(fe);
	at = fe->inflight.mmap_offset + queue * left;
	while (left && !r) {
		size_t n = left < sizeof(zeroes) ? (size_t)left : sizeof(zeroes);

		r = cvmm_pwrite_full(fe->inflight_fd, zeroes, n, at);
		at += n;
		left -= n;
	}
	return r ? cvmm_fail(err, r, "cannot clear the inflight region of queue %u: %s", queue,
			     strerror(-r))
		 : 0;
}

/* ---- what a packed queue's part tells ------------------------------------------------------------- */

static int read_head(const struct cvmm_vhost_user_frontend *fe, unsigned int queue,
		     struct packed_head *ret_head, struct cvmm_error *err)
{
	ssize_t n;

	if (queue >= fe->inflight.queue_count)
		return cvmm_fail(err, -EINVAL, "queue %u has no part of the inflight region",
				 queue);
	n = cvmm_pread_full(fe->inflight_fd, ret_head, sizeof(*ret_head),
			    fe->inflight.mmap_offset + queue * part_bytes(fe));
	if (n != (ssize_t)sizeof(*ret_head))
		return cvmm_fail(err, n < 0 ? (int)n : -EINVAL,
				 "the inflight region cannot be read: %s",
				 n < 0 ? strerror((int)-n) : "its file was made shorter");
	return 0;
}

/*
 * The base is where the back-end had last given chains back, as it is for a split queue: what was in flight
 * then it finds in the region, and goes on behind it. The same holds for a batch that was being given back.
 */
int frontend_inflight_packed_base(const struct cvmm_vhost_user_frontend *fe, unsigned int queue,
				  uint16_t size, struct cvmm_virtq_base *ret_base,
				  struct cvmm_error *err)
{
	struct packed_head head;
	int r;

	if (fe->inflight_fd < 0)
		return -ENOENT;
	r = read_head(fe, queue, &head, err);
	if (r)
		return r;
	if (head.version == 0) /* the back-end died before it began */
		return -ENOENT;
	if (head.version != REGION_VERSION || head.desc_num != size || head.old_used_idx >= size ||
	    head.old_used_wrap_counter > 1)
		return cvmm_fail(err, -EINVAL,
				 "queue %u: its part of the inflight region makes no sense", queue);
	ret_base->next_avail = ret_base->next_used = head.old_used_idx;
	ret_base->avail_wrap = ret_base->used_wrap = head.old_used_wrap_counter;
	return 0;
}
