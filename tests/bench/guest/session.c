// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Sessions, and the loop of a program that encodes: poll, take what is ready, give the next frame.
 */
#include "bench.h"

#include <poll.h>
#include <string.h>

#define CAPTURE_BUFFERS 4
/* A frame takes far less, even of the slowest encoder in an emulated guest. */
#define PATIENCE_MS 20000

static const struct memory_kind *memory_by_name(const char *name)
{
	if (!strcmp(name, "mmap"))
		return &memory_mmap;
	if (!strcmp(name, "userptr"))
		return &memory_malloc;
	if (!strcmp(name, "dmabuf"))
		return &memory_heap;
	fatal(name, "no such memory");
}

static void set_formats(struct node *node, const struct options *options)
{
	const char *name = options->coded;
	uint32_t coded = v4l2_fourcc(name[0], name[1], name[2], name[3]);
	uint32_t pixels = options->width * options->height;
	struct v4l2_streamparm parm = { .type = OUTPUT };

	node_set_formats(node, options->width, options->height, coded, pixels);
	if (node->frame_size != (size_t)pixels * 3 / 2)
		fatal("S_FMT(OUTPUT)", "frames of %zu bytes", node->frame_size);
	/* vicodec knows neither rates of frames nor of bits. */
	if (coded != V4L2_PIX_FMT_H264)
		return;
	parm.parm.output.timeperframe.numerator = 1;
	parm.parm.output.timeperframe.denominator = 25;
	must(node->fd, VIDIOC_S_PARM, &parm, "S_PARM");
	/* A fifth of a bit for each pixel. */
	node_set_control(node, V4L2_CID_MPEG_VIDEO_BITRATE, pixels * 5);
}

void session_start(struct session *session, const struct options *options)
{
	struct node *node = &session->node;

	node_open(node, options->device, ENCODER);
	set_formats(node, options);
	node_request(node, &node->output, FRAMES, memory_by_name(options->memory));
	node_request(node, &node->capture, CAPTURE_BUFFERS, &memory_unmapped);
	if (node->output.count < FRAMES || node->capture.count < CAPTURE_BUFFERS)
		fatal("REQBUFS", "too few buffers");
	for (unsigned int i = 0; i < FRAMES; i++)
		picture_write(&node->output.chunk[i], options, i);
	node_start(node);
}

static void queue_frame(struct session *session)
{
	struct node *node = &session->node;
	struct frame raw = {
		.index = session->sent % FRAMES, .bytes = node->frame_size,
		.flags = V4L2_BUF_FLAG_TIMESTAMP_COPY, .timestamp.tv_sec = session->sent,
	};
	int err;

	if (!node->output.ours[raw.index])
		fatal("QBUF(OUTPUT)", "buffers come back in another order");
	err = node_qbuf(node, &node->output, &raw);
	if (err)
		fatal("QBUF(OUTPUT)", "%s", strerror(err));
	session->sent++;
}

static void take_coded(struct session *session)
{
	struct node *node = &session->node;
	struct frame coded;
	int err = node_dqbuf(node, &node->capture, &coded);

	if (err)
		fatal("DQBUF(CAPTURE)", "%s", strerror(err));
	if ((coded.flags & V4L2_BUF_FLAG_ERROR) || coded.timestamp.tv_sec != session->coded)
		fatal("DQBUF(CAPTURE)", "a frame was not encoded, or is not the next");
	session->coded++;
	session->coded_bytes += coded.bytes;
	session->window++;
	session->end = seconds();
	if (session->window == FRAMES)
		session->steady = session->end;
	node_requeue(node, coded.index);
}

static void take_raw(struct session *session)
{
	struct frame raw;
	int err = node_dqbuf(&session->node, &session->node.output, &raw);

	if (err)
		fatal("DQBUF(OUTPUT)", "%s", strerror(err));
	if (raw.flags & V4L2_BUF_FLAG_ERROR)
		fatal("DQBUF(OUTPUT)", "the device refuses a raw frame");
	session->back++;
}

void sessions_stream(struct session *sessions, const struct options *options, unsigned int frames)
{
	struct pollfd polls[MAX_SESSIONS];
	unsigned int left = options->sessions, end = sessions->coded + frames;

	for (unsigned int i = 0; i < options->sessions; i++) {
		struct session *session = &sessions[i];

		session->window = 0;
		polls[i] = (struct pollfd){ .fd = session->node.fd, .events = POLLIN | POLLOUT };
		while (session->sent < end && session->sent - session->back < options->depth)
			queue_frame(session);
	}
	while (left) {
		if (poll(polls, options->sessions, PATIENCE_MS) <= 0)
			fatal("poll", "nothing comes back");
		for (unsigned int i = 0; i < options->sessions; i++) {
			struct session *session = &sessions[i];

			if (polls[i].revents & POLLERR)
				fatal("poll", "POLLERR");
			if (polls[i].revents & POLLIN)
				take_coded(session);
			if (polls[i].revents & POLLOUT) {
				take_raw(session);
				if (session->sent < end)
					queue_frame(session);
			}
			if (polls[i].revents && session->coded == end && session->back == end) {
				polls[i].fd = -1;
				left--;
			}
		}
	}
}
