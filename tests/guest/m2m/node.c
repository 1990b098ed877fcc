// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void node_open(struct node *node, const char *path, enum role role)
{
	bool decodes = role == DECODER;

	*node = (struct node){
		.fd = must_open(path, O_NONBLOCK), .role = role,
		.output.type = decodes ? V4L2_BUF_TYPE_VIDEO_OUTPUT : OUTPUT,
		.capture.type = decodes ? V4L2_BUF_TYPE_VIDEO_CAPTURE : CAPTURE,
	};
}

void node_block(struct node *node)
{
	fcntl(node->fd, F_SETFL, fcntl(node->fd, F_GETFL) & ~O_NONBLOCK);
}

static void free_chunks(struct queue *queue)
{
	for (unsigned int i = 0; i < queue->count; i++)
		memory_free(&queue->chunk[i]);
	queue->count = 0;
}

void node_close(struct node *node)
{
	free_chunks(&node->output);
	free_chunks(&node->capture);
	close(node->fd);
}

void node_set_formats(struct node *node, unsigned int width, unsigned int height, uint32_t coded,
		      size_t coded_size)
{
	struct v4l2_format capture = { .type = CAPTURE }, output = { .type = OUTPUT };
	struct v4l2_pix_format_mplane *raw = &output.fmt.pix_mp;

	capture.fmt.pix_mp.pixelformat = coded;
	capture.fmt.pix_mp.num_planes = 1;
	capture.fmt.pix_mp.plane_fmt[0].sizeimage = coded_size;
	must(node->fd, VIDIOC_S_FMT, &capture, "S_FMT(CAPTURE)");
	raw->width = width;
	raw->height = height;
	raw->pixelformat = V4L2_PIX_FMT_NV12;
	raw->num_planes = 1;
	must(node->fd, VIDIOC_S_FMT, &output, "S_FMT(OUTPUT)");
	if (raw->width != width || raw->height != height)
		fatal("S_FMT(OUTPUT)", "%ux%u became %ux%u", width, height, raw->width,
		      raw->height);
	node->width = width;
	node->height = height;
	node->frame_size = raw->plane_fmt[0].sizeimage;
}

void node_set_control(struct node *node, uint32_t id, int32_t value)
{
	struct v4l2_ext_control control = { .id = id, .value = value };
	struct v4l2_ext_controls controls = { .count = 1, .controls = &control };

	must(node->fd, VIDIOC_S_EXT_CTRLS, &controls, "S_EXT_CTRLS");
}

/* An ioctl on a buffer of one plane. Where the API has no planes, its fields are the buffer's. */
static int buffer_ioctl(struct node *node, unsigned long code, struct v4l2_buffer *buffer,
			struct v4l2_plane *plane)
{
	int err;

	if (V4L2_TYPE_IS_MULTIPLANAR(buffer->type))
		return node_ioctl(node->fd, code, buffer);
	buffer->bytesused = plane->bytesused;
	buffer->length = plane->length;
	buffer->m.userptr = plane->m.userptr;
	err = node_ioctl(node->fd, code, buffer);
	plane->bytesused = buffer->bytesused;
	plane->length = buffer->length;
	plane->m.userptr = buffer->m.userptr;
	return err;
}

static struct v4l2_buffer empty_buffer(const struct queue *queue, unsigned int index,
				       struct v4l2_plane *plane)
{
	*plane = (struct v4l2_plane){ 0 };
	return (struct v4l2_buffer){
		.index = index, .type = queue->type, .memory = queue->kind->memory,
		.m.planes = plane, .length = 1,
	};
}

void node_request(struct node *node, struct queue *queue, unsigned int count,
		  const struct memory_kind *kind)
{
	struct v4l2_requestbuffers request = {
		.count = count, .type = queue->type, .memory = kind->memory,
	};

	free_chunks(queue);
	must(node->fd, VIDIOC_REQBUFS, &request, "REQBUFS");
	if (request.count > MAX_BUFFERS)
		fatal("REQBUFS", "%u buffers for %u", request.count, count);
	queue->kind = kind;
	queue->count = request.count;
	for (unsigned int i = 0; i < queue->count; i++) {
		struct chunk *chunk = &queue->chunk[i];
		struct v4l2_plane plane;
		struct v4l2_buffer buffer = empty_buffer(queue, i, &plane);
		int err = buffer_ioctl(node, VIDIOC_QUERYBUF, &buffer, &plane);

		if (err)
			fatal("QUERYBUF", "%s", strerror(err));
		if (buffer.memory != kind->memory)
			fatal("QUERYBUF", "memory %u instead of %u", buffer.memory, kind->memory);
		queue->ours[i] = true;
		if (kind->allocate) {
			memory_allocate(chunk, kind, plane.length);
			continue;
		}
		*chunk = (struct chunk){
			.size = plane.length, .mapped = plane.length, .fd = -1, .owner = -1,
		};
		chunk->mapping = chunk->data =
			must_map(NULL, plane.length, MAP_SHARED, node->fd, plane.m.mem_offset);
	}
}

