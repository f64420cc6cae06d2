// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* ADD_MEM_REG and REM_MEM_REG. */
#include <sys/mman.h>
#include <unistd.h>

#include "conf.h"

#define SPEC_ADD "vhost-user, VHOST_USER_ADD_MEM_REG"
#define SPEC_REM "vhost-user, VHOST_USER_REM_MEM_REG"
#define SPEC_SLOTS "vhost-user, VHOST_USER_GET_MAX_MEM_SLOTS"
#define SPEC_REGION "vhost-user, Memory region description"
#define SLOTS CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS)

#define SLOTS_TRIED_MAX 1024U
#define SLOT_GPA (UINT64_C(1) << 36)
#define SLOT_UVA UINT64_C(0x660000000000)

static struct conf_region new_slot(struct conf *t)
{
	return (struct conf_region){ .gpa = SLOT_GPA,
				     .len_bytes = 4 * CONF_PAGE,
				     .uva = SLOT_UVA,
				     .fd = conf_memfd(t, 4 * CONF_PAGE) };
}

static enum conf_verdict add(struct conf *t, const struct conf_region *slot)
{
	return conf_slot(t, CVMM_VHOST_USER_ADD_MEM_REG, slot, &slot->fd, 1);
}

static enum conf_verdict rem(struct conf *t, const struct conf_region *slot)
{
	return conf_slot(t, CVMM_VHOST_USER_REM_MEM_REG, slot, NULL, 0);
}

static void max_slots(struct conf *t)
{
	if (conf_ask_u64(t, CVMM_VHOST_USER_GET_MAX_MEM_SLOTS) == 0)
		conf_fail(t, "no slots at all");
}

static struct conf_region numbered_slot(uint64_t i, int fd)
{
	return (struct conf_region){ .gpa = SLOT_GPA + i * 2 * CONF_PAGE,
				     .len_bytes = CONF_PAGE,
				     .uva = SLOT_UVA + i * 4 * CONF_PAGE,
				     .offset = i * CONF_PAGE,
				     .fd = fd };
}

static void fill_slots(struct conf *t)
{
	uint64_t slots = conf_ask_u64(t, CVMM_VHOST_USER_GET_MAX_MEM_SLOTS);
	uint64_t n = slots < SLOTS_TRIED_MAX ? slots : SLOTS_TRIED_MAX;
	int fd = conf_memfd(t, (n + 1) * CONF_PAGE);
	struct conf_region slot;
	char what[64];

	conf_set_features(t, conf_wanted_features(t));
	for (uint64_t i = 0; i < n; i++) {
		slot = numbered_slot(i, fd);
		snprintf(what, sizeof(what), "ADD_MEM_REG number %llu of %llu",
			 (unsigned long long)i + 1, (unsigned long long)slots);
		conf_accepted(t, add(t, &slot), what);
	}
	conf_note(t, "%llu slots", (unsigned long long)slots);
	for (uint64_t i = 0; i < n; i++) {
		slot = numbered_slot(i, fd);
		conf_accepted(t, rem(t, &slot), "REM_MEM_REG");
	}
}

static void one_slot_too_many(struct conf *t)
{
	uint64_t slots = conf_ask_u64(t, CVMM_VHOST_USER_GET_MAX_MEM_SLOTS);
	struct conf_region slot;
	int fd;

	if (slots > SLOTS_TRIED_MAX)
		conf_skip(t, "there are %llu slots", (unsigned long long)slots);
	fd = conf_memfd(t, (slots + 1) * CONF_PAGE);
	for (uint64_t i = 0; i <= slots; i++) {
		enum conf_verdict verdict;

		slot = numbered_slot(i, fd);
		verdict = add(t, &slot);
		if (i == slots)
			conf_refused(t, verdict, "one slot more than there are");
		else
			conf_accepted(t, verdict, "ADD_MEM_REG");
	}
}

static void added_memory_is_used(struct conf *t)
{
	struct conf_region both[2];

	conf_set_features(t, conf_wanted_features(t));
	conf_ram_default(t);
	memcpy(both, t->ram.regions, sizeof(both));
	for (size_t i = 0; i < 2; i++)
		conf_accepted(t, add(t, &both[i]), "ADD_MEM_REG");
	conf_queues_start(t, true);
	conf_one_request(t, 0);
}

static void added_while_running(struct conf *t)
{
	struct conf_region slot = new_slot(t);

	conf_one_request(t, 0);
	conf_accepted(t, add(t, &slot), "ADD_MEM_REG while a queue runs");
	conf_one_request(t, 1);
	conf_accepted(t, rem(t, &slot), "REM_MEM_REG while a queue runs");
	conf_one_request(t, 2);
}

