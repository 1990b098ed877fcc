// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* What careless, unlucky and hostile programs do. */
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* O_NONBLOCK is read at each call; a blocked DQBUF keeps nobody out and ends with STREAMOFF. */
TEST(blocked_dqbuf, "blocked-dqbuf")
{
	struct timespec limit;
	pthread_t thread;
	struct node node;
	void *err = NULL;

	encoder_start(&node);
	node_block(&node);
	pthread_create(&thread, NULL, dequeue_in_thread, &node);
	usleep(300000);
	double begin = seconds();
	node_stream(&node, CAPTURE, false);
	check(seconds() - begin < 3, "STREAMOFF while a thread is blocked in DQBUF", "took %.1f s",
	      seconds() - begin);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 5;
	int joined = pthread_timedjoin_np(thread, &err, &limit);
	check(!joined && err, "the blocked DQBUF returns with an error", "%s",
	      joined ? "still blocked" : "success");
	if (joined)
		exit(1);
	node_close(&node);
}

TEST(bad_requests, "bad-requests")
{
	struct v4l2_plane planes[VIDEO_MAX_PLANES] = { 0 };
	struct v4l2_buffer buffer = {
		.type = CAPTURE, .memory = V4L2_MEMORY_MMAP, .m.planes = planes, .length = 1,
	};
	struct v4l2_requestbuffers request = { .count = 2, .type = 77, .memory = V4L2_MEMORY_MMAP };
	struct v4l2_ext_controls controls = { .count = 0x7fffffff, .controls = (void *)8 };
	struct v4l2_encoder_cmd cmd = { .cmd = 99 };
	struct v4l2_format format = { .type = 55 };
	struct node node;

	node_open(&node, device_path, ENCODER);
	expect(node.fd, _IOWR('V', 255, int[3]), planes, ENOTTY, "an ioctl that does not exist");
	expect(node.fd, VIDIOC_G_FMT, &format, EINVAL, "G_FMT of a type that does not exist");
	expect(node.fd, VIDIOC_REQBUFS, &request, EINVAL, "REQBUFS of a type that does not exist");
	request.type = CAPTURE;
	request.memory = 9;
	expect(node.fd, VIDIOC_REQBUFS, &request, EINVAL,
	       "REQBUFS of a memory that does not exist");
	expect(node.fd, VIDIOC_DQBUF, &buffer, EINVAL, "DQBUF before there is a buffer");
	int err = node_ioctl(node.fd, VIDIOC_S_EXT_CTRLS, &controls);
	check(err == EINVAL || err == EFAULT || err == ENOMEM,
	      "S_EXT_CTRLS with two thousand million controls", "%s",
	      err ? strerror(err) : "success");
	expect(node.fd, VIDIOC_ENCODER_CMD, &cmd, EINVAL, "an encoder command that does not exist");
	expect(node.fd, VIDIOC_QBUF, (void *)8, EFAULT, "a pointer to nowhere");

	node_set_formats(&node, 320, 240, V4L2_PIX_FMT_H264, CODED_SIZE);
	node_request(&node, &node.output, 2, &memory_mmap);
	node_request(&node, &node.capture, 2, &memory_mmap);
	buffer.index = 32;
	expect(node.fd, VIDIOC_QUERYBUF, &buffer, EINVAL, "QUERYBUF beyond the last buffer");
	expect(node.fd, VIDIOC_QBUF, &buffer, EINVAL, "QBUF beyond the last buffer");
	buffer.index = 0;
	buffer.type = OUTPUT;
	planes[0].bytesused = 0xfffffff0;
	expect(node.fd, VIDIOC_QBUF, &buffer, EINVAL, "QBUF of more bytes than there are");
	planes[0].bytesused = 100;
	planes[0].data_offset = 100;
	expect(node.fd, VIDIOC_QBUF, &buffer, EINVAL, "QBUF with data_offset at the end");
	buffer.type = CAPTURE;
	memset(planes, 0, sizeof(planes));
	expect(node.fd, VIDIOC_QBUF, &buffer, 0, "QBUF");
	expect(node.fd, VIDIOC_QBUF, &buffer, EINVAL, "QBUF of a queued buffer");
	buffer.length = 0;
	buffer.index = 1;
	expect(node.fd, VIDIOC_QBUF, &buffer, EINVAL, "QBUF without planes");
	check(mmap(NULL, 4096, PROT_READ, MAP_SHARED, node.fd, 0x7ffff000) == MAP_FAILED,
	      "mmap of an offset that is no buffer's", "it succeeded");
	check(mmap(NULL, 1 << 30, PROT_READ, MAP_SHARED, node.fd, 0) == MAP_FAILED,
	      "mmap of more than the buffer", "it succeeded");
	format.type = OUTPUT;
	expect(node.fd, VIDIOC_S_FMT, &format, EBUSY, "S_FMT(OUTPUT) with buffers");
	node_close(&node);

	/* After all of it, the node works. */
	encoder_open(&node, 320, 240, 2, 2);
	node_close(&node);
	check(true, "a new session after bad requests", "-");
}

