// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * Theory of operation: a reader goes through a file block by block, by offsets, and never has more of
 * it than one block. Everything in a block is a stranger's: each length is held against the block's,
 * and that against the file's.
 *
 * A replay reads the file twice. First it notes for each chain where its available record is, and
 * where its used record, which may be any distance behind. Then it reads each record again when it is
 * needed: when the chain is given to the device, and when it comes back. So the device may answer in any
 * order, and what has to be kept is small. The file may have become another one meanwhile: what is read
 * the second time is checked like the first.
 *
 * Buffers lie in one stretch of guest memory, first fit, each chain in one part of it. Inside of that,
 * where each piece is follows from the available record.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "virtq_trace_internal.h"

#define CHAIN_BYTES_MAX (UINT64_C(1) << 32)
#define TIME_POWERS_MAX 19U /* 10^19 is the last that fits */
#define COMPARE_BYTES 512U

/* ---- blocks -------------------------------------------------------------------------------- */

/**
 * struct interface - what packets of an interface need to be understood
 * @wanted: they are ours, and the interface has the wanted name
 * @resolution: seconds as a power of ten, negated
 */
struct interface {
	bool wanted;
	uint8_t resolution;
};

/**
 * struct cvmm_virtq_trace_reader - where a reader is
 * @at: next block
 * @block: room for CVMM_VIRTQ_TRACE_BLOCK_MAX bytes, if the source is a descriptor
 * @interfaces: of the present section
 * @error: its code is not 0 once anything failed
 */
struct cvmm_virtq_trace_reader {
	struct cvmm_virtq_trace_source source;
	uint64_t at;
	uint8_t *block;
	struct interface *interfaces;
	uint32_t interface_count;
	uint32_t interface_room;
	struct cvmm_error error;
};

/* One block: its body lies between the type and length and the length again. */
struct block {
	uint64_t at;
	uint32_t type;
	uint32_t len;
	const uint8_t *body; /* NULL for types that are skipped */
	uint32_t body_bytes;
};

static int bad(struct cvmm_error *err, int code, uint64_t at, const char *what)
{
	return cvmm_fail(err, code, "virtqueue trace: at offset %llu: %s", (unsigned long long)at,
			 what);
}

static int ends_early(struct cvmm_error *err, uint64_t at)
{
	return bad(err, -ENODATA, at, "the file ends inside this block");
}

/*
 * The @len bytes at @at, or those of them that there are. @buf is used if they are not in memory.
 * Return: how many, or negative errno.
 */
static ssize_t fetch(const struct cvmm_virtq_trace_reader *reader, uint64_t at, uint32_t len,
		     uint8_t *buf, const uint8_t **ret_bytes)
{
	const struct cvmm_virtq_trace_source *source = &reader->source;
	size_t left;

	if (!source->bytes) {
		*ret_bytes = buf;
		/* No file is longer than that. */
		return at > (uint64_t)INT64_MAX - len ? 0
						      : cvmm_pread_full(source->fd, buf, len, at);
	}
	if (at >= source->len)
		return 0;
	left = source->len - (size_t)at;
	*ret_bytes = (const uint8_t *)source->bytes + at;
	return (ssize_t)(len < left ? len : left);
}

static bool is_wanted_type(uint32_t type)
{
	return type == BLOCK_SECTION || type == BLOCK_INTERFACE || type == BLOCK_PACKET;
}

/* A section says in which order its bytes are, the length before that included. */
static int check_order(const uint8_t *magic, uint64_t at, struct cvmm_error *err)
{
	switch (cvmm_get_le32(magic)) {
	case BYTE_ORDER_MAGIC:
		return 0;
	case BYTE_ORDER_MAGIC_OTHER:
		return bad(err, -ENOTSUP, at, "the file is big-endian, which captures never are");
	default:
		return bad(err, -EBADMSG, at, "the section has no byte order");
	}
}

/* The type and length of a block. Return: 1, 0 at the end of the file, or negative errno. */
static int load_head(const struct cvmm_virtq_trace_reader *reader, uint64_t at,
		     struct block *ret_block, struct cvmm_error *err)
{
	uint8_t buf[BLOCK_HEAD_BYTES + sizeof(uint32_t)];
	const uint8_t *head;
	ssize_t n = fetch(reader, at, sizeof(buf), buf, &head);
	struct block block = { .at = at };
	int ret;

	if (n < 0)
		return cvmm_fail(err, (int)n, "virtqueue trace: cannot read the file: %s",
				 strerror((int)-n));
	if (!n)
		return 0;
	if (n < (ssize_t)sizeof(uint32_t))
		return ends_early(err, at);
	block.type = cvmm_get_le32(head);
	if (!at && block.type != BLOCK_SECTION)
		return bad(err, -EBADMSG, at, "this is not a pcap-ng file");
	if (n < (ssize_t)sizeof(buf)) /* the shortest block, too */
		return ends_early(err, at);
	if (block.type == BLOCK_SECTION) {
		ret = check_order(head + BLOCK_HEAD_BYTES, at, err);
		if (ret)
			return ret;
	}
	block.len = cvmm_get_le32(head + sizeof(uint32_t));
	if (block.len < BLOCK_HEAD_BYTES + BLOCK_TAIL_BYTES || block.len % BLOCK_ALIGN)
		return bad(err, -EBADMSG, at, "the block has an impossible length");
	if (is_wanted_type(block.type) && block.len > CVMM_VIRTQ_TRACE_BLOCK_MAX)
		return bad(err, -EBADMSG, at, "the block is too long");
	*ret_block = block;
	return 1;
}

