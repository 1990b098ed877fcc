// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "../common.h"
#include "decoder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Nothing of a decoder takes that long, in a VM in a VM neither. */
#define PATIENCE_MS 60000
#define OUTPUT_BUFFERS 4
#define CAPTURE_BUFFERS 4

static int call(struct decoder *decoder, unsigned long code, void *arg)
{
	return ioctl_errno(decoder->fd, code, arg);
}

static void must(struct decoder *decoder, unsigned long code, void *arg, const char *name)
{
	int err = call(decoder, code, arg);

	if (err)
		fatal("%s: %s", name, strerror(err));
}

static struct v4l2_buffer buffer_of(const struct queue *queue, unsigned int index)
{
	return (struct v4l2_buffer){ .index = index, .type = queue->type, .memory = V4L2_MEMORY_MMAP };
}

static void allocate(struct decoder *decoder, struct queue *queue, unsigned int count)
{
	struct v4l2_requestbuffers request = { .count = count, .type = queue->type, .memory = V4L2_MEMORY_MMAP };

	for (unsigned int i = 0; i < queue->count; i++)
		munmap(queue->buffer[i].data, queue->buffer[i].size);
	must(decoder, VIDIOC_REQBUFS, &request, "REQBUFS");
	if (request.count > MAX_BUFFERS)
		fatal("REQBUFS: %u buffers for %u", request.count, count);
	queue->count = request.count;
	for (unsigned int i = 0; i < queue->count; i++) {
		struct v4l2_buffer buffer = buffer_of(queue, i);

		must(decoder, VIDIOC_QUERYBUF, &buffer, "QUERYBUF");
		queue->buffer[i].size = buffer.length;
		queue->buffer[i].ours = true;
		queue->buffer[i].data = mmap(NULL, buffer.length, PROT_READ | PROT_WRITE, MAP_SHARED, decoder->fd,
					     buffer.m.offset);
		if (queue->buffer[i].data == MAP_FAILED)
			fatal("mmap: %s", strerror(errno));
	}
}

static void stream(struct decoder *decoder, struct queue *queue, bool on)
{
	must(decoder, on ? VIDIOC_STREAMON : VIDIOC_STREAMOFF, &queue->type, on ? "STREAMON" : "STREAMOFF");
	queue->streaming = on;
	for (unsigned int i = 0; !on && i < queue->count; i++)
		queue->buffer[i].ours = true;
}

static void queue_buffer(struct decoder *decoder, struct queue *queue, struct v4l2_buffer *buffer)
{
	must(decoder, VIDIOC_QBUF, buffer, queue == &decoder->output ? "QBUF(OUTPUT)" : "QBUF(CAPTURE)");
	queue->buffer[buffer->index].ours = false;
}

void decoder_open(struct decoder *decoder, const char *path, const struct clip *clip)
{
	static const uint32_t events[] = { V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_EOS };
	struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_OUTPUT };
	size_t longest = 0;

	*decoder = (struct decoder){
		.output.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .capture.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
	};
	decoder->fd = open(path, O_RDWR | O_NONBLOCK);
	if (decoder->fd < 0)
		fatal("%s: %s", path, strerror(errno));
	for (unsigned int i = 0; i < 2; i++) {
		struct v4l2_event_subscription subscription = { .type = events[i] };

		must(decoder, VIDIOC_SUBSCRIBE_EVENT, &subscription, "SUBSCRIBE_EVENT");
	}
	for (unsigned int i = 0; i < clip->count; i++)
		if (clip->length[i] > longest)
			longest = clip->length[i];
	format.fmt.pix.pixelformat = V4L2_PIX_FMT_FWHT;
	format.fmt.pix.width = 1280;
	format.fmt.pix.height = 720;
	must(decoder, VIDIOC_S_FMT, &format, "S_FMT(OUTPUT)");
	if (format.fmt.pix.pixelformat != V4L2_PIX_FMT_FWHT || format.fmt.pix.sizeimage < longest)
		fatal("S_FMT(OUTPUT): no FWHT, or only %u bytes for frames of %zu", format.fmt.pix.sizeimage, longest);
	allocate(decoder, &decoder->output, OUTPUT_BUFFERS);
}

static void stop(struct decoder *decoder)
{
	struct v4l2_decoder_cmd cmd = { .cmd = V4L2_DEC_CMD_STOP };
	int err = call(decoder, VIDIOC_DECODER_CMD, &cmd);

	/* A decoder that drains already has not forgotten. */
	if (err && (err != EBUSY || !decoder->draining))
		fatal("DECODER_CMD(STOP): %s", strerror(err));
	decoder->draining = true;
}

/* Begins CAPTURE with all of its buffers. */
static void give_pictures(struct decoder *decoder)
{
	struct queue *capture = &decoder->capture;

	for (unsigned int i = 0; i < capture->count; i++) {
		struct v4l2_buffer buffer = buffer_of(capture, i);

		queue_buffer(decoder, capture, &buffer);
	}
	stream(decoder, capture, true);
	decoder->last = false;
}

/* CAPTURE buffers for the resolution that the stream has now. */
static void follow(struct decoder *decoder)
{
	struct queue *capture = &decoder->capture;
	struct v4l2_format format = { .type = capture->type };

	if (capture->streaming)
		stream(decoder, capture, false);
	if (capture->count)
		allocate(decoder, capture, 0);
	must(decoder, VIDIOC_G_FMT, &format, "G_FMT(CAPTURE)");
	format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
	must(decoder, VIDIOC_S_FMT, &format, "S_FMT(CAPTURE)");
	allocate(decoder, capture, CAPTURE_BUFFERS);
	give_pictures(decoder);
	decoder->changed = false;
	decoder->changes++;
	/* For the kernel's helpers, ending CAPTURE ended the drain, too. */
	if (decoder->draining)
		stop(decoder);
}

