// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "decoder.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* Nothing of a decoder takes that long, in a VM in a VM neither. */
#define PATIENCE_MS 60000
#define OUTPUT_BUFFERS 4
#define CAPTURE_BUFFERS 4

void decoder_open(struct decoder *decoder, const char *path, const struct clip *clip)
{
	struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_OUTPUT };
	struct node *node = &decoder->node;
	size_t longest = 0;

	*decoder = (struct decoder){ .changes = 0 };
	node_open(node, path, DECODER);
	node_subscribe(node, V4L2_EVENT_SOURCE_CHANGE);
	node_subscribe(node, V4L2_EVENT_EOS);
	for (unsigned int i = 0; i < clip->count; i++)
		if (clip->length[i] > longest)
			longest = clip->length[i];
	format.fmt.pix.pixelformat = V4L2_PIX_FMT_FWHT;
	format.fmt.pix.width = 1280;
	format.fmt.pix.height = 720;
	must(node->fd, VIDIOC_S_FMT, &format, "S_FMT(OUTPUT)");
	if (format.fmt.pix.pixelformat != V4L2_PIX_FMT_FWHT ||
	    format.fmt.pix.sizeimage < longest)
		fatal("S_FMT(OUTPUT)", "no FWHT, or only %u bytes for frames of %zu",
		      format.fmt.pix.sizeimage, longest);
	node_request(node, &node->output, OUTPUT_BUFFERS, &memory_mmap);
}

static void stop(struct decoder *decoder)
{
	int err = node_command(&decoder->node, V4L2_DEC_CMD_STOP);

	/* A decoder that drains already has not forgotten. */
	if (err && (err != EBUSY || !decoder->draining))
		fatal("DECODER_CMD(STOP)", "%s", strerror(err));
	decoder->draining = true;
}

/* Begins CAPTURE with all of its buffers. */
static void give_pictures(struct node *node)
{
	node_queue_all_capture(node);
	node_stream(node, node->capture.type, true);
}

/* CAPTURE buffers for the resolution that the stream has now. */
static void follow(struct decoder *decoder)
{
	struct node *node = &decoder->node;
	struct queue *capture = &node->capture;
	struct v4l2_format format = { .type = capture->type };

	if (capture->streaming)
		node_stream(node, capture->type, false);
	if (capture->count)
		node_request(node, capture, 0, &memory_mmap);
	must(node->fd, VIDIOC_G_FMT, &format, "G_FMT(CAPTURE)");
	format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
	must(node->fd, VIDIOC_S_FMT, &format, "S_FMT(CAPTURE)");
	node_request(node, capture, CAPTURE_BUFFERS, &memory_mmap);
	give_pictures(node);
	node->changed = false;
	decoder->changes++;
	/* For the kernel's helpers, ending CAPTURE ended the drain, too. */
	if (decoder->draining)
		stop(decoder);
}

/* All that is decoded, up to LAST. */
static void take_pictures(struct decoder *decoder, decoded *each, void *context)
{
	struct node *node = &decoder->node;
	struct frame frame;
	int err = 0;

	while (node->capture.streaming && !node->last) {
		err = node_dqbuf(node, &node->capture, &frame);
		if (err)
			break;
		if (frame.flags & V4L2_BUF_FLAG_ERROR)
			fatal("DQBUF(CAPTURE)", "a frame with an error");
		if (frame.bytes) {
			unsigned long fed = frame.timestamp.tv_sec;

			if (fed >= decoder->fed_count)
				fatal("DQBUF(CAPTURE)", "timestamp %lu of %u", fed,
				      decoder->fed_count);
			each(context, decoder->fed[fed], fed, frame.data, frame.bytes);
		}
		if (!node->last)
			node_requeue(node, frame.index);
	}
	/* EPIPE: there is nothing after LAST. */
	if (err && err != EAGAIN && err != EPIPE)
		fatal("DQBUF(CAPTURE)", "%s", strerror(err));
}

/* Waits until something is to be done, and does it. Returns a free OUTPUT buffer, or -1. */
static int turn(struct decoder *decoder, decoded *each, void *context, bool feeding)
{
	struct node *node = &decoder->node;
	struct queue *output = &node->output;
	struct pollfd wait = { .fd = node->fd, .events = POLLPRI };
	struct frame coded;

	for (unsigned int i = 0; feeding && i < output->count; i++)
		if (output->ours[i])
			return i;
	if (feeding)
		wait.events |= POLLOUT;
	if (node->capture.streaming && !node->last)
		wait.events |= POLLIN;
	if (poll(&wait, 1, PATIENCE_MS) <= 0)
		fatal("poll", "nothing for %d s: %u frames fed, %u changes", PATIENCE_MS / 1000,
		      decoder->fed_count, decoder->changes);
	if (wait.revents & POLLERR)
		fatal("poll", "POLLERR");
	node_take_events(node);
	take_pictures(decoder, each, context);
	/* What ended with LAST has been told by an event before. */
	node_take_events(node);
	if (node->changed && (node->last || !node->capture.streaming))
		follow(decoder);
	return node_dqbuf(node, output, &coded) ? -1 : (int)coded.index;
}

void decoder_feed(struct decoder *decoder, const struct clip *clip, unsigned int *next,
		  unsigned int end, decoded *each, void *context)
{
	struct node *node = &decoder->node;
	struct queue *output = &node->output;

	while (*next < end) {
		int index = turn(decoder, each, context, true), err;
		struct frame frame = {
			.index = index, .bytes = clip->length[*next],
			.timestamp.tv_sec = decoder->fed_count,
		};

		if (index < 0)
			continue;
		memcpy(output->chunk[index].data, clip->data + clip->at[*next], frame.bytes);
		decoder->fed[decoder->fed_count++] = (*next)++;
		err = node_qbuf(node, output, &frame);
		if (err)
			fatal("QBUF(OUTPUT)", "%s", strerror(err));
		if (!output->streaming)
			node_stream(node, output->type, true);
	}
}

void decoder_drain(struct decoder *decoder, decoded *each, void *context)
{
	stop(decoder);
	while (!decoder->node.last || !decoder->node.eos)
		turn(decoder, each, context, false);
	decoder->draining = false;
}

void decoder_start(struct decoder *decoder)
{
	struct node *node = &decoder->node;
	int err = node_command(node, V4L2_DEC_CMD_START);

	if (err)
		fatal("DECODER_CMD(START)", "%s", strerror(err));
	/*
	 * That should do, but vicodec (7.2) keeps answering EPIPE: it asks whether it is stopped
	 * when START has ended that. To begin CAPTURE anew is the other way that the interface has;
	 * it costs vicodec its reference frame.
	 */
	node_stream(node, node->capture.type, false);
	give_pictures(node);
}

void decoder_flush(struct decoder *decoder)
{
	/*
	 * Both queues, as the next frame may have another resolution, of which the decoder tells as
	 * at the start.
	 */
	node_stream(&decoder->node, decoder->node.output.type, false);
	node_stream(&decoder->node, decoder->node.capture.type, false);
}
