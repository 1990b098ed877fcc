/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * A client of memory-to-memory nodes: encoders by the multi-planar API, decoders by the
 * single-planar one, with one plane. What a node must do and does not do ends the program.
 */
#ifndef M2M_NODE_H
#define M2M_NODE_H

#include "memory.h"

#include <stdbool.h>

#define OUTPUT V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE
#define CAPTURE V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
#define MAX_BUFFERS 32

enum role { ENCODER, DECODER };

struct queue {
	enum v4l2_buf_type type;
	const struct memory_kind *kind;
	unsigned int count;
	bool streaming;
	struct chunk chunk[MAX_BUFFERS];
	/* Not queued; the client's. */
	bool ours[MAX_BUFFERS];
};

struct node {
	int fd;
	enum role role;
	struct queue output, capture;
	/* Of an encoder: its raw frames. */
	unsigned int width, height;
	size_t frame_size;
	/* Since the last START: a CAPTURE buffer with LAST was dequeued, an EOS event was. */
	bool last, eos;
	/* The resolution has changed. Whoever handles that clears it. */
	bool changed;
};

/* What goes to the device with a buffer and comes back with it. */
struct frame {
	unsigned int index;
	uint32_t bytes, flags, sequence;
	struct timeval timestamp;
	struct v4l2_timecode timecode;
	/* The content of a dequeued buffer, if it is mapped. */
	const uint8_t *data;
};

/* Opens without blocking. */
void node_open(struct node *node, const char *path, enum role role);
/* From now on, DQBUF and DQEVENT wait. */
void node_block(struct node *node);
/* Frees the buffers' memory, too. */
void node_close(struct node *node);

/* NV12 of this size in; `coded` (a fourcc) out, in buffers of `coded_size` bytes. For encoders. */
void node_set_formats(struct node *node, unsigned int width, unsigned int height, uint32_t coded,
		      size_t coded_size);
void node_set_control(struct node *node, uint32_t id, int32_t value);

/* REQBUFS, and memory for each buffer. Frees what the queue had. */
void node_request(struct node *node, struct queue *queue, unsigned int count,
		  const struct memory_kind *kind);
/* The buffer's dmabuf. */
int node_export(struct node *node, const struct queue *queue, unsigned int index);
/* What QBUF and PREPARE_BUF take, for calls by hand. The caller keeps the plane. */
struct v4l2_buffer node_buffer(const struct queue *queue, unsigned int index,
			       struct v4l2_plane *plane);
/* Of `frame`, these matter: index, bytes, flags, timestamp, timecode. 0, or the errno. */
int node_qbuf(struct node *node, struct queue *queue, const struct frame *frame);
/* 0, or the errno. */
int node_dqbuf(struct node *node, struct queue *queue, struct frame *frame);
/* Gives a CAPTURE buffer to the device. */
void node_requeue(struct node *node, unsigned int index);
void node_queue_all_capture(struct node *node);

void node_stream(struct node *node, enum v4l2_buf_type type, bool on);
/* Queues all of CAPTURE and starts both queues. */
void node_start(struct node *node);
/* V4L2_ENC_CMD_*, V4L2_DEC_CMD_*. 0, or the errno. */
int node_command(struct node *node, uint32_t command);

void node_subscribe(struct node *node, uint32_t event);
/* Takes all events there are: see `eos` and `changed`. */
void node_take_events(struct node *node);

double seconds(void);

#endif
