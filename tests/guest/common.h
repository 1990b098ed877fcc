/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* What the programs of the guest do alike. */
#ifndef COMMON_H
#define COMMON_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* "not ok - name # why", and the end of the program. */
static inline void __attribute__((noreturn)) not_ok_and_end(const char *name, const char *why, va_list args)
{
	printf("not ok - %s # ", name);
	vprintf(why, args);
	printf("\n");
	fflush(stdout);
	exit(1);
}

/* An ioctl, again when a signal interrupts it: 0, or the errno. */
static inline int ioctl_errno(int fd, unsigned long code, void *arg)
{
	int ret;

	do {
		ret = ioctl(fd, code, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? errno : 0;
}

#endif