int node_export(struct node *node, const struct queue *queue, unsigned int index)
{
	struct v4l2_exportbuffer export = {
		.type = queue->type, .index = index, .flags = O_RDWR | O_CLOEXEC,
	};

	must(node->fd, VIDIOC_EXPBUF, &export, "EXPBUF");
	return export.fd;
}

struct v4l2_buffer node_buffer(const struct queue *queue, unsigned int index,
			       struct v4l2_plane *plane)
{
	const struct chunk *chunk = &queue->chunk[index];
	struct v4l2_buffer buffer = empty_buffer(queue, index, plane);

	if (queue->kind->memory == V4L2_MEMORY_USERPTR) {
		plane->m.userptr = (unsigned long)chunk->data;
		plane->length = chunk->size;
	} else if (queue->kind->memory == V4L2_MEMORY_DMABUF) {
		/* Length 0: the whole dmabuf. */
		plane->m.fd = chunk->fd;
	}
	return buffer;
}

int node_qbuf(struct node *node, struct queue *queue, const struct frame *frame)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(queue, frame->index, &plane);
	int err;

	plane.bytesused = frame->bytes;
	buffer.flags = frame->flags;
	buffer.timestamp = frame->timestamp;
	buffer.timecode = frame->timecode;
	err = buffer_ioctl(node, VIDIOC_QBUF, &buffer, &plane);
	if (!err)
		queue->ours[frame->index] = false;
	return err;
}

int node_dqbuf(struct node *node, struct queue *queue, struct frame *frame)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = empty_buffer(queue, 0, &plane);
	int err = buffer_ioctl(node, VIDIOC_DQBUF, &buffer, &plane);
	const uint8_t *data;

	if (err)
		return err;
	if (buffer.index >= queue->count || plane.bytesused > queue->chunk[buffer.index].size ||
	    plane.data_offset > plane.bytesused)
		fatal("DQBUF", "buffer %u of type %u with %u bytes", buffer.index, queue->type,
		      plane.bytesused);
	queue->ours[buffer.index] = true;
	data = queue->chunk[buffer.index].data;
	*frame = (struct frame){
		.index = buffer.index, .bytes = plane.bytesused - plane.data_offset,
		.flags = buffer.flags, .sequence = buffer.sequence, .timestamp = buffer.timestamp,
		.timecode = buffer.timecode, .data = data ? data + plane.data_offset : NULL,
	};
	if (queue == &node->capture && frame->flags & V4L2_BUF_FLAG_LAST)
		node->last = true;
	return 0;
}

void node_requeue(struct node *node, unsigned int index)
{
	int err = node_qbuf(node, &node->capture, &(struct frame){ .index = index });

	if (err)
		fatal("QBUF(CAPTURE)", "%s", strerror(err));
}

void node_queue_all_capture(struct node *node)
{
	for (unsigned int i = 0; i < node->capture.count; i++)
		if (node->capture.ours[i])
			node_requeue(node, i);
}

void node_stream(struct node *node, enum v4l2_buf_type type, bool on)
{
	struct queue *queue = V4L2_TYPE_IS_OUTPUT(type) ? &node->output : &node->capture;

	must(node->fd, on ? VIDIOC_STREAMON : VIDIOC_STREAMOFF, &type,
	     on ? "STREAMON" : "STREAMOFF");
	queue->streaming = on;
	for (unsigned int i = 0; !on && i < queue->count; i++)
		queue->ours[i] = true;
	if (queue == &node->capture)
		node->last = false;
}

void node_start(struct node *node)
{
	node_queue_all_capture(node);
	node_stream(node, node->output.type, true);
	node_stream(node, node->capture.type, true);
}

int node_command(struct node *node, uint32_t command)
{
	struct v4l2_encoder_cmd encoder = { .cmd = command };
	struct v4l2_decoder_cmd decoder = { .cmd = command };
	int err = node->role == DECODER ? node_ioctl(node->fd, VIDIOC_DECODER_CMD, &decoder)
					: node_ioctl(node->fd, VIDIOC_ENCODER_CMD, &encoder);

	if (!err && command == V4L2_ENC_CMD_START)
		node->last = node->eos = false;
	return err;
}

void node_subscribe(struct node *node, uint32_t event)
{
	struct v4l2_event_subscription subscription = { .type = event };

	must(node->fd, VIDIOC_SUBSCRIBE_EVENT, &subscription, "SUBSCRIBE_EVENT");
}

void node_take_events(struct node *node)
{
	struct v4l2_event event;

	while (!node_ioctl(node->fd, VIDIOC_DQEVENT, &event)) {
		if (event.type == V4L2_EVENT_EOS)
			node->eos = true;
		else if (event.type == V4L2_EVENT_SOURCE_CHANGE &&
			 event.u.src_change.changes & V4L2_EVENT_SRC_CH_RESOLUTION)
			node->changed = true;
	}
}

double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}
