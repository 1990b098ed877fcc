/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* A small stateful-encoder client that does what ready-made programs cannot be told to do. */
#ifndef NODE_H
#define NODE_H

#include <linux/videodev2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE
#define CAPTURE V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
#define MAX_BUFFERS 32

struct queue {
	enum v4l2_buf_type type;
	unsigned int count;
	size_t length[MAX_BUFFERS];
	uint8_t *memory[MAX_BUFFERS];
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

int node_ioctl(int fd, unsigned long code, void *arg);
void node_open(struct node *node);
/* H.264 from NV12, with these buffers on the queues; the fatal kind of set-up. */
void node_setup(struct node *node, unsigned int width, unsigned int height, unsigned int outputs,
		unsigned int captures);
void node_set_control(struct node *node, uint32_t id, int32_t value);
void node_stream(struct node *node, enum v4l2_buf_type type, bool on);
void node_queue_all_capture(struct node *node);
void node_close(struct node *node);

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

/* Does this access unit have an IDR slice (or, `type`, another NAL unit type)? */
bool has_nal(const uint8_t *data, size_t length, unsigned int type);
double seconds(void);

#endif
