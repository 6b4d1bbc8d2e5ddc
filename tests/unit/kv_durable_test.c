/* tests/unit/kv_durable_test.c - the files of durable checkpoints, byte by
 * byte, and units that are held back for them. Power losses are in
 * tests/crash/power_loss_test.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ec/block.h"
#include "kv/client/units.h"
#include "kv/node/cut.h"
#include "kv/node/disk.h"
#include "kv/node/poolfile.h"
#include "kv/slot.h"
#include "tests/lib/effort.h"

#define NUMBER 77u

static struct layout_super super_of(void)
{
	struct layout_shape shape = {
		.nodes = 5,
		.k = 3,
		.m = 2,
		.usable = 2u << 20,
		.block_bytes = 64u << 10,
		.slots = 256,
		.clients = 1,
	};
	struct layout_super s = {
		.magic = LAYOUT_MAGIC,
		.version = LAYOUT_VERSION,
		.node = 3,
		.secret = 12345,
	};

	assert_int_equal(layout_of(&shape, &s.layout), 0);
	memset(s.uuid, 0x11, sizeof(s.uuid));
	return s;
}

/* --- cuts ----------------------------------------------------------------- */

/* Every second block in use, one shard. */
static void make_cut(const struct layout_super *s, void **file, size_t *len)
{
	const struct group *g = &s->layout.group;
	size_t bytes = slot_shard_bytes(s->layout.index_groups);
	uint8_t map[128], *slots = malloc(bytes);
	struct cut c = {0};

	assert_non_null(slots);
	for (size_t i = 0; i < bytes; i++)
		slots[i] = (uint8_t)(i % 511 == 0 ? i : 0);
	cut_begin(&c, s, NUMBER);
	for (uint32_t b = 0; b < g->blocks; b++) {
		struct cut_block one = {.block = b, .life = 5};

		if (b % group_width(g) >= g->k)
			continue;
		if (b % 2 != 0) {
			one.state = BLOCK_SEALED;
			one.kind = BLOCK_PAGES;
			one.used = 4096;
		}
		memset(map, (int)b, sizeof(map));
		cut_add_block(&c, &one, map, sizeof(map));
	}
	cut_add_shard(&c, 3, slots, bytes);
	assert_int_equal(cut_pack(&c, file, len), 0);
	cut_free(&c);
	free(slots);
}

static void a_cut_comes_back_as_it_was(void **state)
{
	struct layout_super s = super_of();
	struct cut_reader r = {.layout = &s.layout};
	struct cut_shard shard;
	struct cut_block b;
	uint32_t blocks = 0;
	struct cut c;
	const void *p;
	void *file;
	size_t len;

	(void)state;
	make_cut(&s, &file, &len);
	assert_int_equal(cut_unpack(file, len, &s, NUMBER, &c), 0);
	r.cut = &c;
	while (cut_next_block(&r, &b, &p) == 1) {
		assert_int_equal(b.state,
				 b.block % 2 ? BLOCK_SEALED : BLOCK_FREE);
		assert_true((p == NULL) == (b.block % 2 == 0));
		if (p != NULL)
			assert_int_equal(((const uint8_t *)p)[127],
					 (uint8_t)b.block);
		blocks++;
	}
	assert_int_equal(blocks, s.layout.group.blocks / 5 * 3);
	assert_int_equal(cut_next_shard(&r, &shard, &p), 1);
	assert_int_equal(shard.shard, 3);
	assert_int_equal(((const uint8_t *)p)[511], (uint8_t)511);
	assert_int_equal(cut_next_shard(&r, &shard, &p), 0);
	cut_free(&c);
	free(file);
}

static void a_cut_of_others_is_refused(void **state)
{
	struct layout_super s = super_of();
	struct cut c;
	void *file;
	size_t len;

	(void)state;
	make_cut(&s, &file, &len);
	assert_int_equal(cut_unpack(file, len, &s, NUMBER + 1, &c), -ESTALE);
	s.node = 2;
	assert_int_equal(cut_unpack(file, len, &s, NUMBER, &c), -ESTALE);
	s.node = 3;
	s.uuid[5]++;
	assert_int_equal(cut_unpack(file, len, &s, NUMBER, &c), -ESTALE);
	free(file);
}

static void a_cut_with_any_byte_wrong_is_refused(void **state)
{
	struct layout_super s = super_of();
	struct cut c;
	uint8_t *file;
	size_t len, step = effort_is_whole() ? 1 : 13;

	(void)state;
	make_cut(&s, (void **)&file, &len);
	for (size_t at = 0; at < len; at += step) {
		file[at] ^= (uint8_t)(1u << at % 8);
		assert_true(cut_unpack(file, len, &s, NUMBER, &c) < 0);
		file[at] ^= (uint8_t)(1u << at % 8);
	}
	assert_int_equal(cut_unpack(file, len, &s, NUMBER, &c), 0);
	cut_free(&c);
	free(file);
}

static void a_torn_cut_is_refused(void **state)
{
	struct layout_super s = super_of();
	size_t len, step = effort_is_whole() ? 1 : 13;
	struct cut c;
	void *file, *torn;

	(void)state;
	make_cut(&s, &file, &len);
	for (size_t n = 0; n < len; n += step) {
		torn = malloc(n + 1); /* so that reading past it is seen */
		assert_non_null(torn);
		memcpy(torn, file, n);
		assert_true(cut_unpack(torn, n, &s, NUMBER, &c) < 0);
		free(torn);
	}
	free(file);
}

