// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The front-end of the vhost-user benchmark: the same requests to whichever back-end listens.
 *
 *	frontend SOCKET ROUNDS KICKS TABLES REGIONS
 *
 * Prints lines "item value": ns or us. What the back-end does not offer is not printed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cvmm/vhost-user.h>

#define PATIENCE_NS (UINT64_C(10) * 1000000000)
#define REGION_BYTES UINT64_C(0x10000)
#define RAM_USER UINT64_C(0x100000000)
#define QUEUE_SIZE 64U
#define AVAIL_AT 0x1000U
#define USED_AT 0x2000U
#define DATA_AT 0x3000U
#define REGIONS_MAX 32U

struct frontend {
	struct cvmm_vhost_user_conn *conn;
	uint64_t features;
	uint64_t protocol;
	int ram_fd;
	uint8_t *ram;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "frontend: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *item, uint64_t *times, size_t count)
{
	qsort(times, count, sizeof(*times), compare);
	printf("%s %llu\n%s-p99 %llu\n", item, (unsigned long long)times[count / 2], item,
	       (unsigned long long)times[count * 99 / 100]);
}

static void send_request(struct frontend *fe, uint32_t request, uint32_t flags, const void *bytes,
			 size_t len, const int *fds, size_t fd_count)
{
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
	int ret = cvmm_vhost_user_conn_send_by(fe->conn, request, flags, &iov, len > 0, fds,
					       fd_count, cvmm_clock_ns() + PATIENCE_NS);

	if (ret)
		die("send", ret);
}

static uint64_t receive_u64(struct frontend *fe)
{
	struct cvmm_vhost_user_msg *msg;
	struct cvmm_error err;
	int ret = cvmm_vhost_user_conn_receive_by(fe->conn, &msg, cvmm_clock_ns() + PATIENCE_NS,
						  &err);

	if (ret)
		die("receive", ret);
	return msg->payload[0];
}

static uint64_t ask(struct frontend *fe, uint32_t request)
{
	send_request(fe, request, 0, NULL, 0, NULL, 0);
	return receive_u64(fe);
}

/* With REPLY_ACK each request is waited for; without it, the answer to GET_FEATURES shows it is done. */
static void tell(struct frontend *fe, uint32_t request, const void *bytes, size_t len,
		 const int *fds, size_t fd_count)
{
	if (fe->protocol & CVMM_VHOST_USER_PROTOCOL(REPLY_ACK)) {
		send_request(fe, request, CVMM_VHOST_USER_FLAG_NEED_REPLY, bytes, len, fds,
			     fd_count);
		if (receive_u64(fe) != 0)
			die("a request was refused", EPROTO);
		return;
	}
	send_request(fe, request, 0, bytes, len, fds, fd_count);
	ask(fe, CVMM_VHOST_USER_GET_FEATURES);
}

static void tell_u64(struct frontend *fe, uint32_t request, uint64_t value)
{
	tell(fe, request, &value, sizeof(value), NULL, 0);
}

static void connect_to(struct frontend *fe, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct cvmm_error err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		die(path, errno);
	int ret = cvmm_vhost_user_conn_create(fd, &fe->conn, &err);
	if (ret)
		die("connection", ret);
}

static void negotiate(struct frontend *fe)
{
	uint64_t wanted =
		CVMM_VHOST_USER_PROTOCOL(REPLY_ACK) | CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS);