/* As load_head(), with the body of blocks that are not skipped. */
static int load_block(const struct cvmm_virtq_trace_reader *reader, uint64_t at,
		      struct block *ret_block, struct cvmm_error *err)
{
	uint8_t tail_buf[BLOCK_TAIL_BYTES];
	const uint8_t *bytes = NULL, *tail;
	struct block block = { 0 };
	uint64_t tail_at;
	ssize_t n;
	int ret;

	ret = load_head(reader, at, &block, err);
	if (ret <= 0)
		return ret;
	if (!cvmm_add_u64(at, block.len - BLOCK_TAIL_BYTES, &tail_at))
		return ends_early(err, at);
	n = fetch(reader, tail_at, BLOCK_TAIL_BYTES, tail_buf, &tail);
	if (n >= 0 && n < (ssize_t)BLOCK_TAIL_BYTES)
		return ends_early(err, at);
	if (n >= 0 && cvmm_get_le32(tail) != block.len)
		return bad(err, -EBADMSG, at, "the block's two lengths differ");
	if (n >= 0 && is_wanted_type(block.type)) {
		block.body_bytes = block.len - BLOCK_HEAD_BYTES - BLOCK_TAIL_BYTES;
		n = fetch(reader, at + BLOCK_HEAD_BYTES, block.body_bytes, reader->block, &bytes);
		if (n >= 0 && n < (ssize_t)block.body_bytes)
			return ends_early(err, at);
		block.body = bytes;
	}
	if (n < 0)
		return cvmm_fail(err, (int)n, "virtqueue trace: cannot read the file: %s",
				 strerror((int)-n));
	*ret_block = block;
	return 1;
}

/* ---- sections and interfaces --------------------------------------------------------------- */

static int parse_section(struct cvmm_virtq_trace_reader *reader, const struct block *block,
			 struct cvmm_error *err)
{
	if (block->body_bytes < SECTION_BYTES)
		return bad(err, -EBADMSG, block->at, "the section's header is too short");
	if (cvmm_get_le16(block->body + sizeof(uint32_t)) != SECTION_MAJOR)
		return bad(err, -ENOTSUP, block->at, "the section has an unknown version");
	reader->interface_count = 0;
	return 0;
}

static bool is_name(const char *name, const uint8_t *value, uint16_t len)
{
	return strnlen(name, CVMM_VIRTQ_TRACE_NAME_MAX) == len && !memcmp(name, value, len);
}

/* Goes through the options of an interface, which may show that it is not wanted. */
static int parse_options(const struct cvmm_virtq_trace_reader *reader, const struct block *block,
			 struct interface *interface, struct cvmm_error *err)
{
	const uint8_t *option = block->body + INTERFACE_BYTES;
	uint32_t left = block->body_bytes - INTERFACE_BYTES;
	bool has_name = !reader->source.name;

	while (left >= OPTION_HEAD_BYTES) {
		uint16_t code = cvmm_get_le16(option), len = cvmm_get_le16(option + 2);
		uint32_t padded = (len + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);
		const uint8_t *value = option + OPTION_HEAD_BYTES;

		if (code == OPTION_END)
			break;
		if (padded > left - OPTION_HEAD_BYTES)
			return bad(err, -EBADMSG, block->at, "an option is longer than its block");
		if (code == OPTION_INTERFACE_TSRESOL) {
			if (len != 1)
				return bad(err, -EBADMSG, block->at,
					   "the resolution of times is not one byte");
			interface->resolution = *value;
		}
		if (code == OPTION_INTERFACE_NAME && reader->source.name)
			has_name = is_name(reader->source.name, value, len);
		option += OPTION_HEAD_BYTES + padded;
		left -= OPTION_HEAD_BYTES + padded;
	}
	interface->wanted = interface->wanted && has_name;
	return 0;
}

static int parse_interface(struct cvmm_virtq_trace_reader *reader, const struct block *block,
			   struct cvmm_error *err)
{
	struct interface interface = { .resolution = TSRESOL_DEFAULT };
	uint32_t room = reader->interface_room;
	int ret;

	if (block->body_bytes < INTERFACE_BYTES)
		return bad(err, -EBADMSG, block->at, "the interface's description is too short");
	interface.wanted = cvmm_get_le16(block->body) == CVMM_VIRTQ_TRACE_LINKTYPE;
	ret = parse_options(reader, block, &interface, err);
	if (ret)
		return ret;
	if (interface.wanted && interface.resolution > TIME_POWERS_MAX)
		return bad(err, -ENOTSUP, block->at, "times have an unknown resolution");
	if (reader->interface_count == CVMM_VIRTQ_TRACE_INTERFACES_MAX)
		return bad(err, -E2BIG, block->at, "there are too many interfaces");
	if (reader->interface_count == room) {
		struct interface *grown;

		room = room ? 2 * room : 8;
		grown = realloc(reader->interfaces, room * sizeof(*grown));
		if (!grown)
			return cvmm_fail(err, -ENOMEM, "virtqueue trace: no memory");
		reader->interfaces = grown;
		reader->interface_room = room;
	}
	reader->interfaces[reader->interface_count++] = interface;
	return 0;
}

/* A time of so many powers of ten in nanoseconds; the last there is, if it is beyond. */
static uint64_t to_ns(uint64_t time, uint8_t resolution)
{
	for (; resolution < TSRESOL_NS; resolution++)
		if (!cvmm_mul_u64(time, 10, &time))
			return UINT64_MAX;
	for (; resolution > TSRESOL_NS; resolution--)
		time /= 10;
	return time;
}