static void removed_is_unmapped(struct conf *t)
{
	struct conf_region slot = new_slot(t);

	conf_accepted(t, add(t, &slot), "ADD_MEM_REG");
	conf_accepted(t, rem(t, &slot), "REM_MEM_REG");
	if (!conf_is_unmapped(slot.fd))
		conf_fail(t, "it is still mapped");
}

static void added_again(struct conf *t)
{
	struct conf_region slot = new_slot(t);

	for (unsigned int i = 0; i < 3; i++) {
		conf_accepted(t, add(t, &slot), "ADD_MEM_REG of a region that was removed");
		conf_accepted(t, rem(t, &slot), "REM_MEM_REG");
	}
}

static void offset_is_ignored(struct conf *t)
{
	struct conf_region slot = new_slot(t);

	conf_accepted(t, add(t, &slot), "ADD_MEM_REG");
	slot.offset = CONF_PAGE;
	conf_accepted(t, rem(t, &slot), "REM_MEM_REG with another offset");
}

static void stray_descriptor_is_closed(struct conf *t)
{
	struct conf_region slot = new_slot(t);
	int read_end, write_end;

	conf_accepted(t, add(t, &slot), "ADD_MEM_REG");
	conf_pipe(t, &read_end, &write_end);
	conf_slot(t, CVMM_VHOST_USER_REM_MEM_REG, &slot, &write_end, 1);
	conf_drop(t, write_end);
	if (!conf_other_end_is_closed(read_end))
		conf_fail(t, "it stays open");
}

static void stray_descriptor_is_tolerated(struct conf *t)
{
	struct conf_region slot = new_slot(t);

	conf_accepted(t, add(t, &slot), "ADD_MEM_REG");
	conf_accepted(t, conf_slot(t, CVMM_VHOST_USER_REM_MEM_REG, &slot, &slot.fd, 1),
		      "REM_MEM_REG with a descriptor");
}

static void unknown_region(struct conf *t)
{
	struct conf_region slot = new_slot(t);

	conf_refused(t, rem(t, &slot), "REM_MEM_REG of a region that was never added");
}

/* It is found by all three of its numbers. */
static void other_region(struct conf *t)
{
	static const struct {
		uint64_t gpa, uva, len;
		const char *what;
	} cases[] = {
		{ CONF_PAGE, 0, 0, "REM_MEM_REG with another guest address" },
		{ 0, CONF_PAGE, 0, "REM_MEM_REG with another user address" },
		{ 0, 0, CONF_PAGE, "REM_MEM_REG with another size" },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct conf_region slot = new_slot(t);

		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		conf_accepted(t, add(t, &slot), "ADD_MEM_REG");
		slot.gpa += cases[i].gpa;
		slot.uva += cases[i].uva;
		slot.len_bytes -= cases[i].len;
		conf_refused(t, rem(t, &slot), cases[i].what);
	}
}

static void bad_regions(struct conf *t)
{
	static const struct {
		uint64_t gpa, uva, len, offset;
		const char *what;
	} cases[] = {
		{ SLOT_GPA, SLOT_UVA, 0, 0, "ADD_MEM_REG of no bytes" },
		{ UINT64_MAX - CONF_PAGE + 1, SLOT_UVA, 2 * CONF_PAGE, 0,
		  "ADD_MEM_REG whose guest addresses wrap" },
		{ SLOT_GPA, UINT64_MAX - CONF_PAGE + 1, 2 * CONF_PAGE, 0,
		  "ADD_MEM_REG whose user addresses wrap" },
		{ SLOT_GPA, SLOT_UVA, 2 * CONF_PAGE, UINT64_MAX - CONF_PAGE + 1,
		  "ADD_MEM_REG whose offset and size wrap" },
		{ SLOT_GPA, SLOT_UVA, 64 * CONF_PAGE, 0,
		  "ADD_MEM_REG that is longer than its file" },
	};

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(cases); i++) {
		struct conf_region slot = new_slot(t);

		if (i)
			conf_reopen(t, CONF_NEGOTIATED);
		slot.gpa = cases[i].gpa;
		slot.uva = cases[i].uva;
		slot.len_bytes = cases[i].len;
		slot.offset = cases[i].offset;
		conf_refused(t, add(t, &slot), cases[i].what);
	}
}

static void overlap(struct conf *t, uint64_t gpa, uint64_t uva, const char *what)
{
	struct conf_region slot = new_slot(t);

	conf_accepted(t, add(t, &slot), "ADD_MEM_REG");
	slot.gpa += gpa;
	slot.uva += uva;
	conf_refused(t, add(t, &slot), what);
}

static void overlap_gpa(struct conf *t)
{
	overlap(t, CONF_PAGE, UINT64_C(1) << 40, "ADD_MEM_REG that overlaps in the guest");
}

