// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "tests.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int failures;

static void not_ok(const char *name, const char *why, va_list args)
{
	failures = 1;
	printf("not ok - %s # ", name);
	vprintf(why, args);
	printf("\n");
}

void check(bool good, const char *name, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	if (good)
		printf("ok - %s\n", name);
	else
		not_ok(name, why, args);
	va_end(args);
	fflush(stdout);
}

void expect(int fd, unsigned long code, void *arg, int wanted, const char *name)
{
	int err = node_ioctl(fd, code, arg);

	check(err == wanted, name, "%s instead of %s", err ? strerror(err) : "success",
	      wanted ? strerror(wanted) : "success");
}

void fatal(const char *name, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	not_ok(name, why, args);
	exit(1);
}

void host_does(const char *ask, const char *done)
{
	char path[64];

	snprintf(path, sizeof(path), "/out/%s", ask);
	close(open(path, O_CREAT | O_WRONLY, 0644));
	snprintf(path, sizeof(path), "/out/%s", done);
	for (int i = 0; access(path, F_OK); i++) {
		if (i == 100)
			fatal("the host does its part", "no %s for 10 s", path);
		usleep(100000);
	}
}