/* ---- records ------------------------------------------------------------------------------- */

static int check_chain(const struct cvmm_virtq_trace_record *r, struct cvmm_error *err)
{
	if ((uint32_t)r->readable_count + r->writable_count > CVMM_VIRTQ_TRACE_CHAIN_PIECES_MAX)
		return bad(err, -EBADMSG, r->offset, "the chain has too many pieces");
	if ((uint64_t)r->readable_bytes + r->writable_bytes > CHAIN_BYTES_MAX)
		return bad(err, -EBADMSG, r->offset, "the chain has too many bytes");
	if (r->readable_count > r->readable_bytes || r->writable_count > r->writable_bytes ||
	    (!r->readable_count && r->readable_bytes) || (!r->writable_count && r->writable_bytes))
		return bad(err, -EBADMSG, r->offset, "the chain's pieces cannot have its bytes");
	return 0;
}

/* Finds the list of pieces, if it is there. @left: bytes behind the header. */
static int parse_pieces(struct cvmm_virtq_trace_record *r, const uint8_t *list, uint32_t listed,
			uint32_t left, struct cvmm_error *err)
{
	uint64_t sums[2] = { 0, 0 };

	if (!listed)
		return 0;
	if (r->kind != CVMM_VIRTQ_TRACE_AVAILABLE || listed > CVMM_VIRTQ_TRACE_PIECES_MAX ||
	    listed != (uint32_t)r->readable_count + r->writable_count)
		return bad(err, -EBADMSG, r->offset, "the list of pieces is not the chain's");
	/* Tools that cut packets may have cut it. */
	if (left < listed * TRACE_PIECE_BYTES)
		return 0;
	for (uint32_t i = 0; i < listed; i++) {
		uint32_t len = cvmm_get_le32(list + i * TRACE_PIECE_BYTES);

		if (!len)
			return bad(err, -EBADMSG, r->offset, "a piece is empty");
		sums[i >= r->readable_count] += len;
	}
	if (sums[0] != r->readable_bytes || sums[1] != r->writable_bytes)
		return bad(err, -EBADMSG, r->offset, "the pieces do not add up to the chain");
	r->pieces = list;
	return 0;
}

/* What lies behind the header: @left bytes, of which tools may have cut some. */
static int parse_rest(struct cvmm_virtq_trace_record *r, const uint8_t *header, uint32_t left,
		      struct cvmm_error *err)
{
	uint32_t snapped = cvmm_get_le32(header + TRACE_AT_SNAPPED_BYTES);
	uint32_t listed = cvmm_get_le16(header + TRACE_AT_LISTED);
	const uint8_t *rest = header + CVMM_VIRTQ_TRACE_HEADER_BYTES;
	uint32_t list_bytes = listed * TRACE_PIECE_BYTES, most = 0;
	int ret = parse_pieces(r, rest, listed, left, err);

	if (ret)
		return ret;
	if (r->kind == CVMM_VIRTQ_TRACE_AVAILABLE)
		most = r->readable_bytes;
	else if (r->kind == CVMM_VIRTQ_TRACE_USED)
		most = r->written_bytes;
	if (snapped > most)
		return bad(err, -EBADMSG, r->offset, "there is more data than the chain has");
	left -= left < list_bytes ? left : list_bytes;
	if (left > snapped)
		return bad(err, -EBADMSG, r->offset, "there is more data than the header says");
	r->data_bytes = left;
	r->data = left ? rest + list_bytes : NULL;
	return 0;
}

static int parse_record(const uint8_t *packet, uint32_t len, uint64_t offset,
			struct cvmm_virtq_trace_record *ret_record, struct cvmm_error *err)
{
	struct cvmm_virtq_trace_record r = { .offset = offset };
	int ret;

	if (len < CVMM_VIRTQ_TRACE_HEADER_BYTES)
		return bad(err, -EBADMSG, offset, "the packet is shorter than its header");
	if (packet[TRACE_AT_VERSION] != CVMM_VIRTQ_TRACE_VERSION)
		return bad(err, -ENOTSUP, offset, "the packet has an unknown version");
	if (packet[TRACE_AT_KIND] < CVMM_VIRTQ_TRACE_AVAILABLE ||
	    packet[TRACE_AT_KIND] > CVMM_VIRTQ_TRACE_VIOLATION)
		return bad(err, -EBADMSG, offset, "the packet has an unknown kind");
	r.kind = (enum cvmm_virtq_trace_kind)packet[TRACE_AT_KIND];
	r.flags = packet[TRACE_AT_FLAGS];
	r.violation = packet[TRACE_AT_VIOLATION];
	r.queue = cvmm_get_le16(packet + TRACE_AT_QUEUE);
	r.head = cvmm_get_le16(packet + TRACE_AT_HEAD);
	r.readable_count = cvmm_get_le16(packet + TRACE_AT_READABLE_COUNT);
	r.writable_count = cvmm_get_le16(packet + TRACE_AT_WRITABLE_COUNT);
	r.readable_bytes = cvmm_get_le32(packet + TRACE_AT_READABLE_BYTES);
	r.writable_bytes = cvmm_get_le32(packet + TRACE_AT_WRITABLE_BYTES);
	r.written_bytes = cvmm_get_le32(packet + TRACE_AT_WRITTEN_BYTES);
	ret = check_chain(&r, err);
	if (!ret)
		ret = parse_rest(&r, packet, len - CVMM_VIRTQ_TRACE_HEADER_BYTES, err);
	if (!ret)
		*ret_record = r;
	return ret;
}

