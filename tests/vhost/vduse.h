/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A device in user space (VDUSE), for tests of vhost-vdpa: the kernel carries what the front-end says to a
 * thread here, which serves one queue with the device's side of virtq. By its number it is a block device; what
 * it does is to give the bytes of the readable part of each buffer back, inverted. Include after "guest.h".
 */
#ifndef CVMM_TESTS_VHOST_VDUSE_H
#define CVMM_TESTS_VHOST_VDUSE_H

#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <linux/vduse.h>

#define VDUSE_NAME "cvmm-test"
#define VDUSE_SIZE_MAX 64U
#define VDUSE_CONFIG_BYTES 16U
#define VDUSE_REGIONS_MAX 8U
#define VDUSE_IOVECS 32U

/* For the device's thread, which cannot fail a test: the end of the program is one. */
#define vduse_must(cond)                                                                         \
	do {                                                                                     \
		if (!(cond)) {                                                                   \
			fprintf(stderr, "%s:%d: vduse: not true: %s (%s)\n", __FILE__, __LINE__, \
				#cond, strerror(errno));                                         \
			abort();                                                                 \
		}                                                                                \
	} while (0)

/**
 * struct vduse - the device; what is below @thread belongs to the thread
 */
struct vduse {
	int control, fd;
	int stop; /* eventfd */
	pthread_t thread;
	int kick;
	struct cvmm_virtq vq;
	struct cvmm_mem *mem;
};

/* ---- the thread ------------------------------------------------------------------------------ */

/* All that the front-end mapped, at the same addresses. */
static inline struct cvmm_mem *vduse_map(struct vduse *d)
{
	struct cvmm_mem_config configs[VDUSE_REGIONS_MAX];
	struct vduse_iotlb_entry entry = { .last = UINT64_MAX };
	struct cvmm_mem *mem = NULL;
	size_t count = 0;
	int fd;

	while ((fd = ioctl(d->fd, VDUSE_IOTLB_GET_FD, &entry)) >= 0) {
		vduse_must(count < VDUSE_REGIONS_MAX && entry.perm == VDUSE_ACCESS_RW);
		configs[count++] = (struct cvmm_mem_config){
			.gpa = G(entry.start),
			.len_bytes = entry.last - entry.start + 1,
			.kind = CVMM_MEM_FILE,
			.access = CVMM_ACCESS_READ_WRITE,
			.fd = fd,
			.fd_offset = entry.offset,
		};
		if (entry.last == UINT64_MAX)
			break;
		entry = (struct vduse_iotlb_entry){ .start = entry.last + 1, .last = UINT64_MAX };
	}
	vduse_must(!cvmm_mem_create(configs, count, &mem, NULL));
	while (count-- > 0)
		close(configs[count].fd);
	return mem;
}

static inline void vduse_start(struct vduse *d)
{
	struct vduse_vq_eventfd kick = { .fd = d->kick };
	struct vduse_vq_info info = { .index = 0 };
	struct cvmm_virtq_config config = { 0 };
	struct cvmm_virtq_base base = CVMM_VIRTQ_BASE_START;
	uint64_t features;

	vduse_must(!ioctl(d->fd, VDUSE_DEV_GET_FEATURES, &features));
	vduse_must(!ioctl(d->fd, VDUSE_VQ_GET_INFO, &info));
	if (!info.ready)
		return;
	config = (struct cvmm_virtq_config){
		.size = (uint16_t)info.num,
		.desc = G(info.desc_addr),
		.avail = G(info.driver_addr),
		.used = G(info.device_addr),
		.packed = features & RING_PACKED,
	};
	if (config.packed)
		base = (struct cvmm_virtq_base){
			.next_avail = info.packed.last_avail_idx,
			.next_used = info.packed.last_used_idx,
			.avail_wrap = info.packed.last_avail_counter,
			.used_wrap = info.packed.last_used_counter,
		};
	else
		base.next_avail = base.next_used = info.split.avail_index;
	d->mem = vduse_map(d);
	vduse_must(!cvmm_virtq_start_at(&d->vq, d->mem, &config, &base, NULL));
	vduse_must(!ioctl(d->fd, VDUSE_VQ_SETUP_KICKFD, &kick));
}

static inline void vduse_stop(struct vduse *d)
{
	cvmm_virtq_stop(&d->vq);
	d->mem = cvmm_mem_unref(d->mem);
}

static inline void vduse_state(struct vduse *d, struct vduse_vq_state *ret_state)
{
	struct cvmm_virtq_base base = cvmm_virtq_base(&d->vq);

	*ret_state = (struct vduse_vq_state){ .index = 0 };
	if (!d->vq.config.packed) {
		ret_state->split.avail_index = base.next_avail;
		return;
	}
	ret_state->packed = (struct vduse_vq_state_packed){
		.last_avail_counter = base.avail_wrap,
		.last_avail_idx = base.next_avail,
		.last_used_counter = base.used_wrap,
		.last_used_idx = base.next_used,
	};
}

static inline void vduse_answer(struct vduse *d)
{
	struct vduse_dev_response response;
	struct vduse_dev_request request;
	ssize_t n = read(d->fd, &request, sizeof(request));

	if (n < 0 && errno == EAGAIN)
		return;
	vduse_must(n == sizeof(request));
	memset(&response, 0, sizeof(response));
	response.request_id = request.request_id;
	response.result = VDUSE_REQ_RESULT_OK;
	if (request.type == VDUSE_GET_VQ_STATE)
		vduse_state(d, &response.vq_state);
	else if (request.type == VDUSE_SET_STATUS && !request.s.status)
		vduse_stop(d);
	else if (request.type == VDUSE_SET_STATUS && request.s.status & 4) /* DRIVER_OK */
		vduse_start(d);
	n = write(d->fd, &response, sizeof(response));
	vduse_must(n == sizeof(response));
}

static inline void vduse_serve(struct vduse *d)
{
	struct iovec iov[VDUSE_IOVECS];
	struct cvmm_virtq_chain chain;
	uint64_t kicks;
	uint32_t index = 0;
	uint8_t data[8192];
	int ret = 0;

	vduse_must(read(d->kick, &kicks, sizeof(kicks)) == sizeof(kicks));
	while (cvmm_virtq_is_started(&d->vq) &&
	       (ret = cvmm_virtq_pop(&d->vq, iov, VDUSE_IOVECS, &chain)) == 1) {
		size_t n = cvmm_iov_copy_from(chain.readable, chain.readable_count, 0, data,
					      sizeof(data));

		for (size_t i = 0; i < n; i++)
			data[i] = (uint8_t)~data[i];
		n = cvmm_iov_copy_to(chain.writable, chain.writable_count, 0, data, n);
		vduse_must(!cvmm_virtq_push_chain(&d->vq, &chain, (uint32_t)n));
	}
	vduse_must(!ret);
	if (cvmm_virtq_should_notify(&d->vq))
		vduse_must(!ioctl(d->fd, VDUSE_VQ_INJECT_IRQ, &index));
}

static inline void *vduse_thread(void *arg)
{
	struct vduse *d = arg;
	struct pollfd fds[] = { { .fd = d->stop, .events = POLLIN },
				{ .fd = d->fd, .events = POLLIN },
				{ .fd = d->kick, .events = POLLIN } };

	for (;;) {
		vduse_must(poll(fds, CVMM_ARRAY_SIZE(fds), -1) > 0);
		if (fds[0].revents)
			return NULL;
		if (fds[1].revents)
			vduse_answer(d);
		if (fds[2].revents)
			vduse_serve(d);
	}
}

/* ---- making it ------------------------------------------------------------------------------- */

static inline void vduse_create(struct vduse *d, uint64_t features, uint16_t queue_size)
{
	struct vduse_dev_config *config = calloc(1, sizeof(*config) + VDUSE_CONFIG_BYTES);
	struct vduse_vq_config vq = { .index = 0, .max_size = queue_size };
	uint64_t version = VDUSE_API_VERSION;

	assert_non_null(config);
	*d = (struct vduse){ .control = open("/dev/vduse/control", O_RDWR | O_CLOEXEC) };
	if (d->control < 0) {
		free(config);
		SKIP("no VDUSE in this kernel");
	}
	strcpy(config->name, VDUSE_NAME);
	config->device_id = 2;
	config->features = features;
	config->vq_num = 1;
	config->vq_align = 4096;
	config->config_size = VDUSE_CONFIG_BYTES;
	assert_ok(ioctl(d->control, VDUSE_SET_API_VERSION, &version));
	assert_ok(ioctl(d->control, VDUSE_CREATE_DEV, config));
	free(config);
	d->fd = open("/dev/vduse/" VDUSE_NAME, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_true(d->fd >= 0);
	assert_ok(ioctl(d->fd, VDUSE_VQ_SETUP, &vq));
	assert_ok(cvmm_virtq_init(&d->vq, VDUSE_SIZE_MAX));
	d->kick = make_eventfd();
	d->stop = make_eventfd();
	assert_ok(pthread_create(&d->thread, NULL, vduse_thread, d));
	assert_ok(system("vdpa dev add name " VDUSE_NAME " mgmtdev vduse"));
}

/* After the front-end has closed it. */
static inline void vduse_destroy(struct vduse *d)
{
	char name[VDUSE_NAME_MAX] = VDUSE_NAME;

	assert_ok(system("vdpa dev del " VDUSE_NAME));
	signal_eventfd(d->stop);
	assert_ok(pthread_join(d->thread, NULL));
	vduse_stop(d);
	cvmm_virtq_fini(&d->vq);
	close(d->fd);
	assert_ok(ioctl(d->control, VDUSE_DESTROY_DEV, name));
	close(d->control);
	close(d->kick);
	close(d->stop);
}

/* Another configuration, of which the front-end is told. */
static inline void vduse_change_config(struct vduse *d, const uint8_t config[VDUSE_CONFIG_BYTES])
{
	struct vduse_config_data *data = calloc(1, sizeof(*data) + VDUSE_CONFIG_BYTES);

	assert_non_null(data);
	data->length = VDUSE_CONFIG_BYTES;
	memcpy(data->buffer, config, VDUSE_CONFIG_BYTES);
	assert_ok(ioctl(d->fd, VDUSE_DEV_SET_CONFIG, data));
	free(data);
	assert_ok(ioctl(d->fd, VDUSE_DEV_INJECT_CONFIG_IRQ));
}

#endif /* CVMM_TESTS_VHOST_VDUSE_H */
