// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "test_mem_util.h"

#define UNMAPPABLE (UINT64_C(1) << 62)

static bool is_mapped(void *host)
{
	return !msync(host, page_size(), MS_ASYNC);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* An unlinked file of @len bytes. */
static int make_file(uint64_t len)
{
	char path[] = "/tmp/cvmm-test-mem-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

/* That one config is refused with @code and a message that contains @text. */
static void assert_refused(const struct cvmm_mem_config *config, int code, const char *text)
{
	struct cvmm_mem *mem = NULL;
	struct cvmm_error err = { 0 };

	assert_int_equal(cvmm_mem_create(config, 1, &mem, &err), code);
	assert_null(mem);
	assert_int_equal(err.code, code);
	if (!strstr(err.message, text))
		fail_msg("\"%s\" is not in \"%s\"", text, err.message);
}

/* ---- making maps --------------------------------------------------------------------------- */

static void regions_come_out_in_address_order(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = {
		ram_config(8 * page, page),
		ram_config(0, 2 * page),
		ram_config(4 * page, page),
	};
	struct cvmm_mem *mem = must_create(configs, 3);

	(void)state;
	assert_int_equal(cvmm_mem_region_count(mem), 3);
	assert_int_equal(cvmm_mem_region_at(mem, 0)->gpa, 0);
	assert_int_equal(cvmm_mem_region_at(mem, 1)->gpa, 4 * page);
	assert_int_equal(cvmm_mem_region_at(mem, 2)->gpa, 8 * page);
	assert_null(cvmm_mem_region_at(mem, 3));
	cvmm_mem_unref(mem);
}

static void region_find_knows_edges_and_holes(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = {
		ram_config(page, page),
		ram_config(2 * page, page),
		ram_config(8 * page, page),
	};
	struct cvmm_mem *mem = must_create(configs, 3);

	(void)state;
	assert_null(cvmm_mem_region_find(mem, G(page - 1)));
	assert_ptr_equal(cvmm_mem_region_find(mem, G(page)), cvmm_mem_region_at(mem, 0));
	assert_ptr_equal(cvmm_mem_region_find(mem, G(2 * page - 1)), cvmm_mem_region_at(mem, 0));
	assert_ptr_equal(cvmm_mem_region_find(mem, G(2 * page)), cvmm_mem_region_at(mem, 1));
	assert_null(cvmm_mem_region_find(mem, G(3 * page)));
	assert_ptr_equal(cvmm_mem_region_find(mem, G(9 * page - 1)), cvmm_mem_region_at(mem, 2));
	assert_null(cvmm_mem_region_find(mem, G(9 * page)));
	assert_null(cvmm_mem_region_find(mem, G(UINT64_MAX)));
	cvmm_mem_unref(mem);
}

static void bad_regions_are_refused_with_a_reason(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config;

	(void)state;
	config = ram_config(0, 0);
	assert_refused(&config, -EINVAL, "size is 0");
	config = ram_config(1, page);
	assert_refused(&config, -EINVAL, "multiples of the page size");
	config = ram_config(0, page + 1);
	assert_refused(&config, -EINVAL, "multiples of the page size");
	config = ram_config(-page, 2 * page);
	assert_refused(&config, -EINVAL, "ends above 2^64");
	config = ram_config(0, page);
	config.access = 0;
	assert_refused(&config, -EINVAL, "access rights");
	config = ram_config(0, page);
	config.kind = (enum cvmm_mem_kind)99;
	assert_refused(&config, -EINVAL, "unknown kind");
	config = ram_config(0, page);
	config.kind = CVMM_MEM_HUGETLB;
	config.hugetlb_log2 = 64;
	assert_refused(&config, -EINVAL, "huge pages of 2^64");
}

static void overlap_is_refused_wherever_it_is(void **state)
{
	uint64_t page = page_size();
	const struct cvmm_mem_config old = ram_config(4 * page, 4 * page);
	const struct cvmm_mem_config clashes[] = {
		ram_config(4 * page, 4 * page), ram_config(3 * page, 2 * page),
		ram_config(7 * page, 2 * page), ram_config(5 * page, page),
		ram_config(0, 16 * page),
	};
	struct cvmm_mem *mem = must_create(&old, 1), *changed = NULL;
	struct cvmm_error err = { 0 };

	(void)state;
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(clashes); i++) {
		assert_int_equal(cvmm_mem_insert(mem, &clashes[i], &changed, &err), -EEXIST);
		assert_non_null(strstr(err.message, "overlaps"));
		assert_null(changed);
	}
	cvmm_mem_unref(mem);
}

static void touching_regions_do_not_overlap(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = {
		ram_config(page, page),
		ram_config(0, page),
		ram_config(2 * page, page),
	};

	(void)state;
	cvmm_mem_unref(must_create(configs, 3));
}

static void region_count_is_bounded(void **state)
{
	struct cvmm_mem_config *configs =
		calloc(CVMM_MEM_REGIONS_MAX + 1, sizeof(struct cvmm_mem_config));
	struct cvmm_mem *mem, *changed = NULL;
	uint64_t page = page_size();

	(void)state;
	assert_non_null(configs);
	for (size_t i = 0; i <= CVMM_MEM_REGIONS_MAX; i++)
		configs[i] = ram_config(2 * i * page, page);
	assert_int_equal(cvmm_mem_create(configs, CVMM_MEM_REGIONS_MAX + 1, &changed, NULL),
			 -E2BIG);
	mem = must_create(configs, CVMM_MEM_REGIONS_MAX);
	assert_int_equal(cvmm_mem_insert(mem, &configs[CVMM_MEM_REGIONS_MAX], &changed, NULL),
			 -E2BIG);
	assert_null(changed);
	for (size_t i = 0; i < CVMM_MEM_REGIONS_MAX; i++)
		assert_ptr_equal(cvmm_mem_region_find(mem, G(2 * i * page)),
				 cvmm_mem_region_at(mem, i));
	cvmm_mem_unref(mem);
	free(configs);
}

static void an_empty_map_holds_nothing(void **state)
{
	struct cvmm_mem *mem = must_create(NULL, 0);
	uint8_t byte;

	(void)state;
	assert_int_equal(cvmm_mem_region_count(mem), 0);
	assert_null(cvmm_mem_region_at(mem, 0));
	assert_null(cvmm_mem_region_find(mem, G(0)));
	assert_int_equal(cvmm_mem_read(mem, G(0), &byte, 1), -EFAULT);
	assert_int_equal(cvmm_mem_read(mem, G(0), NULL, 0), 0);
	cvmm_mem_unref(mem);
}

static void too_much_memory_fails_with_advice(void **state)
{
	struct cvmm_mem_config config = ram_config(0, UNMAPPABLE);

	(void)state;
	assert_refused(&config, -ENOMEM, "cannot map 4 EiB of memory");
	assert_refused(&config, -ENOMEM, "ask for less memory");
}

static void a_failing_region_leaves_nothing_behind(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = {
		ram_config(0, page),
		ram_config(page, UNMAPPABLE),
	};
	struct cvmm_error err = { 0 };
	struct cvmm_mem *mem = NULL;
	int probe, next;

	(void)state;
	configs[0].kind = CVMM_MEM_MEMFD;
	probe = dup(0);
	assert_int_equal(close(probe), 0);
	assert_int_equal(cvmm_mem_create(configs, 2, &mem, &err), -ENOMEM);
	assert_null(mem);
	assert_non_null(strstr(err.message, "in 2 regions: guest memory of 4 EiB at"));
	next = dup(0);
	assert_int_equal(next, probe);
	close(next);
}

/* ---- kinds of backing ---------------------------------------------------------------------- */

static void memfd_is_shared_and_private_to_the_program(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config = ram_config(0, 2 * page);
	const struct cvmm_mem_region *region;
	struct cvmm_mem *mem;
	uint32_t v = 0;
	void *peer;
	int fd;

	(void)state;
	config.kind = CVMM_MEM_MEMFD;
	mem = must_create(&config, 1);
	region = cvmm_mem_region_at(mem, 0);
	fd = region->fd;
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	peer = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(peer, MAP_FAILED);
	((uint32_t *)peer)[3] = 0x12345678;
	assert_int_equal(cvmm_mem_read(mem, G(12), &v, sizeof(v)), 0);
	assert_int_equal(v, 0x12345678);
	munmap(peer, 2 * page);
	cvmm_mem_unref(mem);
	assert_false(is_open(fd));
}

static void the_size_of_a_memfd_is_sealed(void **state)
{
#ifdef F_ADD_SEALS
	struct cvmm_mem_config config = ram_config(0, 2 * page_size());
	struct cvmm_mem *mem;
	int fd;

	(void)state;
	config.kind = CVMM_MEM_MEMFD;
	mem = must_create(&config, 1);
	fd = cvmm_mem_region_at(mem, 0)->fd;
	assert_int_equal(ftruncate(fd, (off_t)page_size()), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, (off_t)(4 * page_size())), -1);
	cvmm_mem_unref(mem);
#else
	(void)state;
	print_message("SKIP: this system has no seals\n");
	skip();
#endif
}