/* The packet in a block. Return: 0 or -EBADMSG. */
static int find_packet(const struct block *block, const uint8_t **ret_packet, uint32_t *ret_len,
		       struct cvmm_error *err)
{
	uint32_t len;

	if (block->body_bytes < PACKET_BYTES)
		return bad(err, -EBADMSG, block->at, "the packet's block is too short");
	len = cvmm_get_le32(block->body + 12);
	if (len > block->body_bytes - PACKET_BYTES)
		return bad(err, -EBADMSG, block->at, "the packet is longer than its block");
	*ret_packet = block->body + PACKET_BYTES;
	*ret_len = len;
	return 0;
}

/* Return: 1; 0 for a packet that is not ours; or negative errno. */
static int parse_packet(const struct cvmm_virtq_trace_reader *reader, const struct block *block,
			struct cvmm_virtq_trace_record *ret_record, struct cvmm_error *err)
{
	const struct interface *interface;
	const uint8_t *packet;
	uint32_t number, len;
	uint64_t time;
	int ret;

	ret = find_packet(block, &packet, &len, err);
	if (ret)
		return ret;
	number = cvmm_get_le32(block->body);
	if (number >= reader->interface_count)
		return bad(err, -EBADMSG, block->at, "the packet's interface is not described");
	interface = &reader->interfaces[number];
	if (!interface->wanted)
		return 0;
	ret = parse_record(packet, len, block->at, ret_record, err);
	if (ret)
		return ret;
	time = (uint64_t)cvmm_get_le32(block->body + 4) << 32 | cvmm_get_le32(block->body + 8);
	ret_record->time_ns = to_ns(time, interface->resolution);
	return 1;
}

/* ---- readers ------------------------------------------------------------------------------- */

int cvmm_virtq_trace_reader_create(const struct cvmm_virtq_trace_source *source,
				   struct cvmm_virtq_trace_reader **ret_reader)
{
	struct cvmm_virtq_trace_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	reader->source = *source;
	if (!source->bytes) {
		reader->block = malloc(CVMM_VIRTQ_TRACE_BLOCK_MAX);
		if (!reader->block) {
			free(reader);
			return -ENOMEM;
		}
	}
	*ret_reader = reader;
	return 0;
}

void cvmm_virtq_trace_reader_destroy(struct cvmm_virtq_trace_reader *reader)
{
	if (!reader)
		return;
	free(reader->interfaces);
	free(reader->block);
	free(reader);
}

/* Up to the next record. Return: as cvmm_virtq_trace_reader_next(). */
static int next_record(struct cvmm_virtq_trace_reader *reader,
		       struct cvmm_virtq_trace_record *ret_record, struct cvmm_error *err)
{
	struct block block;
	int ret;

	for (;;) {
		bool found = false;

		ret = load_block(reader, reader->at, &block, err);
		if (ret <= 0)
			return ret;
		ret = 0;
		if (block.type == BLOCK_SECTION) {
			ret = parse_section(reader, &block, err);
		} else if (block.type == BLOCK_INTERFACE) {
			ret = parse_interface(reader, &block, err);
		} else if (block.type == BLOCK_PACKET) {
			ret = parse_packet(reader, &block, ret_record, err);
			found = ret > 0;
		}
		if (ret < 0)
			return ret;
		reader->at += block.len; /* the file was found to be as long */
		if (found)
			return 1;
	}
}

int cvmm_virtq_trace_reader_next(struct cvmm_virtq_trace_reader *reader,
				 struct cvmm_virtq_trace_record *ret_record, struct cvmm_error *err)
{
	int ret = reader->error.code;

	if (!ret)
		ret = next_record(reader, ret_record, &reader->error);
	if (ret < 0 && err)
		*err = reader->error;
	return ret;
}

/* ---- replay: life -------------------------------------------------------------------------- */

/**
 * struct chain - one chain of the file
 * @available_at: offset of its record; 0, where no record is, for one that was rewound
 * @used_at: offset of its used record; 0 for none
 */
struct chain {
	uint64_t available_at;
	uint64_t used_at;
	uint64_t time_ns;
	uint32_t written_bytes;
	uint16_t head;
};

/**
 * struct slot - a chain that the device has, or none
 * @next: the one that lies behind it in memory; of a free slot, the next free one
 * @start: of its buffers, from the start of the memory
 * @bytes: a multiple of CVMM_VIRTQ_REPLAY_ALIGN
 */
struct slot {
	struct slot *next;
	uint64_t start;
	uint64_t bytes;
	size_t chain;
};

/**
 * struct cvmm_virtq_replay - a replay
 * @chains: @chain_count of them
 * @next: the first that was not given to the device
 * @segments: room for the longest buffer that the ring takes, which has @segment_max
 * @used: slots in the order of their memory
 * @free: the other ones
 * @is_over: nothing can be done any more
 */
struct cvmm_virtq_replay {
	struct cvmm_virtq_replay_config config;
	struct cvmm_virtq_trace_reader *reader;
	struct chain *chains;
	size_t chain_count;
	size_t chain_room;
	size_t next;
	struct cvmm_virtq_segment *segments;
	size_t segment_max;
	struct slot *slots;
	struct slot *used;
	struct slot *free;
	struct cvmm_virtq_replay_stats stats;
	bool is_over;
};

