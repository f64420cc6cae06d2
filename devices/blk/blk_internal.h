/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#ifndef CVMM_BLK_INTERNAL_H
#define CVMM_BLK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <cvmm/blk.h>

/* ---- what goes over the queue, VIRTIO 1.3, 5.2 --------------------------------------------- */

#define BLK_F_SEG_MAX 2
#define BLK_F_RO 5
#define BLK_F_BLK_SIZE 6
#define BLK_F_FLUSH 9
#define BLK_F_TOPOLOGY 10
#define BLK_F_CONFIG_WCE 11
#define BLK_F_DISCARD 13
#define BLK_F_WRITE_ZEROES 14

#define BLK_T_IN 0U
#define BLK_T_OUT 1U
#define BLK_T_FLUSH 4U
#define BLK_T_GET_ID 8U
#define BLK_T_DISCARD 11U
#define BLK_T_WRITE_ZEROES 13U

#define BLK_S_OK 0
#define BLK_S_IOERR 1
#define BLK_S_UNSUPP 2

struct blk_header {
	cvmm_le32 type;
	cvmm_le32 reserved;
	cvmm_le64 sector;
};

_Static_assert(sizeof(struct blk_header) == 16, "VIRTIO 1.3, 5.2.6");

#define BLK_SEGMENT_F_UNMAP 1U

struct blk_segment {
	cvmm_le64 sector;
	cvmm_le32 num_sectors;
	cvmm_le32 flags;
};

_Static_assert(sizeof(struct blk_segment) == 16, "VIRTIO 1.3, 5.2.6");

#define BLK_STATUS_BYTES 1U

/* struct virtio_blk_config, VIRTIO 1.3, 5.2.4, as far as the offered features define it. */
struct blk_config_space {
	cvmm_le64 capacity;
	cvmm_le32 size_max;
	cvmm_le32 seg_max;
	uint8_t geometry[4];
	cvmm_le32 blk_size;
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	cvmm_le16 min_io_size;
	cvmm_le32 opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	cvmm_le16 num_queues;
	cvmm_le32 max_discard_sectors;
	cvmm_le32 max_discard_seg;
	cvmm_le32 discard_sector_alignment;
	cvmm_le32 max_write_zeroes_sectors;
	cvmm_le32 max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
} __attribute__((packed));

_Static_assert(sizeof(struct blk_config_space) == 60, "VIRTIO 1.3, 5.2.4");
_Static_assert(offsetof(struct blk_config_space, writeback) == 32, "VIRTIO 1.3, 5.2.4");
_Static_assert(offsetof(struct blk_config_space, max_discard_sectors) == 36, "VIRTIO 1.3, 5.2.4");

/* ---- storage: what a worker does, blk_storage.c --------------------------------------------- */

struct blk_storage {
	int fd;
	bool block_device;
	bool read_only;
	bool locked;
	uint64_t capacity_bytes; /* a multiple of the block size */
	uint32_t block_bytes;	 /* logical block */
	uint32_t physical_bytes; /* physical block */
	atomic_bool giving_up;	 /* end long operations early: somebody waits for the worker */
};

/* Fills @s; blk_storage_close() undoes it, also after a failure. */
int blk_storage_open(struct blk_storage *s, const struct cvmm_blk_config *config,
		     struct cvmm_error *err);
void blk_storage_close(struct blk_storage *s);

/* Whole transfers: 0 or negative errno. @iov is used up. */
int blk_storage_read(struct blk_storage *s, struct iovec *iov, size_t count, uint64_t offset);
int blk_storage_write(struct blk_storage *s, struct iovec *iov, size_t count, uint64_t offset);
int blk_storage_flush(struct blk_storage *s);
int blk_storage_discard(struct blk_storage *s, uint64_t offset, uint64_t len_bytes);
int blk_storage_write_zeroes(struct blk_storage *s, uint64_t offset, uint64_t len_bytes,
			     bool unmap);

/* ---- what is not the same everywhere: blk_host_linux.c, blk_host_posix.c ------------------------ */

