// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* The first process of a measured guest: says that user space was reached, and stays. */
#include <fcntl.h>
#include <unistd.h>

int main(void)
{
	static const char mark[] = "\nBENCH-USERSPACE\n";
	int fd = open("/dev/console", O_WRONLY);

	if (fd < 0 || write(fd, mark, sizeof(mark) - 1) < 0)
		return 1;
	for (;;)
		pause();
}
