// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * What every vhost-user daemon must do, whatever its device is. Takes from the environment:
 *
 *   CVMM_DAEMON        the program
 *   CVMM_DAEMON_TYPE   of its device, as vhost-user.json names it
 *   CVMM_DAEMON_MAN    its man page
 *   CVMM_DAEMON_BYTES  how large it may be when stripped; not set: any size
 *   CVMM_DAEMON_NO_SANDBOX  set if this build has none
 *
 * The program has numbered sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <cvmm/vhost-user.h>

#include "../support/daemon_process.h"

static int set_up(void **state)
{
	struct daemon_process *d = malloc(sizeof(*d));

	daemon_begin(d);
	*state = d;
	return 0;
}

static int tear_down(void **state)
{
	daemon_end(*state);
	free(*state);
	return 0;
}

/* Run it to its end, and get what it says on standard output. */
static int run(struct daemon_process *d, char *out, size_t size, const char *args)
{
	char command[512];
	FILE *pipe;
	size_t n;

	snprintf(command, sizeof(command), "'%s' %s 2>'%s'", getenv("CVMM_DAEMON"), args,
		 d->log_path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	n = fread(out, 1, size - 1, pipe);
	out[n] = 0;
	return WEXITSTATUS(pclose(pipe));
}

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* ---- a front-end that asks one thing ------------------------------------------------------------- */

static void ask_for_features(int fd)
{
	const uint32_t request[3] = { CVMM_VHOST_USER_GET_FEATURES, CVMM_VHOST_USER_VERSION, 0 };

	assert_int_equal(send(fd, request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
}

/* Return: whether an answer came within @timeout_ms. */
static bool gets_answer(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint32_t answer[5];

	if (poll(&p, 1, timeout_ms) != 1 ||
	    recv(fd, answer, sizeof(answer), MSG_WAITALL) != sizeof(answer))
		return false;
	assert_int_equal(answer[0], CVMM_VHOST_USER_GET_FEATURES);
	assert_int_equal(answer[2], 8);
	assert_true(answer[4] & 1); /* VERSION_1 */
	return true;
}

static void expect_served(int fd)
{
	ask_for_features(fd);
	assert_true(gets_answer(fd, DAEMON_DEADLINE_MS));
}

static int connect_to(const char *path)
{
	int fd = daemon_socket(path, SOCK_STREAM, true);

	assert_true(fd >= 0);
	return fd;
}

static void expect_path_served(const char *path)
{
	int fd = connect_to(path);

	expect_served(fd);
	close(fd);
}

/* ---- what it says --------------------------------------------------------------------------------- */

static void capabilities_are_printed_whatever_else_is_asked(void **state)
{
	char out[4096], expected[64];

	snprintf(expected, sizeof(expected), "\"type\": \"%s\"", getenv("CVMM_DAEMON_TYPE"));
	assert_int_equal(run(*state, out, sizeof(out), "--print-capabilities"), 0);
	assert_non_null(strstr(out, expected));
	assert_int_equal(out[0], '{');
	assert_string_equal(out + strlen(out) - 2, "}\n");
	assert_int_equal(run(*state, out, sizeof(out), "--nonsense --fd 77 --print-capabilities x"),
			 0);
	assert_non_null(strstr(out, expected));
	assert_string_equal(daemon_log_text(*state), "");
}

static void output_that_cannot_be_written_is_a_failure(void **state)
{
	char out[64];

	if (access("/dev/full", W_OK)) {
		print_message("SKIP: there is no /dev/full\n");
		skip();
	}
	assert_int_equal(run(*state, out, sizeof(out), "--print-capabilities >/dev/full"), 1);
	assert_int_equal(run(*state, out, sizeof(out), "--help >/dev/full"), 1);
	assert_int_equal(run(*state, out, sizeof(out), "--version >/dev/full"), 1);
}

static void version_names_the_program(void **state)
{
	const char *program = strrchr(getenv("CVMM_DAEMON"), '/') + 1;
	char out[256];

	assert_int_equal(run(*state, out, sizeof(out), "--version"), 0);
	assert_int_equal(strncmp(out, program, strlen(program)), 0);
	assert_int_equal(run(*state, out, sizeof(out), "-V"), 0);
	assert_non_null(strstr(out, "(cvmm)\n"));
}

static const char *read_man_page(void)
{
	static char text[65536];
	int fd = open(getenv("CVMM_DAEMON_MAN"), O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	n = cvmm_read_full(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = 0;
	close(fd);
	return text;
}

/* Each word behind @before in @text must be, behind @there, in @other. */
static int compare_options(const char *text, const char *before, const char *other,
			   const char *there)
{
	int count = 0;

	for (const char *at = strstr(text, before); at; at = strstr(at + 1, before)) {
		const char *name = at + strlen(before);
		int len = (int)strspn(name, "abcdefghijklmnopqrstuvwxyz-");
		char wanted[96];

		snprintf(wanted, sizeof(wanted), "%s%.*s", there, len, name);
		if (!strstr(other, wanted))
			fail_msg("'%.*s' is in one of --help and the man page only", len, name);
		count++;
	}
	return count;
}

static void help_and_man_page_have_the_same_options(void **state)
{
	const char *man = read_man_page();
	char help[8192];

	assert_int_equal(run(*state, help, sizeof(help), "--help"), 0);
	assert_true(compare_options(help, " --", man, "Fl Fl ") >= 10);
	assert_true(compare_options(man, "Fl Fl ", help, " --") >= 10);
	assert_int_equal(run(*state, help, sizeof(help), "-h"), 0);
}

static void a_wrong_usage_has_status_2_and_a_message(void **state)
{
	static const struct {
		const char *args, *message;
	} wrong[] = {
		{ "", "there is no socket: give --socket-path PATH, or --fd N" },
		{ "--sokcet-path x", "there is no option --sokcet-path" },
		{ "-s x --fd 3", "--fd and --socket-path exclude each other" },
		{ "-s x -c 0", "-c: 0 is out of range: 1 to 64" },
		{ "-s x y", "'y' belongs to no option" },
		{ "--client", "--client needs --socket-path" },
		{ "-s", "-s needs a value: PATH" },
	};
	char out[64];

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(wrong); i++) {
		assert_int_equal(run(*state, out, sizeof(out), wrong[i].args), 2);
		assert_non_null(strstr(daemon_log_text(*state), wrong[i].message));
		assert_non_null(strstr(daemon_log_text(*state), "--help lists the options"));
		assert_string_equal(out, "");
	}
}

static void what_cannot_be_opened_has_status_1_and_a_message(void **state)
{
	struct daemon_process *d = *state;
	char out[64];

	assert_int_equal(run(d, out, sizeof(out), "-s /no/such/directory/sock"), 1);
	assert_non_null(strstr(daemon_log_text(d), "/no/such/directory/: No such file"));
	assert_int_equal(run(d, out, sizeof(out), "--fd 77"), 1);
	assert_non_null(strstr(daemon_log_text(d), "descriptor 77 is not open"));
	assert_int_equal(run(d, out, sizeof(out), "--fd 0 </dev/null"), 1);
	assert_non_null(strstr(daemon_log_text(d), "descriptor 0 is no socket"));
}

/* ---- sockets -------------------------------------------------------------------------------------- */

static void it_listens_and_ends_by_signals_with_status_0(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct daemon_process *d = *state;

	for (size_t i = 0; i < CVMM_ARRAY_SIZE(signals); i++) {
		int fd;

		daemon_start(d, "--socket-path", d->socket, NULL);
		fd = connect_to(daemon_path(d, 0));
		expect_served(fd);
		assert_int_equal(daemon_stop(d, signals[i]), 0); /* while it is connected */
		assert_false(is_there(daemon_path(d, 0)));
		close(fd);
		assert_true(daemon_notified(d, 0));
		assert_string_equal(d->status, "STOPPING=1");
	}
}

static void one_connection_follows_the_other_on_the_same_socket(void **state)
{
	struct daemon_process *d = *state;
	struct stat before, after;

	daemon_start(d, "-s", d->socket, NULL);
	assert_int_equal(lstat(daemon_path(d, 0), &before), 0);
	for (int i = 0; i < 50; i++)
		expect_path_served(daemon_path(d, 0));
	assert_int_equal(lstat(daemon_path(d, 0), &after), 0);
	assert_true(before.st_ino == after.st_ino && before.st_dev == after.st_dev);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void who_comes_second_waits_for_the_first(void **state)
{
	struct daemon_process *d = *state;
	int first, second;

	daemon_start(d, "-s", d->socket, NULL);
	first = connect_to(daemon_path(d, 0));
	expect_served(first);
	second = connect_to(daemon_path(d, 0));
	ask_for_features(second);
	assert_false(gets_answer(second, 50));
	expect_served(first);
	close(first);
	assert_true(gets_answer(second, DAEMON_DEADLINE_MS));
	close(second);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void each_socket_has_a_device_of_its_own(void **state)
{
	struct daemon_process *d = *state;
	int fds[3];

	daemon_start(d, "-s", d->socket, "-c", "3", NULL);
	for (int i = 0; i < 3; i++)
		fds[i] = connect_to(daemon_path(d, i));
	assert_false(is_there(daemon_path(d, 3)));
	for (int i = 2; i >= 0; i--)
		expect_served(fds[i]);
	close(fds[1]); /* the others do not notice */
	expect_served(fds[0]);
	expect_served(fds[2]);
	close(fds[0]);
	close(fds[2]);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
	for (int i = 0; i < 3; i++)
		assert_false(is_there(daemon_path(d, i)));
}

static void after_kill_9_it_starts_again_on_the_same_path(void **state)
{
	struct daemon_process *d = *state;

	for (int i = 0; i < 2; i++) {
		daemon_start(d, "-s", d->socket, NULL);
		expect_path_served(daemon_path(d, 0));
		assert_int_equal(daemon_stop(d, SIGKILL), -SIGKILL);
		assert_true(is_there(daemon_path(d, 0)));
	}
	daemon_start(d, "-s", d->socket, NULL);
	expect_path_served(daemon_path(d, 0));
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void a_second_one_on_the_same_path_is_refused(void **state)
{
	struct daemon_process *d = *state;
	struct daemon_process second;
	int fd;

	daemon_start(d, "-s", d->socket, NULL);
	fd = connect_to(daemon_path(d, 0));
	expect_served(fd);
	daemon_begin(&second);
	daemon_spawn(&second, "-s", d->socket, NULL);
	assert_int_equal(daemon_wait(&second), 1);
	assert_non_null(strstr(daemon_log_text(&second), "another process listens there"));
	daemon_end(&second);
	expect_served(fd);
	close(fd);
	expect_path_served(daemon_path(d, 0));
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void of_two_sockets_one_that_cannot_be_had_leaves_none(void **state)
{
	struct daemon_process *d = *state;
	int other = daemon_socket(daemon_path(d, 1), SOCK_STREAM, false);

	assert_true(other >= 0);
	daemon_spawn(d, "-s", d->socket, "-c", "2", NULL);
	assert_int_equal(daemon_wait(d), 1);
	assert_false(is_there(daemon_path(d, 0)));
	assert_true(is_there(daemon_path(d, 1)));
	close(other);
}

static void noise_ends_the_connection_and_not_the_daemon(void **state)
{
	struct daemon_process *d = *state;
	uint32_t noise[64];

	daemon_start(d, "-s", d->socket, NULL);
	for (unsigned int i = 0; i < 200; i++) {
		int fd = connect_to(daemon_path(d, 0));

		for (size_t j = 0; j < CVMM_ARRAY_SIZE(noise); j++)
			noise[j] = (uint32_t)(i * 2654435761U + j * 40503U) >> (i % 17);
		(void)!send(fd, noise, 4 + i, MSG_NOSIGNAL);
		close(fd);
	}
	expect_path_served(daemon_path(d, 0));
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
	/* Somebody who does that for ever does not fill disks. */
	assert_true(strlen(daemon_log_text(d)) < 16384);
}

/* ---- passed descriptors ------------------------------------------------------------------------------ */

struct passed {
	int fd[2];
	int count;
	bool activation;
	bool wrong_pid;
};

/* Lay the descriptors out from 3 on. */
static void pass(void *ctx)
{
	struct passed *p = ctx;
	char text[16];

	for (int i = 0; i < p->count; i++)
		p->fd[i] = fcntl(p->fd[i], F_DUPFD, 100);
	for (int i = 0; i < p->count; i++)
		dup2(p->fd[i], 3 + i);
	if (!p->activation)
		return;
	snprintf(text, sizeof(text), "%d", (int)getpid() + p->wrong_pid);
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%d", p->count);
	setenv("LISTEN_FDS", text, 1);
}

static void listen_for(struct daemon_process *d, struct passed *p, int count)
{
	*p = (struct passed){ .count = count };
	for (int i = 0; i < count; i++)
		p->fd[i] = daemon_socket(daemon_path(d, i), SOCK_STREAM, false);
	d->in_child = pass;
	d->ctx = p;
}

static void a_listening_descriptor_is_served_like_a_path(void **state)
{
	struct daemon_process *d = *state;
	struct passed p;

	listen_for(d, &p, 2);
	daemon_start(d, "--fd", "3", "--socket-fd=4", NULL);
	for (int i = 0; i < 5; i++) {
		expect_path_served(daemon_path(d, 0));
		expect_path_served(daemon_path(d, 1));
	}
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
	assert_true(is_there(daemon_path(d, 0))); /* whoever made it removes it */
	close(p.fd[0]);
	close(p.fd[1]);
}

static void a_connected_descriptor_is_served_until_it_ends(void **state)
{
	struct daemon_process *d = *state;
	struct passed p = { .count = 1 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	p.fd[0] = pair[1];
	d->in_child = pass;
	d->ctx = &p;
	daemon_start(d, "--fd", "3", NULL);
	close(pair[1]);
	expect_served(pair[0]);
	close(pair[0]);
	assert_int_equal(daemon_wait(d), 0);
}

static void sockets_of_a_service_manager_are_used(void **state)
{
	struct daemon_process *d = *state;
	struct passed p;

	listen_for(d, &p, 2);
	p.activation = true;
	daemon_start(d, NULL);
	expect_path_served(daemon_path(d, 1));
	expect_path_served(daemon_path(d, 0));
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
	daemon_spawn(d, "-c", "1", NULL);
	assert_int_equal(daemon_wait(d), 2);
	assert_non_null(strstr(daemon_log_text(d), "--socket-count is 1, and 2 sockets"));
	close(p.fd[0]);
	close(p.fd[1]);
}

static void sockets_that_a_service_manager_passed_to_others_are_not(void **state)
{
	struct daemon_process *d = *state;
	struct passed p;

	listen_for(d, &p, 1);
	p.activation = true;
	p.wrong_pid = true;
	daemon_spawn(d, NULL);
	assert_int_equal(daemon_wait(d), 2);
	close(p.fd[0]);
}

static void close_streams(void *ctx)
{
	(void)ctx;
	close(0);
	close(1);
	close(2);
}

static void it_runs_without_standard_streams(void **state)
{
	struct daemon_process *d = *state;

	d->in_child = close_streams;
	daemon_start(d, "-s", d->socket, NULL);
	expect_path_served(daemon_path(d, 0));
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

/* ---- connecting -------------------------------------------------------------------------------------- */

static int accept_from(int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	int fd;

	assert_int_equal(poll(&p, 1, DAEMON_DEADLINE_MS), 1);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

static void a_client_connects_when_somebody_listens_and_comes_back(void **state)
{
	struct daemon_process *d = *state;
	int listener, fd;

	daemon_start(d, "--client", "-s", d->socket, NULL);
	daemon_wait_log(d, "No such file or directory; trying again"); /* there is nobody yet */
	for (int i = 0; i < 2; i++) {
		/* The second time the front-end's socket is a new one. */
		listener = daemon_socket(daemon_path(d, 0), SOCK_STREAM, false);
		assert_true(listener >= 0);
		fd = accept_from(listener);
		expect_served(fd);
		close(fd);
		fd = accept_from(listener);
		expect_served(fd);
		close(listener);
		assert_int_equal(unlink(daemon_path(d, 0)), 0);
		close(fd);
	}
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void the_socket_of_another_is_not_removed_by_a_client(void **state)
{
	struct daemon_process *d = *state;
	int listener = daemon_socket(daemon_path(d, 0), SOCK_STREAM, false);
	int fd;

	daemon_start(d, "--client", "-s", d->socket, NULL);
	fd = accept_from(listener);
	expect_served(fd);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
	assert_true(is_there(daemon_path(d, 0)));
	close(fd);
	close(listener);
}

/* ---- the sandbox and the size ------------------------------------------------------------------------- */

/* A line of /proc/PID/status, as a number in base 16 or 10. */
static unsigned long long status_of(pid_t pid, const char *name, int base)
{
	char path[64], text[8192];
	const char *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : cvmm_read_full(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
	at = strstr(text, name);
	if (!at) {
		print_message("SKIP: /proc does not say '%s'\n", name);
		skip();
	}
	return strtoull(at + strlen(name), NULL, base);
}

static void skip_without_sandbox(void)
{
	if (DAEMON_SANITIZED || getenv("CVMM_DAEMON_NO_SANDBOX")) {
		print_message("SKIP: this build has no sandbox, or a sanitizer that needs more\n");
		skip();
	}
}

static void the_sandbox_is_on_unless_it_is_declined(void **state)
{
	struct daemon_process *d = *state;

	skip_without_sandbox();
	daemon_start(d, "-s", d->socket, NULL);
	assert_int_equal(status_of(d->pid, "\nSeccomp:", 10), 2);
	assert_int_equal(status_of(d->pid, "\nNoNewPrivs:", 10), 1);
	assert_true(status_of(d->pid, "\nCapPrm:", 16) == 0);
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
	daemon_start(d, "-s", d->socket, "--sandbox", "none", NULL);
	assert_int_equal(status_of(d->pid, "\nSeccomp:", 10),
			 status_of(getpid(), "\nSeccomp:", 10));
	expect_path_served(daemon_path(d, 0));
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

static void each_sandbox_serves(void **state)
{
	static const char *const kinds[] = { "landlock", "seccomp" };
	struct daemon_process *d = *state;

	skip_without_sandbox();
	for (size_t i = 0; i < CVMM_ARRAY_SIZE(kinds); i++) {
		daemon_spawn(d, "-s", d->socket, "--sandbox", kinds[i], NULL);
		for (int t = 0; t < DAEMON_DEADLINE_MS / 10 && !daemon_notified(d, 10); t++)
			if (waitpid(d->pid, NULL, WNOHANG) != 0)
				break;
		if (strcmp(d->status, "READY=1") != 0) {
			d->pid = 0;
			print_message("SKIP: %s", daemon_log_text(d));
			skip();
		}
		expect_path_served(daemon_path(d, 0));
		assert_int_equal(daemon_stop(d, SIGTERM), 0);
		assert_false(is_there(daemon_path(d, 0)));
		assert_true(daemon_notified(d, DAEMON_DEADLINE_MS)); /* STOPPING=1 */
	}
}

static void the_stripped_program_is_small(void **state)
{
	struct daemon_process *d = *state;
	const char *limit = getenv("CVMM_DAEMON_BYTES");
	char command[512];
	struct stat st;

	if (!limit) {
		print_message("SKIP: this build is not one whose size counts\n");
		skip();
	}
	snprintf(command, sizeof(command), "strip -o '%s/stripped' '%s' 2>/dev/null", d->dir,
		 getenv("CVMM_DAEMON"));
	if (system(command)) {
		print_message("SKIP: there is no strip\n");
		skip();
	}
	snprintf(command, sizeof(command), "%s/stripped", d->dir);
	assert_int_equal(stat(command, &st), 0);
	print_message("stripped: %lld bytes, of %s\n", (long long)st.st_size, limit);
	assert_true(st.st_size <= atoll(limit));
	daemon_start(d, "-s", d->socket, NULL);
	print_message("idle: %llu kB resident\n", status_of(d->pid, "\nVmRSS:", 10));
	assert_int_equal(daemon_stop(d, SIGTERM), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(capabilities_are_printed_whatever_else_is_asked),
		TEST(output_that_cannot_be_written_is_a_failure),
		TEST(version_names_the_program),
		TEST(help_and_man_page_have_the_same_options),
		TEST(a_wrong_usage_has_status_2_and_a_message),
		TEST(what_cannot_be_opened_has_status_1_and_a_message),
		TEST(it_listens_and_ends_by_signals_with_status_0),
		TEST(one_connection_follows_the_other_on_the_same_socket),
		TEST(who_comes_second_waits_for_the_first),
		TEST(each_socket_has_a_device_of_its_own),
		TEST(after_kill_9_it_starts_again_on_the_same_path),
		TEST(a_second_one_on_the_same_path_is_refused),
		TEST(of_two_sockets_one_that_cannot_be_had_leaves_none),
		TEST(noise_ends_the_connection_and_not_the_daemon),
		TEST(a_listening_descriptor_is_served_like_a_path),
		TEST(a_connected_descriptor_is_served_until_it_ends),
		TEST(sockets_of_a_service_manager_are_used),
		TEST(sockets_that_a_service_manager_passed_to_others_are_not),
		TEST(it_runs_without_standard_streams),
		TEST(a_client_connects_when_somebody_listens_and_comes_back),
		TEST(the_socket_of_another_is_not_removed_by_a_client),
		TEST(the_sandbox_is_on_unless_it_is_declined),
		TEST(each_sandbox_serves),
		TEST(the_stripped_program_is_small),
	};

	if (!getenv("CVMM_DAEMON")) {
		print_error("CVMM_DAEMON is not set\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
