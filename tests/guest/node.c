// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "common.h"
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

const char *device_path = "/dev/video0";
int failures;

void check(bool good, const char *name, const char *why, ...)
{
	va_list args;

	if (good) {
		printf("ok - %s\n", name);
	} else {
		failures = 1;
		printf("not ok - %s # ", name);
		va_start(args, why);
		vprintf(why, args);
		va_end(args);
		printf("\n");
	}
	fflush(stdout);
}

void fatal(const char *name, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	not_ok_and_end(name, why, args);
}

void host_does(const char *ask, const char *done)
{
	char path[64];

	snprintf(path, sizeof(path), "/out/%s", ask);
	close(open(path, O_CREAT | O_WRONLY, 0644));
	snprintf(path, sizeof(path), "/out/%s", done);
	for (int i = 0; access(path, F_OK); i++) {
		if (i == 100)
			fatal("the host does its part", "no %s for 10 s", path);
		usleep(100000);
	}
}

int node_ioctl(int fd, unsigned long code, void *arg)
{
	return ioctl_errno(fd, code, arg);
}

static void must(int fd, unsigned long code, void *arg, const char *name)
{
	int err = node_ioctl(fd, code, arg);

	if (err)
		fatal(name, "%s", strerror(err));
}

void node_open(struct node *node)
{
	memset(node, 0, sizeof(*node));
	node->output.type = OUTPUT;
	node->capture.type = CAPTURE;
	node->fd = open(device_path, O_RDWR | O_NONBLOCK);
	if (node->fd < 0)
		fatal("open", "%s: %s", device_path, strerror(errno));
}

static void fill_queue(struct node *node, struct queue *queue, unsigned int count, const struct memory_kind *kind)
{
	struct v4l2_requestbuffers request = {
		.count = count, .type = queue->type, .memory = kind->memory,
	};

	must(node->fd, VIDIOC_REQBUFS, &request, "REQBUFS");
	if (request.count > MAX_BUFFERS)
		fatal("REQBUFS", "%u buffers for %u", request.count, count);
	queue->kind = kind;
	queue->count = request.count;
	for (unsigned int i = 0; i < queue->count; i++) {
		struct chunk *chunk = &queue->chunk[i];
		struct v4l2_plane plane = { 0 };
		struct v4l2_buffer buffer = {
			.index = i, .type = queue->type, .memory = kind->memory,
			.m.planes = &plane, .length = 1,
		};

		must(node->fd, VIDIOC_QUERYBUF, &buffer, "QUERYBUF");
		if (buffer.memory != kind->memory)
			fatal("QUERYBUF", "memory %u instead of %u", buffer.memory, kind->memory);
		queue->ours[i] = true;
		if (kind->allocate) {
			memory_allocate(chunk, kind, plane.length);
			continue;
		}
		*chunk = (struct chunk){ .size = plane.length, .mapped = plane.length, .fd = -1, .owner = -1 };
		chunk->mapping = chunk->data = mmap(NULL, plane.length, PROT_READ | PROT_WRITE, MAP_SHARED, node->fd,
						    plane.m.mem_offset);
		if (chunk->mapping == MAP_FAILED)
			fatal("mmap", "buffer %u of type %u: %s", i, queue->type, strerror(errno));
	}
}

struct v4l2_buffer node_buffer(const struct queue *queue, unsigned int index, struct v4l2_plane *plane)
{
	const struct chunk *chunk = &queue->chunk[index];

	*plane = (struct v4l2_plane){ 0 };
	if (queue->kind->memory == V4L2_MEMORY_USERPTR) {
		plane->m.userptr = (unsigned long)chunk->data;
		plane->length = chunk->size;
	} else if (queue->kind->memory == V4L2_MEMORY_DMABUF) {
		/* Length 0: the whole dmabuf. */
		plane->m.fd = chunk->fd;
	}
	return (struct v4l2_buffer){
		.index = index, .type = queue->type, .memory = queue->kind->memory, .m.planes = plane, .length = 1,
	};
}

