// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* A device goes while programs map its memory: it is unmapped, and nothing else is touched. */
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16
#define KEPT 64
#define FILES 256

/* One thread that maps the same memory again and again, and what it has mapped. */
struct mapper {
	int fd;
	off_t offset;
	pthread_t thread;
	volatile uint8_t *kept[KEPT];
};

static atomic_bool gone;
static _Thread_local sigjmp_buf fault;

static void on_fault(int)
{
	siglongjmp(fault, 1);
}

/* Whether a byte can be read and written; else it was SIGBUS. */
static bool touch(volatile uint8_t *byte)
{
	if (sigsetjmp(fault, 1))
		return false;
	*byte = *byte + 1;
	return true;
}

static uint8_t *moved(uint8_t *mapping)
{
	size_t size = PAGES * PAGE;
	void *place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mremap(mapping, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) != place)
		fatal("revoke", "mremap: %s", strerror(errno));
	return place;
}

/* Maps, touches, moves and cuts: every way that an area of memory comes to be. */
static void *map_all_the_time(void *context)
{
	struct mapper *mapper = context;

	for (unsigned int i = 0; !gone; i++) {
		volatile uint8_t **kept = &mapper->kept[i % KEPT];
		uint8_t *mapping = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
					mapper->fd, mapper->offset);

		if (mapping == MAP_FAILED)
			continue;
		/* Most are touched for the first time by whoever looks at them in the end. */
		if (i % 3 == 0)
			touch(mapping);
		if (i % 5 == 0)
			mapping = moved(mapping);
		if (i % 7 == 0)
			munmap(mapping + 2 * PAGE, 3 * PAGE);
		if (*kept)
			munmap((void *)*kept, PAGES * PAGE);
		*kept = mapping;
	}
	return NULL;
}

static unsigned int alive(struct mapper *mappers, unsigned int count)
{
	unsigned int live = 0;

	for (unsigned int i = 0; i < count; i++)
		for (unsigned int j = 0; j < KEPT; j++) {
			volatile uint8_t *kept = mappers[i].kept[j];

			live += kept && (touch(kept) || touch(kept + (PAGES - 1) * PAGE));
		}
	return live;
}

static void wait_until_gone(int fd)
{
	struct v4l2_capability capability;

	while (!node_ioctl(fd, VIDIOC_QUERYCAP, &capability))
		usleep(1000);
}

static off_t coded_offset(struct node *node)
{
	struct v4l2_plane plane = { 0 };
	struct v4l2_buffer buffer = node_buffer(&node->capture, 0, &plane);

	must(node->fd, VIDIOC_QUERYBUF, &buffer, "QUERYBUF");
	return plane.m.mem_offset;
}

/* Dmabufs whose files are gone while their paths are held. Other files take the place of theirs. */
static void orphans(struct node *node, uint8_t *private[FILES])
{
	int fds[8];

	for (unsigned int i = 0; i < 8; i++) {
		char path[32];

		fds[i] = node_export(node, &node->capture, i % node->capture.count);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[i]);
		if (open(path, O_PATH) < 0)
			fatal("O_PATH", "%s", strerror(errno));
	}
	for (unsigned int i = 0; i < 8; i++)
		close(fds[i]);
	for (unsigned int i = 0; i < FILES; i++) {
		int file = memfd_create("other", MFD_CLOEXEC);

		if (file < 0 || ftruncate(file, PAGE))
			fatal("memfd", "%s", strerror(errno));
		private[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
		if (private[i] == MAP_FAILED)
			fatal("mmap", "%s", strerror(errno));
		private[i][0] = 0x5a;
	}
}

/* See the suite "unplug". */
TEST(revoke, "revoke")
{
	struct mapper mappers[4] = { 0 };
	static uint8_t *private[FILES];
	unsigned int live, lost = 0;
	struct node node;
	int dmabuf, status = 0;
	pid_t child;

	signal(SIGBUS, on_fault);
	encoder_open(&node, 320, 240, 2, 2);
	dmabuf = node_export(&node, &node.capture, 0);
	orphans(&node, private);
	child = fork();
	if (!child) {
		/* It has copies of what its parent has mapped. */
		touch(node.capture.chunk[0].data);
		wait_until_gone(node.fd);
		_exit(touch(node.capture.chunk[0].data) || touch(node.output.chunk[1].data));
	}
	for (unsigned int i = 0; i < 4; i++) {
		mappers[i].fd = i % 4 == 0 ? node.fd : dmabuf;
		mappers[i].offset = i % 4 == 0 ? coded_offset(&node) : 0;
		pthread_create(&mappers[i].thread, NULL, map_all_the_time, &mappers[i]);
	}
	usleep(100000);
	if (!touch(node.capture.chunk[0].data))
		fatal("revoke", "nothing is mapped");
	fprintf(stderr, "ready\n");
	wait_until_gone(node.fd);
	gone = true;
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(mappers[i].thread, NULL);
	live = alive(mappers, 4) + touch(node.capture.chunk[0].data);
	check(!live, "nothing of a device that has gone stays mapped", "%u mappings", live);
	waitpid(child, &status, 0);
	check(!status, "nor in a child", "status 0x%x", status);
	for (unsigned int i = 0; i < FILES; i++)
		lost += private[i][0] != 0x5a;
	check(!lost, "mappings of other files stay what they are", "%u of %u", lost, FILES);
	node_close(&node);
}
