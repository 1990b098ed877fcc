/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Memory for buffers: the device's own, a program's, dmabufs. */
#ifndef M2M_MEMORY_H
#define M2M_MEMORY_H

#include "must.h"

#include <linux/videodev2.h>
#include <stdint.h>

#define PAGE 4096ul

/* One allocation: its CPU view, and the dmabuf where it is one (else -1). */
struct chunk {
	uint8_t *data;
	size_t size;
	int fd;
	/* What has to be undone: the mapping, the node that `handle` belongs to. */
	void *mapping;
	size_t mapped;
	int owner;
	uint32_t handle;
};

struct memory_kind {
	const char *name;
	enum v4l2_memory memory;
	/* None: the device's own (MMAP). Ends the program when there is no such memory. */
	void (*allocate)(struct chunk *chunk, size_t size);
	/* Puts other pages at the same addresses, as free() and malloc() do; NULL: they stay. */
	void (*renew)(struct chunk *chunk);
};

/* The device's own, mapped or not; pages of the program; large blocks of malloc(); a DMA heap. */
extern const struct memory_kind memory_mmap, memory_unmapped, memory_userptr, memory_malloc,
	memory_heap;

size_t whole_pages(size_t size);
void memory_allocate(struct chunk *chunk, const struct memory_kind *kind, size_t size);
void memory_free(struct chunk *chunk);
/* Maps the whole of a dmabuf. */
void memory_map(struct chunk *chunk);
/* Small pages, and one more than `size` needs. */
void memory_anonymous(struct chunk *chunk, size_t size);

#endif
