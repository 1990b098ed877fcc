/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* A session that encodes NV12 to H.264: frames in and coded buffers out. */
#ifndef FRAMES_H
#define FRAMES_H

#include "m2m/node.h"

/* What encoder_open() asks for. */
#define CODED_SIZE (2u << 20)

extern const char *device_path;

/* Other memory than that of m2m: dumb buffers of vgem; by name, or NULL. See kinds.c. */
extern const struct memory_kind memory_vgem;
const struct memory_kind *memory_find(const char *name);

/* Formats and so many buffers, which are not queued. */
void encoder_open(struct node *node, unsigned int width, unsigned int height, unsigned int outputs,
		  unsigned int captures);
/* The same with other memory than the device's own. */
void encoder_open_memory(struct node *node, unsigned int width, unsigned int height,
			 unsigned int outputs, const struct memory_kind *output,
			 unsigned int captures, const struct memory_kind *capture);
/* 320x240, four buffers on each queue, started. */
void encoder_start(struct node *node);
/* V4L2_ENC_CMD_*, which the device has to accept. */
void encoder_command(struct node *node, uint32_t command);

/* Draws frame `number`. */
void draw_frame(struct node *node, uint8_t *raw, unsigned int number, bool noise);
/*
 * Draws and queues frame `number`; waits for an OUTPUT buffer if none is free. Returns its index.
 */
unsigned int queue_frame(struct node *node, unsigned int number,
			      const struct timeval *timestamp, bool noise);
/* The next coded buffer within `ms`; 0, or the errno (ETIME when nothing came). */
int next_coded(struct node *node, struct frame *coded, int ms);

/* A thread's DQBUF(CAPTURE) of a node. Returns the errno. */
void *dequeue_in_thread(void *node);

/* What is done with each coded buffer that has data. */
typedef void each_coded(const struct frame *coded, void *context);
/*
 * Takes what is ready within `ms` of waiting for each buffer; LAST ends it, as node->last tells.
 * Returns the frames that had data.
 */
unsigned int take_coded(struct node *node, int ms, each_coded *each, void *context);
/* Encodes `count` frames from `first`, taking results as they come. */
unsigned int encode_frames(struct node *node, unsigned int first, unsigned int count, bool noise,
			 each_coded *each, void *context);
/* STOP, and the rest of the frames. */
unsigned int drain(struct node *node, each_coded *each, void *context);
/* An each_coded whose context is a FILE. */
each_coded save_coded;

/* Does this access unit have a NAL unit of this type? IDR slices are of type 5. */
bool has_nal(const uint8_t *data, size_t length, unsigned int type);

#endif
