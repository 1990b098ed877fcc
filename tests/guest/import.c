// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Memory that the client brings: it must not show in the stream. */
#include "tests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMES 12

struct stream {
	char *data;
	size_t size;
	unsigned int frames;
};

/* FRAMES frames, as one program would encode them; `free` the data. */
static struct stream encode(unsigned int width, unsigned int height,
			    const struct memory_kind *output, const struct memory_kind *capture)
{
	struct stream stream = { 0 };
	FILE *file = open_memstream(&stream.data, &stream.size);
	struct node node;

	encoder_open_memory(&node, width, height, 3, output, 4, capture);
	node_start(&node);
	stream.frames = encode_frames(&node, 0, FRAMES, false, save_coded, file);
	stream.frames += drain(&node, save_coded, file);
	node_close(&node);
	fclose(file);
	return stream;
}

/* lend WIDTHxHEIGHT KIND...: each kind's stream against the one by MMAP, on either queue. */
TEST(import, "lend")
{
	unsigned int width, height;
	struct stream reference;
	char name[96];

	if (argument_count < 2 || sscanf(arguments[0], "%ux%u", &width, &height) != 2)
		fatal("lend", "wants a size and kinds of memory");
	reference = encode(width, height, &memory_mmap, &memory_mmap);
	if (reference.frames != FRAMES)
		fatal("lend", "%u frames of %u by MMAP", reference.frames, FRAMES);
	for (int i = 1; i < argument_count; i++) {
		const struct memory_kind *kind = memory_find(arguments[i]);

		if (!kind)
			fatal("lend", "no memory is called %s", arguments[i]);
		for (unsigned int capture = 0; capture < 2; capture++) {
			/* vivid has too few buffers for it, and 640x360 is enough to tell. */
			if (capture && (!strcmp(kind->name, "vivid") || width > 640))
				continue;
			struct stream stream = encode(width, height, kind,
						      capture ? kind : &memory_mmap);

			snprintf(name, sizeof(name), "%s %s %s: the stream is the one by MMAP",
				 kind->name, arguments[0],
				 capture ? "on both queues" : "for raw frames");
			check(stream.size == reference.size &&
			      !memcmp(stream.data, reference.data, stream.size), name,
			      "%u frames, %zu bytes instead of %zu", stream.frames, stream.size,
			      reference.size);
			free(stream.data);
		}
	}
	free(reference.data);
}

static void queue_for(struct node *node, enum v4l2_buf_type type, unsigned long code,
		      unsigned int index, int wanted, const char *name)
{
	struct queue *queue = type == OUTPUT ? &node->output : &node->capture;
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(queue, index, &plane);

	if (type == OUTPUT)
		plane.bytesused = node->frame_size;
	expect(node->fd, code, &buffer, wanted, name);
}

/* Memory that cannot be what the client says is refused by QBUF, and nothing is lost by that. */
TEST(import_refused, "lend-refused")
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer;
	struct chunk kept;
	struct node node;

	encoder_open_memory(&node, 320, 240, 2, &memory_userptr, 2, &memory_mmap);
	kept = node.output.chunk[0];
	node.output.chunk[0].data = (void *)0x10000;
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, EFAULT, "USERPTR to nowhere");
	node.output.chunk[0] = kept;
	node.output.chunk[0].size--;
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, EINVAL, "USERPTR shorter than a frame");
	node.output.chunk[0] = kept;
	buffer = node_buffer(&node.output, 0, &plane);
	buffer.memory = V4L2_MEMORY_MMAP;
	expect(node.fd, VIDIOC_QBUF, &buffer, EINVAL, "MMAP on a queue of USERPTR is EINVAL");
	mprotect(kept.mapping, kept.mapped, PROT_READ);
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, 0, "a raw frame by USERPTR need not be writable");
	node_close(&node);

	encoder_open_memory(&node, 320, 240, 2, &memory_vgem, 2, &memory_mmap);
	kept = node.output.chunk[0];
	node.output.chunk[0].fd = node.fd;
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, EINVAL, "a descriptor that is no dmabuf");
	node.output.chunk[0].fd = 9999;
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, EINVAL, "a descriptor that is not open");
	memory_allocate(&node.output.chunk[0], &memory_vgem, 4096);
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, EINVAL, "a dmabuf smaller than a frame");
	memory_free(&node.output.chunk[0]);
	node.output.chunk[0] = kept;
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, 0, "the buffer takes good memory after that");
	node_close(&node);
}

