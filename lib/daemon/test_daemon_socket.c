// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon_internal.h"

struct place {
	char dir[64];
	char path[96]; /* of a socket in it */
	struct daemon_settings settings;
	struct cvmm_error err;
};

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return -1;
	strcpy(p->dir, "/tmp/cvmm-daemon-XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	snprintf(p->path, sizeof(p->path), "%s/sock", p->dir);
	daemon_settings_init(&p->settings);
	*state = p;
	return 0;
}

/* Nothing may be left but what the test itself removes. */
static int remove_place(void **state)
{
	struct place *p = *state;
	int ret = rmdir(p->dir);

	free(p);
	return ret;
}

static int listen_there(struct place *p, struct daemon_listener *l)
{
	struct daemon_address address;

	memset(&p->err, 0, sizeof(p->err));
	assert_int_equal(daemon_address_init(&address, p->path, -1, NULL), 0);
	return daemon_listener_init(l, &address, &p->settings, &p->err);
}

static int connect_there(struct place *p)
{
	struct daemon_address address;
	int fd;

	assert_int_equal(daemon_address_init(&address, p->path, -1, NULL), 0);
	fd = daemon_connect(&address);
	daemon_address_fini(&address);
	return fd;
}

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* As a process that was killed leaves it: bound, and nobody there. */
static void leave_socket(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void numbers_are_put_behind_the_path(void **state)
{
	struct place *p = *state;
	struct daemon_address address;
	char expected[128];

	assert_int_equal(daemon_address_init(&address, p->path, 12, NULL), 0);
	snprintf(expected, sizeof(expected), "%s12", p->path);
	assert_string_equal(address.sun.sun_path, expected);
	assert_string_equal(address.name, "sock12");
	daemon_address_fini(&address);
	assert_int_equal(address.dir_fd, -1);
}

static void a_name_alone_is_in_the_working_directory(void **state)
{
	struct daemon_address address;
	struct stat here, there;

	(void)state;
	assert_int_equal(daemon_address_init(&address, "sock", -1, NULL), 0);
	assert_string_equal(address.name, "sock");
	assert_int_equal(stat(".", &here) | fstat(address.dir_fd, &there), 0);
	assert_true(here.st_ino == there.st_ino && here.st_dev == there.st_dev);
	daemon_address_fini(&address);
}

static void paths_that_cannot_be_are_refused(void **state)
{
	struct place *p = *state;
	struct daemon_address address;
	char path[200];

	memset(path, 'x', sizeof(path));
	memcpy(path, "/tmp/", 5);
	path[107] = 0;
	assert_int_equal(daemon_address_init(&address, path, -1, &p->err), 0);
	daemon_address_fini(&address);
	assert_int_equal(daemon_address_init(&address, path, 0, &p->err), -ENAMETOOLONG);
	assert_non_null(strstr(p->err.message, "can have 107 bytes, and this has 108"));
	path[107] = 'x';
	path[199] = 0;
	assert_int_equal(daemon_address_init(&address, path, -1, &p->err), -ENAMETOOLONG);
	assert_int_equal(daemon_address_init(&address, "/tmp/", -1, &p->err), -EISDIR);
	assert_int_equal(daemon_address_init(&address, "/no/such/sock", -1, &p->err), -ENOENT);
	assert_non_null(strstr(p->err.message, "/no/such/"));
}

/* ---- listening ------------------------------------------------------------------------------- */

static void a_listener_accepts_and_its_end_removes_the_socket(void **state)
{
	struct place *p = *state;
	struct daemon_listener l;
	int connected, accepted;

	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(daemon_accept(l.fd), -EAGAIN);
	connected = connect_there(p);
	assert_true(connected >= 0);
	accepted = daemon_accept(l.fd);
	assert_true(accepted >= 0);
	assert_int_equal(fcntl(accepted, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(accepted, F_GETFL) & O_NONBLOCK);
	close(connected);
	close(accepted);
	daemon_listener_fini(&l);
	assert_false(is_there(p->path));
	daemon_listener_fini(&l); /* again: nothing */
}

static void a_socket_that_somebody_left_is_replaced(void **state)
{
	struct place *p = *state;
	struct daemon_listener l;

	leave_socket(p->path);
	assert_int_equal(connect_there(p), -ECONNREFUSED);
	assert_int_equal(listen_there(p, &l), 0);
	close(connect_there(p));
	daemon_listener_fini(&l);
}

static void a_socket_that_is_in_use_is_refused_and_not_disturbed(void **state)
{
	struct place *p = *state;
	struct daemon_listener l, second;
	int connected;

	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(listen_there(p, &second), -EADDRINUSE);
	assert_non_null(strstr(p->err.message, "another process listens there"));
	/* The other one has not even seen a connection. */
	assert_int_equal(daemon_accept(l.fd), -EAGAIN);
	connected = connect_there(p);
	assert_true(connected >= 0);
	close(connected);
	daemon_listener_fini(&l);
}

static void a_socket_that_is_bound_and_does_not_listen_yet_is_in_use(void **state)
{
	struct place *p = *state;
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct daemon_listener l;

	strcpy(sun.sun_path, p->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen_there(p, &l), -EADDRINUSE);
	close(fd);
	/* So is one of another type. */
	assert_int_equal(unlink(p->path), 0);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen_there(p, &l), -EADDRINUSE);
	close(fd);
	assert_int_equal(unlink(p->path), 0);
}

static void what_is_no_socket_is_left_alone(void **state)
{
	struct place *p = *state;
	struct daemon_listener l;
	char target[128];
	int fd = open(p->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(listen_there(p, &l), -EEXIST);
	assert_non_null(strstr(p->err.message, "is no socket"));
	assert_true(is_there(p->path));
	assert_int_equal(unlink(p->path), 0);
	/* Nor is a link to a socket followed. */
	snprintf(target, sizeof(target), "%s/target", p->dir);
	leave_socket(target);
	assert_int_equal(symlink(target, p->path), 0);
	assert_int_equal(listen_there(p, &l), -EEXIST);
	assert_true(is_there(target));
	assert_int_equal(unlink(p->path) | unlink(target), 0);
}

static void a_socket_that_somebody_replaced_is_not_removed(void **state)
{
	struct place *p = *state;
	struct daemon_listener l;

	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(unlink(p->path), 0);
	leave_socket(p->path);
	daemon_listener_fini(&l);
	assert_true(is_there(p->path));
	assert_int_equal(unlink(p->path), 0);
	/* Nor a file of another kind. */
	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(unlink(p->path), 0);
	assert_int_equal(mkdir(p->path, 0700), 0);
	daemon_listener_fini(&l);
	assert_int_equal(rmdir(p->path), 0);
}

static void mode_and_group_are_those_asked_for(void **state)
{
	struct place *p = *state;
	mode_t before = umask(027);
	struct daemon_listener l;
	struct stat st;

	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(lstat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750); /* by the umask */
	daemon_listener_fini(&l);

	p->settings.socket_group_set = true;
	p->settings.socket_group = getegid();
	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(lstat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	assert_int_equal(st.st_gid, getegid());
	daemon_listener_fini(&l);

	p->settings.socket_mode = 0606;
	if (geteuid() == 0)
		p->settings.socket_group = 4321;
	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(lstat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0606);
	assert_int_equal(st.st_gid, p->settings.socket_group);
	daemon_listener_fini(&l);
	assert_int_equal(umask(before), 027); /* as it was */
}

static void a_failed_start_leaves_nothing_behind(void **state)
{
	struct place *p = *state;
	struct daemon_listener l;
	int status;

	/* Somebody who may not give files to that group. */
	if (geteuid() == 0)
		assert_int_equal(chown(p->dir, 65534, 65534), 0);
	p->settings.socket_group_set = true;
	if (fork() == 0) {
		if (geteuid() == 0 && (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
			_exit(2);
		_exit(listen_there(p, &l) == -EPERM && !is_there(p->path) ? 0 : 1);
	}
	assert_int_equal(wait(&status) < 0, 0);
	assert_int_equal(status, 0);
}

static void a_directory_that_somebody_else_locks_is_used_all_the_same(void **state)
{
	struct place *p = *state;
	int lock = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct daemon_listener l;

	assert_int_equal(flock(lock, LOCK_EX), 0);
	assert_int_equal(listen_there(p, &l), 0);
	daemon_listener_fini(&l);
	close(lock);
}

/* Starts together with others, on a byte; holds what it got until it is told to end. */
static void race(struct place *p, int start, int result, int end)
{
	struct daemon_listener l;
	char byte;

	(void)!read(start, &byte, 1);
	byte = listen_there(p, &l) ? 'n' : 'y';
	(void)!write(result, &byte, 1);
	(void)!read(end, &byte, 1);
	_exit(0);
}

static void of_many_that_start_on_an_abandoned_socket_one_gets_it(void **state)
{
	struct place *p = *state;
	enum {
		RACERS = 8,
		ROUNDS = 10
	};

	for (int round = 0; round < ROUNDS; round++) {
		int start[2], result[2], end[2];
		char bytes[RACERS];
		int winners = 0;

		leave_socket(p->path);
		assert_int_equal(pipe(start) | pipe(result) | pipe(end), 0);
		for (int i = 0; i < RACERS; i++)
			if (fork() == 0) {
				close(end[1]);
				race(p, start[0], result[1], end[0]);
			}
		assert_int_equal(write(start[1], bytes, RACERS), RACERS);
		assert_int_equal(cvmm_read_full(result[0], bytes, RACERS), RACERS);
		for (int i = 0; i < RACERS; i++)
			winners += bytes[i] == 'y';
		assert_int_equal(winners, 1);
		close(connect_there(p)); /* and it can be reached */
		close(end[1]);
		for (int i = 0; i < RACERS; i++)
			wait(NULL);
		close(end[0]);
		close(start[0]);
		close(start[1]);
		close(result[0]);
		close(result[1]);
		assert_int_equal(unlink(p->path), 0);
	}
}

static void connecting_says_why_it_does_not_work(void **state)
{
	struct place *p = *state;

	assert_int_equal(connect_there(p), -ENOENT);
	leave_socket(p->path);
	assert_int_equal(connect_there(p), -ECONNREFUSED);
	assert_int_equal(unlink(p->path), 0);
}

/* ---- sockets that were passed ---------------------------------------------------------------- */

static void passed_sockets_are_told_apart(void **state)
{
	struct place *p = *state;
	struct daemon_listener l;
	int pair[2];

	assert_int_equal(listen_there(p, &l), 0);
	assert_int_equal(fcntl(l.fd, F_SETFD, 0), 0);
	assert_int_equal(daemon_passed_check(l.fd, &p->err), 1);
	assert_int_equal(fcntl(l.fd, F_GETFD), FD_CLOEXEC);
	daemon_listener_fini(&l);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(daemon_passed_check(pair[0], &p->err), 0);
	assert_int_equal(fcntl(pair[0], F_GETFD), FD_CLOEXEC);
	close(pair[0]);
	close(pair[1]);
}

static void expect_refused(int fd, int error, const char *message)
{
	struct cvmm_error err = { 0 };

	assert_int_equal(daemon_passed_check(fd, &err), error);
	assert_non_null(strstr(err.message, message));
	if (error != -EBADF)
		close(fd);
}

static void descriptors_that_are_no_such_socket_are_refused(void **state)
{
	int pair[2];

	(void)state;
	expect_refused(12345, -EBADF, "descriptor 12345 is not open");
	expect_refused(open("/dev/null", O_RDWR), -ENOTSOCK, "is no socket");
	expect_refused(socket(AF_UNIX, SOCK_STREAM, 0), -ENOTCONN, "neither listens nor");
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	close(pair[1]);
	expect_refused(pair[0], -EINVAL, "is no Unix stream socket");
	expect_refused(socket(AF_INET, SOCK_STREAM, 0), -EINVAL, "is no Unix stream socket");
}

static void activation_is_for_the_process_that_is_meant(void **state)
{
	char pid[16], other[16];

	(void)state;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(other, sizeof(other), "%d", (int)getppid());
	assert_int_equal(daemon_activation_count(pid, "2"), 2);
	assert_int_equal(daemon_activation_count(other, "2"), 0);
	assert_int_equal(daemon_activation_count(NULL, "2"), 0);
	assert_int_equal(daemon_activation_count(pid, NULL), 0);
	assert_int_equal(daemon_activation_count(pid, "0"), 0);
	assert_int_equal(daemon_activation_count(pid, "-1"), 0);
	assert_int_equal(daemon_activation_count(pid, "x"), 0);
	assert_int_equal(daemon_activation_count(pid, ""), 0);
	assert_int_equal(daemon_activation_count("", "1"), 0);
	assert_int_equal(daemon_activation_count(pid, "99999999999999999999"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		TEST(numbers_are_put_behind_the_path),
		TEST(a_name_alone_is_in_the_working_directory),
		TEST(paths_that_cannot_be_are_refused),
		TEST(a_listener_accepts_and_its_end_removes_the_socket),
		TEST(a_socket_that_somebody_left_is_replaced),
		TEST(a_socket_that_is_in_use_is_refused_and_not_disturbed),
		TEST(a_socket_that_is_bound_and_does_not_listen_yet_is_in_use),
		TEST(what_is_no_socket_is_left_alone),
		TEST(a_socket_that_somebody_replaced_is_not_removed),
		TEST(mode_and_group_are_those_asked_for),
		TEST(a_failed_start_leaves_nothing_behind),
		TEST(a_directory_that_somebody_else_locks_is_used_all_the_same),
		TEST(of_many_that_start_on_an_abandoned_socket_one_gets_it),
		TEST(connecting_says_why_it_does_not_work),
		TEST(passed_sockets_are_told_apart),
		TEST(descriptors_that_are_no_such_socket_are_refused),
		TEST(activation_is_for_the_process_that_is_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