static const char *const verdict_names[CVMM_VIRTQ_REPLAY_VERDICT_COUNT] = {
	[CVMM_VIRTQ_REPLAY_MATCHES] = "matches",
	[CVMM_VIRTQ_REPLAY_LENGTH_DIFFERS] = "used length differs",
	[CVMM_VIRTQ_REPLAY_BYTES_DIFFER] = "written bytes differ",
	[CVMM_VIRTQ_REPLAY_NOT_RECORDED] = "was not answered in the recording",
	[CVMM_VIRTQ_REPLAY_NOT_ANSWERED] = "was not answered",
	[CVMM_VIRTQ_REPLAY_DOES_NOT_FIT] = "does not fit",
};

const char *cvmm_virtq_replay_verdict_name(enum cvmm_virtq_replay_verdict verdict)
{
	if ((unsigned int)verdict >= CVMM_VIRTQ_REPLAY_VERDICT_COUNT)
		return "unknown verdict";
	return verdict_names[verdict];
}

static int check_config(struct cvmm_virtq_replay_config *c, struct cvmm_error *err)
{
	c->buffers_bytes -= c->buffers_bytes % CVMM_VIRTQ_REPLAY_ALIGN;
	if (c->buffers.addr % CVMM_VIRTQ_REPLAY_ALIGN || !c->buffers_bytes)
		return cvmm_fail(err, -EINVAL,
				 "virtqueue replay: the memory for buffers is not aligned to %u, "
				 "or shorter than that",
				 CVMM_VIRTQ_REPLAY_ALIGN);
	if (cvmm_mem_check(c->mem, c->buffers, c->buffers_bytes, CVMM_ACCESS_READ_WRITE))
		return cvmm_fail(
			err, -EINVAL, "virtqueue replay: %llu bytes at 0x%llx are not in RAM",
			(unsigned long long)c->buffers_bytes, (unsigned long long)c->buffers.addr);
	if (!c->drv->size || cvmm_virtq_driver_outstanding(c->drv))
		return cvmm_fail(err, -EINVAL, "virtqueue replay: the ring is in use");
	return 0;
}

static int note_chain(struct cvmm_virtq_replay *replay,
		      const struct cvmm_virtq_trace_record *record, struct cvmm_error *err)
{
	if (replay->chain_count == replay->chain_room) {
		size_t room = replay->chain_room ? 2 * replay->chain_room : 64;
		struct chain *grown = reallocarray(replay->chains, room, sizeof(*grown));

		if (!grown)
			return cvmm_fail(err, -ENOMEM, "virtqueue replay: no memory for %zu chains",
					 room);
		replay->chains = grown;
		replay->chain_room = room;
	}
	replay->chains[replay->chain_count++] = (struct chain){
		.available_at = record->offset,
		.time_ns = record->time_ns,
		.head = record->head,
	};
	return 0;
}

/* @open: by head, the number of the chain in flight, plus 1. */
static int note_record(struct cvmm_virtq_replay *replay, size_t *open,
		       const struct cvmm_virtq_trace_record *record, struct cvmm_error *err)
{
	struct chain *chain = NULL;
	int ret;

	if (record->kind == CVMM_VIRTQ_TRACE_VIOLATION) {
		replay->stats.violations++;
		return 0;
	}
	if (record->kind == CVMM_VIRTQ_TRACE_AVAILABLE) {
		/* One that has the head already was lost in a reset of the queue. */
		ret = note_chain(replay, record, err);
		if (!ret)
			open[record->head] = replay->chain_count;
		return ret;
	}
	if (open[record->head])
		chain = &replay->chains[open[record->head] - 1];
	open[record->head] = 0;
	if (!chain) {
		replay->stats.orphans++;
	} else if (record->kind == CVMM_VIRTQ_TRACE_REWOUND) {
		chain->available_at = 0;
	} else {
		chain->used_at = record->offset;
		chain->written_bytes = record->written_bytes;
	}
	return 0;
}

/* Chains that were rewound come again: out with them. */
static void drop_rewound(struct cvmm_virtq_replay *replay)
{
	size_t kept = 0;

	for (size_t i = 0; i < replay->chain_count; i++)
		if (replay->chains[i].available_at)
			replay->chains[kept++] = replay->chains[i];
	replay->chain_count = kept;
	replay->stats.chains = kept;
}

/* Reads through the file. Return: 0, also for damage that is to be ignored; or negative errno. */
static int make_index(struct cvmm_virtq_replay *replay, struct cvmm_error *err)
{
	size_t *open = calloc(UINT16_MAX + 1, sizeof(*open));
	struct cvmm_virtq_trace_record record;
	int ret = 1;

	if (!open)
		return cvmm_fail(err, -ENOMEM, "virtqueue replay: no memory");
	while (ret > 0) {
		ret = cvmm_virtq_trace_reader_next(replay->reader, &record, err);
		if (ret > 0 && record.queue == replay->config.queue) {
			int failed = note_record(replay, open, &record, err);

			ret = failed ? failed : 1;
		}
	}
	free(open);
	drop_rewound(replay);
	if (replay->config.ignore_damage && replay->reader->at &&
	    (ret == -ENODATA || ret == -EBADMSG))
		ret = 0;
	return ret;
}

