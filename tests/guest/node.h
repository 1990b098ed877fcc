/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* A small stateful-encoder client that does what ready-made programs cannot be told to do. */
#ifndef NODE_H
#define NODE_H

#include "memory.h"

#include <linux/videodev2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE
#define CAPTURE V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
#define MAX_BUFFERS 32
/* What node_setup() asks for. */
#define CODED_SIZE (2u << 20)

struct queue {
	enum v4l2_buf_type type;
	const struct memory_kind *kind;
	unsigned int count;
	struct chunk chunk[MAX_BUFFERS];
	/* Not queued; the client's. */
	bool ours[MAX_BUFFERS];
};

struct node {
	int fd;
	unsigned int width, height;
	size_t frame_size;
	struct queue output, capture;
};

/* What a dequeued CAPTURE buffer said. */
struct coded {
	unsigned int index;
	uint32_t bytes, flags, sequence;
	struct timeval timestamp;
	struct v4l2_timecode timecode;
	const uint8_t *data;
};

extern const char *device_path;

/* TAP-like lines: "ok - name", "not ok - name # why". `failures` is the exit status of the program. */
extern int failures;
void check(bool good, const char *name, const char *why, ...) __attribute__((format(printf, 3, 4)));
/* Something the test cannot go on without: reports it as failed and ends the program. */
void fatal(const char *name, const char *why, ...) __attribute__((format(printf, 2, 3), noreturn));

/* Has the host's half of the suite do something, for which `ask` appears in /out, and waits until `done` does. */
void host_does(const char *ask, const char *done);

int node_ioctl(int fd, unsigned long code, void *arg);
void node_open(struct node *node);
/* H.264 from NV12, with these buffers on the queues; the fatal kind of set-up. */
void node_setup(struct node *node, unsigned int width, unsigned int height, unsigned int outputs,
		unsigned int captures);
/* The same with other memory than the device's own. */
void node_setup_memory(struct node *node, unsigned int width, unsigned int height, unsigned int outputs,
		       const struct memory_kind *output, unsigned int captures, const struct memory_kind *capture);
void node_set_control(struct node *node, uint32_t id, int32_t value);
void node_stream(struct node *node, enum v4l2_buf_type type, bool on);
void node_queue_all_capture(struct node *node);
void node_close(struct node *node);

/* What the client passes for a buffer of its queue: for QBUF, PREPARE_BUF. One plane, which the caller keeps. */
struct v4l2_buffer node_buffer(const struct queue *queue, unsigned int index, struct v4l2_plane *plane);
/* Takes a buffer off the OUTPUT queue, if one is ready: 0, or the errno. `flags` may be NULL. */
int node_dequeue_output(struct node *node, unsigned int *index, uint32_t *flags);
/* Draws frame `number`. */
void node_draw(struct node *node, uint8_t *raw, unsigned int number, bool noise);
/* Draws frame `number` and queues it; waits for an OUTPUT buffer if none is free. Returns its index. */
unsigned int node_queue_frame(struct node *node, unsigned int number, const struct timeval *timestamp, bool noise);
/* The next coded buffer within `ms`; 0, or the errno (ETIME when nothing came). */
int node_dequeue(struct node *node, struct coded *coded, int ms);
/* Gives a CAPTURE buffer back. */
void node_requeue(struct node *node, unsigned int index);
void node_command(struct node *node, uint32_t command);
void node_subscribe_eos(struct node *node);
/* Is an EOS event there? Takes it. */
bool node_take_eos(struct node *node);

/* What is done with each coded buffer that has data. */
typedef void each_coded(const struct coded *coded, void *context);
/* Takes what is ready within `ms` of waiting for each buffer; LAST ends it. Returns the frames that had data. */
unsigned int node_take(struct node *node, int ms, bool *last, each_coded *each, void *context);
/* Encodes `count` frames from `first`, taking results as they come. */
unsigned int node_encode(struct node *node, unsigned int first, unsigned int count, bool noise, each_coded *each,
			 void *context);
/* STOP, and the rest of the frames. */
unsigned int node_drain(struct node *node, bool *last, each_coded *each, void *context);
/* An each_coded whose context is a FILE. */
each_coded node_save;

/* Does this access unit have an IDR slice (or, `type`, another NAL unit type)? */
bool has_nal(const uint8_t *data, size_t length, unsigned int type);
double seconds(void);

#endif
