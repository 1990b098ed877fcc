/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Calls that return an errno, and calls that end the program when they fail. */
#ifndef M2M_MUST_H
#define M2M_MUST_H

#include <stddef.h>
#include <sys/types.h>

/* Reports what has failed and why, and ends the program. Each program has its own. */
void fatal(const char *name, const char *why, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* An ioctl, again when a signal interrupts it: 0, or the errno. */
int node_ioctl(int fd, unsigned long code, void *arg);
void must(int fd, unsigned long code, void *arg, const char *name);
int must_open(const char *path, int flags);
void *must_map(void *address, size_t size, int flags, int fd, off_t offset);

#endif
