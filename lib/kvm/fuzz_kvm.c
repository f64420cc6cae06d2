// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The first byte says what the rest is: a run area, a ring of coalesced stores, a ring of dirtied
 * pages, or a statistics file. Whatever comes out must lie inside of what went in.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cvmm/kvm.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	RUN_AREA,
	COALESCED_RING,
	DIRTY_RING,
	STATISTICS,
	KINDS,
};

#define AREA_BYTES 8192U
#define DIRTY_ENTRIES 16U
#define STATS_MAX 8U
#define VALUES_MAX 4U
#define INPUT_MAX (1U << 16) /* longer inputs find nothing more, only later */

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Zeros behind the input, up to @bytes; longer inputs are cut. */
static void *padded_copy(const uint8_t *data, size_t size, size_t bytes)
{
	uint8_t *copy = calloc(1, bytes);

	must(copy != NULL);
	memcpy(copy, data, size < bytes ? size : bytes);
	return copy;
}

/* ---- run areas ------------------------------------------------------------------------------- */

static void must_be_inside(const void *area, const void *part, uint64_t len)
{
	uint64_t offset = (uint64_t)((const char *)part - (const char *)area);

	must((const char *)part >= (const char *)area);
	must(cvmm_range_inside(offset, len, AREA_BYTES));
}

static void check_exit(struct kvm_run *run, const struct cvmm_kvm_exit *exit)
{
	switch (exit->type) {
	case CVMM_KVM_EXIT_IO:
		must_be_inside(run, exit->io.data, (uint64_t)exit->io.count * exit->io.size_bytes);
		break;
	case CVMM_KVM_EXIT_MMIO:
		must(exit->mmio.len_bytes >= 1 && exit->mmio.len_bytes <= sizeof(run->mmio.data));
		must_be_inside(run, exit->mmio.data, exit->mmio.len_bytes);
		break;
	case CVMM_KVM_EXIT_SYSTEM_EVENT:
		must_be_inside(run, exit->system_event.data,
			       exit->system_event.data_count * sizeof(uint64_t));
		must(exit->system_event.data_count <= CVMM_ARRAY_SIZE(run->system_event.data));
		break;
	case CVMM_KVM_EXIT_INTERNAL_ERROR:
		must(exit->internal_error.data_count <= CVMM_ARRAY_SIZE(run->internal.data));
		must_be_inside(run, exit->internal_error.data,
			       exit->internal_error.data_count * sizeof(uint64_t));
		if (exit->internal_error.insn)
			must(exit->internal_error.insn_bytes <=
			     sizeof(run->emulation_failure.insn_bytes));
		break;
	default:
		must(exit->type <= CVMM_KVM_EXIT_OTHER);
	}
}

static void fuzz_run_area(const uint8_t *data, size_t size)
{
	static const int errors[] = { 0, -EINTR, -EAGAIN, -EFAULT, -EINVAL };
	struct cvmm_kvm_exit exit;
	struct kvm_run *run;
	int error, ret;

	if (!size)
		return;
	error = errors[data[0] % CVMM_ARRAY_SIZE(errors)];
	run = padded_copy(data + 1, size - 1, AREA_BYTES);
	ret = cvmm_kvm_exit_decode(run, AREA_BYTES, error, &exit);
	must(!ret || ret == -EPROTO || ret == error);
	if (!ret)
		check_exit(run, &exit);
	free(run);
}

/* ---- rings ----------------------------------------------------------------------------------- */

static void fuzz_coalesced(const uint8_t *data, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct kvm_coalesced_mmio_ring *ring = padded_copy(data, size, page);
	size_t room = page / sizeof(struct kvm_coalesced_mmio);
	struct cvmm_kvm_coalesced_store *stores = calloc(room, sizeof(*stores));
	int n;

	must(stores != NULL);
	n = cvmm_kvm_coalesced_drain(ring, stores, room);
	must(n == -EPROTO || (n >= 0 && (size_t)n < room));
	for (int i = 0; i < n; i++)
		must(stores[i].len_bytes >= 1 && stores[i].len_bytes <= sizeof(stores[i].data));
	free(stores);
	free(ring);
}

static void fuzz_dirty(const uint8_t *data, size_t size)
{
	struct cvmm_kvm_dirty_page pages[DIRTY_ENTRIES];
	struct cvmm_kvm_dirty_ring ring = { .count = DIRTY_ENTRIES };

	if (size < sizeof(ring.next))
		return;
	memcpy(&ring.next, data, sizeof(ring.next));
	ring.entries = padded_copy(data + sizeof(ring.next), size - sizeof(ring.next),
				   DIRTY_ENTRIES * sizeof(*ring.entries));
	must(cvmm_kvm_dirty_ring_collect(&ring, pages, DIRTY_ENTRIES) <= DIRTY_ENTRIES);
	/* What was taken is marked, so nothing is taken twice. */
	must(cvmm_kvm_dirty_ring_collect(&ring, pages, DIRTY_ENTRIES) == 0);
	free(ring.entries);
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void fuzz_statistics(const uint8_t *data, size_t size)
{
	struct cvmm_kvm_stat stats[STATS_MAX];
	uint64_t values[VALUES_MAX];
	int fd = memfd_create("stats", MFD_CLOEXEC);
	int n, ret;

	must(fd >= 0);
	must(cvmm_pwrite_full(fd, data, size, 0) == 0);
	n = cvmm_kvm_stats_read(fd, stats, STATS_MAX);
	for (int i = 0; i < n && i < (int)STATS_MAX; i++) {
		must(strnlen(stats[i].name, sizeof(stats[i].name)) < sizeof(stats[i].name));
		must(stats[i].value_count > 0);
		ret = cvmm_kvm_stats_read_values(fd, &stats[i], values, VALUES_MAX);
		must(ret == -EPROTO || (ret >= 1 && ret <= stats[i].value_count));
		must(ret < 0 || values[0] == stats[i].value);
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > INPUT_MAX)
		return 0;
	switch (data[0] % KINDS) {
	case RUN_AREA:
		fuzz_run_area(data + 1, size - 1);
		break;
	case COALESCED_RING:
		fuzz_coalesced(data + 1, size - 1);
		break;
	case DIRTY_RING:
		fuzz_dirty(data + 1, size - 1);
		break;
	default:
		fuzz_statistics(data + 1, size - 1);
	}
	return 0;
}
