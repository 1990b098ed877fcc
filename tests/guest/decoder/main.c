// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * decode NODE STREAM RAW: decodes an FWHT stream (as v4l2-ctl --stream-to has it) three times: as
 * it is, to RAW; with a drain in the middle; with a seek. The frames have to be the same each time.
 */
#include "decoder.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Big-endian words: two of magic, then version, width, height, flags, four on colours, and the size
 * of what follows.
 */
#define HEADER_SIZE 44
#define SIZE_AT 40
#define FLAGS_AT 20
#define MAGIC "\x4f\x4f\x4f\x4f\xff\xff\xff\xff"

static const char *test = "decode";

void fatal(const char *name, const char *why, ...)
{
	va_list args;

	printf("not ok - %s # %s: ", test, name);
	va_start(args, why);
	vprintf(why, args);
	va_end(args);
	printf("\n");
	exit(1);
}

static uint32_t word(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static void read_clip(struct clip *clip, const char *path)
{
	FILE *file = fopen(path, "rb");
	size_t total, at = 0;
	long length;

	if (!file || fseek(file, 0, SEEK_END) || (length = ftell(file)) <= 0 ||
	    fseek(file, 0, SEEK_SET))
		fatal(path, "%s", errno ? strerror(errno) : "empty");
	total = length;
	clip->data = malloc(total);
	if (!clip->data || fread(clip->data, 1, total, file) != total)
		fatal(path, "cannot be read");
	fclose(file);
	while (at < total) {
		size_t size;

		if (total - at < HEADER_SIZE || memcmp(clip->data + at, MAGIC, 8) ||
		    clip->count == MAX_FRAMES)
			fatal(path, "no FWHT frame at byte %zu", at);
		size = HEADER_SIZE + word(clip->data + at + SIZE_AT);
		if (size > total - at)
			fatal(path, "the frame at byte %zu is cut off", at);
		clip->at[clip->count] = at;
		clip->length[clip->count++] = size;
		at += size;
	}
}

/* Is this frame coded on its own, so that decoding can begin there? */
static bool is_key(const struct clip *clip, unsigned int frame)
{
	return word(clip->data + clip->at[frame] + FLAGS_AT) & V4L2_FWHT_FL_I_FRAME;
}

static unsigned int key_before(const struct clip *clip, unsigned int frame)
{
	do
		frame--;
	while (frame && !is_key(clip, frame));
	return frame;
}

struct run {
	/* Kept from the first run; compared with in the others. */
	struct pictures *pictures;
	bool keep;
	/* Frames fed before this one may be missing. */
	unsigned int seek_at;
	unsigned int count;
	int newest;
};

static void picture(void *context, unsigned int frame, unsigned int fed, const uint8_t *data,
		    size_t size)
{
	struct run *run = context;
	struct pictures *pictures = run->pictures;

	if ((int)fed <= run->newest)
		fatal("order", "frame %u comes after its successor, or twice", frame);
	run->newest = fed;
	if (fed >= run->seek_at)
		run->count++;
	if (run->keep) {
		pictures->data[frame] = malloc(size);
		if (!pictures->data[frame])
			fatal("malloc", "no memory");
		memcpy(pictures->data[frame], data, size);
		pictures->size[frame] = size;
	} else if (pictures->size[frame] != size ||
		   memcmp(pictures->data[frame], data, size)) {
		fatal("content", "frame %u (%zu bytes) differs from the one of the first run",
		      frame, size);
	}
}

/* Decodes from the start; at `pause`, drains and goes on, or seeks to `target`. */
static void play(const char *path, const struct clip *clip, struct pictures *pictures,
		 const char *name, unsigned int pause, unsigned int target, bool keep)
{
	static struct decoder decoder;
	struct run run = { .pictures = pictures, .keep = keep, .newest = -1 };
	unsigned int next = 0, wanted = clip->count;

	test = name;
	decoder_open(&decoder, path, clip);
	if (pause) {
		decoder_feed(&decoder, clip, &next, pause, picture, &run);
		if (target < pause) {
			decoder_flush(&decoder);
			next = target;
			wanted = clip->count - target;
			run.seek_at = decoder.fed_count;
			run.count = 0;
		} else {
			decoder_drain(&decoder, picture, &run);
			if (run.count != pause)
				fatal("drain", "%u frames after the first one, %u were fed",
				      run.count, pause);
			decoder_start(&decoder);
		}
	}
	decoder_feed(&decoder, clip, &next, clip->count, picture, &run);
	decoder_drain(&decoder, picture, &run);
	if (run.count != wanted)
		fatal("count", "%u frames instead of %u", run.count, wanted);
	printf("ok - %s\n", name);
	printf("# %s: %u frames, %u resolutions\n", name, run.count, decoder.changes);
	fflush(stdout);
	node_close(&decoder.node);
}

int main(int argc, char **argv)
{
	static struct clip clip;
	static struct pictures pictures;
	unsigned int middle, key;
	FILE *raw;

	if (argc != 4) {
		fprintf(stderr, "usage: decode NODE STREAM RAW\n");
		return 2;
	}
	read_clip(&clip, argv[2]);
	/* A decoder may lose its reference frame with a drain. */
	middle = key_before(&clip, clip.count / 2 + 1);
	if (!middle)
		fatal(argv[2], "no key frame between the first and the middle");
	key = key_before(&clip, middle);
	play(argv[1], &clip, &pictures, "decode a stream", 0, 0, true);
	raw = fopen(argv[3], "wb");
	for (unsigned int i = 0; raw && i < clip.count; i++)
		if (fwrite(pictures.data[i], 1, pictures.size[i], raw) != pictures.size[i])
			fatal(argv[3], "%s", strerror(errno));
	if (!raw || fclose(raw))
		fatal(argv[3], "%s", strerror(errno));
	play(argv[1], &clip, &pictures, "drain in the middle, and go on", middle, clip.count,
	     false);
	play(argv[1], &clip, &pictures, "seek back to a key frame", middle, key, false);
	return 0;
}
