// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* What is in the raw frames. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void sync_access(const struct chunk *chunk, uint64_t flags)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_WRITE | flags };

	if (chunk->fd >= 0)
		must(chunk->fd, DMA_BUF_IOCTL_SYNC, &sync, "DMA_BUF_IOCTL_SYNC");
}

static void read_picture(uint8_t *data, const char *source, unsigned int number, size_t size)
{
	int fd = must_open(source, O_RDONLY);

	for (size_t at = 0; at < size;) {
		ssize_t got = pread(fd, data + at, size - at, (off_t)size * number + at);

		if (got <= 0)
			fatal(source, "%s", got ? strerror(errno) : "too short");
		at += got;
	}
	close(fd);
}

void picture_write(const struct chunk *chunk, const struct options *options, unsigned int number)
{
	size_t width = options->width, luma = width * options->height;

	sync_access(chunk, DMA_BUF_SYNC_START);
	if (options->source) {
		read_picture(chunk->data, options->source, number, luma * 3 / 2);
	} else {
		for (unsigned int y = 0; y < options->height; y++)
			memset(chunk->data + y * width, y + 16 * number, width);
		memset(chunk->data + luma, 128, luma / 2);
	}
	sync_access(chunk, DMA_BUF_SYNC_END);
}
