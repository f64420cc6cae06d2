// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Who gets which addresses and interrupts in a small x86 machine: an example of <cvmm/alloc.h>.
 *
 *   mmio_layout [MEMORY_IN_GIB]
 *
 * One space holds all guest physical addresses. What the architecture fixes is reserved first: RAM below
 * the hole and above 4 GiB, the I/O APIC and the local APIC in the hole. Devices get the rest: virtio-mmio
 * slots and 32-bit BARs from the hole, which is what is left of the first 4 GiB, and 64-bit BARs from the
 * top of the address width down, far away from RAM that may be plugged in later.
 *
 * The hole is a space of its own, and reserved as a whole in the large one: what is to lie below 4 GiB can
 * then be asked for by size, and nothing else is put there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <cvmm/alloc.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define PHYSICAL_LAST ((UINT64_C(1) << 46) - 1) /* a processor with 46 bits of address */
#define HOLE_FIRST (3 * GIB)
#define HOLE_LAST (4 * GIB - 1)
#define IOAPIC_FIRST UINT64_C(0xfec00000)
#define LAPIC_FIRST UINT64_C(0xfee00000)
#define APIC_BYTES (4 * KIB)
#define VIRTIO_MMIO_SLOT_BYTES (4 * KIB)
#define VIRTIO_MMIO_SLOTS 3
#define MEMORY_DEFAULT_GIB 4
#define MEMORY_MAX_GIB 1024

/* Pins 0 to 4 are for the timer, the keyboard and the serial ports; an I/O APIC has 24. */
#define PIN_FIRST 5
#define PIN_LAST 23
#define MSI_VECTORS 8
#define MSI_GSI_FIRST 24
#define MSI_GSI_LAST 4095 /* KVM_MAX_IRQ_ROUTES - 1 */

#define ROWS_MAX 16

struct row {
	struct cvmm_alloc_range range;
	char what[64];
};

struct layout {
	struct cvmm_alloc_space *physical;
	struct cvmm_alloc_space *hole;
	struct cvmm_alloc_ids *pins;
	struct cvmm_alloc_ids *msi_gsis;
	struct row rows[ROWS_MAX];
	size_t row_count;
	uint32_t first_vector;
};

/* An allocator knows who has what only as ranges: what they are for is the caller's to remember. */
static void note(struct layout *layout, const char *what, struct cvmm_alloc_range range)
{
	struct row *row = &layout->rows[layout->row_count];

	if (layout->row_count == ROWS_MAX)
		return;
	row->range = range;
	snprintf(row->what, sizeof(row->what), "%s", what);
	layout->row_count++;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *row_a = a, *row_b = b;

	if (row_a->range.first != row_b->range.first)
		return row_a->range.first < row_b->range.first ? -1 : 1;
	/* The larger one holds the smaller one. */
	return (row_a->range.last < row_b->range.last) - (row_a->range.last > row_b->range.last);
}

static int reserve(struct layout *layout, struct cvmm_alloc_space *space, const char *what,
		   uint64_t first, uint64_t len_bytes, struct cvmm_error *err)
{
	struct cvmm_alloc_range range = { first, first + (len_bytes - 1) };
	int r = cvmm_alloc_space_reserve(space, range, err);

	if (r < 0)
		return cvmm_error_prefix(err, "%s", what);
	note(layout, what, range);
	return 0;
}

/* A BAR or a slot: at a multiple of its own size, as PCI wants it. */
static int place(struct layout *layout, struct cvmm_alloc_space *space, const char *what,
		 uint64_t len_bytes, enum cvmm_alloc_policy policy, struct cvmm_error *err)
{
	struct cvmm_alloc_request request = {
		.len_bytes = len_bytes,
		.align_bytes = len_bytes,
		.policy = policy,
	};
	struct cvmm_alloc_range range;
	int r = cvmm_alloc_space_take(space, &request, &range, err);

	if (r < 0)
		return cvmm_error_prefix(err, "%s", what);
	note(layout, what, range);
	return 0;
}

static int create(struct layout *layout, struct cvmm_error *err)
{
	struct cvmm_alloc_range physical = { 0, PHYSICAL_LAST }, hole = { HOLE_FIRST, HOLE_LAST };
	struct cvmm_alloc_id_range pins = { PIN_FIRST, PIN_LAST };
	struct cvmm_alloc_id_range msi_gsis = { MSI_GSI_FIRST, MSI_GSI_LAST };
	int r;

	r = cvmm_alloc_space_create("physical addresses", physical, &layout->physical, err);
	if (r == 0)
		r = cvmm_alloc_space_create("hole", hole, &layout->hole, err);
	if (r == 0)
		r = cvmm_alloc_ids_create("pins", pins, &layout->pins, err);
	if (r == 0)
		r = cvmm_alloc_ids_create("GSIs of MSIs", msi_gsis, &layout->msi_gsis, err);
	return r;
}

