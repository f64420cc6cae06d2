// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Statistics out of made-up files: their offsets and sizes are anybody's. Needs no KVM. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <cvmm/kvm.h>

#define NAME_BYTES 16U
#define STATS 2U
#define DESC_BYTES (sizeof(struct kvm_stats_desc) + NAME_BYTES)

/* A file as the kernel makes it: header, id, descriptors, values. */
struct file {
	struct kvm_stats_header header;
	char id[NAME_BYTES];
	uint8_t descs[STATS * DESC_BYTES];
	uint64_t values[3];
};

static struct kvm_stats_desc *desc_of(struct file *file, size_t index)
{
	return (void *)(file->descs + index * DESC_BYTES);
}

static char *name_of(struct file *file, size_t index)
{
	return (char *)(desc_of(file, index) + 1);
}

static struct file good_file(void)
{
	struct file file = {
		.header = {
			.name_size = NAME_BYTES,
			.num_desc = STATS,
			.id_offset = offsetof(struct file, id),
			.desc_offset = offsetof(struct file, descs),
			.data_offset = offsetof(struct file, values),
		},
		.id = "kvm-1",
		.values = { 11, 22, UINT64_MAX },
	};
	struct kvm_stats_desc first = { .flags = KVM_STATS_UNIT_BYTES, .size = 2, .offset = 0 };
	struct kvm_stats_desc second = { .size = 1, .offset = 16 };

	memcpy(desc_of(&file, 0), &first, sizeof(first));
	memcpy(desc_of(&file, 1), &second, sizeof(second));
	memcpy(name_of(&file, 0), "flushes", 8);
	memcpy(name_of(&file, 1), "pages", 6);
	return file;
}

static int read_bytes(const void *bytes, size_t len, struct cvmm_kvm_stat *stats, size_t max)
{
	int fd = memfd_create("stats", MFD_CLOEXEC);
	int ret;

	assert_true(fd >= 0);
	assert_int_equal(cvmm_pwrite_full(fd, bytes, len, 0), 0);
	ret = cvmm_kvm_stats_read(fd, stats, max);
	close(fd);
	return ret;
}

static int read_file(const struct file *file, struct cvmm_kvm_stat *stats, size_t max)
{
	return read_bytes(file, sizeof(*file), stats, max);
}

static void statistics_are_read_with_names_and_values(void **state)
{
	struct file file = good_file();
	struct cvmm_kvm_stat stats[STATS];

	(void)state;
	assert_int_equal(read_file(&file, stats, STATS), STATS);
	assert_string_equal(stats[0].name, "flushes");
	assert_int_equal(stats[0].flags, KVM_STATS_UNIT_BYTES);
	assert_int_equal(stats[0].value_count, 2);
	assert_int_equal(stats[0].value, 11);
	assert_string_equal(stats[1].name, "pages");
	assert_true(stats[1].value == UINT64_MAX);
}

static void the_count_is_told_even_without_room(void **state)
{
	struct file file = good_file();
	struct cvmm_kvm_stat stats[STATS] = { 0 };

	(void)state;
	assert_int_equal(read_file(&file, NULL, 0), STATS);
	assert_int_equal(read_file(&file, stats, 1), STATS);
	assert_int_equal(stats[0].value, 11);
	assert_int_equal(stats[1].name[0], 0);
}

static void all_values_of_a_statistic_are_read(void **state)
{
	struct cvmm_kvm_stat stats[STATS];
	struct file file = good_file();
	uint64_t values[STATS + 1] = { 0 };
	int fd = memfd_create("stats", MFD_CLOEXEC);

	(void)state;
	desc_of(&file, 0)->exponent = -9;
	desc_of(&file, 0)->bucket_size = 1000;
	assert_true(fd >= 0);
	assert_int_equal(cvmm_pwrite_full(fd, &file, sizeof(file), 0), 0);
	assert_int_equal(cvmm_kvm_stats_read(fd, stats, STATS), STATS);
	assert_int_equal(stats[0].exponent, -9);
	assert_int_equal(stats[0].bucket_size, 1000);
	assert_int_equal(cvmm_kvm_stats_read_values(fd, &stats[0], values, 1), 1);
	assert_int_equal(values[1], 0);
	assert_int_equal(cvmm_kvm_stats_read_values(fd, &stats[0], values, STATS + 1), 2);
	assert_int_equal(values[0], 11);
	assert_int_equal(values[1], 22);
	assert_int_equal(values[2], 0);
	close(fd);
	assert_int_equal(cvmm_kvm_stats_read_values(-1, &stats[0], values, 1), -EBADF);
}

