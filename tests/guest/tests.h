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

/*
 * Has the host's half of the suite do something, for which `ask` appears in /out, and waits until
 * `done` does.
 */
void host_does(const char *ask, const char *done);

/* What stands behind the test's name on the command line. */
extern int argument_count;
extern char **arguments;

/* encode.c */
void test_drains(void);
void test_keyframe(void);
void test_bitrate(void);
void test_timestamps(void);
void test_slow_consumer(void);
void test_restart(void);
void test_crop(void);

/* import.c */
void test_import(void);
void test_import_refused(void);
void test_manage(void);
void test_export(void);
void test_hold_imported(void);

/* fences.c */
void test_fences(void);
void test_fence_ends(void);
void test_fence_fails(void);
void test_hold_fence(void);

/* robust.c */
void test_blocked_dqbuf(void);
void test_bad_requests(void);
void test_abandon(void);
void test_opens(void);
void test_hold(void);
void test_bounds(void);

/* waits.c */
void test_wait_ends(void);
void test_event_waiters(void);
void test_abandoned(void);
void test_silent_memory(void);

/* revoke.c */
void test_revoke(void);

/* queueing.c */
void test_posted(void);
void test_refused(void);
void test_replaced(void);
void test_other_process(void);

/* describe.c */
void test_describe(void);

/* answers.c */
void test_answers(void);

/* fail.c */
void test_fail(void);

/* storm.c */
void test_storm(void);

#endif