static int allocate(struct cvmm_virtq_replay *replay, struct cvmm_error *err)
{
	const struct cvmm_virtq_driver *drv = replay->config.drv;
	uint16_t size = drv->size;

	replay->segment_max = size;
	if (drv->tables && drv->config.table_entries > size)
		replay->segment_max = drv->config.table_entries;
	replay->segments = calloc(replay->segment_max, sizeof(*replay->segments));
	replay->slots = calloc(size, sizeof(*replay->slots));
	if (!replay->segments || !replay->slots)
		return cvmm_fail(err, -ENOMEM, "virtqueue replay: no memory");
	for (uint16_t i = 0; i < size; i++) {
		replay->slots[i].next = replay->free;
		replay->free = &replay->slots[i];
	}
	return 0;
}

int cvmm_virtq_replay_create(const struct cvmm_virtq_replay_config *config,
			     struct cvmm_virtq_replay **ret_replay, struct cvmm_error *err)
{
	struct cvmm_virtq_replay *replay = calloc(1, sizeof(*replay));
	int ret;

	if (err)
		*err = (struct cvmm_error){ 0 };
	if (!replay)
		return cvmm_fail(err, -ENOMEM, "virtqueue replay: no memory");
	replay->config = *config;
	cvmm_mem_ref(config->mem);
	ret = check_config(&replay->config, err);
	if (!ret)
		ret = allocate(replay, err);
	if (!ret && cvmm_virtq_trace_reader_create(&config->source, &replay->reader))
		ret = cvmm_fail(err, -ENOMEM, "virtqueue replay: no memory");
	if (!ret)
		ret = make_index(replay, err);
	if (ret) {
		cvmm_virtq_replay_destroy(replay);
		return ret;
	}
	*ret_replay = replay;
	return 0;
}

void cvmm_virtq_replay_destroy(struct cvmm_virtq_replay *replay)
{
	if (!replay)
		return;
	cvmm_virtq_trace_reader_destroy(replay->reader);
	cvmm_mem_unref(replay->config.mem);
	free(replay->chains);
	free(replay->segments);
	free(replay->slots);
	free(replay);
}

/* ---- replay: buffers ----------------------------------------------------------------------- */

/* Reads a record of a chain again. It must be what it was, as far as that matters. */
static int read_again(const struct cvmm_virtq_replay *replay, uint64_t at,
		      enum cvmm_virtq_trace_kind kind, struct cvmm_virtq_trace_record *ret_record,
		      struct cvmm_error *err)
{
	const uint8_t *packet;
	struct block block;
	uint32_t len;
	int ret;

	ret = load_block(replay->reader, at, &block, err);
	if (ret < 0)
		return ret;
	if (!ret || block.type != BLOCK_PACKET)
		return bad(err, -EBADMSG, at, "the file has changed");
	ret = find_packet(&block, &packet, &len, err);
	if (!ret)
		ret = parse_record(packet, len, at, ret_record, err);
	if (!ret && ret_record->kind != kind)
		ret = bad(err, -EBADMSG, at, "the file has changed");
	return ret;
}

/* Where listed, as it was; else as even as it can be. */
static uint32_t piece_bytes(const struct cvmm_virtq_trace_record *r, uint32_t i)
{
	uint32_t count = r->readable_count, bytes = r->readable_bytes, even;

	if (r->pieces)
		return cvmm_get_le32(r->pieces + (size_t)i * TRACE_PIECE_BYTES);
	if (i >= count) {
		i -= count;
		count = r->writable_count;
		bytes = r->writable_bytes;
	}
	even = bytes / count;
	return i + 1 < count ? even : bytes - even * (count - 1);
}

static uint64_t align_piece(uint64_t at, uint32_t bytes)
{
	uint64_t align = bytes < CVMM_VIRTQ_REPLAY_ALIGN ? CVMM_VIRTQ_REPLAY_ALIGN_SHORT
							 : CVMM_VIRTQ_REPLAY_ALIGN;

	return (at + align - 1) & ~(align - 1);
}

/*
 * Puts a chain's pieces one behind the other. @segments: of as many as the chain has, or NULL. Cannot
 * wrap: there are at most 2^16 pieces of 2^32 bytes together. Return: bytes needed.
 */
static uint64_t lay_out(const struct cvmm_virtq_trace_record *r, cvmm_gpa start,
			struct cvmm_virtq_segment *segments)
{
	uint32_t pieces = (uint32_t)r->readable_count + r->writable_count;
	uint64_t at = 0;

	for (uint32_t i = 0; i < pieces; i++) {
		uint32_t bytes = piece_bytes(r, i);

		at = align_piece(at, bytes);
		if (segments)
			segments[i] = (struct cvmm_virtq_segment){ cvmm_gpa_add(start, at), bytes };
		at += bytes;
	}
	return (at + CVMM_VIRTQ_REPLAY_ALIGN - 1) & ~(uint64_t)(CVMM_VIRTQ_REPLAY_ALIGN - 1);
}

/* The first gap that is large enough, or NULL. */
static struct slot *slot_take(struct cvmm_virtq_replay *replay, uint64_t bytes)
{
	struct slot **link = &replay->used, *slot = replay->free;
	uint64_t at = 0;

	if (!slot)
		return NULL;
	for (; *link && (*link)->start - at < bytes; link = &(*link)->next)
		at = (*link)->start + (*link)->bytes;
	if (!*link && replay->config.buffers_bytes - at < bytes)
		return NULL;
	replay->free = slot->next;
	*slot = (struct slot){ .next = *link, .start = at, .bytes = bytes, .chain = replay->next };
	*link = slot;
	replay->stats.outstanding++;
	return slot;
}