static void values_that_go_on_behind_the_file_are_refused(void **state)
{
	struct cvmm_kvm_stat stats[STATS];
	struct file file = good_file();
	uint64_t values[STATS + 1];
	int fd = memfd_create("stats", MFD_CLOEXEC);

	(void)state;
	desc_of(&file, 1)->size = UINT16_MAX;
	assert_true(fd >= 0);
	assert_int_equal(cvmm_pwrite_full(fd, &file, sizeof(file), 0), 0);
	assert_int_equal(cvmm_kvm_stats_read(fd, stats, STATS), STATS);
	assert_int_equal(cvmm_kvm_stats_read_values(fd, &stats[1], values, 1), 1);
	assert_int_equal(cvmm_kvm_stats_read_values(fd, &stats[1], values, STATS), -EPROTO);
	close(fd);
}

static void a_file_cut_at_any_byte_is_refused(void **state)
{
	struct file file = good_file();
	struct cvmm_kvm_stat stats[STATS];

	(void)state;
	for (size_t len = 0; len < sizeof(file); len++)
		assert_int_equal(read_bytes(&file, len, stats, STATS), -EPROTO);
}

static void huge_counts_and_offsets_are_refused(void **state)
{
	struct cvmm_kvm_stat stats[STATS];
	size_t words = sizeof(struct kvm_stats_header) / sizeof(uint32_t);

	(void)state;
	for (size_t word = 1; word < words; word++) {
		struct file file = good_file();

		/* The id is not read, so nothing can go wrong with its offset. */
		if (word == offsetof(struct kvm_stats_header, id_offset) / sizeof(uint32_t))
			continue;
		memset((uint8_t *)&file + word * sizeof(uint32_t), 0xff, sizeof(uint32_t));
		assert_int_equal(read_file(&file, stats, STATS), -EPROTO);
	}
}

static void a_value_outside_the_file_is_refused(void **state)
{
	static const uint32_t bad[] = { 17, 24, UINT32_MAX };
	struct cvmm_kvm_stat stats[STATS];
	struct file file = good_file();

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(bad); i++) {
		desc_of(&file, 1)->offset = bad[i];
		assert_int_equal(read_file(&file, stats, STATS), -EPROTO);
	}
}

static void a_statistic_without_values_is_refused(void **state)
{
	struct cvmm_kvm_stat stats[STATS];
	struct file file = good_file();

	(void)state;
	desc_of(&file, 0)->size = 0;
	assert_int_equal(read_file(&file, stats, STATS), -EPROTO);
}

static void a_name_that_is_not_terminated_ends_with_its_room(void **state)
{
	struct cvmm_kvm_stat stats[STATS];
	struct file file = good_file();

	(void)state;
	memset(name_of(&file, 0), 'n', NAME_BYTES);
	assert_int_equal(read_file(&file, stats, STATS), STATS);
	assert_int_equal(strlen(stats[0].name), NAME_BYTES);
}

static void a_name_longer_than_ours_is_cut(void **state)
{
	struct {
		struct kvm_stats_header header;
		uint8_t desc[sizeof(struct kvm_stats_desc)];
		char name[200];
		uint64_t value;
	} file = {
		.header = { .name_size = 200, .num_desc = 1, .desc_offset = 24 },
		.value = 3,
	};
	const struct kvm_stats_desc desc = { .size = 1 };
	struct cvmm_kvm_stat stat;

	(void)state;
	memcpy(file.desc, &desc, sizeof(desc));
	file.header.data_offset = (uint32_t)((char *)&file.value - (char *)&file);
	memset(file.name, 'n', sizeof(file.name));
	assert_int_equal(read_bytes(&file, sizeof(file), &stat, 1), 1);
	assert_int_equal(strlen(stat.name), CVMM_KVM_STATS_NAME_BYTES - 1);
	assert_int_equal(stat.value, 3);
}

static void a_file_without_statistics_has_none(void **state)
{
	struct kvm_stats_header header = { 0 };

	(void)state;
	assert_int_equal(read_bytes(&header, sizeof(header), NULL, 0), 0);
}

static void what_cannot_be_read_at_an_offset_is_an_error(void **state)
{
	struct cvmm_kvm_stat stat;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(cvmm_kvm_stats_read(fds[0], &stat, 1), -ESPIPE);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(cvmm_kvm_stats_read(-1, &stat, 1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statistics_are_read_with_names_and_values),
		cmocka_unit_test(the_count_is_told_even_without_room),
		cmocka_unit_test(all_values_of_a_statistic_are_read),
		cmocka_unit_test(values_that_go_on_behind_the_file_are_refused),
		cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
		cmocka_unit_test(huge_counts_and_offsets_are_refused),
		cmocka_unit_test(a_value_outside_the_file_is_refused),
		cmocka_unit_test(a_statistic_without_values_is_refused),
		cmocka_unit_test(a_name_that_is_not_terminated_ends_with_its_room),
		cmocka_unit_test(a_name_longer_than_ours_is_cut),
		cmocka_unit_test(a_file_without_statistics_has_none),
		cmocka_unit_test(what_cannot_be_read_at_an_offset_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