/* --- the pool file -------------------------------------------------------- */

static void a_pool_file_with_any_byte_wrong_is_refused(void **state)
{
	struct poolfile f = {.super = super_of(), .at = {9, 8, 7, 6, 1}}, got;
	uint8_t buf[POOLFILE_BYTES];
	uint32_t version;

	(void)state;
	f.region[2] = 4;
	poolfile_write(&f, buf);
	assert_int_equal(poolfile_read(buf, sizeof(buf), &got, &version), 0);
	assert_memory_equal(&got.at, &f.at, sizeof(f.at));
	assert_memory_equal(got.region, f.region, sizeof(f.region));
	assert_memory_equal(&got.super.layout, &f.super.layout,
			    sizeof(struct layout));
	assert_int_equal(got.super.secret, 12345);
	for (size_t at = 0; at < sizeof(buf); at++) {
		int want = at < 8 ? -ENOTUNIQ : at < 12 ? -EPROTO : -EBADMSG;

		buf[at] ^= (uint8_t)(1u << at % 8);
		assert_int_equal(
			poolfile_read(buf, sizeof(buf), &got, &version), want);
		buf[at] ^= (uint8_t)(1u << at % 8);
	}
	for (size_t n = 0; n < sizeof(buf); n++)
		assert_true(poolfile_read(buf, n, &got, &version) < 0);
}

/* --- a directory ---------------------------------------------------------- */

static void files_are_replaced_as_a_whole(void **state)
{
	char dir[] = "/tmp/aceso-disk-XXXXXX", path[64];
	struct disk_dir on = {.region_fd = -1};
	struct disk d;
	void *buf;
	size_t len;

	(void)state;
	assert_non_null(mkdtemp(dir));
	on.dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_true(on.dirfd >= 0);
	disk_of_dir(&on, &d);
	assert_int_equal(d.read(&on, "f", 100, &buf, &len), -ENOENT);
	assert_int_equal(d.write(&on, "f", "one", 3), 0);
	/* It cannot be written aside: the old one stays. */
	snprintf(path, sizeof(path), "%s/f.new", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(d.write(&on, "f", "other", 5), -EISDIR);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(d.read(&on, "f", 100, &buf, &len), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(buf, "one", 3);
	free(buf);
	assert_int_equal(d.write(&on, "f", "longer", 6), 0);
	assert_int_equal(d.read(&on, "f", 5, &buf, &len), -EFBIG);
	assert_int_equal(d.read(&on, "f", 6, &buf, &len), 0);
	assert_memory_equal(buf, "longer", 6);
	free(buf);
	assert_int_equal(unlinkat(on.dirfd, "f", 0), 0);
	close(on.dirfd);
	assert_int_equal(rmdir(dir), 0);
}

/* --- units held back ------------------------------------------------------ */

static struct units_run take(struct units *u, uint32_t n)
{
	struct units_run r;

	assert_true(units_take(u, n, n, &r));
	return r;
}

/* Taken at the cut, given back after it: free when a later cut is durable. */
static void what_a_cut_needs_is_not_taken_again(void **state)
{
	struct units u = {0};
	struct units_run a, b;

	(void)state;
	assert_int_equal(units_open(&u, 64), 0);
	assert_int_equal(units_hold_open(&u), 0);
	a = take(&u, 40);
	units_hold_cut(&u);
	b = take(&u, 24);
	assert_true(units_give(&u, a.at, a.len, false));
	assert_false(units_give(&u, a.at, a.len, false)); /* but once */
	assert_int_equal(units_room(&u), 0);
	assert_true(units_give(&u, b.at, b.len, false));
	assert_int_equal(units_room(&u), 24); /* younger than the cut */
	units_hold_durable(&u);		      /* the cut that needs it */
	assert_int_equal(units_room(&u), 24);
	units_hold_cut(&u);
	assert_int_equal(units_room(&u), 24);
	units_hold_cut(&u); /* one was given up: as good as none */
	assert_int_equal(units_room(&u), 24);
	units_hold_durable(&u);
	assert_int_equal(units_room(&u), 64);
	units_close(&u);
}

static void a_closed_block_gives_back_all_it_held(void **state)
{
	struct units u = {0};
	struct units_run a;

	(void)state;
	assert_int_equal(units_open(&u, 64), 0);
	assert_int_equal(units_hold_open(&u), 0);
	a = take(&u, 16);
	units_hold_cut(&u);
	assert_true(units_hold_cuts(&u, a.at, 1));
	assert_true(units_give(&u, a.at, a.len, false));
	units_hold_end(&u);
	assert_true(units_next_given(&u, 0, &a));
	assert_int_equal(a.len, 16);
	units_clear(&u);
	assert_false(units_hold_cuts(&u, 0, 64));
	assert_int_equal(units_room(&u), 64);
	units_close(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_comes_back_as_it_was),
		cmocka_unit_test(a_cut_of_others_is_refused),
		cmocka_unit_test(a_cut_with_any_byte_wrong_is_refused),
		cmocka_unit_test(a_torn_cut_is_refused),
		cmocka_unit_test(a_pool_file_with_any_byte_wrong_is_refused),
		cmocka_unit_test(files_are_replaced_as_a_whole),
		cmocka_unit_test(what_a_cut_needs_is_not_taken_again),
		cmocka_unit_test(a_closed_block_gives_back_all_it_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
