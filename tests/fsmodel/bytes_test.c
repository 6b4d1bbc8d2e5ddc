/* tests/fsmodel/bytes_test.c - a file against a plain array of bytes: random
 * writes, appends, truncations, punches, copies, remounts. After each step
 * sizes and page counts agree with the store, and at the end nothing is left
 * in it. BYTES_SEEDS=n runs more seeds, BYTES_SEED=n that one alone. */
#include <linux/falloc.h>

#include "tests/fsmodel/bytes.h"

#define FILE_MAX (7 * MIB) /* the direct part ends at 4 MiB */

struct oracle {
	struct mnt m;
	uint64_t ino;
	uint64_t seed, dice;
	uint8_t *bytes; /* FILE_MAX */
	uint64_t size;
	uint8_t *scratch; /* FILE_MAX */
	unsigned step;
};

#define CHECK(o, cond)                                                         \
	do {                                                                   \
		if (!(cond))                                                   \
			fail_msg("seed %ju step %u: %s", (uintmax_t)(o)->seed, \
				 (o)->step, #cond);                            \
	} while (0)

static uint64_t below(struct oracle *o, uint64_t n)
{
	return n == 0 ? 0 : dice(&o->dice) % n;
}

/* An offset or a length: near the small file's limit, near a page's edge, or
 * anywhere. */
static uint64_t some(struct oracle *o, uint64_t most)
{
	uint64_t n;

	switch (below(o, 5)) {
	case 0:
		n = below(o, 3200);
		break;
	case 1:
		n = below(o, 40) * PAGE + below(o, 3) - 1;
		break;
	case 2:
		n = below(o, 120) * 64 * KIB + below(o, 5000);
		break;
	case 3:
		n = below(o, 300 * KIB);
		break;
	default:
		n = below(o, most);
	}
	return n > most ? below(o, most + 1) : n;
}

static void do_write(struct oracle *o, bool append)
{
	uint64_t off = append ? o->size : some(o, FILE_MAX - 1);
	uint64_t len = some(o, FILE_MAX - off);
	ssize_t rc;

	if (below(o, 4) == 0)
		len = below(o, FILE_MAX - off + 1) % (2 * MIB);
	fill(o->scratch, len, dice(&o->dice));
	rc = append ? file_append(&o->m, o->ino, o->scratch, len)
		    : file_write(&o->m, o->ino, o->scratch, len, off);
	CHECK(o, rc == (ssize_t)len);
	if (len == 0)
		return;
	memcpy(o->bytes + off, o->scratch, len);
	if (off + len > o->size)
		o->size = off + len;
}

static void do_truncate(struct oracle *o)
{
	uint64_t size = below(o, 8) == 0 ? 0 : some(o, FILE_MAX);

	CHECK(o, file_truncate(&o->m, o->ino, size) == 0);
	if (size < o->size)
		memset(o->bytes + size, 0, o->size - size);
	o->size = size;
}

static void do_allocate(struct oracle *o)
{
	static const int modes[] = {
		0,
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	int mode = modes[below(o, sizeof(modes) / sizeof(modes[0]))];
	uint64_t off = some(o, FILE_MAX - 1);
	uint64_t len = 1 + some(o, FILE_MAX - off - 1), end = off + len;

	CHECK(o, fs_file_fallocate(o->m.fs, o->ino, mode, off, len) == 0);
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memset(o->bytes + off, 0, len);
	if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && end > o->size)
		o->size = end;
}

/* Within the file, where the ranges do not overlap. */
static void do_copy(struct oracle *o)
{
	uint64_t from = some(o, o->size), to = some(o, FILE_MAX - 1);
	uint64_t len = some(o, FILE_MAX - to), left = o->size - from;
	ssize_t rc;

	if (from < to && len > to - from)
		len = to - from;
	if (to <= from && len > from - to)
		len = from - to;
	rc = fs_file_copy(o->m.fs, o->ino, from, o->ino, to, len);
	if (len > left)
		len = left;
	CHECK(o, rc == (ssize_t)len);
	memcpy(o->bytes + to, o->bytes + from, len);
	if (len > 0 && to + len > o->size)
		o->size = to + len;
}

static void do_remount(struct oracle *o)
{
	mnt_close(&o->m);
	mnt_open(&o->m);
}

/* What is called a hole must be zeros; data begins where it is said to. */
static void check_seek(struct oracle *o)
{
	uint64_t off = some(o, FILE_MAX - 1), end;
	off_t data = file_seek(&o->m, o->ino, off, SEEK_DATA);
	off_t hole = file_seek(&o->m, o->ino, off, SEEK_HOLE);

	if (off >= o->size) {
		CHECK(o, data == -ENXIO && hole == -ENXIO);
		return;
	}
	CHECK(o, data == -ENXIO || (data >= (off_t)off));
	CHECK(o, hole >= (off_t)off && hole <= (off_t)o->size);
	CHECK(o, (data == (off_t)off) != (hole == (off_t)off));
	end = data < 0 ? o->size : (uint64_t)data;
	for (uint64_t i = off; i < end; i++)
		CHECK(o, o->bytes[i] == 0);
}

static void check_range(struct oracle *o, uint64_t off, uint64_t len)
{
	uint64_t want = off >= o->size ? 0 : o->size - off;

	if (want > len)
		want = len;
	memset(o->scratch, 0xee, len);
	CHECK(o,
	      file_read(&o->m, o->ino, o->scratch, len, off) == (ssize_t)want);
	CHECK(o, memcmp(o->scratch, o->bytes + off, want) == 0);
}

static void check(struct oracle *o)
{
	uint64_t off = some(o, FILE_MAX - 1);
	struct fs_inode in;

	file_load(&o->m, o->ino, &in);
	CHECK(o, in.size == o->size);
	CHECK(o, in.pages == kv_model_pages(o->m.kv));
	check_range(o, off, some(o, FILE_MAX - off));
	check_seek(o);
}

static void step(struct oracle *o)
{
	switch (below(o, 16)) {
	case 0:
	case 1:
		do_truncate(o);
		break;
	case 2:
	case 3:
		do_allocate(o);
		break;
	case 4:
		do_copy(o);
		break;
	case 5:
		do_remount(o);
		break;
	case 6:
	case 7:
	case 8:
		do_write(o, true);
		break;
	default:
		do_write(o, false);
	}
}

static void run_seed(uint64_t seed)
{
	struct oracle o = {.seed = seed, .dice = seed};
	uint64_t keys;

	o.bytes = calloc(1, FILE_MAX);
	o.scratch = malloc(FILE_MAX);
	assert_non_null(o.bytes);
	assert_non_null(o.scratch);
	mnt_open(&o.m);
	keys = kv_model_keys(o.m.kv);
	o.ino = file_new(&o.m);
	for (o.step = 0; o.step < 60; o.step++) {
		step(&o);
		check(&o);
	}
	check_range(&o, 0, FILE_MAX);
	file_destroy(&o.m, o.ino);
	CHECK(&o, kv_model_pages(o.m.kv) == 0);
	CHECK(&o, kv_model_keys(o.m.kv) == keys);
	mnt_close(&o.m);
	kv_model_drop(POOL);
	free(o.bytes);
	free(o.scratch);
}

static void bytes_are_those_of_an_array(void **state)
{
	const char *one = getenv("BYTES_SEED"), *many = getenv("BYTES_SEEDS");
	uint64_t n = many != NULL ? strtoull(many, NULL, 0) : 40;

	if (one != NULL) {
		run_seed(strtoull(one, NULL, 0));
		return;
	}
	for (uint64_t seed = 1; seed <= n; seed++)
		run_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_those_of_an_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
