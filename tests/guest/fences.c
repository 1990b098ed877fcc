// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A dmabuf that another device still writes is encoded when that one is done, not before, and
 * nobody waits for it.
 */
#include "tests.h"

#include "../fence/test-fence.h"

#include <drm/drm.h>
#include <drm/vgem_drm.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint32_t attach(const struct chunk *chunk, bool write)
{
	struct drm_vgem_fence_attach fence = {
		.handle = chunk->handle, .flags = write ? VGEM_FENCE_WRITE : 0,
	};

	must(chunk->owner, DRM_IOCTL_VGEM_FENCE_ATTACH, &fence, "VGEM_FENCE_ATTACH");
	return fence.out_fence;
}

/* Fails if the fence has run into vgem's own limit of 10 s: then somebody has waited for it. */
static void signal_fence(const struct chunk *chunk, uint32_t fence, const char *name)
{
	struct drm_vgem_fence_signal args = { .fence = fence };

	expect(chunk->owner, DRM_IOCTL_VGEM_FENCE_SIGNAL, &args, 0, name);
}

static int queue_output(struct node *node, unsigned int index, unsigned int number)
{
	struct frame raw = {
		.index = index, .bytes = node->frame_size,
		.flags = V4L2_BUF_FLAG_TIMESTAMP_COPY, .timestamp.tv_sec = number,
	};

	return node_qbuf(node, &node->output, &raw);
}

static void begin(struct node *node, const struct memory_kind *output,
		  const struct memory_kind *capture)
{
	encoder_open_memory(node, 320, 240, 4, output, 4, capture);
	node_stream(node, OUTPUT, true);
	node_stream(node, CAPTURE, true);
}

/* The access units of three frames, one behind the other. */
struct units {
	char *data;
	size_t size;
	FILE *file;
	unsigned int count;
	bool order;
};

static void note_unit(const struct frame *coded, void *context)
{
	struct units *units = context;

	if (coded->timestamp.tv_sec != (long)units->count)
		units->order = false;
	units->count++;
	fwrite(coded->data, 1, coded->bytes, units->file);
}

static void units_begin(struct units *units)
{
	*units = (struct units){ .order = true };
	units->file = open_memstream(&units->data, &units->size);
}

/* The same three frames by MMAP. */
static void reference(struct units *units)
{
	struct node node;

	units_begin(units);
	begin(&node, &memory_mmap, &memory_mmap);
	node_queue_all_capture(&node);
	for (unsigned int i = 0; i < 3; i++) {
		draw_frame(&node, node.output.chunk[i].data, i, false);
		queue_output(&node, i, i);
	}
	drain(&node, note_unit, units);
	node_close(&node);
	fclose(units->file);
}

TEST(fences, "fences")
{
	struct units wanted, got;
	struct frame coded;
	struct node node;
	uint32_t fence;

	reference(&wanted);
	units_begin(&got);
	begin(&node, &memory_vgem, &memory_mmap);
	node_queue_all_capture(&node);
	/* What is there now must not be encoded. */
	draw_frame(&node, node.output.chunk[0].data, 7, true);
	fence = attach(&node.output.chunk[0], true);
	int err = queue_output(&node, 0, 0);
	check(!err, "QBUF of a dmabuf with a write fence", "%s", strerror(err));
	draw_frame(&node, node.output.chunk[1].data, 1, false);
	err = queue_output(&node, 1, 1);
	check(!err, "QBUF of another one behind it", "%s", strerror(err));
	err = next_coded(&node, &coded, 700);
	check(err == ETIME, "nothing is encoded before the fence, the frame behind it neither",
	      "%s", err ? strerror(err) : "a frame");
	draw_frame(&node, node.output.chunk[0].data, 0, false);
	signal_fence(&node.output.chunk[0], fence, "QBUF did not wait for the fence");
	/* Another device may go on reading. */
	fence = attach(&node.output.chunk[2], false);
	draw_frame(&node, node.output.chunk[2].data, 2, false);
	err = queue_output(&node, 2, 2);
	check(!err, "QBUF of a raw frame that is being read", "%s", strerror(err));
	drain(&node, note_unit, &got);
	signal_fence(&node.output.chunk[2], fence,
		     "a raw frame does not wait for who reads it, too");
	fclose(got.file);
	check(got.count == 3 && got.order && node.last, "all frames come, in the order of QBUF",
	      "%u of 3, order %d, LAST %d", got.count, got.order, node.last);
	check(got.size == wanted.size && !memcmp(got.data, wanted.data, got.size),
	      "what was written just before the signal is what is encoded",
	      "%zu bytes instead of %zu", got.size, wanted.size);
	free(got.data);
	free(wanted.data);
	node_close(&node);

	/* The device writes a coded frame: it waits for who still reads the last one. */
	begin(&node, &memory_mmap, &memory_vgem);
	fence = attach(&node.capture.chunk[0], false);
	node_requeue(&node, 0);
	queue_frame(&node, 0, NULL, false);
	err = next_coded(&node, &coded, 700);
	check(err == ETIME, "a coded buffer that is being read is not written", "%s",
	      err ? strerror(err) : "it is");
	signal_fence(&node.capture.chunk[0], fence, "its QBUF did not wait, either");
	err = next_coded(&node, &coded, 10000);
	check(!err && coded.bytes, "it is written after that", "%s", strerror(err));
	node_close(&node);
}

