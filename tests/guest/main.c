// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "tests.h"

#include <string.h>

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "drains", test_drains },
	{ "keyframe", test_keyframe },
	{ "bitrate", test_bitrate },
	{ "timestamps", test_timestamps },
	{ "slow-consumer", test_slow_consumer },
	{ "restart", test_restart },
	{ "crop", test_crop },
	{ "lend", test_import },
	{ "lend-refused", test_import_refused },
	{ "manage", test_manage },
	{ "export", test_export },
	{ "hold-lent", test_hold_imported },
	{ "fences", test_fences },
	{ "fence-ends", test_fence_ends },
	{ "fence-fails", test_fence_fails },
	{ "hold-fence", test_hold_fence },
	{ "blocked-dqbuf", test_blocked_dqbuf },
	{ "bad-requests", test_bad_requests },
	{ "abandon", test_abandon },
	{ "opens", test_opens },
	{ "hold", test_hold },
	{ "bounds", test_bounds },
	{ "wait-ends", test_wait_ends },
	{ "event-waiters", test_event_waiters },
	{ "abandoned", test_abandoned },
	{ "silent-memory", test_silent_memory },
	{ "revoke", test_revoke },
	{ "posted", test_posted },
	{ "refused", test_refused },
	{ "describe", test_describe },
	{ "replaced", test_replaced },
	{ "answers", test_answers },
	{ "fail", test_fail },
	{ "storm", test_storm },
	{ "other-process", test_other_process },
};

int argument_count;
char **arguments;

int main(int argc, char **argv)
{
	if (argc > 2) {
		argument_count = argc - 2;
		arguments = argv + 2;
	}
	for (unsigned int i = 0; argc > 1 && i < sizeof(tests) / sizeof(*tests); i++)
		if (!strcmp(argv[1], tests[i].name)) {
			tests[i].run();
			return failures;
		}
	fprintf(stderr, "usage: client TEST [ARGUMENT...], where TEST is one of\n");
	for (unsigned int i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		fprintf(stderr, "  %s\n", tests[i].name);
	return 2;
}
