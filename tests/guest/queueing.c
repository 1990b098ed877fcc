// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* QBUF does not wait for the device, which may refuse the buffer later. */
#include "tests.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The host stops the daemon meanwhile. */
TEST(posted, "posted")
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer;
	struct frame coded;
	struct node node;
	int err;

	encoder_start(&node);
	host_does("stop-daemon-posted", "daemon-stopped-posted");
	for (unsigned int i = 0; i < 3; i++)
		queue_frame(&node, i, NULL, false);
	check(true, "QBUF while the daemon is stopped", "-");
	buffer = node_buffer(&node.output, 0, &plane);
	err = node_ioctl(node.fd, VIDIOC_QUERYBUF, &buffer);
	check(!err && buffer.flags & V4L2_BUF_FLAG_QUEUED, "QUERYBUF says QUEUED",
	      "errno %d, flags 0x%x", err, buffer.flags);
	buffer = node_buffer(&node.output, 0, &plane);
	expect(node.fd, VIDIOC_QBUF, &buffer, EINVAL, "QBUF of a queued buffer is EINVAL");
	err = next_coded(&node, &coded, 0);
	check(err == ETIME, "there is nothing to dequeue", "%s", strerror(err));
	host_does("continue-daemon-posted", "daemon-continued-posted");
	for (unsigned int i = 0; i < 3; i++) {
		err = next_coded(&node, &coded, 10000);
		check(!err && coded.sequence == i, "a frame, after the daemon goes on",
		      "%s, number %u", strerror(err), coded.sequence);
	}
	node_close(&node);
}

/* How many pages of programs are pinned. */
static long pinned(void)
{
	long acquired = 0, released = 0;
	int found = 0;
	char line[128];
	FILE *file;

	/* The counters of all CPUs. */
	file = fopen("/proc/sys/vm/stat_refresh", "r");
	if (file) {
		while (fgets(line, sizeof(line), file))
			;
		fclose(file);
	}
	file = fopen("/proc/vmstat", "r");
	while (file && fgets(line, sizeof(line), file)) {
		found += sscanf(line, "nr_foll_pin_acquired %ld", &acquired) == 1;
		found += sscanf(line, "nr_foll_pin_released %ld", &released) == 1;
	}
	if (found != 2)
		fatal("vmstat", "it does not count pins");
	fclose(file);
	return acquired - released;
}

static int queue_user(struct node *node, unsigned long code, uint32_t bytes)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&node->output, 0, &plane);

	plane.bytesused = bytes;
	return node_ioctl(node->fd, code, &buffer);
}

/* Other memory for the buffer, with pages: to get some when it is pinned would be a change. */
static void renew_user(struct node *node)
{
	struct chunk *chunk = &node->output.chunk[0];

	memory_allocate(chunk, &memory_userptr, chunk->size);
	memset(chunk->data, 1, chunk->size);
}

/*
 * What a buffer was queued with stays pinned until the device has taken other memory. The host
 * stops the daemon meanwhile.
 */
TEST(replaced, "replaced")
{
	struct node node;
	long before, one, now;
	int err;

	encoder_open_memory(&node, 320, 240, 1, &memory_userptr, 2, &memory_mmap);
	before = pinned();
	err = queue_user(&node, VIDIOC_QBUF, 0);
	/* Which is answered after the QBUF. */
	node_stream(&node, OUTPUT, false);
	one = pinned() - before;
	check(!err && one > 0, "QBUF pins the memory", "%s, %ld pages", strerror(err), one);

	host_does("stop-daemon-replaced", "daemon-stopped-replaced");
	renew_user(&node);
	err = queue_user(&node, VIDIOC_QBUF, 0);
	now = pinned() - before;
	check(!err && now == 2 * one, "what a QBUF replaces stays pinned while it is not answered",
	      "%s, %ld pages instead of %ld", strerror(err), now, 2 * one);
	host_does("continue-daemon-replaced", "daemon-continued-replaced");
	node_stream(&node, OUTPUT, false);
	err = queue_user(&node, VIDIOC_QBUF, 0);
	now = pinned() - before;
	check(!err && now == one, "and no longer", "%s, %ld pages instead of %ld", strerror(err),
	      now, one);

	node_stream(&node, OUTPUT, false);
	for (unsigned int i = 0; i < 8; i++) {
		renew_user(&node);
		err = queue_user(&node, i % 2 ? VIDIOC_QBUF : VIDIOC_PREPARE_BUF, 0xfffff000);
		if (err != EINVAL)
			fatal("QBUF of more than there is", "%s", strerror(err));
	}
	now = pinned() - before;
	check(now == 2 * one, "memory that the device has not seen is not kept",
	      "%ld pages instead of %ld", now, 2 * one);
	node_close(&node);
}

