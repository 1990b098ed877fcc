// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "frames.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

const char *device_path = "/dev/video0";

void encoder_open(struct node *node, unsigned int width, unsigned int height, unsigned int outputs,
		  unsigned int captures)
{
	encoder_open_memory(node, width, height, outputs, &memory_mmap, captures, &memory_mmap);
}

void encoder_open_memory(struct node *node, unsigned int width, unsigned int height,
			 unsigned int outputs, const struct memory_kind *output,
			 unsigned int captures, const struct memory_kind *capture)
{
	node_open(node, device_path, ENCODER);
	node_set_formats(node, width, height, V4L2_PIX_FMT_H264, CODED_SIZE);
	node_request(node, &node->output, outputs, output);
	node_request(node, &node->capture, captures, capture);
}

void encoder_start(struct node *node)
{
	encoder_open(node, 320, 240, 4, 4);
	node_start(node);
}

void draw_frame(struct node *node, uint8_t *raw, unsigned int number, bool noise)
{
	size_t luma = (size_t)node->width * node->height;
	uint32_t random = number * 2654435761u + 1;

	for (unsigned int y = 0; y < node->height; y++)
		for (unsigned int x = 0; x < node->width; x++) {
			random = random * 1664525u + 1013904223u;
			raw[y * node->width + x] = noise ? random >> 24 : x + y + 3 * number;
		}
	memset(raw + luma, 128, node->frame_size - luma);
}

static int free_output(struct node *node)
{
	for (double end = seconds() + 10; seconds() < end;) {
		struct pollfd wait = { .fd = node->fd, .events = POLLOUT };
		struct frame raw;

		for (unsigned int i = 0; i < node->output.count; i++)
			if (node->output.ours[i])
				return i;
		poll(&wait, 1, 1000);
		if (wait.revents & POLLOUT)
			node_dqbuf(node, &node->output, &raw);
	}
	fatal("an OUTPUT buffer comes back", "none within 10 s");
}

unsigned int queue_frame(struct node *node, unsigned int number, const struct timeval *timestamp,
			 bool noise)
{
	struct frame raw = {
		.index = free_output(node), .bytes = node->frame_size,
		.flags = V4L2_BUF_FLAG_TIMESTAMP_COPY | V4L2_BUF_FLAG_TIMECODE,
		.timecode.type = V4L2_TC_TYPE_25FPS,
		.timecode.frames = number % 25, .timecode.seconds = number / 25 % 60,
		.timestamp.tv_sec = number,
	};
	struct chunk *chunk = &node->output.chunk[raw.index];
	int err;

	if (timestamp)
		raw.timestamp = *timestamp;
	if (node->output.kind->renew)
		node->output.kind->renew(chunk);
	draw_frame(node, chunk->data, number, noise);
	err = node_qbuf(node, &node->output, &raw);
	if (err)
		fatal("QBUF(OUTPUT)", "frame %u: %s", number, strerror(err));
	return raw.index;
}

int next_coded(struct node *node, struct frame *coded, int ms)
{
	double end = seconds() + ms / 1000.0;

	for (;;) {
		struct pollfd wait = { .fd = node->fd, .events = POLLIN };
		int err = node_dqbuf(node, &node->capture, coded);
		double left;

		if (err != EAGAIN)
			return err;
		left = end - seconds();
		if (left <= 0)
			return ETIME;
		poll(&wait, 1, left * 1000 + 1);
		if (wait.revents & POLLERR)
			return EIO;
	}
}

void *dequeue_in_thread(void *context)
{
	struct node *node = context;
	struct frame coded;

	return (void *)(long)node_dqbuf(node, &node->capture, &coded);
}

unsigned int take_coded(struct node *node, int ms, each_coded *each, void *context)
{
	struct frame coded;
	unsigned int frames = 0;

	while (!next_coded(node, &coded, ms)) {
		if (coded.bytes) {
			frames++;
			if (each)
				each(&coded, context);
		}
		if (coded.flags & V4L2_BUF_FLAG_LAST)
			break;
		node_requeue(node, coded.index);
	}
	return frames;
}

unsigned int encode_frames(struct node *node, unsigned int first, unsigned int count, bool noise,
			   each_coded *each, void *context)
{
	unsigned int frames = 0;

	for (unsigned int i = 0; i < count; i++) {
		queue_frame(node, first + i, NULL, noise);
		frames += take_coded(node, 0, each, context);
	}
	return frames;
}

void encoder_command(struct node *node, uint32_t command)
{
	int err = node_command(node, command);

	if (err)
		fatal("ENCODER_CMD", "%s", strerror(err));
}

unsigned int drain(struct node *node, each_coded *each, void *context)
{
	node->last = false;
	encoder_command(node, V4L2_ENC_CMD_STOP);
	return take_coded(node, 10000, each, context);
}

void save_coded(const struct frame *coded, void *context)
{
	fwrite(coded->data, 1, coded->bytes, context);
}

bool has_nal(const uint8_t *data, size_t length, unsigned int type)
{
	for (size_t i = 0; i + 3 < length; i++)
		if (!data[i] && !data[i + 1] && data[i + 2] == 1 && (data[i + 3] & 31) == type)
			return true;
	return false;
}
