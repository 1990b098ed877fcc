/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * A client of a stateful decoder: resolution changes, drain and seek, as the kernel's document on
 * the stateful decoder interface has them.
 */
#ifndef DECODER_H
#define DECODER_H

#include "m2m/node.h"

#define MAX_FRAMES 512

/* Coded frames, one after the other. */
struct clip {
	uint8_t *data;
	unsigned int count;
	size_t at[MAX_FRAMES], length[MAX_FRAMES];
};

/* What became of each frame of a clip, by its number there. */
struct pictures {
	uint8_t *data[MAX_FRAMES];
	size_t size[MAX_FRAMES];
};

struct decoder {
	struct node node;
	/* A drain is not at its end. */
	bool draining;
	unsigned int changes;
	/* Which frame of the clip each queued one was: a buffer's timestamp is an index of it. */
	unsigned int fed[4 * MAX_FRAMES], fed_count;
};

/* A decoded frame: its number in the clip, and how many were fed before it. */
typedef void decoded(void *context, unsigned int frame, unsigned int fed, const uint8_t *data,
		     size_t size);

void decoder_open(struct decoder *decoder, const char *path, const struct clip *clip);
/*
 * Queues the clip's frames from `*next` to `end` as buffers become free, and does what is to be
 * done meanwhile, until all of them are queued.
 */
void decoder_feed(struct decoder *decoder, const struct clip *clip, unsigned int *next,
		  unsigned int end, decoded *each, void *context);
/* STOP, and what comes until LAST and EOS. */
void decoder_drain(struct decoder *decoder, decoded *each, void *context);
void decoder_start(struct decoder *decoder);
/* Forgets what is queued and not decoded. */
void decoder_flush(struct decoder *decoder);

#endif