static void slot_give(struct cvmm_virtq_replay *replay, struct slot *slot)
{
	struct slot **link = &replay->used;

	while (*link != slot)
		link = &(*link)->next;
	*link = slot->next;
	slot->next = replay->free;
	replay->free = slot;
	replay->stats.outstanding--;
}

/* Data as far as there is any, and zeroes. */
static int fill_buffers(const struct cvmm_virtq_replay *replay,
			const struct cvmm_virtq_trace_record *r)
{
	uint32_t pieces = (uint32_t)r->readable_count + r->writable_count, at = 0;
	int ret = 0;

	for (uint32_t i = 0; i < pieces && !ret; i++) {
		const struct cvmm_virtq_segment *segment = &replay->segments[i];
		uint32_t left = i < r->readable_count ? r->data_bytes - at : 0;
		uint32_t n = left < segment->len_bytes ? left : segment->len_bytes;

		if (n)
			ret = cvmm_mem_write(replay->config.mem, segment->gpa, r->data + at, n);
		at += n;
		if (!ret)
			ret = cvmm_mem_fill(replay->config.mem, cvmm_gpa_add(segment->gpa, n), 0,
					    segment->len_bytes - n);
	}
	return ret;
}

/* ---- replay: giving chains to the device --------------------------------------------------- */

/* Counts the result, and tells it. */
static void report(struct cvmm_virtq_replay *replay, struct cvmm_virtq_replay_result result,
		   size_t number)
{
	const struct chain *chain = &replay->chains[number];

	result.number = number;
	result.offset = chain->available_at;
	result.head = chain->head;
	result.recorded_bytes = chain->written_bytes;
	replay->stats.verdicts[result.verdict]++;
	if (replay->config.result)
		replay->config.result(replay->config.ctx, &result);
}

/* Entries of the ring that a buffer takes; see cvmm_virtq_driver_add(). */
static uint32_t entries_for(const struct cvmm_virtq_driver *drv, uint32_t pieces)
{
	return drv->tables && pieces <= drv->config.table_entries ? 1 : pieces;
}

static int add_failed(const struct cvmm_virtq_replay *replay, int code, struct cvmm_error *err)
{
	if (code == -EPROTO)
		return cvmm_fail(err, code, "virtqueue replay: %s",
				 cvmm_virtq_driver_violation_name(
					 cvmm_virtq_driver_violation(replay->config.drv)));
	return cvmm_fail(err, code, "virtqueue replay: cannot add chain %zu: %s", replay->next,
			 strerror(-code));
}

/* The next chain. Return: 1 if it was added, or never can be; 0 if not now; or negative errno. */
static int give_next(struct cvmm_virtq_replay *replay, struct cvmm_error *err)
{
	const struct cvmm_virtq_replay_config *c = &replay->config;
	struct cvmm_virtq_trace_record record;
	uint32_t pieces;
	struct slot *slot;
	uint64_t bytes;
	int ret;

	ret = read_again(replay, replay->chains[replay->next].available_at,
			 CVMM_VIRTQ_TRACE_AVAILABLE, &record, err);
	if (ret)
		return ret;
	pieces = (uint32_t)record.readable_count + record.writable_count;
	bytes = lay_out(&record, c->buffers, NULL);
	if (entries_for(c->drv, pieces) > c->drv->size || bytes > c->buffers_bytes) {
		report(replay,
		       (struct cvmm_virtq_replay_result){ .verdict =
								  CVMM_VIRTQ_REPLAY_DOES_NOT_FIT },
		       replay->next);
		return 1;
	}
	if (entries_for(c->drv, pieces ? pieces : 1) > cvmm_virtq_driver_room(c->drv))
		return 0;
	slot = slot_take(replay, bytes);
	if (!slot)
		return 0;
	lay_out(&record, cvmm_gpa_add(c->buffers, slot->start), replay->segments);
	ret = fill_buffers(replay, &record);
	/* A chain of empty descriptors only has no pieces, and the ring takes no such. */
	if (!pieces) {
		replay->segments[0] = (struct cvmm_virtq_segment){ c->buffers, 0 };
		record.readable_count = 1;
	}
	if (!ret)
		ret = cvmm_virtq_driver_add(c->drv, replay->segments, record.readable_count,
					    record.writable_count, slot);
	if (ret) {
		slot_give(replay, slot);
		return add_failed(replay, ret, err);
	}
	replay->stats.given++;
	return 1;
}

static uint64_t since_first(const struct cvmm_virtq_replay *replay, size_t number)
{
	uint64_t first = replay->chains[0].time_ns, then = replay->chains[number].time_ns;

	return then < first ? 0 : then - first;
}

int cvmm_virtq_replay_feed(struct cvmm_virtq_replay *replay, struct cvmm_error *err)
{
	const struct cvmm_virtq_replay_config *c = &replay->config;
	uint64_t given = replay->stats.given;
	int ret = 1;

	if (cvmm_virtq_driver_violation(c->drv))
		return add_failed(replay, -EPROTO, err);
	while (ret > 0 && cvmm_virtq_replay_next_due(replay, &(uint64_t){ 0 })) {
		if (c->is_due && !c->is_due(c->ctx, since_first(replay, replay->next)))
			break;
		ret = give_next(replay, err);
		if (ret > 0)
			replay->next++;
	}
	cvmm_virtq_driver_publish(c->drv);
	if (ret < 0) {
		replay->is_over = true;
		return ret;
	}
	return (int)(replay->stats.given - given); /* no more than the ring has */
}