/* One that has no name: another one has other memory, and nobody can open it. */
static void each_memfd_is_another_file(void **state)
{
	struct cvmm_mem_config configs[2] = { ram_config(0, page_size()),
					      ram_config(page_size(), page_size()) };
	struct cvmm_mem *mem;
	struct stat st;

	(void)state;
	configs[0].kind = configs[1].kind = CVMM_MEM_MEMFD;
	mem = must_create(configs, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(fstat(cvmm_mem_region_at(mem, i)->fd, &st), 0);
		assert_int_equal(st.st_nlink, 0);
		assert_int_equal(st.st_size, page_size());
	}
	assert_false(cvmm_mem_host_same_file(cvmm_mem_region_at(mem, 0)->fd,
					     cvmm_mem_region_at(mem, 1)->fd));
	cvmm_mem_unref(mem);
}

static void file_region_maps_the_callers_file_at_its_offset(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config = ram_config(0, page);
	struct cvmm_mem *mem;
	char text[4] = "";
	int fd = make_file(3 * page);

	(void)state;
	config.kind = CVMM_MEM_FILE;
	config.fd = fd;
	config.fd_offset = 2 * page;
	mem = must_create(&config, 1);
	assert_int_not_equal(cvmm_mem_region_at(mem, 0)->fd, fd);
	assert_int_equal(cvmm_mem_region_at(mem, 0)->fd_offset, 2 * page);
	assert_true(fcntl(cvmm_mem_region_at(mem, 0)->fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(cvmm_mem_write(mem, G(5), "abc", 3), 0);
	assert_int_equal(pread(fd, text, 3, (off_t)(2 * page + 5)), 3);
	assert_string_equal(text, "abc");
	cvmm_mem_unref(mem);
	assert_true(is_open(fd));
	close(fd);
}

static void a_region_keeps_its_file_when_the_caller_closes_it(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config = ram_config(0, page);
	struct cvmm_mem *mem;
	struct stat st;
	int fd = make_file(page);

	(void)state;
	config.kind = CVMM_MEM_FILE;
	config.fd = fd;
	mem = must_create(&config, 1);
	close(fd);
	assert_int_equal(fstat(cvmm_mem_region_at(mem, 0)->fd, &st), 0);
	assert_int_equal(st.st_size, page);
	cvmm_mem_unref(mem);
}

static void bad_files_are_refused_with_a_reason(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config = ram_config(0, 2 * page);
	int fd = make_file(2 * page);
	int ends[2];

	(void)state;
	config.kind = CVMM_MEM_FILE;
	assert_refused(&config, -EINVAL, "no file");
	config.fd = fd;
	config.fd_offset = page;
	assert_refused(&config, -EINVAL, "enlarge the file");
	config.fd_offset = 1;
	assert_refused(&config, -EINVAL, "file offset 0x1");
	config.fd_offset = -page;
	assert_refused(&config, -EINVAL, "too large");
	config.fd_offset = 0;
	assert_int_equal(pipe(ends), 0);
	config.fd = ends[0];
	config.access = CVMM_ACCESS_READ;
	assert_refused(&config, -ENODEV, "cannot map");
	close(ends[0]);
	close(ends[1]);
	close(fd);
}

static void a_read_only_file_makes_read_only_memory(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config = ram_config(0, page);
	int fd = make_file(page), read_only;
	struct cvmm_mem *mem;
	char path[32];

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read_only >= 0);
	config.kind = CVMM_MEM_FILE;
	config.fd = read_only;
	assert_refused(&config, -EACCES, "make the region read-only");
	config.access = CVMM_ACCESS_READ;
	mem = must_create(&config, 1);
	assert_int_equal(cvmm_mem_write(mem, G(0), "a", 1), -EFAULT);
	cvmm_mem_unref(mem);
	close(read_only);
	close(fd);
}

static void external_memory_is_used_but_never_unmapped(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config = ram_config(page, page);
	uint8_t *host =
		mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct cvmm_mem *mem;

	(void)state;
	assert_ptr_not_equal(host, MAP_FAILED);
	config.kind = CVMM_MEM_EXTERNAL;
	assert_refused(&config, -EINVAL, "host address");
	config.host = host + 1;
	assert_refused(&config, -EINVAL, "host address");
	config.host = host;
	config.len_bytes = -page;
	config.gpa = G(0);
	assert_refused(&config, -EINVAL, "wraps");
	config.len_bytes = page;
	mem = must_create(&config, 1);
	assert_int_equal(cvmm_mem_write(mem, G(7), "x", 1), 0);
	assert_int_equal(cvmm_mem_region_at(mem, 0)->fd, -1);
	cvmm_mem_unref(mem);
	assert_true(is_mapped(host));
	assert_int_equal(host[7], 'x');
	munmap(host, page);
}

/* The value of one line of /proc/meminfo, or 0; 0 also where we have no use for huge pages. */
static unsigned long meminfo(const char *key)
{
#ifdef MFD_HUGETLB
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long value = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			value = strtoul(line + strlen(key), NULL, 10);
	if (f)
		fclose(f);
	return value;
#else
	(void)key;
	return 0;
#endif
}

static void huge_pages_back_a_region(void **state)
{
	uint64_t size = (uint64_t)meminfo("Hugepagesize:") << 10;
	struct cvmm_mem_config config = ram_config(0, size);
	struct cvmm_mem *mem;
	uint8_t byte = 1;

	(void)state;
	if (!meminfo("HugePages_Free:")) {
		print_message("SKIP: no free huge pages (vm.nr_hugepages)\n");
		skip();
	}
	config.kind = CVMM_MEM_HUGETLB;
	mem = must_create(&config, 1);
	assert_true(cvmm_mem_region_at(mem, 0)->fd >= 0);
	assert_int_equal(cvmm_mem_read(mem, G(size - 1), &byte, 1), 0);
	assert_int_equal(byte, 0);
	cvmm_mem_unref(mem);
}

static void a_lack_of_huge_pages_is_explained(void **state)
{
	uint64_t size = (uint64_t)meminfo("Hugepagesize:") << 10;
	struct cvmm_mem_config config = ram_config(0, size);

	(void)state;
	if (!size) {
		print_message("SKIP: this system has no memory files of huge pages\n");
		skip();
	}
	config.kind = CVMM_MEM_HUGETLB;
	config.len_bytes = page_size();
	assert_refused(&config, -EINVAL, "multiple of the huge page size");
	config.len_bytes = UINT64_C(1) << 45;
	config.hugetlb_log2 = (unsigned int)__builtin_ctzll(size);
	assert_refused(&config, -ENOMEM, "reserve more huge pages");
	config.hugetlb_log2 = 13;
	assert_refused(&config, -ENODEV, "huge pages of 8 KiB");
}

/* ---- changed maps -------------------------------------------------------------------------- */

static void insert_shares_memory_and_leaves_the_old_map_alone(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config first = ram_config(4 * page, page), second = ram_config(0, page);
	struct cvmm_mem *old = must_create(&first, 1), *new = NULL;
	char byte = 0;

	(void)state;
	assert_int_equal(cvmm_mem_insert(old, &second, &new, NULL), 0);
	assert_int_equal(cvmm_mem_region_count(old), 1);
	assert_int_equal(cvmm_mem_region_count(new), 2);
	assert_ptr_equal(cvmm_mem_region_at(old, 0)->host, cvmm_mem_region_at(new, 1)->host);
	assert_int_equal(cvmm_mem_write(old, G(4 * page), "o", 1), 0);
	cvmm_mem_unref(old);
	assert_int_equal(cvmm_mem_read(new, G(4 * page), &byte, 1), 0);
	assert_int_equal(byte, 'o');
	cvmm_mem_unref(new);
}

static void removed_memory_lives_while_an_older_map_is_held(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config configs[] = { ram_config(0, page), ram_config(page, page) };
	struct cvmm_mem *old = must_create(configs, 2), *new = NULL;
	uint8_t *host = cvmm_mem_ptr(old, G(page), page, CVMM_ACCESS_READ);

	(void)state;
	assert_int_equal(cvmm_mem_remove(old, G(page), page, &new, NULL), 0);
	assert_int_equal(cvmm_mem_check(new, G(page), 1, CVMM_ACCESS_READ), -EFAULT);
	assert_int_equal(cvmm_mem_check(new, G(0), page, CVMM_ACCESS_READ), 0);
	assert_true(is_mapped(host));
	cvmm_mem_unref(old);
	assert_false(is_mapped(host));
	cvmm_mem_unref(new);
}

static void remove_wants_the_exact_region(void **state)
{
	uint64_t page = page_size();
	struct cvmm_mem_config config = ram_config(page, 2 * page);
	struct cvmm_mem *mem = must_create(&config, 1), *changed = NULL;
	struct cvmm_error err = { 0 };

	(void)state;
	assert_int_equal(cvmm_mem_remove(mem, G(page), page, &changed, &err), -ENOENT);
	assert_non_null(strstr(err.message, "no region of exactly"));
	assert_int_equal(cvmm_mem_remove(mem, G(2 * page), page, &changed, NULL), -ENOENT);
	assert_int_equal(cvmm_mem_remove(mem, G(0), 2 * page, &changed, NULL), -ENOENT);
	assert_null(changed);
	assert_int_equal(cvmm_mem_remove(mem, G(page), 2 * page, &changed, NULL), 0);
	assert_int_equal(cvmm_mem_region_count(changed), 0);
	cvmm_mem_unref(changed);
	cvmm_mem_unref(mem);
}

static void the_last_unref_unmaps(void **state)
{
	struct cvmm_mem_config config = ram_config(0, page_size());
	struct cvmm_mem *mem = must_create(&config, 1);
	uint8_t *host = cvmm_mem_region_at(mem, 0)->host;

	(void)state;
	assert_ptr_equal(cvmm_mem_ref(mem), mem);
	assert_null(cvmm_mem_unref(mem));
	assert_true(is_mapped(host));
	assert_null(cvmm_mem_unref(mem));
	assert_false(is_mapped(host));
	assert_null(cvmm_mem_unref(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(regions_come_out_in_address_order),
		cmocka_unit_test(region_find_knows_edges_and_holes),
		cmocka_unit_test(bad_regions_are_refused_with_a_reason),
		cmocka_unit_test(overlap_is_refused_wherever_it_is),
		cmocka_unit_test(touching_regions_do_not_overlap),
		cmocka_unit_test(region_count_is_bounded),
		cmocka_unit_test(an_empty_map_holds_nothing),
		cmocka_unit_test(too_much_memory_fails_with_advice),
		cmocka_unit_test(a_failing_region_leaves_nothing_behind),
		cmocka_unit_test(memfd_is_shared_and_private_to_the_program),
		cmocka_unit_test(the_size_of_a_memfd_is_sealed),
		cmocka_unit_test(each_memfd_is_another_file),
		cmocka_unit_test(file_region_maps_the_callers_file_at_its_offset),
		cmocka_unit_test(a_region_keeps_its_file_when_the_caller_closes_it),
		cmocka_unit_test(bad_files_are_refused_with_a_reason),
		cmocka_unit_test(a_read_only_file_makes_read_only_memory),
		cmocka_unit_test(external_memory_is_used_but_never_unmapped),
		cmocka_unit_test(huge_pages_back_a_region),
		cmocka_unit_test(a_lack_of_huge_pages_is_explained),
		cmocka_unit_test(insert_shares_memory_and_leaves_the_old_map_alone),
		cmocka_unit_test(removed_memory_lives_while_an_older_map_is_held),
		cmocka_unit_test(remove_wants_the_exact_region),
		cmocka_unit_test(the_last_unref_unmaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
