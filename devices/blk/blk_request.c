// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Requests, VIRTIO 1.3, 5.2.6.
 *
 * Theory of operation: a chain is two byte strings, readable then writable, and the borders of its
 * pieces mean nothing (2.7.4). The header is the first 16 readable bytes, the status the last
 * writable byte, the data what remains. Header and discard ranges are copied once and only the
 * copies are checked and used, since the guest may change its memory at any time.
 */
#include "blk_internal.h"

/* Point the request's data at the part [skip, skip + len) of one of the chain's lists. */
static void take_data(struct blk_request *request, const struct iovec *list, size_t count,
		      size_t skip, size_t len)
{
	request->data_count = cvmm_iov_slice(list, count, skip, len, request->data);
	request->data_bytes = len;
}

static uint8_t *last_byte(const struct iovec *list, size_t count)
{
	const struct iovec *last = &list[count - 1];

	return (uint8_t *)last->iov_base + last->iov_len - 1;
}

/* Turn sectors into a checked byte range of the image. */
static bool sectors_to_offset(const struct blk_limits *limits, uint64_t sector, uint64_t len_bytes,
			      uint64_t *ret_offset)
{
	uint64_t offset;

	if (!cvmm_mul_u64(sector, CVMM_BLK_SECTOR_BYTES, &offset) ||
	    !cvmm_range_inside(offset, len_bytes, limits->capacity_bytes))
		return false;
	*ret_offset = offset;
	return true;
}

static uint8_t parse_transfer(struct blk_request *request, const struct cvmm_virtq_chain *chain,
			      const struct blk_limits *limits, uint64_t sector)
{
	size_t read = chain->readable_bytes - sizeof(struct blk_header);
	size_t written = chain->writable_bytes - BLK_STATUS_BYTES;

	if (request->type == BLK_T_OUT) {
		if (limits->read_only || written)
			return BLK_S_IOERR;
		take_data(request, chain->readable, chain->readable_count,
			  sizeof(struct blk_header), read);
	} else {
		if (read)
			return BLK_S_IOERR;
		take_data(request, chain->writable, chain->writable_count, 0, written);
	}
	if (request->data_bytes % CVMM_BLK_SECTOR_BYTES ||
	    !sectors_to_offset(limits, sector, request->data_bytes, &request->offset))
		return BLK_S_IOERR;
	return BLK_S_OK;
}

static uint8_t parse_get_id(struct blk_request *request, const struct cvmm_virtq_chain *chain,
			    const struct blk_limits *limits)
{
	if (chain->writable_bytes != CVMM_BLK_SERIAL_BYTES + BLK_STATUS_BYTES)
		return BLK_S_IOERR;
	cvmm_iov_copy_to(chain->writable, chain->writable_count, 0, limits->serial,
			 CVMM_BLK_SERIAL_BYTES);
	request->data_bytes = CVMM_BLK_SERIAL_BYTES;
	return BLK_S_OK;
}

static uint8_t check_segment(const struct blk_segment *segment, uint32_t type,
			     const struct blk_limits *limits)
{
	uint32_t allowed = type == BLK_T_WRITE_ZEROES ? BLK_SEGMENT_F_UNMAP : 0;
	uint64_t sectors = cvmm_le32_get(segment->num_sectors);
	uint64_t offset;

	/* 5.2.6.2: unknown flags, and unmap in a discard, are unsupported rather than wrong. */
	if (cvmm_le32_get(segment->flags) & ~allowed)
		return BLK_S_UNSUPP;
	if (sectors > CVMM_BLK_DISCARD_SECTORS_MAX ||
	    !sectors_to_offset(limits, cvmm_le64_get(segment->sector),
			       sectors * CVMM_BLK_SECTOR_BYTES, &offset))
		return BLK_S_IOERR;
	return BLK_S_OK;
}

static uint8_t parse_segments(struct blk_request *request, const struct cvmm_virtq_chain *chain,
			      const struct blk_limits *limits)
{
	unsigned int bit = request->type == BLK_T_DISCARD ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES;
	size_t len = chain->readable_bytes - sizeof(struct blk_header);

	if (limits->read_only)
		return BLK_S_IOERR;
	if (!(limits->features & CVMM_VIRTIO_FEATURE(bit)))
		return BLK_S_UNSUPP;
	if (!len || len % sizeof(struct blk_segment) || len > sizeof(request->segments) ||
	    chain->writable_bytes != BLK_STATUS_BYTES)
		return BLK_S_IOERR;
	cvmm_iov_copy_from(chain->readable, chain->readable_count, sizeof(struct blk_header),
			   request->segments, len);
	request->segment_count = (unsigned int)(len / sizeof(struct blk_segment));
	for (unsigned int i = 0; i < request->segment_count; i++) {
		uint8_t status = check_segment(&request->segments[i], request->type, limits);

		if (status != BLK_S_OK)
			return status;
	}
	return BLK_S_OK;
}

/* The chain has a status byte. */
uint8_t blk_request_parse(struct blk_request *request, const struct blk_limits *limits)
{
	const struct cvmm_virtq_chain *chain = &request->chain;
	struct blk_header header;

	request->status_at = last_byte(chain->writable, chain->writable_count);
	request->offset = 0;
	request->data_bytes = 0;
	request->data_count = 0;
	request->segment_count = 0;
	if (cvmm_iov_copy_from(chain->readable, chain->readable_count, 0, &header,
			       sizeof(header)) != sizeof(header))
		return BLK_S_IOERR;
	request->type = cvmm_le32_get(header.type);
	switch (request->type) {
	case BLK_T_IN:
	case BLK_T_OUT:
		return parse_transfer(request, chain, limits, cvmm_le64_get(header.sector));
	case BLK_T_FLUSH:
		return BLK_S_OK; /* whatever its sector is: only data requests have one */
	case BLK_T_GET_ID:
		return parse_get_id(request, chain, limits);
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES:
		return parse_segments(request, chain, limits);
	default:
		return BLK_S_UNSUPP;
	}
}
