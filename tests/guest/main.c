// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "tests.h"

#include <string.h>

static struct test *tests;

void test_add(struct test *test)
{
	test->next = tests;
	tests = test;
}

int argument_count;
char **arguments;

int main(int argc, char **argv)
{
	if (argc > 2) {
		argument_count = argc - 2;
		arguments = argv + 2;
	}
	for (struct test *test = tests; argc > 1 && test; test = test->next)
		if (!strcmp(argv[1], test->name)) {
			test->run();
			return failures;
		}
	fprintf(stderr, "usage: client TEST [ARGUMENT...], where TEST is one of\n");
	for (struct test *test = tests; test; test = test->next)
		fprintf(stderr, "  %s\n", test->name);
	return 2;
}
