// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Binary statistics (KVM API 4.133): a header, a text id, a table of descriptors with names of a
 * fixed size behind each, and a block of values. Every offset and size is checked, for the
 * descriptor may be any file.
 */
#include <errno.h>

#include "kvm_internal.h"

#define DESCRIPTORS_MAX 4096U
#define NAME_BYTES_MAX 4096U

int cvmm_kvm_get_stats_fd(int fd)
{
	return kvm_fd_cloexec(cvmm_kvm_ioctl(fd, KVM_GET_STATS_FD, NULL));
}

static int read_exactly(int fd, void *buf, size_t len, uint64_t offset)
{
	ssize_t n = cvmm_pread_full(fd, buf, len, offset);

	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : -EPROTO;
}

static int read_one(int fd, const struct kvm_stats_header *header, uint32_t index,
		    struct cvmm_kvm_stat *ret)
{
	uint64_t at = header->desc_offset +
		      (uint64_t)index * (sizeof(struct kvm_stats_desc) + header->name_size);
	struct kvm_stats_desc desc;
	struct cvmm_kvm_stat stat = { 0 };
	size_t name_bytes = header->name_size;
	int ret_code;

	ret_code = read_exactly(fd, &desc, sizeof(desc), at);
	if (ret_code)
		return ret_code;
	if (!desc.size)
		return -EPROTO;
	if (name_bytes > sizeof(stat.name) - 1)
		name_bytes = sizeof(stat.name) - 1;
	ret_code = read_exactly(fd, stat.name, name_bytes, at + sizeof(desc));
	stat.file_offset = (uint64_t)header->data_offset + desc.offset;
	if (!ret_code)
		ret_code = read_exactly(fd, &stat.value, sizeof(stat.value), stat.file_offset);
	if (ret_code)
		return ret_code;
	stat.flags = desc.flags;
	stat.exponent = desc.exponent;
	stat.value_count = desc.size;
	stat.bucket_size = desc.bucket_size;
	*ret = stat;
	return 0;
}

int cvmm_kvm_stats_read(int stats_fd, struct cvmm_kvm_stat *stats, size_t max)
{
	struct kvm_stats_header header;
	int ret = read_exactly(stats_fd, &header, sizeof(header), 0);

	if (ret)
		return ret;
	if (header.num_desc > DESCRIPTORS_MAX || header.name_size > NAME_BYTES_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < header.num_desc && i < max; i++) {
		ret = read_one(stats_fd, &header, i, &stats[i]);
		if (ret)
			return ret;
	}
	return (int)header.num_desc;
}

int cvmm_kvm_stats_read_values(int stats_fd, const struct cvmm_kvm_stat *stat, uint64_t *ret_values,
			       size_t max)
{
	size_t count = stat->value_count < max ? stat->value_count : max;
	int ret =
		read_exactly(stats_fd, ret_values, count * sizeof(*ret_values), stat->file_offset);

	return ret ? ret : (int)count;
}
