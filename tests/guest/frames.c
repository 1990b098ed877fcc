// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Frames in and coded buffers out. */
#include "node.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

void node_draw(struct node *node, uint8_t *raw, unsigned int number, bool noise)
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

int node_dequeue_output(struct node *node, unsigned int *index, uint32_t *flags)
{
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer buffer = {
		.type = OUTPUT, .memory = node->output.kind->memory, .m.planes = &plane, .length = 1,
	};
	int err = node_ioctl(node->fd, VIDIOC_DQBUF, &buffer);

	if (err)
		return err;
	node->output.ours[buffer.index] = true;
	if (index)
		*index = buffer.index;
	if (flags)
		*flags = buffer.flags;
	return 0;
}

static int free_output(struct node *node)
{
	for (double end = seconds() + 10; seconds() < end;) {
		struct pollfd wait = { .fd = node->fd, .events = POLLOUT };

		for (unsigned int i = 0; i < node->output.count; i++)
			if (node->output.ours[i])
				return i;
		poll(&wait, 1, 1000);
		if (wait.revents & POLLOUT)
			node_dequeue_output(node, NULL, NULL);
	}
	fatal("an OUTPUT buffer comes back", "none within 10 s");
}

unsigned int node_queue_frame(struct node *node, unsigned int number, const struct timeval *timestamp, bool noise)
{
	unsigned int index = free_output(node);
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&node->output, index, &plane);
	int err;

	plane.bytesused = node->frame_size;
	buffer.flags = V4L2_BUF_FLAG_TIMESTAMP_COPY | V4L2_BUF_FLAG_TIMECODE;
	buffer.timecode = (struct v4l2_timecode){
		.type = V4L2_TC_TYPE_25FPS, .frames = number % 25, .seconds = number / 25 % 60,
	};
	if (timestamp)
		buffer.timestamp = *timestamp;
	else
		buffer.timestamp.tv_sec = number;
	if (node->output.kind->renew)
		node->output.kind->renew(&node->output.chunk[index]);
	node_draw(node, node->output.chunk[index].data, number, noise);
	err = node_ioctl(node->fd, VIDIOC_QBUF, &buffer);
	if (err)
		fatal("QBUF(OUTPUT)", "frame %u: %s", number, strerror(err));
	node->output.ours[index] = false;
	return index;
}

int node_dequeue(struct node *node, struct coded *coded, int ms)
{
	double end = seconds() + ms / 1000.0;

	for (;;) {
		struct v4l2_plane plane = { 0 };
		struct v4l2_buffer buffer = {
			.type = CAPTURE, .memory = node->capture.kind->memory, .m.planes = &plane, .length = 1,
		};
		int err = node_ioctl(node->fd, VIDIOC_DQBUF, &buffer);

		if (!err) {
			node->capture.ours[buffer.index] = true;
			coded->index = buffer.index;
			coded->bytes = plane.bytesused - plane.data_offset;
			coded->flags = buffer.flags;
			coded->sequence = buffer.sequence;
			coded->timestamp = buffer.timestamp;
			coded->timecode = buffer.timecode;
			coded->data = node->capture.chunk[buffer.index].data + plane.data_offset;
			return 0;
		}
		if (err != EAGAIN)
			return err;
		double left = end - seconds();
		if (left <= 0)
			return ETIME;
		struct pollfd wait = { .fd = node->fd, .events = POLLIN };
		poll(&wait, 1, left * 1000 + 1);
		if (wait.revents & POLLERR)
			return EIO;
	}
}

unsigned int node_take(struct node *node, int ms, bool *last, each_coded *each, void *context)
{
	struct coded coded;
	unsigned int frames = 0;

	while (!node_dequeue(node, &coded, ms)) {
		if (coded.bytes) {
			frames++;
			if (each)
				each(&coded, context);
		}
		if (coded.flags & V4L2_BUF_FLAG_LAST) {
			*last = true;
			break;
		}
		node_requeue(node, coded.index);
	}
	return frames;
}

unsigned int node_encode(struct node *node, unsigned int first, unsigned int count, bool noise, each_coded *each,
			 void *context)
{
	unsigned int frames = 0;
	bool last = false;

	for (unsigned int i = 0; i < count; i++) {
		node_queue_frame(node, first + i, NULL, noise);
		frames += node_take(node, 0, &last, each, context);
	}
	return frames;
}

unsigned int node_drain(struct node *node, bool *last, each_coded *each, void *context)
{
	*last = false;
	node_command(node, V4L2_ENC_CMD_STOP);
	return node_take(node, 10000, last, each, context);
}

void node_save(const struct coded *coded, void *context)
{
	fwrite(coded->data, 1, coded->bytes, context);
}

bool has_nal(const uint8_t *data, size_t length, unsigned int type)
{
	for (size_t i = 0; i + 3 < length; i++)
		if (data[i] == 0 && data[i + 1] == 0 && data[i + 2] == 1 && (data[i + 3] & 31) == type)
			return true;
	return false;
}
