// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Where raw frames lie. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static void map(struct frame *frame, int fd, off_t offset)
{
	frame->data = mmap(NULL, frame->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (frame->data == MAP_FAILED)
		fatal("mmap");
}

void frame_map(struct frame *frame, int fd, uint32_t offset)
{
	frame->fd = -1;
	map(frame, fd, offset);
}

void frame_allocate(struct frame *frame, uint32_t memory)
{
	struct dma_heap_allocation_data request = { .len = frame->length, .fd_flags = O_RDWR | O_CLOEXEC };
	static int heap = -1;

	frame->fd = -1;
	if (memory == V4L2_MEMORY_USERPTR) {
		/* Wherever malloc puts it: rarely at the start of a page, its pages anywhere. */
		frame->data = malloc(frame->length);
		if (!frame->data)
			fatal("malloc");
		return;
	}
	if (heap < 0)
		heap = open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC);
	if (heap < 0)
		fatal("/dev/dma_heap/system");
	/* The heap gives whole pages. */
	request.len = frame->length = (frame->length + 4095) / 4096 * 4096;
	must(heap, DMA_HEAP_IOCTL_ALLOC, &request, "DMA_HEAP_IOCTL_ALLOC");
	frame->fd = request.fd;
	map(frame, frame->fd, 0);
}

static void sync_access(struct frame *frame, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_WRITE | flags };

	if (frame->fd >= 0)
		must(frame->fd, DMA_BUF_IOCTL_SYNC, &sync, "DMA_BUF_IOCTL_SYNC");
}

static void read_picture(struct frame *frame, const char *source, unsigned int number, size_t size)
{
	int fd = open(source, O_RDONLY);

	if (fd < 0)
		fatal(source);
	for (size_t at = 0; at < size;) {
		ssize_t got = pread(fd, frame->data + at, size - at, (off_t)size * number + at);

		if (got <= 0)
			fatal(source);
		at += got;
	}
	close(fd);
}

void frame_fill(struct frame *frame, const struct options *options, unsigned int number)
{
	size_t luma = (size_t)options->width * options->height;

	sync_access(frame, DMA_BUF_SYNC_START);
	if (options->source) {
		read_picture(frame, options->source, number, luma * 3 / 2);
	} else {
		for (unsigned int y = 0; y < options->height; y++)
			memset(frame->data + (size_t)y * options->width, y + 16 * number, options->width);
		memset(frame->data + luma, 128, luma / 2);
	}
	sync_access(frame, DMA_BUF_SYNC_END);
}
