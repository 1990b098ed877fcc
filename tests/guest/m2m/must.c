// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "must.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

int node_ioctl(int fd, unsigned long code, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, code, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? errno : 0;
}

void must(int fd, unsigned long code, void *arg, const char *name)
{
	int err = node_ioctl(fd, code, arg);

	if (err)
		fatal(name, "%s", strerror(err));
}

int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_RDWR | O_CLOEXEC);

	if (fd < 0)
		fatal("open", "%s: %s", path, strerror(errno));
	return fd;
}

void *must_map(void *address, size_t size, int flags, int fd, off_t offset)
{
	void *data = mmap(address, size, PROT_READ | PROT_WRITE, flags, fd, offset);

	if (data == MAP_FAILED)
		fatal("mmap", "%zu bytes: %s", size, strerror(errno));
	return data;
}
