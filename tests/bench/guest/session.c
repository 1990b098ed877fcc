// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Sessions, and the loop of a program that encodes: poll, take what is ready, give the next frame. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CAPTURE_BUFFERS 4
/* A frame takes far less, even of the slowest encoder in an emulated guest. */
#define PATIENCE_MS 20000

void must(int fd, unsigned long code, void *arg, const char *name)
{
	int ret;

	do {
		ret = ioctl(fd, code, arg);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		fatal(name);
}

static uint32_t memory_by_name(const char *name)
{
	if (!strcmp(name, "mmap"))
		return V4L2_MEMORY_MMAP;
	if (!strcmp(name, "userptr"))
		return V4L2_MEMORY_USERPTR;
	if (!strcmp(name, "dmabuf"))
		return V4L2_MEMORY_DMABUF;
	errno = EINVAL;
	fatal(name);
}

static void set_formats(struct session *session)
{
	const struct options *options = session->options;
	struct v4l2_format coded = { .type = CAPTURE };
	struct v4l2_format raw = { .type = OUTPUT };
	struct v4l2_streamparm parm = { .type = OUTPUT };
	struct v4l2_ext_control bitrate = {
		.id = V4L2_CID_MPEG_VIDEO_BITRATE,
		/* A fifth of a bit for each pixel. */
		.value = options->width * options->height * 5,
	};
	struct v4l2_ext_controls controls = { .count = 1, .controls = &bitrate };

	coded.fmt.pix_mp.pixelformat = v4l2_fourcc(options->coded[0], options->coded[1], options->coded[2], options->coded[3]);
	coded.fmt.pix_mp.num_planes = 1;
	coded.fmt.pix_mp.plane_fmt[0].sizeimage = options->width * options->height;
	must(session->fd, VIDIOC_S_FMT, &coded, "S_FMT(CAPTURE)");
	raw.fmt.pix_mp.width = options->width;
	raw.fmt.pix_mp.height = options->height;
	raw.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12;
	raw.fmt.pix_mp.num_planes = 1;
	must(session->fd, VIDIOC_S_FMT, &raw, "S_FMT(OUTPUT)");
	session->frame_size = raw.fmt.pix_mp.plane_fmt[0].sizeimage;
	if (session->frame_size != (size_t)options->width * options->height * 3 / 2) {
		errno = EINVAL;
		fatal("S_FMT(OUTPUT): another size");
	}
	/* vicodec knows neither rates of frames nor of bits. */
	if (coded.fmt.pix_mp.pixelformat != V4L2_PIX_FMT_H264)
		return;
	parm.parm.output.timeperframe.numerator = 1;
	parm.parm.output.timeperframe.denominator = 25;
	must(session->fd, VIDIOC_S_PARM, &parm, "S_PARM");
	must(session->fd, VIDIOC_S_EXT_CTRLS, &controls, "S_EXT_CTRLS");
}

static unsigned int request(struct session *session, uint32_t type, uint32_t memory, unsigned int count)
{
	struct v4l2_requestbuffers request = { .count = count, .type = type, .memory = memory };

	must(session->fd, VIDIOC_REQBUFS, &request, "REQBUFS");
	if (request.count < count) {
		errno = ENOMEM;
		fatal("REQBUFS: too few buffers");
	}
	return request.count;
}

static void queue_capture(struct session *session, unsigned int index)
{
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer buffer = {
		.index = index, .type = CAPTURE, .memory = V4L2_MEMORY_MMAP, .m.planes = &plane, .length = 1,
	};

	must(session->fd, VIDIOC_QBUF, &buffer, "QBUF(CAPTURE)");
}

static void queue_frame(struct session *session)
{
	unsigned int index = session->sent % FRAMES;
	struct frame *frame = &session->frames[index];
	struct v4l2_plane plane = { .bytesused = session->frame_size, .length = frame->length };
	struct v4l2_buffer buffer = {
		.index = index, .type = OUTPUT, .memory = session->memory, .m.planes = &plane, .length = 1,
		.timestamp.tv_sec = session->sent, .flags = V4L2_BUF_FLAG_TIMESTAMP_COPY,
	};

	if (frame->queued) {
		errno = EBUSY;
		fatal("OUTPUT buffers come back in another order");
	}
	if (session->memory == V4L2_MEMORY_USERPTR)
		plane.m.userptr = (unsigned long)frame->data;
	if (session->memory == V4L2_MEMORY_DMABUF)
		plane.m.fd = frame->fd;
	must(session->fd, VIDIOC_QBUF, &buffer, "QBUF(OUTPUT)");
	frame->queued = true;
	session->sent++;
}

static void allocate_frame(struct session *session, unsigned int index)
{
	struct frame *frame = &session->frames[index];
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer buffer = {
		.index = index, .type = OUTPUT, .memory = session->memory, .m.planes = &plane, .length = 1,
	};

	frame->length = session->frame_size;
	if (session->memory == V4L2_MEMORY_MMAP) {
		must(session->fd, VIDIOC_QUERYBUF, &buffer, "QUERYBUF");
		frame->length = plane.length;
		frame_map(frame, session->fd, plane.m.mem_offset);
	} else {
		frame_allocate(frame, session->memory);
	}
	frame_fill(frame, session->options, index);
}

void session_start(struct session *session, const struct options *options)
{
	static const enum v4l2_buf_type types[] = { OUTPUT, CAPTURE };
	unsigned int captures;

	session->options = options;
	session->memory = memory_by_name(options->memory);
	session->fd = open(options->device, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (session->fd < 0)
		fatal(options->device);
	set_formats(session);
	request(session, OUTPUT, session->memory, FRAMES);
	captures = request(session, CAPTURE, V4L2_MEMORY_MMAP, CAPTURE_BUFFERS);
	for (unsigned int i = 0; i < FRAMES; i++)
		allocate_frame(session, i);
	for (unsigned int i = 0; i < captures; i++)
		queue_capture(session, i);
	for (unsigned int i = 0; i < 2; i++)
		must(session->fd, VIDIOC_STREAMON, (void *)&types[i], "STREAMON");
}

void session_end(struct session *session)
{
	/* Mappings go with the program. */
	close(session->fd);
}

static void take_coded(struct session *session)
{
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer buffer = {
		.type = CAPTURE, .memory = V4L2_MEMORY_MMAP, .m.planes = &plane, .length = 1,
	};

	must(session->fd, VIDIOC_DQBUF, &buffer, "DQBUF(CAPTURE)");
	if ((buffer.flags & V4L2_BUF_FLAG_ERROR) || buffer.timestamp.tv_sec != session->coded) {
		errno = EIO;
		fatal("a frame was not encoded, or is not the next");
	}
	session->coded++;
	session->coded_bytes += plane.bytesused - plane.data_offset;
	session->window++;
	session->end = now();
	if (session->window == FRAMES)
		session->steady = session->end;
	queue_capture(session, buffer.index);
}

static void take_raw(struct session *session)
{
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer buffer = {
		.type = OUTPUT, .memory = session->memory, .m.planes = &plane, .length = 1,
	};

	must(session->fd, VIDIOC_DQBUF, &buffer, "DQBUF(OUTPUT)");
	if (buffer.flags & V4L2_BUF_FLAG_ERROR) {
		errno = EIO;
		fatal("the device refuses a raw frame");
	}
	session->frames[buffer.index].queued = false;
	session->back++;
}

void sessions_stream(struct session *sessions, const struct options *options, unsigned int frames)
{
	struct pollfd polls[MAX_SESSIONS];
	unsigned int left = options->sessions, end = sessions->coded + frames;

	for (unsigned int i = 0; i < options->sessions; i++) {
		sessions[i].window = 0;
		polls[i] = (struct pollfd){ .fd = sessions[i].fd, .events = POLLIN | POLLOUT };
		while (sessions[i].sent < end && sessions[i].sent - sessions[i].back < options->depth)
			queue_frame(&sessions[i]);
	}
	while (left) {
		if (poll(polls, options->sessions, PATIENCE_MS) <= 0) {
			errno = ETIME;
			fatal("nothing comes back");
		}
		for (unsigned int i = 0; i < options->sessions; i++) {
			struct session *session = &sessions[i];

			if (polls[i].revents & POLLERR) {
				errno = EIO;
				fatal("poll");
			}
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