/* Whatever ends a stream ends it with a fence pending, too. */
TEST(fence_ends, "fence-ends")
{
	struct v4l2_requestbuffers none = { .type = OUTPUT, .memory = V4L2_MEMORY_DMABUF };
	unsigned int frames;
	struct chunk kept;
	struct node node;
	uint32_t fence;

	begin(&node, &memory_vgem, &memory_mmap);
	node_queue_all_capture(&node);
	draw_frame(&node, node.output.chunk[0].data, 0, false);
	fence = attach(&node.output.chunk[0], true);
	queue_output(&node, 0, 0);
	encoder_command(&node, V4L2_ENC_CMD_STOP);
	signal_fence(&node.output.chunk[0], fence, "STOP does not wait for a fence");
	frames = take_coded(&node, 10000, NULL, NULL);
	check(frames == 1 && node.last, "the frame of the fence, then LAST", "%u frames, LAST %d",
	      frames, node.last);
	node_stream(&node, OUTPUT, false);
	node_stream(&node, CAPTURE, false);
	node_start(&node);

	fence = attach(&node.output.chunk[0], true);
	queue_output(&node, 0, 0);
	queue_output(&node, 1, 1);
	node_stream(&node, OUTPUT, false);
	signal_fence(&node.output.chunk[0], fence, "STREAMOFF does not wait for a fence");
	node_stream(&node, OUTPUT, true);
	frames = encode_frames(&node, 2, 5, false, NULL, NULL);
	frames += drain(&node, NULL, NULL);
	check(frames == 5 && node.last, "after it, a whole stream", "%u frames of 5, LAST %d",
	      frames, node.last);

	attach(&node.output.chunk[0], true);
	queue_output(&node, 0, 0);
	node_stream(&node, OUTPUT, false);
	expect(node.fd, VIDIOC_REQBUFS, &none, 0,
	       "REQBUFS(0) with a fence pending on what was queued");
	node_close(&node);

	begin(&node, &memory_vgem, &memory_mmap);
	fence = attach(&node.output.chunk[0], true);
	queue_output(&node, 0, 0);
	kept = node.output.chunk[0];
	node.output.chunk[0] = (struct chunk){ .fd = -1, .owner = -1 };
	node_close(&node);
	signal_fence(&kept, fence, "close does not wait for a fence, which signals after it");
	memory_free(&kept);
}

/* Ends by a signal, with a fence pending and frames pending behind it. */
TEST(hold_fence, "hold-fence")
{
	struct node node;

	begin(&node, &memory_vgem, &memory_mmap);
	node_queue_all_capture(&node);
	attach(&node.output.chunk[0], true);
	for (unsigned int i = 0; i < node.output.count; i++)
		queue_output(&node, i, i);
	fprintf(stderr, "ready\n");
	pause();
}

/* By our own fences: vgem's never fail. */
TEST(fence_fails, "fence-fails")
{
	struct node node;
	uint32_t flags = 0;
	unsigned int frames;
	bool back = false;
	int err, fence = must_open(TEST_FENCE_PATH, 0);

	begin(&node, memory_find("heap"), &memory_mmap);
	node_queue_all_capture(&node);
	must(fence, TEST_FENCE_ATTACH, (void *)(long)node.output.chunk[0].fd, "TEST_FENCE_ATTACH");
	queue_output(&node, 0, 0);
	draw_frame(&node, node.output.chunk[1].data, 1, false);
	queue_output(&node, 1, 1);
	expect(fence, TEST_FENCE_SIGNAL, (void *)(long)EIO, 0, "a fence fails");
	frames = drain(&node, NULL, NULL);
	check(frames == 1 && node.last, "only the frame behind it is encoded", "%u frames, LAST %d",
	      frames, node.last);
	for (unsigned int i = 0; i < 2; i++) {
		struct frame raw;

		err = node_dqbuf(&node, &node.output, &raw);
		if (err)
			fatal("DQBUF(OUTPUT)", "%s", strerror(err));
		if (raw.index == 0) {
			back = true;
			flags = raw.flags;
		} else {
			check(!(raw.flags & V4L2_BUF_FLAG_ERROR),
			      "the buffer behind it has no ERROR", "flags 0x%x", raw.flags);
		}
	}
	check(back && flags & V4L2_BUF_FLAG_ERROR, "the buffer comes back with ERROR",
	      "flags 0x%x", flags);
	close(fence);
	node_close(&node);
}
