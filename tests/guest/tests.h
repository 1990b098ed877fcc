/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
#ifndef TESTS_H
#define TESTS_H

#include "frames.h"

#include <stdio.h>

/*
 * TAP-like lines: "ok - name", "not ok - name # why"; fatal() is the second and the end.
 * `failures` is the exit status of the program.
 */
extern int failures;
void check(bool good, const char *name, const char *why, ...)
	__attribute__((format(printf, 3, 4)));
/* The check that an ioctl returns this errno, or 0. */
void expect(int fd, unsigned long code, void *arg, int wanted, const char *name);

/*
 * Has the host's half of the suite do something, for which `ask` appears in /out, and waits until
 * `done` does.
 */
void host_does(const char *ask, const char *done);

/* What stands behind the test's name on the command line. */
extern int argument_count;
extern char **arguments;

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};
void test_add(struct test *test);

/* A function that `client title` runs. */
#define TEST(function, title)                                                        \
	static void test_##function(void);                                           \
	__attribute__((constructor)) static void add_##function(void)                \
	{                                                                            \
		static struct test test = { .name = title, .run = test_##function }; \
		test_add(&test);                                                     \
	}                                                                            \
	static void test_##function(void)

#endif