static void overlap_uva(struct conf *t)
{
	overlap(t, UINT64_C(1) << 40, CONF_PAGE, "ADD_MEM_REG that overlaps in user addresses");
}

static void wrong_descriptors(struct conf *t)
{
	struct conf_region slot = new_slot(t);
	int fds[2] = { slot.fd, slot.fd };

	conf_refused(t, conf_slot(t, CVMM_VHOST_USER_ADD_MEM_REG, &slot, NULL, 0),
		     "ADD_MEM_REG without a descriptor");
	conf_reopen(t, CONF_NEGOTIATED);
	conf_refused(t, conf_slot(t, CVMM_VHOST_USER_ADD_MEM_REG, &slot, fds, 2),
		     "ADD_MEM_REG with two descriptors");
}

/* Memory under a running ring is taken away: what happens then is not told, but that it lives is. */
static void removed_under_a_queue(struct conf *t)
{
	struct conf_region rings = t->ram.regions[1];
	struct conf_request *r;

	conf_one_request(t, 0);
	conf_try(t, CVMM_VHOST_USER_REM_MEM_REG,
		 &(struct cvmm_vhost_user_mem_slot){ .region = { .gpa = rings.gpa,
								 .len_bytes = rings.len_bytes,
								 .user_addr = rings.uva } },
		 sizeof(struct cvmm_vhost_user_mem_slot), NULL, 0);
	r = conf_request(t, 1);
	conf_submit(t, t->queue, r);
	conf_kick(t, t->queue);
	conf_wait(t, t->queue, r, t->options->quiet_ms);
	conf_recovers(t);
}

static const struct conf_test tests[] = {
	{ "max-slots", "GET_MAX_MEM_SLOTS is answered with a number", SPEC_SLOTS, CONF_MUST,
	  CONF_NEGOTIATED, .protocol = SLOTS, .run = max_slots },
	{ "fill", "As many slots as there are can be filled and emptied", SPEC_SLOTS, CONF_MUST,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = fill_slots },
	{ "one-too-many", "One slot more than there are is refused", SPEC_SLOTS, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = one_slot_too_many },
	{ "used", "Requests in memory that was added are done", SPEC_ADD, CONF_MUST,
	  CONF_NEGOTIATED, CONF_NEEDS_DEVICE, .protocol = SLOTS, .run = added_memory_is_used },
	{ "while-running", "Memory may come and go while a queue runs", SPEC_ADD, CONF_MUST,
	  CONF_RUNNING, .protocol = SLOTS, .run = added_while_running },
	{ "unmapped", "A region that was removed is unmapped", SPEC_REM, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = removed_is_unmapped },
	{ "again", "A region that was removed can be added again", SPEC_REM, CONF_MUST,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = added_again },
	{ "rem-offset", "REM_MEM_REG does not look at the offset", SPEC_REM, CONF_MUST,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = offset_is_ignored },
	{ "rem-fd-closed", "A descriptor that comes with REM_MEM_REG is closed", SPEC_REM,
	  CONF_MUST, CONF_NEGOTIATED, .protocol = SLOTS, .run = stray_descriptor_is_closed },
	{ "rem-fd-tolerated", "REM_MEM_REG with a descriptor is done", SPEC_REM, CONF_OPTIONAL,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS,
	  .run = stray_descriptor_is_tolerated },
	{ "rem-unknown", "REM_MEM_REG of a region that is not there is refused", SPEC_REM,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = unknown_region },
	{ "rem-other", "REM_MEM_REG finds a region by guest address, user address and size",
	  SPEC_REM, CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS,
	  .run = other_region },
	{ "bad-region", "Regions that are empty, wrap, or pass the end of their file are refused",
	  SPEC_REGION, CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS,
	  .run = bad_regions },
	{ "overlap-gpa", "A region that overlaps another in the guest is refused", SPEC_REGION,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = overlap_gpa },
	{ "overlap-uva", "A region that overlaps another in user addresses is refused", SPEC_REGION,
	  CONF_SHOULD, CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = overlap_uva },
	{ "wrong-fds", "ADD_MEM_REG with no descriptor, or two, is refused", SPEC_ADD, CONF_SHOULD,
	  CONF_NEGOTIATED, CONF_NEEDS_ACK, .protocol = SLOTS, .run = wrong_descriptors },
	{ "removed-under-queue",
	  "A back-end outlives that the memory of a running queue is "
	  "removed",
	  SPEC_REM, CONF_MUST, CONF_RUNNING, .protocol = SLOTS, .run = removed_under_a_queue },
};

const struct conf_group conf_slots = { "slots", tests, CVMM_ARRAY_SIZE(tests) };
