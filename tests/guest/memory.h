/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/* Memory for buffers, from every place that a program can have it from. */
#ifndef MEMORY_H
#define MEMORY_H

#include <linux/videodev2.h>
#include <stdint.h>
#include <sys/types.h>

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

extern const struct memory_kind memory_mmap, memory_userptr, memory_vgem;

/* By name; NULL if there is none. */
const struct memory_kind *memory_find(const char *name);
void memory_allocate(struct chunk *chunk, const struct memory_kind *kind, size_t size);
void memory_free(struct chunk *chunk);
/* Maps the whole of a dmabuf for reading and writing. */
void memory_map(struct chunk *chunk);
/* The first DRM node of this driver. */
int drm_open(const char *driver);

#endif
