// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* QBUF does not wait for the device: what it says without it, and what comes of it when the device refuses. */
#include "tests.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static void begin(struct node *node)
{
	node_open(node);
	node_setup(node, 320, 240, 4, 4);
	node_queue_all_capture(node);
	node_stream(node, OUTPUT, true);
	node_stream(node, CAPTURE, true);
}

static struct v4l2_buffer output(unsigned int index, struct v4l2_plane *plane)
{
	memset(plane, 0, sizeof(*plane));
	return (struct v4l2_buffer){
		.type = OUTPUT, .memory = V4L2_MEMORY_MMAP, .index = index, .m.planes = plane, .length = 1,
	};
}

/* The host stops the daemon meanwhile. */
void test_posted(void)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = output(0, &plane);
	struct coded coded;
	struct node node;
	int err;

	begin(&node);
	host_does("stop-daemon-posted", "daemon-stopped-posted");
	for (unsigned int i = 0; i < 3; i++)
		node_queue_frame(&node, i, NULL, false);
	check(true, "QBUF while the daemon is stopped", "-");
	err = node_ioctl(node.fd, VIDIOC_QUERYBUF, &buffer);
	check(!err && buffer.flags & V4L2_BUF_FLAG_QUEUED, "QUERYBUF says QUEUED", "errno %d, flags 0x%x", err, buffer.flags);
	buffer = output(0, &plane);
	err = node_ioctl(node.fd, VIDIOC_QBUF, &buffer);
	check(err == EINVAL, "QBUF of a queued buffer is EINVAL", "%s", strerror(err));
	err = node_dequeue(&node, &coded, 0);
	check(err == ETIME, "there is nothing to dequeue", "%s", strerror(err));
	host_does("continue-daemon-posted", "daemon-continued-posted");
	for (unsigned int i = 0; i < 3; i++) {
		err = node_dequeue(&node, &coded, 10000);
		check(!err && coded.sequence == i, "a frame, after the daemon goes on", "%s, number %u", strerror(err),
		      coded.sequence);
	}
	node_close(&node);
}

/* The encoder takes no interlaced frames, which the driver does not know. */
void test_refused(void)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = output(0, &plane);
	struct pollfd wait = { .events = POLLOUT };
	struct coded coded;
	struct node node;
	int err;

	begin(&node);
	buffer.field = V4L2_FIELD_INTERLACED;
	err = node_ioctl(node.fd, VIDIOC_QBUF, &buffer);
	check(!err, "QBUF of a frame that the device refuses", "%s", strerror(err));
	node.output.ours[0] = false;
	wait.fd = node.fd;
	check(poll(&wait, 1, 3000) == 1 && wait.revents & POLLOUT, "poll says that the buffer comes back", "revents 0x%x",
	      wait.revents);
	buffer = output(0, &plane);
	err = node_ioctl(node.fd, VIDIOC_DQBUF, &buffer);
	check(!err && buffer.index == 0 && buffer.flags & V4L2_BUF_FLAG_ERROR && !plane.bytesused,
	      "it has ERROR and no content", "errno %d, index %u, flags 0x%x, %u bytes", err, buffer.index, buffer.flags,
	      plane.bytesused);
	node.output.ours[0] = true;
	for (unsigned int i = 0; i < 2; i++) {
		node_queue_frame(&node, i, NULL, false);
		err = node_dequeue(&node, &coded, 10000);
		check(!err && coded.bytes && coded.sequence == i, "the next frame is encoded", "%s, %u bytes, number %u",
		      strerror(err), coded.bytes, coded.sequence);
		node_requeue(&node, coded.index);
	}
	node_close(&node);
}
