// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
#include "memory.h"
#include "node.h"

#include <drm/drm.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul

static size_t whole_pages(size_t size)
{
	return (size + PAGE - 1) & ~(PAGE - 1);
}

static int must_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		fatal("open", "%s: %s", path, strerror(errno));
	return fd;
}

static void must(int fd, unsigned long code, void *arg, const char *name)
{
	int err = node_ioctl(fd, code, arg);

	if (err)
		fatal(name, "%s", strerror(err));
}

void memory_map(struct chunk *chunk)
{
	chunk->mapped = whole_pages(chunk->size);
	chunk->mapping = mmap(NULL, chunk->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, chunk->fd, 0);
	if (chunk->mapping == MAP_FAILED)
		fatal("mmap of a dmabuf", "%s", strerror(errno));
	chunk->data = chunk->mapping;
}

static void anonymous(struct chunk *chunk, size_t size)
{
	chunk->mapped = whole_pages(size) + PAGE;
	chunk->mapping = mmap(NULL, chunk->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (chunk->mapping == MAP_FAILED)
		fatal("mmap", "%s", strerror(errno));
	madvise(chunk->mapping, chunk->mapped, MADV_NOHUGEPAGE);
	chunk->data = chunk->mapping;
}

static void userptr(struct chunk *chunk, size_t size)
{
	anonymous(chunk, size);
}

/* In the middle of a page, as malloc() gives it. */
static void userptr_offset(struct chunk *chunk, size_t size)
{
	anonymous(chunk, size);
	chunk->data += 1040;
}

/* Pages that are touched in no order come from all over the guest's memory. */
static void userptr_scattered(struct chunk *chunk, size_t size)
{
	size_t pages;

	anonymous(chunk, size);
	pages = chunk->mapped / PAGE;
	for (size_t i = 0, step = 1021; i < step; i++)
		for (size_t page = step - 1 - i; page < pages; page += step)
			*((uint8_t *)chunk->mapping + page * PAGE) = 1;
}

/* Pages that are pinned do not come back, so these are others. */
static void renew(struct chunk *chunk)
{
	if (mmap(chunk->mapping, chunk->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		fatal("mmap", "%s", strerror(errno));
}

static void heap(struct chunk *chunk, size_t size)
{
	struct dma_heap_allocation_data data = { .len = whole_pages(size), .fd_flags = O_RDWR | O_CLOEXEC };
	int fd = must_open("/dev/dma_heap/system");

	must(fd, DMA_HEAP_IOCTL_ALLOC, &data, "DMA_HEAP_IOCTL_ALLOC");
	close(fd);
	chunk->fd = data.fd;
	memory_map(chunk);
}

static void udmabuf(struct chunk *chunk, size_t size)
{
	struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC, .size = whole_pages(size) };
	int fd = must_open("/dev/udmabuf");
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

int drm_open(const char *driver)
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

/* A dumb buffer, exported. It lives by its dmabuf; the handle stays for what is done to it by handle. */
static void dumb(struct chunk *chunk, size_t size, const char *driver)
{
	struct drm_mode_create_dumb create = { .width = 1024, .bpp = 32, .height = (size + PAGE - 1) / PAGE };
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

/* A V4L2 node whose own MMAP buffers are exported, one after the other. */
struct exporter {
	int fd;
	unsigned int next;
	size_t size;
};

static void exported(struct chunk *chunk, struct exporter *exporter, const char *path, struct v4l2_format *format,
		     unsigned int count)
{
	struct v4l2_requestbuffers request = { .count = count, .type = format->type, .memory = V4L2_MEMORY_MMAP };
	struct v4l2_exportbuffer export = { .type = format->type, .flags = O_RDWR | O_CLOEXEC };

	if (!exporter->next) {
		exporter->fd = must_open(path);
		must(exporter->fd, VIDIOC_S_FMT, format, "S_FMT of the exporter");
		exporter->size = V4L2_TYPE_IS_MULTIPLANAR(format->type) ? format->fmt.pix_mp.plane_fmt[0].sizeimage
									: format->fmt.pix.sizeimage;
		must(exporter->fd, VIDIOC_REQBUFS, &request, "REQBUFS of the exporter");
	}
	if (exporter->size < chunk->size)
		fatal("export", "buffers of %zu bytes instead of %zu", exporter->size, chunk->size);
	export.index = exporter->next++;
	must(exporter->fd, VIDIOC_EXPBUF, &export, "EXPBUF");
	chunk->fd = export.fd;
	memory_map(chunk);
}

/* Of another session of the device under test: coded buffers, as these take any size. */
static void own_export(struct chunk *chunk, size_t size)
{
	static struct exporter exporter;
	struct v4l2_format format = { .type = CAPTURE };

	format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_H264;
	format.fmt.pix_mp.num_planes = 1;
	/* They are to serve as coded buffers of another session, too. */
	format.fmt.pix_mp.plane_fmt[0].sizeimage = size > CODED_SIZE ? whole_pages(size) : CODED_SIZE;
	exported(chunk, &exporter, device_path, &format, 32);
}

/* Of vivid's capture node, whose path is in VIVID. */
static void vivid(struct chunk *chunk, size_t)
{
	static struct exporter exporter;
	struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE };
	const char *path = getenv("VIVID");

	if (!path)
		fatal("vivid", "VIVID does not name its capture node");
	format.fmt.pix.width = 1920;
	format.fmt.pix.height = 1080;
	format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
	exported(chunk, &exporter, path, &format, 8);
}

const struct memory_kind memory_mmap = { "mmap", V4L2_MEMORY_MMAP, NULL, NULL };
const struct memory_kind memory_userptr = { "userptr", V4L2_MEMORY_USERPTR, userptr, NULL };
const struct memory_kind memory_vgem = { "vgem", V4L2_MEMORY_DMABUF, vgem, NULL };
static const struct memory_kind offset = { "userptr-offset", V4L2_MEMORY_USERPTR, userptr_offset, NULL };
static const struct memory_kind scattered = { "userptr-scattered", V4L2_MEMORY_USERPTR, userptr_scattered, NULL };
static const struct memory_kind renewed = { "userptr-renewed", V4L2_MEMORY_USERPTR, userptr, renew };
static const struct memory_kind from_heap = { "heap", V4L2_MEMORY_DMABUF, heap, NULL };
static const struct memory_kind from_udmabuf = { "udmabuf", V4L2_MEMORY_DMABUF, udmabuf, NULL };
static const struct memory_kind from_gpu = { "virtio-gpu", V4L2_MEMORY_DMABUF, virtio_gpu, NULL };
static const struct memory_kind from_export = { "export", V4L2_MEMORY_DMABUF, own_export, NULL };
static const struct memory_kind from_vivid = { "vivid", V4L2_MEMORY_DMABUF, vivid, NULL };

static const struct memory_kind *const kinds[] = {
	&memory_mmap,  &memory_userptr, &offset,       &scattered,   &renewed,     &from_heap,
	&from_udmabuf, &memory_vgem,    &from_gpu, &from_export, &from_vivid,
};

void memory_allocate(struct chunk *chunk, const struct memory_kind *kind, size_t size)
{
	*chunk = (struct chunk){ .size = size, .fd = -1, .owner = -1 };
	kind->allocate(chunk, size);
}

const struct memory_kind *memory_find(const char *name)
{
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(name, kinds[i]->name))
			return kinds[i];
	return NULL;
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