void node_setup(struct node *node, unsigned int width, unsigned int height, unsigned int outputs,
		unsigned int captures)
{
	node_setup_memory(node, width, height, outputs, &memory_mmap, captures, &memory_mmap);
}

void node_setup_memory(struct node *node, unsigned int width, unsigned int height, unsigned int outputs,
		       const struct memory_kind *output, unsigned int captures, const struct memory_kind *capture)
{
	struct v4l2_format coded = { .type = CAPTURE };
	struct v4l2_format raw = { .type = OUTPUT };

	coded.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_H264;
	coded.fmt.pix_mp.num_planes = 1;
	coded.fmt.pix_mp.plane_fmt[0].sizeimage = CODED_SIZE;
	must(node->fd, VIDIOC_S_FMT, &coded, "S_FMT(CAPTURE)");
	raw.fmt.pix_mp.width = width;
	raw.fmt.pix_mp.height = height;
	raw.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12;
	raw.fmt.pix_mp.num_planes = 1;
	must(node->fd, VIDIOC_S_FMT, &raw, "S_FMT(OUTPUT)");
	if (raw.fmt.pix_mp.width != width || raw.fmt.pix_mp.height != height)
		fatal("S_FMT(OUTPUT)", "%ux%u became %ux%u", width, height, raw.fmt.pix_mp.width,
		      raw.fmt.pix_mp.height);
	node->width = width;
	node->height = height;
	node->frame_size = raw.fmt.pix_mp.plane_fmt[0].sizeimage;
	fill_queue(node, &node->output, outputs, output);
	fill_queue(node, &node->capture, captures, capture);
}

void node_set_control(struct node *node, uint32_t id, int32_t value)
{
	struct v4l2_ext_control control = { .id = id, .value = value };
	struct v4l2_ext_controls controls = { .count = 1, .controls = &control };

	must(node->fd, VIDIOC_S_EXT_CTRLS, &controls, "S_EXT_CTRLS");
}

void node_stream(struct node *node, enum v4l2_buf_type type, bool on)
{
	struct queue *queue = type == OUTPUT ? &node->output : &node->capture;

	must(node->fd, on ? VIDIOC_STREAMON : VIDIOC_STREAMOFF, &type, on ? "STREAMON" : "STREAMOFF");
	for (unsigned int i = 0; !on && i < queue->count; i++)
		queue->ours[i] = true;
}

void node_requeue(struct node *node, unsigned int index)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&node->capture, index, &plane);

	must(node->fd, VIDIOC_QBUF, &buffer, "QBUF(CAPTURE)");
	node->capture.ours[index] = false;
}

void node_queue_all_capture(struct node *node)
{
	for (unsigned int i = 0; i < node->capture.count; i++)
		if (node->capture.ours[i])
			node_requeue(node, i);
}

void node_close(struct node *node)
{
	struct queue *queues[] = { &node->output, &node->capture };

	for (unsigned int q = 0; q < 2; q++)
		for (unsigned int i = 0; i < queues[q]->count; i++)
			memory_free(&queues[q]->chunk[i]);
	close(node->fd);
}

void node_command(struct node *node, uint32_t command)
{
	struct v4l2_encoder_cmd cmd = { .cmd = command };

	must(node->fd, VIDIOC_ENCODER_CMD, &cmd, "ENCODER_CMD");
}

void node_subscribe_eos(struct node *node)
{
	struct v4l2_event_subscription eos = { .type = V4L2_EVENT_EOS };

	must(node->fd, VIDIOC_SUBSCRIBE_EVENT, &eos, "SUBSCRIBE_EVENT(EOS)");
}

bool node_take_eos(struct node *node)
{
	struct v4l2_event event;

	while (!node_ioctl(node->fd, VIDIOC_DQEVENT, &event))
		if (event.type == V4L2_EVENT_EOS)
			return true;
	return false;
}

double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}