/* PREPARE_BUF, CREATE_BUFS and REMOVE_BUFS, by MMAP and with imported memory. */
static void manage(const struct memory_kind *kind)
{
	struct v4l2_create_buffers create = {
		.count = 2, .memory = kind->memory, .format = { .type = OUTPUT },
	};
	struct v4l2_remove_buffers remove = { .index = 3, .count = 1, .type = OUTPUT };
	struct v4l2_plane plane;
	struct v4l2_buffer buffer;
	struct node node;
	char name[96];

#define NAME(text) (snprintf(name, sizeof(name), "%s: " text, kind->name), name)
	encoder_open_memory(&node, 320, 240, 2, kind, 4, &memory_mmap);
	queue_for(&node, OUTPUT, VIDIOC_PREPARE_BUF, 0, 0, NAME("PREPARE_BUF"));
	queue_for(&node, OUTPUT, VIDIOC_PREPARE_BUF, 0, EINVAL,
		  NAME("PREPARE_BUF twice is EINVAL"));
	buffer = node_buffer(&node.output, 0, &plane);
	int err = node_ioctl(node.fd, VIDIOC_QUERYBUF, &buffer);
	check(!err && buffer.flags & V4L2_BUF_FLAG_PREPARED, NAME("QUERYBUF says PREPARED"),
	      "flags 0x%x", buffer.flags);

	node_ioctl(node.fd, VIDIOC_G_FMT, &create.format);
	err = node_ioctl(node.fd, VIDIOC_CREATE_BUFS, &create);
	check(!err && create.index == 2 && create.count == 2, NAME("CREATE_BUFS"),
	      "%s, index %u, count %u", strerror(err), create.index, create.count);
	expect(node.fd, VIDIOC_REMOVE_BUFS, &remove, 0, NAME("REMOVE_BUFS of the last one"));
	buffer.index = 3;
	expect(node.fd, VIDIOC_QUERYBUF, &buffer, EINVAL, NAME("QUERYBUF of it is EINVAL"));
	queue_for(&node, OUTPUT, VIDIOC_QBUF, 0, 0, NAME("QBUF of the prepared buffer"));
	remove.index = 0;
	expect(node.fd, VIDIOC_REMOVE_BUFS, &remove, EBUSY,
	       NAME("REMOVE_BUFS of a queued buffer is EBUSY"));
	node_close(&node);
}

TEST(manage, "manage")
{
	manage(&memory_mmap);
	manage(&memory_userptr);
	manage(&memory_vgem);
}

static bool is_mapped(struct node *node, unsigned int index)
{
	struct v4l2_plane plane;
	struct v4l2_buffer buffer = node_buffer(&node->output, index, &plane);

	must(node->fd, VIDIOC_QUERYBUF, &buffer, "QUERYBUF");
	return buffer.flags & V4L2_BUF_FLAG_MAPPED;
}

static struct chunk export_of(struct node *node, struct queue *queue, unsigned int index)
{
	struct chunk chunk = { .size = queue->chunk[index].size, .owner = -1 };

	chunk.fd = node_export(node, queue, index);
	memory_map(&chunk);
	return chunk;
}

/*
 * Exported buffers are the buffers: seen through the dmabuf, for as long as anything of them lives.
 */
