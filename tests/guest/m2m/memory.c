// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "memory.h"

#include <fcntl.h>
#include <linux/dma-heap.h>
#include <sys/mman.h>
#include <unistd.h>

size_t whole_pages(size_t size)
{
	return (size + PAGE - 1) & ~(PAGE - 1);
}

static void map(struct chunk *chunk, size_t size, int flags, int fd)
{
	chunk->mapped = size;
	chunk->mapping = chunk->data = must_map(NULL, size, flags, fd, 0);
}

void memory_map(struct chunk *chunk)
{
	map(chunk, whole_pages(chunk->size), MAP_SHARED, chunk->fd);
}

void memory_anonymous(struct chunk *chunk, size_t size)
{
	map(chunk, whole_pages(size) + PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(chunk->mapping, chunk->mapped, MADV_NOHUGEPAGE);
}

/* A mapping of its own behind a header of 16 bytes, huge pages where the kernel likes. */
static void large_block(struct chunk *chunk, size_t size)
{
	map(chunk, whole_pages(size + 16), MAP_PRIVATE | MAP_ANONYMOUS, -1);
	chunk->data += 16;
}

static void heap(struct chunk *chunk, size_t size)
{
	struct dma_heap_allocation_data data = {
		.len = whole_pages(size), .fd_flags = O_RDWR | O_CLOEXEC,
	};
	int fd = must_open("/dev/dma_heap/system", 0);

	must(fd, DMA_HEAP_IOCTL_ALLOC, &data, "DMA_HEAP_IOCTL_ALLOC");
	close(fd);
	chunk->fd = data.fd;
	memory_map(chunk);
}

static void nothing(struct chunk *, size_t)
{
}

const struct memory_kind memory_mmap = { "mmap", V4L2_MEMORY_MMAP, NULL, NULL };
const struct memory_kind memory_unmapped = { "unmapped", V4L2_MEMORY_MMAP, nothing, NULL };
const struct memory_kind memory_userptr = {
	"userptr", V4L2_MEMORY_USERPTR, memory_anonymous, NULL,
};
const struct memory_kind memory_malloc = { "malloc", V4L2_MEMORY_USERPTR, large_block, NULL };
const struct memory_kind memory_heap = { "heap", V4L2_MEMORY_DMABUF, heap, NULL };

void memory_allocate(struct chunk *chunk, const struct memory_kind *kind, size_t size)
{
	*chunk = (struct chunk){ .size = size, .fd = -1, .owner = -1 };
	kind->allocate(chunk, size);
}

void memory_free(struct chunk *chunk)
{
	if (chunk->mapping)
		munmap(chunk->mapping, chunk->mapped);
	if (chunk->fd >= 0)
		close(chunk->fd);
	if (chunk->owner >= 0)
		close(chunk->owner);
}
