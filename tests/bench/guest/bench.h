/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* A program that encodes, and counts what that costs. */
#ifndef BENCH_H
#define BENCH_H

#include "m2m/node.h"

#include <stdio.h>

/*
 * Raw frames, each with a picture of its own that is written once; `depth` of them are with the
 * device.
 */
#define FRAMES 8
#define MAX_SESSIONS 32

struct options {
	const char *device;
	/* Names the case in the results and for the host. */
	const char *label;
	/* File with FRAMES raw frames; patterns without one. */
	const char *source;
	const char *memory;
	/* What comes out: H264 or FWHT (vicodec). */
	const char *coded;
	unsigned int width, height, depth, sessions;
	/* Frames of each session: before anything is counted, of the short and the long window. */
	unsigned int warmup, brief, frames;
	/*
	 * Has the host count the daemon's system calls: cheaply, and once more, by name, over a
	 * second window.
	 */
	bool trace;
	/* Has the host encode the same frames on its own: 'b'efore or 'a'fter. */
	char host;
	/* On the host itself: one window, and nobody to ask for other counts. */
	bool alone;
};

struct session {
	struct node node;
	/* Frames queued since the start, taken back, and coded ones. */
	unsigned int sent, back, coded;
	/* Coded frames of this window. */
	unsigned int window;
	uint64_t coded_bytes;
	/* When the last window had its first FRAMES coded frames, and when it had all. */
	double steady, end;
};

/* What is counted, at one moment. Those that this driver does not have are -1. */
struct counters {
	double seconds;
	long interrupts;
	long driver[16];
};

/* picture.c: writes picture `number` of `source`, or a pattern, into a raw frame. */
void picture_write(const struct chunk *chunk, const struct options *options, unsigned int number);

/* session.c */
void session_start(struct session *session, const struct options *options);
/*
 * Each session encodes `frames` (more than FRAMES) more, `depth` at a time; returns when all have
 * come back.
 */
void sessions_stream(struct session *sessions, const struct options *options, unsigned int frames);

/* counters.c */
void counters_read(struct counters *counters, int fd);
/* The differences, as fields of a JSON object. */
void counters_print(FILE *file, const struct counters *before, const struct counters *after);
/*
 * Asks the host for something and waits until it is done: a file in /out, and a file that answers.
 */
void host_ask(const char *what, const char *label);

#endif
