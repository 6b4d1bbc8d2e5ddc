/* tests/lib/fuzz.c - see fuzz.h. */
#include "tests/lib/fuzz.h"

#include <errno.h>
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

/* --- seeds ---------------------------------------------------------------- */

struct seed {
	void *data;
	size_t size;
};

static struct seed *seeds;
static size_t n_seeds;

static void *copy_of(const void *data, size_t size)
{
	void *copy = malloc(size > 0 ? size : 1);

	if (copy == NULL)
		abort();
	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

void fuzz_seed(const void *data, size_t size)
{
	seeds = realloc(seeds, (n_seeds + 1) * sizeof(*seeds));
	if (seeds == NULL)
		abort();
	seeds[n_seeds++] = (struct seed){copy_of(data, size), size};
}

static void seeds_free(void)
{
	while (n_seeds > 0)
		free(seeds[--n_seeds].data);
	free(seeds);
	seeds = NULL;
}

static int write_file(const char *dir, size_t i)
{
	char path[4096];
	size_t done;
	FILE *f;

	snprintf(path, sizeof(path), "%s/seed-%04zu", dir, i);
	f = fopen(path, "w");
	if (f == NULL)
		return -errno;
	done = fwrite(seeds[i].data, 1, seeds[i].size, f);
	return fclose(f) == 0 && done == seeds[i].size ? 0 : -EIO;
}

int fuzz_seeds_write(const char *dir)
{
	int rc = 0;

	fuzz_seeds();
	for (size_t i = 0; i < n_seeds && rc == 0; i++)
		rc = write_file(dir, i);
	seeds_free();
	return rc;
}

/* --- running -------------------------------------------------------------- */

/* In memory of its very size: whoever reads beyond it is seen by asan. */
static void give(const void *data, size_t size)
{
	uint8_t *exact = copy_of(data, size);

	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static void give_changed(const struct seed *s)
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

static void give_file(const char *path)
{
	FILE *f = fopen(path, "r");
	void *data = malloc(1u << 24);

	if (f == NULL || data == NULL)
		abort();
	give(data, fread(data, 1, 1u << 24, f));
	free(data);
	fclose(f);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v != NULL ? strtoull(v, NULL, 0) : otherwise;
}

void fuzz_run(unsigned rounds)
{
	uint64_t more = number("FUZZ_ROUNDS", rounds);

	if (getenv("FUZZ_FILE") != NULL) {
		give_file(getenv("FUZZ_FILE"));
		return;
	}
	state = number("FUZZ_SEED", 1);
	printf("FUZZ_SEED=%" PRIu64 " FUZZ_ROUNDS=%" PRIu64 "\n", state, more);
	fflush(stdout); /* an abort() leaves it unsaid */
	fuzz_seeds();
	for (size_t i = 0; i < n_seeds; i++)
		give(seeds[i].data, seeds[i].size);
	while (more-- > 0)
		give_changed(&seeds[dice(n_seeds)]);
	seeds_free();
}