/* A buffer that another process queues with the same address has other memory. */
TEST(other_process, "other-process")
{
	struct node node;
	int err, pipes[2], status = 0;
	char byte = 0;
	long before, one, now;
	pid_t child;

	encoder_open_memory(&node, 320, 240, 1, &memory_userptr, 2, &memory_mmap);
	renew_user(&node);
	if (pipe(pipes))
		fatal("pipe", "%s", strerror(errno));
	/* Before anything is pinned: fork() is a change of the memory, which is noticed. */
	child = fork();
	if (!child) {
		if (read(pipes[0], &byte, 1) != 1)
			_exit(2);
		memset(node.output.chunk[0].data, 2, node.output.chunk[0].size);
		_exit(queue_user(&node, VIDIOC_QBUF, 0) || read(pipes[0], &byte, 1) != 1);
	}
	memset(node.output.chunk[0].data, 1, node.output.chunk[0].size);
	before = pinned();
	err = queue_user(&node, VIDIOC_QBUF, 0);
	node_stream(&node, OUTPUT, false);
	one = pinned() - before;
	check(!err && one > 0, "QBUF of one process", "%s, %ld pages", strerror(err), one);
	if (write(pipes[1], &byte, 1) != 1)
		fatal("pipe", "%s", strerror(errno));
	for (unsigned int i = 0; i < 100 && pinned() - before == one; i++)
		usleep(50000);
	now = pinned() - before;
	if (write(pipes[1], &byte, 1) != 1)
		fatal("pipe", "%s", strerror(errno));
	waitpid(child, &status, 0);
	check(!status && now == 2 * one,
	      "QBUF of another with the same address pins its own memory",
	      "status 0x%x, %ld pages instead of %ld", status, now, 2 * one);
	node_close(&node);
}

/* The encoder takes no interlaced frames, which the driver does not know. */
TEST(refused, "refused")
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer;
	struct pollfd wait = { .events = POLLOUT };
	struct frame frame;
	struct node node;
	int err;

	encoder_start(&node);
	buffer = node_buffer(&node.output, 0, &plane);
	buffer.field = V4L2_FIELD_INTERLACED;
	expect(node.fd, VIDIOC_QBUF, &buffer, 0, "QBUF of a frame that the device refuses");
	node.output.ours[0] = false;
	wait.fd = node.fd;
	check(poll(&wait, 1, 3000) == 1 && wait.revents & POLLOUT,
	      "poll says that the buffer comes back", "revents 0x%x", wait.revents);
	err = node_dqbuf(&node, &node.output, &frame);
	check(!err && frame.index == 0 && frame.flags & V4L2_BUF_FLAG_ERROR && !frame.bytes,
	      "it has ERROR and no content", "errno %d, index %u, flags 0x%x, %u bytes", err,
	      frame.index, frame.flags, frame.bytes);
	for (unsigned int i = 0; i < 2; i++) {
		queue_frame(&node, i, NULL, false);
		err = next_coded(&node, &frame, 10000);
		check(!err && frame.bytes && frame.sequence == i, "the next frame is encoded",
		      "%s, %u bytes, number %u", strerror(err), frame.bytes, frame.sequence);
		node_requeue(&node, frame.index);
	}
	node_close(&node);
}