static void destroy(struct layout *layout)
{
	cvmm_alloc_ids_destroy(layout->msi_gsis);
	cvmm_alloc_ids_destroy(layout->pins);
	cvmm_alloc_space_destroy(layout->hole);
	cvmm_alloc_space_destroy(layout->physical);
}

static int reserve_what_is_fixed(struct layout *layout, uint64_t memory_bytes,
				 struct cvmm_error *err)
{
	uint64_t low_bytes = memory_bytes < HOLE_FIRST ? memory_bytes : HOLE_FIRST;
	int r;

	r = reserve(layout, layout->physical, "RAM", 0, low_bytes, err);
	if (r == 0)
		r = reserve(layout, layout->physical, "hole, of which:", HOLE_FIRST,
			    HOLE_LAST - HOLE_FIRST + 1, err);
	if (r == 0)
		r = reserve(layout, layout->hole, "  I/O APIC", IOAPIC_FIRST, APIC_BYTES, err);
	if (r == 0)
		r = reserve(layout, layout->hole, "  local APIC", LAPIC_FIRST, APIC_BYTES, err);
	if (r == 0 && memory_bytes > low_bytes)
		r = reserve(layout, layout->physical, "RAM", HOLE_LAST + 1,
			    memory_bytes - low_bytes, err);
	return r;
}

static int place_devices(struct layout *layout, struct cvmm_error *err)
{
	char what[64];
	uint32_t pin;
	int r = 0;

	for (int i = 0; r == 0 && i < VIRTIO_MMIO_SLOTS; i++) {
		r = cvmm_alloc_ids_take(layout->pins, &pin, err);
		if (r < 0)
			break;
		snprintf(what, sizeof(what), "  virtio-mmio slot %d, pin %" PRIu32, i, pin);
		r = place(layout, layout->hole, what, VIRTIO_MMIO_SLOT_BYTES,
			  CVMM_ALLOC_FIRST_MATCH, err);
	}
	if (r == 0)
		r = place(layout, layout->hole, "  network card, BAR 0 (32 bits)", 16 * KIB,
			  CVMM_ALLOC_FIRST_MATCH, err);
	if (r == 0)
		r = place(layout, layout->hole, "  GPU, BAR 0 (32 bits)", 16 * MIB,
			  CVMM_ALLOC_FIRST_MATCH, err);
	if (r == 0)
		r = place(layout, layout->physical, "GPU, BAR 2 (64 bits)", 256 * MIB,
			  CVMM_ALLOC_LAST_MATCH, err);
	/* MSI: the card sets the low bits of the message, so the vectors are aligned to their number. */
	if (r == 0)
		r = cvmm_alloc_ids_take_run(layout->msi_gsis, MSI_VECTORS, MSI_VECTORS,
					    &layout->first_vector, err);
	return r;
}

static int print(struct layout *layout)
{
	struct cvmm_alloc_range gap;

	qsort(layout->rows, layout->row_count, sizeof(layout->rows[0]), compare_rows);
	for (size_t i = 0; i < layout->row_count; i++) {
		const struct row *row = &layout->rows[i];

		printf("%012" PRIx64 "-%012" PRIx64 "  %s\n", row->range.first, row->range.last,
		       row->what);
	}
	printf("network card: GSIs %" PRIu32 "-%" PRIu32 " for its MSI vectors\n",
	       layout->first_vector, layout->first_vector + MSI_VECTORS - 1);

	printf("free: 0x%" PRIx64 " bytes of the hole", cvmm_alloc_space_available(layout->hole));
	if (cvmm_alloc_space_largest_gap(layout->hole, &gap))
		printf(" (at most 0x%" PRIx64 " at a time)", gap.last - gap.first + 1);
	printf(", 0x%" PRIx64 " bytes elsewhere; %" PRIu64 " pins, %" PRIu64 " GSIs\n",
	       cvmm_alloc_space_available(layout->physical), cvmm_alloc_ids_available(layout->pins),
	       cvmm_alloc_ids_available(layout->msi_gsis));
	return fflush(stdout) ? -1 : 0;
}

int main(int argc, char **argv)
{
	unsigned long memory_gib = argc > 1 ? strtoul(argv[1], NULL, 10) : MEMORY_DEFAULT_GIB;
	struct layout layout = { .row_count = 0 };
	struct cvmm_error err = { .code = 0 };
	int r;

	if (!memory_gib || memory_gib > MEMORY_MAX_GIB) {
		fprintf(stderr, "usage: mmio_layout [MEMORY_IN_GIB], at most %d\n", MEMORY_MAX_GIB);
		return 2;
	}
	r = create(&layout, &err);
	if (r == 0)
		r = reserve_what_is_fixed(&layout, memory_gib * GIB, &err);
	if (r == 0)
		r = place_devices(&layout, &err);
	if (r < 0)
		fprintf(stderr, "mmio_layout: %s\n", err.message);
	else
		r = print(&layout);
	destroy(&layout);
	return r < 0;
}