static void take_events(struct decoder *decoder)
{
	struct v4l2_event event;

	while (!call(decoder, VIDIOC_DQEVENT, &event)) {
		if (event.type == V4L2_EVENT_EOS)
			decoder->eos = true;
		else if (event.u.src_change.changes & V4L2_EVENT_SRC_CH_RESOLUTION)
			decoder->changed = true;
	}
}

/* All that is decoded, up to LAST. */
static void take_pictures(struct decoder *decoder, decoded *each, void *context)
{
	struct queue *capture = &decoder->capture;
	int err = 0;

	while (capture->streaming && !decoder->last && !err) {
		struct v4l2_buffer buffer = buffer_of(capture, 0);

		err = call(decoder, VIDIOC_DQBUF, &buffer);
		if (err)
			break;
		if (buffer.index >= capture->count || buffer.bytesused > capture->buffer[buffer.index].size)
			fatal("DQBUF(CAPTURE): buffer %u with %u bytes", buffer.index, buffer.bytesused);
		decoder->last = buffer.flags & V4L2_BUF_FLAG_LAST;
		capture->buffer[buffer.index].ours = true;
		if (buffer.flags & V4L2_BUF_FLAG_ERROR)
			fatal("DQBUF(CAPTURE): a frame with an error");
		if (buffer.bytesused) {
			unsigned long fed = buffer.timestamp.tv_sec;

			if (fed >= decoder->fed_count)
				fatal("DQBUF(CAPTURE): timestamp %lu of %u", fed, decoder->fed_count);
			each(context, decoder->fed[fed], fed, capture->buffer[buffer.index].data, buffer.bytesused);
		}
		if (!decoder->last)
			queue_buffer(decoder, capture, &buffer);
	}
	/* EPIPE: there is nothing after LAST. */
	if (err && err != EAGAIN && err != EPIPE)
		fatal("DQBUF(CAPTURE): %s", strerror(err));
}

/* Waits until something is to be done, and does it. Returns a free OUTPUT buffer, or -1. */
static int turn(struct decoder *decoder, decoded *each, void *context, bool feeding)
{
	struct queue *output = &decoder->output;
	struct v4l2_buffer buffer = buffer_of(output, 0);
	struct pollfd wait = { .fd = decoder->fd, .events = POLLPRI };

	for (unsigned int i = 0; feeding && i < output->count; i++)
		if (output->buffer[i].ours)
			return i;
	if (feeding)
		wait.events |= POLLOUT;
	if (decoder->capture.streaming && !decoder->last)
		wait.events |= POLLIN;
	if (poll(&wait, 1, PATIENCE_MS) <= 0)
		fatal("nothing for %d s: %u frames fed, %u changes", PATIENCE_MS / 1000, decoder->fed_count,
		      decoder->changes);
	if (wait.revents & POLLERR)
		fatal("poll: POLLERR");
	take_events(decoder);
	take_pictures(decoder, each, context);
	/* What ended with LAST has been told by an event before. */
	take_events(decoder);
	if (decoder->changed && (decoder->last || !decoder->capture.streaming))
		follow(decoder);
	if (call(decoder, VIDIOC_DQBUF, &buffer))
		return -1;
	output->buffer[buffer.index].ours = true;
	return buffer.index;
}

void decoder_feed(struct decoder *decoder, const struct clip *clip, unsigned int *next, unsigned int end, decoded *each,
		  void *context)
{
	struct queue *output = &decoder->output;

	while (*next < end) {
		int index = turn(decoder, each, context, true);
		struct v4l2_buffer buffer;

		if (index < 0)
			continue;
		buffer = buffer_of(output, index);
		memcpy(output->buffer[index].data, clip->data + clip->at[*next], clip->length[*next]);
		buffer.bytesused = clip->length[*next];
		buffer.timestamp.tv_sec = decoder->fed_count;
		decoder->fed[decoder->fed_count++] = (*next)++;
		queue_buffer(decoder, output, &buffer);
		if (!output->streaming)
			stream(decoder, output, true);
	}
}

void decoder_drain(struct decoder *decoder, decoded *each, void *context)
{
	stop(decoder);
	while (!decoder->last || !decoder->eos)
		turn(decoder, each, context, false);
	decoder->draining = false;
}

void decoder_start(struct decoder *decoder)
{
	struct v4l2_decoder_cmd cmd = { .cmd = V4L2_DEC_CMD_START };

	must(decoder, VIDIOC_DECODER_CMD, &cmd, "DECODER_CMD(START)");
	/*
	 * That should do, but vicodec (7.2) keeps answering EPIPE: it asks whether it is stopped when START has ended that.
	 * To begin CAPTURE anew is the other way that the interface has; it costs vicodec its reference frame.
	 */
	stream(decoder, &decoder->capture, false);
	give_pictures(decoder);
	decoder->eos = false;
}

void decoder_flush(struct decoder *decoder)
{
	/* Both queues, as the next frame may have another resolution, of which the decoder tells as at the start. */
	stream(decoder, &decoder->output, false);
	stream(decoder, &decoder->capture, false);
}

void decoder_close(struct decoder *decoder)
{
	struct queue *queues[] = { &decoder->output, &decoder->capture };

	for (unsigned int q = 0; q < 2; q++)
		for (unsigned int i = 0; i < queues[q]->count; i++)
			munmap(queues[q]->buffer[i].data, queues[q]->buffer[i].size);
	close(decoder->fd);
}
