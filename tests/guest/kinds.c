// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Memory from every place that a program can have it from. */
#include "frames.h"

#include <drm/drm.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* In the middle of a page, as malloc() gives it. */
static void userptr_offset(struct chunk *chunk, size_t size)
{
	memory_anonymous(chunk, size);
	chunk->data += 1040;
}

/* Pages that are touched in no order come from all over the guest's memory. */
static void userptr_scattered(struct chunk *chunk, size_t size)
{
	size_t pages;

	memory_anonymous(chunk, size);
	pages = chunk->mapped / PAGE;
	for (size_t i = 0, step = 1021; i < step; i++)
		for (size_t page = step - 1 - i; page < pages; page += step)
			*((uint8_t *)chunk->mapping + page * PAGE) = 1;
}

/* Pages that are pinned do not come back, so these are others. */
static void renew(struct chunk *chunk)
{
	must_map(chunk->mapping, chunk->mapped, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void udmabuf(struct chunk *chunk, size_t size)
{
	struct udmabuf_create create = {
		.flags = UDMABUF_FLAGS_CLOEXEC, .size = whole_pages(size),
	};
	int fd = must_open("/dev/udmabuf", 0);
	int file = memfd_create("udmabuf", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	if (ftruncate(file, create.size) || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK))
		fatal("memfd", "%s", strerror(errno));
	create.memfd = file;
	chunk->fd = ioctl(fd, UDMABUF_CREATE, &create);
	if (chunk->fd < 0)
		fatal("UDMABUF_CREATE", "%s", strerror(errno));
	close(file);
	close(fd);
	memory_map(chunk);
}

/* The first DRM node of this driver. */
static int drm_open(const char *driver)
{
	for (int i = 0; i < 16; i++) {
		char path[32], name[32] = "";
		struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/card%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!node_ioctl(fd, DRM_IOCTL_VERSION, &version) && !strcmp(name, driver))
			return fd;
		close(fd);
	}
	fatal("DRM", "no node of %s in /dev/dri", driver);
}

/* A dumb buffer, exported. It lives by its dmabuf; the handle stays for calls that take one. */
static void dumb(struct chunk *chunk, size_t size, const char *driver)
{
	struct drm_mode_create_dumb create = {
		.width = 1024, .bpp = 32, .height = (size + PAGE - 1) / PAGE,
	};
	struct drm_prime_handle prime = { .flags = DRM_CLOEXEC | DRM_RDWR };

	chunk->owner = drm_open(driver);
	must(chunk->owner, DRM_IOCTL_MODE_CREATE_DUMB, &create, "DRM_IOCTL_MODE_CREATE_DUMB");
	prime.handle = chunk->handle = create.handle;
	must(chunk->owner, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime, "DRM_IOCTL_PRIME_HANDLE_TO_FD");
	chunk->fd = prime.fd;
	memory_map(chunk);
}

static void vgem(struct chunk *chunk, size_t size)
{
	dumb(chunk, size, "vgem");
}

static void virtio_gpu(struct chunk *chunk, size_t size)
{
	dumb(chunk, size, "virtio_gpu");
}

/* A node whose own CAPTURE buffers are exported, one after the other. */
struct exporter {
	struct node node;
	unsigned int next;
};

static void exported(struct chunk *chunk, struct exporter *exporter)
{
	const struct queue *queue = &exporter->node.capture;

	if (exporter->next == queue->count || queue->chunk[0].size < chunk->size)
		fatal("export", "%u buffers of %zu bytes, and none of %zu is left", queue->count,
		      queue->chunk[0].size, chunk->size);
	chunk->fd = node_export(&exporter->node, queue, exporter->next++);
	memory_map(chunk);
}

/* Of another session of the device under test: coded buffers, as these take any size. */
static void own_export(struct chunk *chunk, size_t size)
{
	static struct exporter exporter;
	struct node *node = &exporter.node;

	if (!exporter.next) {
		node_open(node, device_path, ENCODER);
		/* They are to serve as coded buffers of another session, too. */
		node_set_formats(node, 640, 360, V4L2_PIX_FMT_H264,
				 size > CODED_SIZE ? whole_pages(size) : CODED_SIZE);
		node_request(node, &node->capture, 32, &memory_unmapped);
	}
	exported(chunk, &exporter);
}

/* Of vivid's capture node, whose path is in VIVID. */
static void vivid(struct chunk *chunk, size_t)
{
	static struct exporter exporter;
	struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE };
	struct node *node = &exporter.node;
	const char *path = getenv("VIVID");

	if (!path)
		fatal("vivid", "VIVID does not name its capture node");
	if (!exporter.next) {
		/* It has the API of a decoder's CAPTURE. */
		node_open(node, path, DECODER);
		format.fmt.pix.width = 1920;
		format.fmt.pix.height = 1080;
		format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
		must(node->fd, VIDIOC_S_FMT, &format, "S_FMT of the exporter");
		node_request(node, &node->capture, 8, &memory_unmapped);
	}
	exported(chunk, &exporter);
}

const struct memory_kind memory_vgem = { "vgem", V4L2_MEMORY_DMABUF, vgem, NULL };

#define KIND(...) &(const struct memory_kind){ __VA_ARGS__ }
static const struct memory_kind *const kinds[] = {
	&memory_mmap, &memory_userptr, &memory_heap, &memory_vgem,
	KIND("userptr-offset", V4L2_MEMORY_USERPTR, userptr_offset, NULL),
	KIND("userptr-scattered", V4L2_MEMORY_USERPTR, userptr_scattered, NULL),
	KIND("userptr-renewed", V4L2_MEMORY_USERPTR, memory_anonymous, renew),
	KIND("udmabuf", V4L2_MEMORY_DMABUF, udmabuf, NULL),
	KIND("virtio-gpu", V4L2_MEMORY_DMABUF, virtio_gpu, NULL),
	KIND("export", V4L2_MEMORY_DMABUF, own_export, NULL),
	KIND("vivid", V4L2_MEMORY_DMABUF, vivid, NULL),
};

const struct memory_kind *memory_find(const char *name)
{
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(name, kinds[i]->name))
			return kinds[i];
	return NULL;
}