	fe->features = ask(fe, CVMM_VHOST_USER_GET_FEATURES);
	if (!(fe->features & (UINT64_C(1) << CVMM_VHOST_USER_F_PROTOCOL_FEATURES)))
		die("no protocol features", EPROTO);
	wanted &= ask(fe, CVMM_VHOST_USER_GET_PROTOCOL_FEATURES);
	send_request(fe, CVMM_VHOST_USER_SET_PROTOCOL_FEATURES, 0, &wanted, sizeof(wanted), NULL,
		     0);
	fe->protocol = wanted;
	tell(fe, CVMM_VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	/* VERSION_1 and the protocol features. */
	tell_u64(fe, CVMM_VHOST_USER_SET_FEATURES,
		 fe->features & ((UINT64_C(1) << 32) |
				 (UINT64_C(1) << CVMM_VHOST_USER_F_PROTOCOL_FEATURES)));
}

static void time_features(struct frontend *fe, size_t rounds)
{
	uint64_t *times = calloc(rounds, sizeof(*times));

	if (!times)
		die("memory", ENOMEM);
	for (size_t i = 0; i < rounds; i++) {
		uint64_t start = cvmm_clock_ns();

		ask(fe, CVMM_VHOST_USER_GET_FEATURES);
		times[i] = cvmm_clock_ns() - start;
	}
	report("get-features", times, rounds);
	free(times);
}

static struct cvmm_vhost_user_mem_region region_of(uint64_t i)
{
	/* A hole after each one, so that nobody can join them. */
	return (struct cvmm_vhost_user_mem_region){
		.gpa = i * 2 * REGION_BYTES,
		.len_bytes = REGION_BYTES,
		.user_addr = RAM_USER + i * 2 * REGION_BYTES,
	};
}

static void set_table(struct frontend *fe, uint32_t count)
{
	struct {
		struct cvmm_vhost_user_mem_table head;
		struct cvmm_vhost_user_mem_region regions[REGIONS_MAX];
	} table = { .head.count = count };
	int fds[REGIONS_MAX];

	for (uint32_t i = 0; i < count; i++) {
		table.regions[i] = region_of(i);
		fds[i] = fe->ram_fd;
	}
	tell(fe, CVMM_VHOST_USER_SET_MEM_TABLE, &table,
	     sizeof(table.head) + count * sizeof(table.regions[0]), fds, count);
}

static void time_table(struct frontend *fe, uint32_t count, size_t rounds)
{
	uint64_t *times = calloc(rounds, sizeof(*times));
	char item[32];

	if (!times)
		die("memory", ENOMEM);
	for (size_t i = 0; i < rounds; i++) {
		uint64_t start = cvmm_clock_ns();

		set_table(fe, count);
		times[i] = cvmm_clock_ns() - start;
	}
	snprintf(item, sizeof(item), "table-%u", count);
	report(item, times, rounds);
	free(times);
}

/* Add as many slots as there are beyond the first, then remove them: the mean of one. */
static void time_slots(struct frontend *fe)
{
	if (!(fe->protocol & CVMM_VHOST_USER_PROTOCOL(CONFIGURE_MEM_SLOTS)))
		return;
	uint64_t slots = ask(fe, CVMM_VHOST_USER_GET_MAX_MEM_SLOTS);

	if (slots > CVMM_VHOST_USER_MEM_SLOTS_MAX)
		slots = CVMM_VHOST_USER_MEM_SLOTS_MAX;
	if (slots < 2)
		return;
	uint64_t start = cvmm_clock_ns();
	for (uint64_t i = 1; i < slots; i++) {
		struct cvmm_vhost_user_mem_slot slot = { .region = region_of(i) };

		tell(fe, CVMM_VHOST_USER_ADD_MEM_REG, &slot, sizeof(slot), &fe->ram_fd, 1);
	}
	uint64_t middle = cvmm_clock_ns();
	for (uint64_t i = 1; i < slots; i++) {
		struct cvmm_vhost_user_mem_slot slot = { .region = region_of(i) };

		tell(fe, CVMM_VHOST_USER_REM_MEM_REG, &slot, sizeof(slot), NULL, 0);
	}
	uint64_t end = cvmm_clock_ns();
	printf("slots %llu\nadd-slot %llu\nremove-slot %llu\n", (unsigned long long)slots,
	       (unsigned long long)((middle - start) / (slots - 1)),
	       (unsigned long long)((end - middle) / (slots - 1)));
}

static void start_queue(struct frontend *fe, int kick, int call)
{
	struct cvmm_vhost_user_vring_state num = { .num = QUEUE_SIZE }, base = { 0 },
					   on = { .num = 1 };
	struct cvmm_vhost_user_vring_addr addr = {
		.desc = RAM_USER,
		.avail = RAM_USER + AVAIL_AT,
		.used = RAM_USER + USED_AT,
	};
	uint64_t index = 0;

	tell(fe, CVMM_VHOST_USER_SET_VRING_NUM, &num, sizeof(num), NULL, 0);
	tell(fe, CVMM_VHOST_USER_SET_VRING_BASE, &base, sizeof(base), NULL, 0);
	tell(fe, CVMM_VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	tell(fe, CVMM_VHOST_USER_SET_VRING_CALL, &index, sizeof(index), &call, 1);
	tell(fe, CVMM_VHOST_USER_SET_VRING_KICK, &index, sizeof(index), &kick, 1);
	tell(fe, CVMM_VHOST_USER_SET_VRING_ENABLE, &on, sizeof(on), NULL, 0);
}

/* One writable byte in descriptor 0, offered again and again. */
static void time_kicks(struct frontend *fe, size_t rounds)
{
	struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} desc = { .addr = DATA_AT, .len = 1, .flags = 2 };
	volatile uint16_t *avail = (volatile uint16_t *)(void *)(fe->ram + AVAIL_AT);
	volatile uint16_t *used = (volatile uint16_t *)(void *)(fe->ram + USED_AT);
	uint64_t *times = calloc(rounds, sizeof(*times)), count;
	int kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	    call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (!times || kick < 0 || call < 0)
		die("eventfd", errno);
	memcpy(fe->ram, &desc, sizeof(desc));
	start_queue(fe, kick, call);
	uint16_t idx = 0;
	for (size_t i = 0; i < rounds; i++) {
		struct pollfd wait = { .fd = call, .events = POLLIN };
		const uint64_t one = 1;

		/* What came for the queue's start or twice for one. */
		if (read(call, &count, sizeof(count)) < 0 && errno != EAGAIN)
			die("call", errno);
		uint64_t start = cvmm_clock_ns();
		idx++;
		__atomic_store_n(avail + 1, idx, __ATOMIC_RELEASE);
		if (write(kick, &one, sizeof(one)) != sizeof(one))
			die("kick", errno);
		do {
			if (poll(&wait, 1, 10000) != 1)
				die("no call", ETIMEDOUT);
			if (read(call, &count, sizeof(count)) < 0 && errno != EAGAIN)
				die("call", errno);
		} while (__atomic_load_n(used + 1, __ATOMIC_ACQUIRE) != idx);
		times[i] = cvmm_clock_ns() - start;
	}
	report("kick", times, rounds);
	free(times);
}

int main(int argc, char **argv)
{
	struct frontend fe = { .ram_fd = -1 };

	if (argc != 6)
		die("usage: frontend SOCKET ROUNDS KICKS TABLES REGIONS", EINVAL);
	connect_to(&fe, argv[1]);
	fe.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	if (fe.ram_fd < 0 || ftruncate(fe.ram_fd, (off_t)REGION_BYTES))
		die("memfd", errno);
	fe.ram = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fe.ram_fd, 0);
	if (fe.ram == MAP_FAILED)
		die("mmap", errno);
	negotiate(&fe);
	time_features(&fe, strtoul(argv[2], NULL, 10));
	size_t tables = strtoul(argv[4], NULL, 10), kicks = strtoul(argv[3], NULL, 10);
	if (tables) {
		time_table(&fe, 8, tables);
		if (strtoul(argv[5], NULL, 10) >= REGIONS_MAX)
			time_table(&fe, REGIONS_MAX, tables);
	}
	set_table(&fe, 1);
	if (tables)
		time_slots(&fe);
	if (kicks)
		time_kicks(&fe, kicks);
	cvmm_vhost_user_conn_destroy(fe.conn);
	return 0;
}
