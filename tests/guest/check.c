// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "tests.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
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
