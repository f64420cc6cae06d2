/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A back-end that is driven as a virtual machine would: a session, memory, and queues with rings of our own. */
#ifndef CVMM_DRIVE_TARGET_H
#define CVMM_DRIVE_TARGET_H

#include <cvmm/vhost-user_frontend.h>
#include <cvmm/virtio.h>
#include <cvmm/virtq_driver.h>

/* How long we wait for a socket to appear. */
#define TARGET_CONNECT_MS 5000U

/**
 * struct target - a back-end
 * @mem: one region, from address 0
 * @used_bytes: of it, given out by target_alloc()
 * @features: acknowledged
 */
struct target {
	const char *socket;
	unsigned int timeout_ms;
	struct cvmm_vhost_user_frontend *fe;
	struct cvmm_mem *mem;
	uint64_t used_bytes;
	uint64_t mem_bytes;
	uint64_t features;
};

/**
 * struct target_queue - a queue, driven by one thread
 * @kicks: written
 */
struct target_queue {
	struct target *target;
	unsigned int index;
	uint16_t size;
	struct cvmm_virtq_driver drv;
	int kick;
	int call;
	bool started;
	uint64_t kicks;
};

/* Connect and negotiate. Return: 0 or negative errno with a message; the target can be closed in any case. */
int target_open(struct target *target, const char *socket, unsigned int timeout_ms,
		uint64_t protocol_want, struct cvmm_error *err);
void target_close(struct target *target);

/* Share so much memory. */
int target_share(struct target *target, uint64_t bytes, struct cvmm_error *err);

/* Acknowledge what is offered of @wanted, and all of @needed. */
int target_set_features(struct target *target, uint64_t wanted, uint64_t needed,
			struct cvmm_error *err);

static inline bool target_has(const struct target *target, unsigned int feature)
{
	return target->features >> feature & 1;
}

/* A part of the memory: there is room for what the caller has reckoned with. */
cvmm_gpa target_alloc(struct target *target, uint64_t bytes);

/* Where that is in this process. */
void *target_ptr(const struct target *target, cvmm_gpa gpa, uint64_t bytes);

/* What a queue takes of the memory, with all that target_alloc() adds. */
uint64_t target_queue_bytes(uint16_t size);

/*
 * Make rings and start the queue on them. There is always a descriptor for calls, since there are back-ends that
 * die without one: who does not want any asks for no interrupts. Return: 0 or negative errno with a message; the
 * queue can be stopped in any case.
 */
int target_queue_start(struct target_queue *queue, struct target *target, unsigned int index,
		       uint16_t size, struct cvmm_error *err);

/* Its rings are let go of, too. */
void target_queue_stop(struct target_queue *queue);

/* Tell the back-end of what was published, if it wants to know. */
void target_queue_kick(struct target_queue *queue);

/* Wait until a call comes, for so long at most. Return: whether one came. */
bool target_queue_wait(struct target_queue *queue, int timeout_ms);

#endif /* CVMM_DRIVE_TARGET_H */
