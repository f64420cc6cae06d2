// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The log of what the back-end writes to memory.
 */
#include <fcntl.h>

#include "vhost_user_frontend_internal.h"

/* The log has a bit for each page, from address 0. */
static bool log_covers(const struct cvmm_vhost_user_log *log, uint64_t last)
{
	return last / CVMM_VHOST_USER_LOG_PAGE / 8 < log->size_bytes;
}

int frontend_check_log(const struct cvmm_vhost_user_frontend *fe, const struct cvmm_mem *mem,
		       struct cvmm_error *err)
{
	cvmm_gpa last;

	if (fe->log_fd < 0 || !mem || !cvmm_mem_last(mem, &last) || log_covers(&fe->log, last.addr))
		return 0;
	return cvmm_fail(err, -EINVAL,
			 "a log of %llu bytes does not reach up to address 0x%llx: set a longer "
			 "one first",
			 (unsigned long long)fe->log.size_bytes, (unsigned long long)last.addr);
}

/*
 * The answer is a u64 of 0, the log's description (a size of 0 is a refusal), or nothing: the specification
 * does not say which.
 */
static int send_base(struct cvmm_vhost_user_frontend *fe, int fd,
		     const struct cvmm_vhost_user_log *log, struct cvmm_error *err)
{
	struct cvmm_vhost_user_msg answer;
	bool refused;
	int r = frontend_ask(fe, CVMM_VHOST_USER_SET_LOG_BASE, log, sizeof(*log), &fd, 1, &answer,
			     err);

	if (r)
		return r;
	refused = (answer.size == sizeof(uint64_t) && answer.payload[0]) ||
		  (answer.size == sizeof(*log) && !answer.payload[0]);
	cvmm_vhost_user_msg_fini(&answer);
	if (refused)
		return cvmm_fail(err, -EREMOTEIO, "SET_LOG_BASE: the back-end refused");
	return 0;
}

int frontend_send_log(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = 0;

	if (fe->log_fd >= 0)
		r = send_base(fe, fe->log_fd, &fe->log, err);
	if (!r && fe->log_event >= 0)
		r = frontend_tell(fe, CVMM_VHOST_USER_SET_LOG_FD, NULL, 0, &fe->log_event, 1, err);
	return r;
}

/* The file must hold all of it: the back-end would die of an access behind its end. */
static int check_log_file(int fd, const struct cvmm_vhost_user_log *log, struct cvmm_error *err)
{
	struct stat st;
	uint64_t end;

	if (fstat(fd, &st))
		return cvmm_fail(err, -errno, "the log: %s", strerror(errno));
	if (!log->size_bytes || !cvmm_add_u64(log->offset, log->size_bytes, &end) ||
	    end > (uint64_t)st.st_size)
		return cvmm_fail(err, -EINVAL,
				 "the log's file is %lld bytes long; it must hold %llu at %llu",
				 (long long)st.st_size, (unsigned long long)log->size_bytes,
				 (unsigned long long)log->offset);
	return 0;
}

static int forget_log(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = fe->logging ? cvmm_vhost_user_frontend_set_logging(fe, false, err) : 0;

	if (!r)
		cvmm_close_fd(&fe->log_fd);
	return r;
}

/* As @fe would be with another log: for the check of its size. */
static int check_log_size(const struct cvmm_vhost_user_frontend *fe,
			  const struct cvmm_vhost_user_log *log, struct cvmm_error *err)
{
	cvmm_gpa last;

	if (!fe->mem || !cvmm_mem_last(fe->mem, &last) || log_covers(log, last.addr))
		return 0;
	return cvmm_fail(err, -EINVAL, "a log of %llu bytes does not reach up to address 0x%llx",
			 (unsigned long long)log->size_bytes, (unsigned long long)last.addr);
}

int cvmm_vhost_user_frontend_set_log(struct cvmm_vhost_user_frontend *fe, int fd, uint64_t offset,
				     uint64_t size_bytes, struct cvmm_error *err)
{
	struct cvmm_vhost_user_log log = { .size_bytes = size_bytes, .offset = offset };
	int copy, r;

	if (fd < 0)
		return forget_log(fe, err);
	if (!frontend_has(fe, CVMM_VHOST_USER_PROTOCOL(LOG_SHMFD)))
		return cvmm_fail(err, -EOPNOTSUPP, "SET_LOG_BASE: LOG_SHMFD was not negotiated");
	r = check_log_file(fd, &log, err);
	if (!r)
		r = check_log_size(fe, &log, err);
	if (r)
		return r;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return cvmm_fail(err, -errno, "the log: %s", strerror(errno));
	r = send_base(fe, copy, &log, err);
	if (r) {
		cvmm_close_fd(&copy);
		return r;
	}
	cvmm_close_fd(&fe->log_fd);
	fe->log_fd = copy;
	fe->log = log;
	return 0;
}

int cvmm_vhost_user_frontend_set_log_fd(struct cvmm_vhost_user_frontend *fe, int fd,
					struct cvmm_error *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), r;

	if (copy < 0)
		return cvmm_fail(err, -errno, "SET_LOG_FD: %s", strerror(errno));
	r = frontend_tell(fe, CVMM_VHOST_USER_SET_LOG_FD, NULL, 0, &copy, 1, err);
	if (r) {
		cvmm_close_fd(&copy);
		return r;
	}
	cvmm_close_fd(&fe->log_event);
	fe->log_event = copy;
	return 0;
}

/* All rings that run, with the flag or without it. */
static int send_ring_flags(struct cvmm_vhost_user_frontend *fe, struct cvmm_error *err)
{
	int r = 0;

	for (unsigned int i = 0; i < CVMM_VHOST_USER_QUEUES_MAX && !r; i++)
		if (fe->queues[i].started)
			r = frontend_queue_send_addr(fe, &fe->queues[i].queue, err);
	return r;
}

int cvmm_vhost_user_frontend_set_logging(struct cvmm_vhost_user_frontend *fe, bool enable,
					 struct cvmm_error *err)
{
	bool before = fe->logging;
	int r;

	if (enable && !(fe->offered >> CVMM_VHOST_USER_F_LOG_ALL & 1))
		return cvmm_fail(err, -EOPNOTSUPP, "the back-end does not offer LOG_ALL");
	if (enable && fe->log_fd < 0)
		return cvmm_fail(err, -EINVAL, "there is no log to write to");
	if (!fe->features_set)
		return cvmm_fail(err, -EINVAL, "no features were set yet");
	fe->logging = enable;
	r = frontend_send_features(fe, err);
	if (r) {
		fe->logging = before;
		return r;
	}
	r = send_ring_flags(fe, err);
	return r ? r : frontend_settle(fe, err);
}
