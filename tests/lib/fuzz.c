/* tests/lib/fuzz.c - see fuzz.h. */
#include "tests/lib/fuzz.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROWS_BY 256u /* a changed input is at most so much longer */

static uint64_t state;

static uint64_t dice(uint64_t sides) /* splitmix64 */
{
	uint64_t z = (state += 0x9e3779b97f4a7c15u);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % sides;
}

/* --- changes -------------------------------------------------------------- */

struct input {
	uint8_t *data; /* room for GROWS_BY more */
	size_t size, room;
};

static void flip(struct input *in)
{
	if (in->size > 0)
		in->data[dice(in->size)] ^= (uint8_t)(1u << dice(8));
}

static void scribble(struct input *in)
{
	if (in->size > 0)
		in->data[dice(in->size)] = (uint8_t)dice(256);
}

/* Lengths and counts: the values at which arithmetic goes wrong. */
static void odd_number(struct input *in)
{
	static const uint64_t odd[] = {0,
				       1,
				       UINT8_MAX,
				       INT16_MAX,
				       UINT16_MAX,
				       INT32_MAX,
				       UINT32_MAX,
				       INT64_MAX,
				       UINT64_MAX,
				       UINT64_MAX - 63,
				       UINT64_C(1) << 40};
	size_t n = (size_t)1 << dice(4);
	uint64_t v = odd[dice(sizeof(odd) / sizeof(odd[0]))];

	if (in->size >= n)
		memcpy(in->data + dice(in->size - n + 1), &v, n);
}

static void cut(struct input *in)
{
	in->size = dice(in->size + 1);
}

static void grow(struct input *in)
{
	size_t n = dice(in->room - in->size + 1);

	for (size_t i = 0; i < n; i++)
		in->data[in->size++] = (uint8_t)dice(256);
}

/* One part of it over another. */
static void copy_part(struct input *in)
{
	size_t n, from, to;

	if (in->size == 0)
		return;
	n = dice(in->size) + 1;
	from = dice(in->size - n + 1);
	to = dice(in->size - n + 1);
	memmove(in->data + to, in->data + from, n);
}

static void change(struct input *in)
{
	static void (*const ways[])(struct input *) = {
		flip,	    flip, scribble, scribble, odd_number,
		odd_number, cut,  grow,	    copy_part};

	for (uint64_t n = dice(4) + 1; n > 0; n--)
		ways[dice(sizeof(ways) / sizeof(ways[0]))](in);
}

/* --- running -------------------------------------------------------------- */

/* In memory of its very size: whoever reads beyond it is seen by asan. */
static void give(const void *data, size_t size)
{
	uint8_t *exact = malloc(size > 0 ? size : 1);

	if (exact == NULL)
		abort();
	memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static void give_changed(const struct fuzz_sample *s)
{
	struct input in = {.size = s->size, .room = s->size + GROWS_BY};

	in.data = malloc(in.room);
	if (in.data == NULL)
		abort();
	memcpy(in.data, s->data, s->size);
	change(&in);
	give(in.data, in.size);
	free(in.data);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v != NULL ? strtoull(v, NULL, 0) : otherwise;
}

void fuzz_run(const struct fuzz_sample *samples, size_t n, unsigned rounds)
{
	uint64_t more = number("FUZZ_ROUNDS", rounds);

	state = number("FUZZ_SEED", 1);
	printf("FUZZ_SEED=%" PRIu64 " FUZZ_ROUNDS=%" PRIu64 "\n", state, more);
	for (size_t i = 0; i < n; i++)
		give(samples[i].data, samples[i].size);
	while (more-- > 0)
		give_changed(&samples[dice(n)]);
}