/* What a block device says of itself. @physical_bytes: 0 if it does not tell. */
struct blk_device {
	uint64_t bytes;
	uint32_t block_bytes; /* logical block */
	uint32_t physical_bytes;
	bool read_only;
};

/* All return 0 or negative errno; -EOPNOTSUPP, among others, for what cannot be done here. */
int blk_host_probe(int fd, struct blk_device *ret_device);
int blk_host_discard_device(int fd, uint64_t offset, uint64_t len_bytes);
int blk_host_punch(int fd, uint64_t offset, uint64_t len_bytes); /* reads as zeroes then */
int blk_host_zero(int fd, uint64_t offset, uint64_t len_bytes);	 /* with its space reserved */

/* Never waits: -EAGAIN, -EWOULDBLOCK or -EACCES if somebody else has it. */
int blk_host_lock(int fd, bool exclusive);
void blk_host_unlock(int fd);

void blk_host_name_thread(pthread_t thread, const char *name);

/* ---- requests -------------------------------------------------------------------------------- */

/*
 * A chain of at most one queue of descriptors, some of which may touch two regions of memory. A
 * request belongs to the loop, except between blk_worker_submit() and blk_worker_take_done().
 */
#define BLK_PIECES_MAX (CVMM_BLK_QUEUE_SIZE_MAX + 16U)

struct blk_request {
	struct blk_request *next; /* in whichever list it is */
	struct cvmm_virtq_chain chain;
	uint8_t *status_at; /* the chain's last writable byte */
	uint8_t status;
	int error; /* of the storage, for the log: negative errno or 0 */
	uint32_t type;
	uint64_t offset; /* in the image */
	uint64_t data_bytes;
	size_t data_count;
	struct iovec data[BLK_PIECES_MAX];   /* used up by the worker */
	struct iovec pieces[BLK_PIECES_MAX]; /* of @chain */
	unsigned int segment_count;
	struct blk_segment segments[CVMM_BLK_DISCARD_SEGMENTS_MAX]; /* copied once, checked */
};

struct blk_request_list {
	struct blk_request *first;
	struct blk_request **last;
};

static inline void blk_list_init(struct blk_request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static inline void blk_list_append(struct blk_request_list *list, struct blk_request *request)
{
	request->next = NULL;
	*list->last = request;
	list->last = &request->next;
}

static inline struct blk_request *blk_list_take(struct blk_request_list *list)
{
	struct blk_request *request = list->first;

	if (request) {
		list->first = request->next;
		if (!list->first)
			list->last = &list->first;
	}
	return request;
}

/* ---- the worker thread, blk_worker.c --------------------------------------------------------- */

struct blk_worker {
	pthread_t thread;
	bool has_thread;
	struct cvmm_notifier done_notifier; /* signalled when `done` gets its first request */
	struct blk_storage *storage;
	atomic_bool write_through;

	pthread_mutex_t lock;
	pthread_cond_t work; /* todo or quit changed */
	pthread_cond_t idle; /* busy became false with nothing to do */
	struct blk_request_list todo;
	struct blk_request_list done;
	bool busy;
	bool quit;
};

int blk_worker_init(struct blk_worker *w, struct blk_storage *storage);
void blk_worker_fini(struct blk_worker *w);
void blk_worker_submit(struct blk_worker *w, struct blk_request *request);
/* The next finished request, or NULL. Never blocks for long. */
struct blk_request *blk_worker_take_done(struct blk_worker *w);
/* Wait until everything that was submitted is done. */
void blk_worker_drain(struct blk_worker *w);

/* Check a request's chain and fill in the rest of it. Return: a status, BLK_S_OK for what can be executed. */
struct blk_limits {
	uint64_t capacity_bytes;
	uint64_t features; /* negotiated */
	bool read_only;
	const char *serial; /* CVMM_BLK_SERIAL_BYTES bytes */
};

uint8_t blk_request_parse(struct blk_request *request, const struct blk_limits *limits);

#endif /* CVMM_BLK_INTERNAL_H */