bool cvmm_virtq_replay_next_due(const struct cvmm_virtq_replay *replay, uint64_t *ret_since_ns)
{
	if (replay->is_over || replay->next == replay->chain_count)
		return false;
	*ret_since_ns = since_first(replay, replay->next);
	return true;
}

/* ---- replay: comparing answers ------------------------------------------------------------- */

/* Return: how many of the first @len bytes of a segment are equal, or negative errno. */
static int64_t compare_segment(const struct cvmm_virtq_replay *replay,
			       const struct cvmm_virtq_segment *segment, const uint8_t *data,
			       uint32_t len)
{
	uint8_t buf[COMPARE_BYTES];

	for (uint32_t at = 0, n; at < len; at += n) {
		uint32_t equal = 0;
		int ret;

		n = len - at < COMPARE_BYTES ? len - at : COMPARE_BYTES;
		ret = cvmm_mem_read(replay->config.mem, cvmm_gpa_add(segment->gpa, at), buf, n);
		if (ret)
			return ret;
		if (!memcmp(buf, data + at, n))
			continue;
		while (buf[equal] == data[at + equal])
			equal++;
		return at + equal;
	}
	return len;
}

/*
 * Compares the bytes of the writable part that both know, the used length being @len.
 * Return: 0, and the place of the first difference in @result; or negative errno.
 */
static int compare_bytes(struct cvmm_virtq_replay *replay, const struct slot *slot,
			 struct cvmm_virtq_replay_result *result, struct cvmm_error *err)
{
	const struct chain *chain = &replay->chains[slot->chain];
	cvmm_gpa start = cvmm_gpa_add(replay->config.buffers, slot->start);
	struct cvmm_virtq_trace_record r;
	uint32_t first, pieces, done = 0;
	int ret;

	ret = read_again(replay, chain->available_at, CVMM_VIRTQ_TRACE_AVAILABLE, &r, err);
	if (ret)
		return ret;
	first = r.readable_count;
	pieces = first + r.writable_count;
	if (pieces > replay->segment_max || lay_out(&r, start, NULL) > slot->bytes)
		return bad(err, -EBADMSG, r.offset, "the file has changed");
	lay_out(&r, start, replay->segments);
	ret = read_again(replay, chain->used_at, CVMM_VIRTQ_TRACE_USED, &r, err);
	if (ret)
		return ret;
	result->compared_bytes =
		r.data_bytes < result->used_bytes ? r.data_bytes : result->used_bytes;
	for (uint32_t i = first; i < pieces && done < result->compared_bytes; i++) {
		const struct cvmm_virtq_segment *segment = &replay->segments[i];
		uint32_t left = result->compared_bytes - done;
		uint32_t n = left < segment->len_bytes ? left : segment->len_bytes;
		int64_t equal = compare_segment(replay, segment, r.data + done, n);

		if (equal < 0)
			return cvmm_fail(err, (int)equal, "virtqueue replay: cannot read buffers");
		done += (uint32_t)equal;
		if (equal < n)
			break;
	}
	result->first_difference = done;
	return 0;
}

static int finish(struct cvmm_virtq_replay *replay, struct slot *slot, uint32_t len,
		  struct cvmm_error *err)
{
	const struct chain *chain = &replay->chains[slot->chain];
	struct cvmm_virtq_replay_result result = {
		.verdict = CVMM_VIRTQ_REPLAY_NOT_RECORDED,
		.used_bytes = len,
	};
	size_t number = slot->chain;
	int ret = 0;

	if (chain->used_at) {
		ret = compare_bytes(replay, slot, &result, err);
		result.verdict = CVMM_VIRTQ_REPLAY_MATCHES;
		if (result.first_difference != result.compared_bytes)
			result.verdict = CVMM_VIRTQ_REPLAY_BYTES_DIFFER;
		if (chain->written_bytes != len)
			result.verdict = CVMM_VIRTQ_REPLAY_LENGTH_DIFFERS;
	}
	slot_give(replay, slot);
	if (!ret)
		report(replay, result, number);
	return ret;
}

int cvmm_virtq_replay_collect(struct cvmm_virtq_replay *replay, struct cvmm_error *err)
{
	struct cvmm_virtq_driver *drv = replay->config.drv;
	int count = 0, ret = 0;

	/* The device may go on for ever, with what others feed it; this function does not. */
	while (!replay->is_over && count < drv->size) {
		uint32_t len = 0;
		void *token;

		ret = cvmm_virtq_driver_take(drv, &token, &len);
		if (ret < 0)
			ret = add_failed(replay, ret, err);
		else if (ret)
			ret = finish(replay, token, len, err);
		else
			break;
		if (ret) {
			replay->is_over = true;
			return ret;
		}
		count++;
	}
	return count;
}

bool cvmm_virtq_replay_is_done(const struct cvmm_virtq_replay *replay)
{
	return replay->next == replay->chain_count && !replay->stats.outstanding;
}

void cvmm_virtq_replay_give_up(struct cvmm_virtq_replay *replay)
{
	replay->is_over = true;
	while (replay->used) {
		struct cvmm_virtq_replay_result result = { 0 };
		size_t number = replay->used->chain;

		result.verdict = replay->chains[number].used_at ? CVMM_VIRTQ_REPLAY_NOT_ANSWERED
								: CVMM_VIRTQ_REPLAY_MATCHES;
		slot_give(replay, replay->used);
		report(replay, result, number);
	}
}

struct cvmm_virtq_replay_stats cvmm_virtq_replay_stats(const struct cvmm_virtq_replay *replay)
{
	return replay->stats;
}
