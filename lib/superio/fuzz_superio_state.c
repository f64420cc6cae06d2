// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/*
 * The input is a saved state: as it is, and once more with a good size and version in front, so
 * that short inputs reach the checks behind. What is refused must change nothing; what is accepted
 * must be a state that the port works on from, and that it saves as it was.
 */
#include "superio_check.h"

#define ACCESSES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_restored(struct cvmm_serial *serial, struct check_host *host)
{
	static struct cvmm_serial_state saved, again;

	check_serial_invariants(serial, host);
	cvmm_serial_save(serial, &saved);
	if (cvmm_serial_restore(serial, &saved, sizeof(saved), NULL) < 0)
		abort();
	cvmm_serial_save(serial, &again);
	if (memcmp(&saved, &again, sizeof(saved)))
		abort();
	for (unsigned int i = 0; i < ACCESSES; i++) {
		cvmm_serial_read(serial, i % CVMM_SERIAL_PORTS);
		check_serial_invariants(serial, host);
		cvmm_serial_write(serial, i / CVMM_SERIAL_PORTS, (uint8_t)i);
		check_serial_invariants(serial, host);
	}
}

static void restore_one(const void *state, size_t len)
{
	static struct cvmm_serial_state before, after;
	struct check_host host;
	struct cvmm_serial *serial = check_serial_new(&host);

	host.budget = 0;
	cvmm_serial_save(serial, &before);
	if (cvmm_serial_restore(serial, state, len, NULL) < 0) {
		cvmm_serial_save(serial, &after);
		if (memcmp(&before, &after, sizeof(before)) || host.level_changes)
			abort();
	} else {
		check_restored(serial, &host);
	}
	cvmm_serial_destroy(serial);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cvmm_serial_state state;

	restore_one(data, size);
	memset(&state, 0, sizeof(state));
	memcpy(&state, data, size < sizeof(state) ? size : sizeof(state));
	state.size_bytes = cvmm_le32_from(sizeof(state));
	state.version = cvmm_le32_from(CVMM_SERIAL_STATE_VERSION);
	restore_one(&state, sizeof(state));
	return 0;
}