/* Leaves with frames in flight and everything mapped: the kernel has to clean up. */
TEST(abandon, "abandon")
{
	struct node node;

	encoder_start(&node);
	for (unsigned int i = 0; i < 4; i++)
		queue_frame(&node, i, NULL, false);
	printf("ok - closing in mid-stream\n");
	fflush(stdout);
	_exit(0);
}

TEST(opens, "opens")
{
	struct node nodes[100];

	for (unsigned int i = 0; i < 100; i++)
		node_open(&nodes[i], device_path, ENCODER);
	check(true, "a hundred sessions at once", "-");
	/* The order of closing is not that of opening. */
	for (unsigned int i = 0; i < 100; i++)
		close(nodes[(i * 37) % 100].fd);
	encoder_open(&nodes[0], 320, 240, 2, 2);
	check(true, "and one that works after them", "-");
	node_close(&nodes[0]);
}

/* Streams, says "ready", blocks in DQBUF until something happens, and reports what. */
TEST(hold, "hold")
{
	struct node node;
	struct pollfd wait = { 0 };

	encoder_start(&node);
	node_block(&node);
	fprintf(stderr, "ready\n");
	int err = (int)(long)dequeue_in_thread(&node);
	printf("DQBUF %s\n", err ? strerrorname_np(err) : "success");
	wait.fd = node.fd;
	wait.events = POLLIN | POLLOUT;
	int polled = poll(&wait, 1, 3000);
	printf("poll %d revents 0x%x\n", polled, wait.revents);
	struct v4l2_format format = { .type = CAPTURE };
	err = node_ioctl(node.fd, VIDIOC_G_FMT, &format);
	printf("G_FMT %s\n", err ? strerrorname_np(err) : "success");
	node_close(&node);
	printf("closed\n");
}

static void check_bounds(const struct v4l2_buffer *buffer, unsigned int *dequeued,
			 unsigned int *bad)
{
	for (unsigned int i = 0; i < buffer->length && i < VIDEO_MAX_PLANES; i++) {
		const struct v4l2_plane *plane = &buffer->m.planes[i];

		*bad += plane->bytesused > plane->length || plane->data_offset > plane->bytesused;
	}
	++*dequeued;
}

/* One session with a device that may refuse anything. */
static void stream_bounds(unsigned int *dequeued, unsigned int *bad)
{
	enum v4l2_buf_type types[] = { OUTPUT, CAPTURE };
	int fd = open(device_path, O_RDWR | O_NONBLOCK);
	struct v4l2_plane planes[VIDEO_MAX_PLANES];
	struct v4l2_buffer buffer;

	for (unsigned int t = 0; t < 2; t++) {
		struct v4l2_requestbuffers request = {
			.count = 4, .type = types[t], .memory = V4L2_MEMORY_MMAP,
		};

		node_ioctl(fd, VIDIOC_REQBUFS, &request);
		node_ioctl(fd, VIDIOC_STREAMON, &types[t]);
	}
	for (unsigned int i = 0; i < 200; i++) {
		memset(planes, 0, sizeof(planes));
		buffer = (struct v4l2_buffer){
			.type = types[i % 2], .memory = V4L2_MEMORY_MMAP, .index = i / 2 % 4,
			.m.planes = planes, .length = 1,
		};
		node_ioctl(fd, VIDIOC_QBUF, &buffer);
		memset(planes, 0, sizeof(planes));
		buffer.m.planes = planes;
		buffer.length = VIDEO_MAX_PLANES;
		if (!node_ioctl(fd, VIDIOC_DQBUF, &buffer))
			check_bounds(&buffer, dequeued, bad);
		usleep(2000);
	}
	close(fd);
}

/* Whatever the device says: what a buffer carries lies within it. */
TEST(bounds, "bounds")
{
	unsigned int dequeued = 0, bad = 0;

	for (unsigned int i = 0; i < 100 && dequeued < 50; i++)
		stream_bounds(&dequeued, &bad);
	check(dequeued >= 50 && !bad, "what buffers carry lies within them", "%u of %u do not", bad,
	      dequeued);
}