TEST(export, "export")
{
	struct v4l2_requestbuffers none = { .type = OUTPUT, .memory = V4L2_MEMORY_MMAP };
	struct v4l2_exportbuffer wrong = { .type = OUTPUT, .index = 7, .flags = O_RDWR };
	struct chunk raw, coded_view;
	struct frame coded;
	struct node node;
	int err;

	encoder_open(&node, 320, 240, 2, 4);
	expect(node.fd, VIDIOC_EXPBUF, &wrong, EINVAL, "EXPBUF of a buffer that does not exist");
	wrong.index = 0;
	wrong.plane = 1;
	expect(node.fd, VIDIOC_EXPBUF, &wrong, EINVAL, "EXPBUF of a plane that does not exist");
	check(is_mapped(&node, 1), "QUERYBUF says MAPPED of a buffer that is mapped",
	      "it does not");
	munmap(node.output.chunk[1].mapping, node.output.chunk[1].mapped);
	node.output.chunk[1].mapping = NULL;
	check(!is_mapped(&node, 1), "and not when it is not any more", "it does");
	raw = export_of(&node, &node.output, 1);
	check(is_mapped(&node, 1), "but of one that is exported", "it does not");
	memory_free(&raw);
	check(!is_mapped(&node, 1), "until the dmabuf is closed", "it does");
	raw = export_of(&node, &node.output, 0);
	coded_view = export_of(&node, &node.capture, 0);
	draw_frame(&node, raw.data, 3, false);
	check(!memcmp(raw.data, node.output.chunk[0].data, node.frame_size),
	      "what is written to the dmabuf is in the buffer", "it differs");
	node_requeue(&node, 0);
	node_stream(&node, OUTPUT, true);
	node_stream(&node, CAPTURE, true);
	queue_frame(&node, 0, NULL, false);
	err = next_coded(&node, &coded, 10000);
	check(!err && coded.bytes && !memcmp(coded_view.data, coded.data, coded.bytes),
	      "a coded frame is read through the dmabuf", "%s", err ? strerror(err) : "it differs");

	/* Orphans: the queue goes, mapping and dmabuf stay what they were. */
	node_stream(&node, OUTPUT, false);
	memset(node.output.chunk[0].data, 0x5a, 4096);
	expect(node.fd, VIDIOC_REQBUFS, &none, 0,
	       "REQBUFS(0) with buffers that are mapped and exported");
	check(raw.data[4095] == 0x5a && node.output.chunk[0].data[0] == 0x5a,
	      "orphaned buffers keep their content", "-");
	raw.data[0] = 0x77;
	check(node.output.chunk[0].data[0] == 0x77, "and stay one memory", "-");
	node_close(&node);
	raw.data[1] = 0x78;
	check(raw.data[0] == 0x77 && raw.data[1] == 0x78,
	      "a dmabuf lives on after its node was closed", "-");
	memory_free(&raw);
	memory_free(&coded_view);
}

/* Leaves by signal, with imported memory queued and dmabufs of its own exported: see suite 24. */
TEST(hold_imported, "hold-lent")
{
	const struct memory_kind *kind = argument_count ? memory_find(arguments[0]) : NULL;
	struct chunk export;
	struct node node;

	if (!kind)
		fatal("hold-lent", "wants a kind of memory");
	encoder_open_memory(&node, 640, 360, 4, kind, 4, &memory_mmap);
	export = export_of(&node, &node.capture, 0);
	node_stream(&node, OUTPUT, true);
	/* CAPTURE does not stream: the frames stay with the device. */
	for (unsigned int i = 0; i < node.output.count; i++)
		queue_frame(&node, i, NULL, false);
	fprintf(stderr, "ready\n");
	/* Until a signal, or the device goes. */
	for (;;) {
		struct v4l2_format format = { .type = CAPTURE };

		if (node_ioctl(node.fd, VIDIOC_G_FMT, &format)) {
			node_close(&node);
			memory_free(&export);
			printf("closed\n");
			return;
		}
		usleep(50000);
	}
}
