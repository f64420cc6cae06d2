// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * A hostile driver: control messages, data chains and raw ring entries, in any order, with restarts.
 *
 * The input is a list of operations of 4 bytes: what, queue, argument, argument; the bytes of control
 * messages follow theirs. Host descriptors are a pipe that loops output back to input, and /dev/null.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cvmm/console.h>

#include "../../tests/support/descriptors.h"
#include "../../tests/support/device_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPERATIONS_MAX 256
#define CONTROL_TX 3U
#define PORTS 3U
#define QUEUES (2U * PORTS + 2U)

enum operation {
	OP_CHAIN,   /* a chain of 1 to 4 pieces */
	OP_CONTROL, /* a control message */
	OP_RAW,	    /* a raw descriptor, made available */
	OP_KICK,
	OP_RUN,
	OP_RESTART,
	OP_RESIZE,
	OP_EMERGENCY,
	OP_COUNT,
};

static void on_event(void *ctx, unsigned int port, enum cvmm_console_event event)
{
	struct cvmm_console **console = ctx;

	(void)event;
	cvmm_console_output_idle(*console, port);
}

static void offer_chain(struct harness *h, unsigned int queue, const uint8_t *op, uint64_t scratch)
{
	struct harness_buf bufs[4];
	unsigned int count = 1 + (op[2] & 3);

	for (unsigned int i = 0; i < count; i++)
		bufs[i] = (struct harness_buf){ scratch + 256U * i, 1U + op[3] * (i + 1U),
						(op[2] >> (4 + i) & 1) != 0 };
	harness_submit(h, queue, bufs, count);
}

static void offer_raw(struct harness *h, unsigned int queue, const uint8_t *op, uint64_t scratch)
{
	driver_ring_set_desc(&h->rings[queue], op[2] & 7,
			     op[3] & 0x80 ? UINT64_MAX - op[3] : scratch + op[3], op[3] * 1000U,
			     op[2] >> 3 & 7, op[3]);
	driver_ring_offer(&h->rings[queue], op[2] & 15);
}

static void restart(struct harness *h, uint8_t features)
{
	harness_stop(h);
	h->features = CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_VERSION_1);
	h->features |= features & 1 ? 0 : CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_MULTIPORT);
	h->features |= features & 2 ? CVMM_VIRTIO_FEATURE(CVMM_VIRTIO_F_EVENT_IDX) : 0;
	h->features |= features & 4 ? CVMM_VIRTIO_FEATURE(CVMM_CONSOLE_F_SIZE) : 0;
	harness_must(!harness_start(h));
}

/* Return: bytes of the input that the operation used beyond its own. */
static size_t operate(struct harness *h, struct cvmm_console *console, const uint8_t *op,
		      const uint8_t *rest, size_t rest_len, uint64_t scratch)
{
	unsigned int queue = op[1] % QUEUES;
	size_t len = 0;

	switch (op[0] % OP_COUNT) {
	case OP_CHAIN:
		offer_chain(h, queue, op, scratch);
		break;
	case OP_CONTROL:
		len = op[2] & 15 ? op[2] & 15 : 8;
		if (len > rest_len)
			return rest_len;
		harness_write(h, scratch + 4096, rest, len);
		harness_submit(h, CONTROL_TX,
			       &(struct harness_buf){ scratch + 4096, (uint32_t)len, false }, 1);
		harness_kick(h, CONTROL_TX);
		break;
	case OP_RAW:
		offer_raw(h, queue, op, scratch);
		break;
	case OP_KICK:
		harness_kick(h, queue);
		break;
	case OP_RUN:
		cvmm_loop_run_once(h->loop, 0);
		break;
	case OP_RESTART:
		restart(h, op[2]);
		break;
	case OP_RESIZE:
		cvmm_console_resize(console, op[1] % (PORTS + 1), op[2], op[3]);
		break;
	case OP_EMERGENCY:
		cvmm_console_ops.config_written(console, op[1] & 15, op + 2, 1 + (op[3] & 1));
		break;
	}
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cvmm_console *console = NULL;
	struct cvmm_console_config config = { .port_count = PORTS, .port_event = on_event };
	struct cvmm_console_port ports[PORTS] = { { .is_console = true } };
	struct harness h;
	uint64_t scratch;
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	harness_must(!test_pipe(fds, true));
	for (unsigned int i = 0; i < PORTS; i++)
		ports[i].in_fd = ports[i].out_fd = -1;
	ports[0].out_fd = fds[1];
	ports[1].in_fd = fds[0];
	ports[1].name = "fuzz";
	ports[2].in_fd = ports[2].out_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	config.ports = ports;
	config.ctx = &console;
	harness_must(!cvmm_console_create(&config, &console, NULL));
	harness_init(&h, &cvmm_console_ops, console, 0);
	scratch = harness_alloc(&h, 8192, 4096);
	restart(&h, 2);
	for (int i = 0; i < OPERATIONS_MAX && size >= 4; i++) {
		const uint8_t *op = data;
		size_t used;

		data += 4;
		size -= 4;
		used = operate(&h, console, op, data, size, scratch);
		data += used;
		size -= used;
	}
	harness_run(&h);
	harness_stop(&h);
	cvmm_console_destroy(console);
	harness_fini(&h);
	close(fds[0]);
	close(fds[1]);
	close(ports[2].in_fd);
	return 0;
}
