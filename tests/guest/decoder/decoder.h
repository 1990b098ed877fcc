/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* A client of a stateful decoder (single-planar, MMAP): resolution changes, drain and seek, as the kernel's document on
 * the stateful decoder interface has them. */
#ifndef DECODER_H
#define DECODER_H

#include <linux/videodev2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_BUFFERS 8
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

struct queue {
	enum v4l2_buf_type type;
	unsigned int count;
	bool streaming;
	struct {
		uint8_t *data;
		size_t size;
		bool ours;
	} buffer[MAX_BUFFERS];
};

struct decoder {
	int fd;
	struct queue output, capture;
	/* Since the last START: the buffer with LAST, the EOS event; a change that is not yet handled; a drain that is not at its end. */
	bool last, eos, changed, draining;
	unsigned int changes;
	/* Which frame of the clip each queued one was: a buffer's timestamp is an index of it. */
	unsigned int fed[4 * MAX_FRAMES], fed_count;
};

/* A decoded frame: its number in the clip, and how many were fed before it. */
typedef void decoded(void *context, unsigned int frame, unsigned int fed, const uint8_t *data, size_t size);

/* Each ends the program with a line of the kind "not ok - ..." when the device does not do as it should. */
void decoder_open(struct decoder *decoder, const char *path, const struct clip *clip);
/* Queues the clip's frames from `*next` to `end` as buffers become free, and does what is to be done meanwhile, until
 * all of them are queued. */
void decoder_feed(struct decoder *decoder, const struct clip *clip, unsigned int *next, unsigned int end, decoded *each,
		  void *context);
/* STOP, and what comes until LAST and EOS. */
void decoder_drain(struct decoder *decoder, decoded *each, void *context);
void decoder_start(struct decoder *decoder);
/* Forgets what is queued and not decoded. */
void decoder_flush(struct decoder *decoder);
void decoder_close(struct decoder *decoder);

/* "not ok", and the end. */
void fatal(const char *why, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
