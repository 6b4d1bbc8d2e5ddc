/* Formats of kv/: keys' places, slots, records, layouts, superblocks, views. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/code.h"
#include "kv/hash.h"
#include "checkpoint/image.h"
#include "kv/layout.h"
#include "kv/object.h"
#include "kv/slot.h"
#include "kv/view.h"
#include "rdma/fabric.h"

/* --- hash and places ------------------------------------------------------ */

static void keys_spread_over_shards_and_prints(void **state)
{
	unsigned shard[5] = {0}, print[256] = {0};
	char key[16];

	for (int i = 0; i < 50000; i++) {
		uint64_t h = hash_of(key, (size_t)sprintf(key, "k%d", i));

		shard[hash_shard(h, 5)]++;
		print[hash_print(h)]++;
	}
	for (int i = 0; i < 5; i++)
		assert_in_range(shard[i], 9500, 10500);
	assert_int_equal(print[0], 0);
	for (int i = 2; i < 256; i++)
		assert_in_range(print[i], 120, 280);
}

static void places_are_two_groups_and_in_range(void **state)
{
	uint64_t p[2];
	char key[16];

	for (int i = 0; i < 20000; i++) {
		uint32_t groups = 2 + (uint32_t)i % 61;
		uint64_t h = hash_of(key, (size_t)sprintf(key, "k%d", i));

		slot_places(h, groups, p);
		for (int j = 0; j < 2; j++) {
			assert_true(p[j] + BUCKET_PAIR_SLOTS <= groups * 24u);
			assert_int_equal(p[j] % 8, 0);
			assert_int_not_equal(p[j] % 24, 16);
		}
		assert_int_not_equal(p[0] / 24, p[1] / 24);
	}
	slot_places(123, 1, p);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[1], 8);
}

/* Free slots of the bucket at @first, and one of them. */
static unsigned room_in(const uint8_t *taken, uint64_t first, uint64_t *at)
{
	unsigned n = 0;

	for (uint64_t i = first; i < first + BUCKET_SLOTS; i++) {
		if (!taken[i]) {
			*at = i;
			n++;
		}
	}
	return n;
}

/* As insert.c chooses: the emptier main bucket, then an overflow bucket. */
static bool put_in(uint8_t *taken, const uint64_t p[2])
{
	uint64_t at[2] = {0, 0};
	unsigned n[2];

	for (int over = 0; over < 2; over++) {
		for (int i = 0; i < 2; i++) {
			bool second = (p[i] % 24 != 0) != over;

			n[i] = room_in(taken, p[i] + (second ? 8 : 0), &at[i]);
		}
		if (n[0] + n[1] > 0) {
			taken[at[n[1] > n[0]]] = 1;
			return true;
		}
	}
	return false;
}

/* What fits before the first key finds no place tells how even the choice is;
 * layout.c counts on 0.8. */
static void table_fills_to_four_fifths(void **state)
{
	enum { GROUPS = 256, SLOTS = GROUPS * 24 };
	static uint8_t taken[SLOTS];
	unsigned n = 0;
	char key[16];
	uint64_t p[2];

	memset(taken, 0, sizeof(taken));
	do {
		slot_places(hash_of(key, (size_t)sprintf(key, "k%u", n)),
			    GROUPS, p);
		n++;
	} while (put_in(taken, p));
	assert_true(n > SLOTS * 4 / 5);
}

static void slot_word_gives_back_its_parts(void **state)
{
	fab_addr a = fab_addr_make(62, UINT64_C(0xfedcba98) * 64);
	uint64_t w = slot_word(a, 255, 0x1234567, 0xab, SLOT_TOMB);

	assert_true(slot_addr(w) == a);
	assert_int_equal(slot_units(w), 255);
	assert_int_equal(slot_version8(w), 0x67);
	assert_int_equal(slot_print(w), 0xab);
	assert_true(w & SLOT_TOMB);
	assert_false(w & SLOT_TENTATIVE);
	assert_true(slot_taken(w));
	assert_false(slot_taken(w | SLOT_TENTATIVE));
	assert_false(slot_taken(0));
	assert_int_equal(slot_units(slot_word(a, 256, 1, 1, 0)), 0);
}

/* --- records -------------------------------------------------------------- */

static struct object sample(size_t klen, size_t vlen, char *key, char *val)
{
	memset(key, 'k', klen);
	memset(val, 'v', vlen);
	return (struct object){.hdr = {.version = 7,
				       .slot = 0x305,
				       .tag = 99,
				       .hash = hash_of(key, klen),
				       .val_len = (uint32_t)vlen,
				       .key_len = (uint8_t)klen,
				       .type = OBJECT_PUT,
				       .life = 3},
			       .key = key,
			       .val = val};
}

static char buf[OBJECT_BYTES_MAX + 64], key_buf[256],
	val_buf[KV_VALUE_BYTES_MAX];

#define SECRET UINT64_C(0x1122334455667788)
#define ADDR   fab_addr_make(3, 0x40000)

static void record_comes_back_whole(void **state)
{
	static const size_t lens[] = {0,  1,	63,   64,
				      65, 1000, 4096, KV_VALUE_BYTES_MAX};
	struct object o, in;

	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		size_t klen = 1 + i * 36;
		uint32_t bytes = object_units(klen, lens[i]) * 64;

		in = sample(klen, lens[i], key_buf, val_buf);
		memset(buf, 0xee, sizeof(buf));
		object_encode(buf, SECRET, ADDR, &in);
		assert_int_equal((uint8_t)buf[bytes], 0xee);
		assert_int_equal(object_decode(buf, bytes, SECRET, ADDR, &o),
				 0);
		assert_int_equal(o.hdr.version, 7);
		assert_int_equal(o.hdr.fate, OBJECT_PENDING);
		assert_int_equal(o.hdr.units * 64u, bytes);
		assert_memory_equal(o.key, key_buf, klen);
		assert_memory_equal(o.val, val_buf, lens[i]);
	}
}

static void record_is_refused_with_any_bit_turned(void **state)
{
	struct object in = sample(5, 100, key_buf, val_buf), o;
	uint32_t bytes = object_units(5, 100) * 64;

	object_encode(buf, SECRET, ADDR, &in);
	for (uint32_t bit = 0; bit < (64 + 105) * 8; bit++) {
		bool fate = bit / 8 >= 8 && bit / 8 < 16;
		int rc;

		buf[bit / 8] = (char)(buf[bit / 8] ^ (1 << bit % 8));
		rc = object_decode(buf, bytes, SECRET, ADDR, &o);
		if (fate)
			assert_int_equal(rc, 0);
		else
			assert_true(rc == -EBADMSG || rc == -ERANGE);
		buf[bit / 8] = (char)(buf[bit / 8] ^ (1 << bit % 8));
	}
}

static void record_is_only_right_at_its_place(void **state)
{
	struct object in = sample(5, 100, key_buf, val_buf), o;

	object_encode(buf, SECRET, ADDR, &in);
	assert_int_equal(object_decode(buf, 192, SECRET, ADDR + 64, &o),
			 -EBADMSG);
	assert_int_equal(object_decode(buf, 192, SECRET + 1, ADDR, &o),
			 -EBADMSG);
	assert_int_equal(object_decode(buf, 192, SECRET, ADDR, &o), 0);
}

static void short_buffer_says_how_long(void **state)
{
	struct object in = sample(5, 300, key_buf, val_buf), o;

	object_encode(buf, SECRET, ADDR, &in);
	assert_int_equal(object_decode(buf, 64, SECRET, ADDR, &o), -ERANGE);
	assert_int_equal(o.hdr.units, object_units(5, 300));
	assert_int_equal(object_decode(buf, 63, SECRET, ADDR, &o), -EBADMSG);
}

static void noise_is_no_record(void **state)
{
	struct object o;

	srand(1);
	for (int i = 0; i < 20000; i++) {
		for (int j = 0; j < 256; j++)
			buf[j] = (char)rand();
		if (i % 2) { /* with a head that looks right */
			memcpy(buf + 4, "AKV1", 4);
			buf[55] = 1;
			buf[52] = 4;
			buf[53] = 0;
		}
		assert_int_not_equal(object_decode(buf, 256, 1, 64, &o), 0);
	}
}

/* --- layouts -------------------------------------------------------------- */

static void layout_is_sane(const struct layout *l)
{
	const struct group *g = &l->group;

	assert_int_equal(group_check(g), 0);
	assert_int_equal(l->index_off % g->block_bytes, 0);
	assert_true(g->map_off + group_map_bytes(g) <= l->index_off);
	assert_true(l->index_off + l->index_stride * (g->m + 1) <=
		    l->image_off);
	assert_true(l->image_off + l->image_stride * g->m <= g->delta_off);
	assert_true(ckpt_area_bytes(layout_shard_bytes(l)) <= l->image_stride);
	assert_int_equal(l->image_off % CKPT_PIECE_BYTES, 0);
	assert_true(layout_shard_bytes(l) <= l->index_stride);
	assert_true(slot_shard_bytes(l->index_groups) <= l->index_stride);
	assert_int_equal(g->block_off + (uint64_t)g->blocks * g->block_bytes,
			 l->size);
	assert_true(l->size <= UINT64_C(1) << 38);
}

static void layout_holds_what_was_asked(void **state)
{
	struct layout_shape s = {.nodes = 5, .k = 3, .m = 2};
	struct layout l;

	for (s.usable = 1 << 20; s.usable < UINT64_C(600) << 30;
	     s.usable = s.usable * 3 + 4097) {
		assert_int_equal(layout_of(&s, &l), 0);
		layout_is_sane(&l);
		assert_true((uint64_t)l.group.blocks * l.group.block_bytes * 5 /
				    5 * 3 >=
			    s.usable);
	}
	s.usable = UINT64_C(2) << 40;
	assert_int_equal(layout_of(&s, &l), -EFBIG);
}

static void layout_fits_every_code(void **state)
{
	struct layout l;

	for (uint32_t k = 1; k <= CODE_DATA_MAX; k++) {
		for (uint32_t m = 1; m <= CODE_PARITY_MAX; m++) {
			struct layout_shape s = {.nodes = k + m + k % 3,
						 .k = k,
						 .m = m,
						 .usable = 64 << 20};
			bool fits = k + m <= CODE_WIDTH_MAX;

			assert_int_equal(layout_of(&s, &l), fits ? 0 : -EINVAL);
			if (fits)
				layout_is_sane(&l);
		}
	}
}

static void layout_refuses_nonsense(void **state)
{
	struct layout_shape bad[] = {
		{.nodes = 4, .k = 3, .m = 2, .usable = 1 << 20},
		{.nodes = 5, .k = 0, .m = 2, .usable = 1 << 20},
		{.nodes = 5, .k = 3, .m = 0, .usable = 1 << 20},
		{.nodes = 5, .k = 3, .m = 2, .usable = 0},
		{.nodes = 64, .k = 3, .m = 2, .usable = 1 << 20},
		{.nodes = 5,
		 .k = 3,
		 .m = 2,
		 .usable = 1 << 20,
		 .block_bytes = 100000},
		{.nodes = 5,
		 .k = 3,
		 .m = 2,
		 .usable = 1 << 20,
		 .block_bytes = 32 << 10},
	};
	struct layout l;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(layout_of(&bad[i], &l), -EINVAL);
}

static void shard_has_a_room_on_each_of_its_hosts(void **state)
{
	struct layout_shape s = {
		.nodes = 6, .k = 3, .m = 2, .usable = 16 << 20};
	struct layout l;

	assert_int_equal(layout_of(&s, &l), 0);
	assert_true(layout_shard_off(&l, 2, 2) == l.index_off);
	assert_true(layout_shard_off(&l, 5, 0) == l.index_off + l.index_stride);
	assert_true(layout_shard_off(&l, 5, 1) ==
		    l.index_off + 2 * l.index_stride);
	assert_true(layout_shard_off(&l, 5, 2) == UINT64_MAX);
	assert_true(layout_shard_off(&l, 6, 0) == UINT64_MAX);
}

static void shard_has_an_image_on_each_successor(void **state)
{
	struct layout_shape s = {
		.nodes = 6, .k = 3, .m = 2, .usable = 16 << 20};
	struct layout l;

	assert_int_equal(layout_of(&s, &l), 0);
	assert_true(layout_image_off(&l, 5, 5) == UINT64_MAX);
	assert_true(layout_image_off(&l, 5, 0) == l.image_off);
	assert_true(layout_image_off(&l, 5, 1) == l.image_off + l.image_stride);
	assert_true(layout_image_off(&l, 5, 2) == UINT64_MAX);
	assert_true(layout_image_off(&l, 6, 0) == UINT64_MAX);
}

static void superblock_comes_back_or_is_refused(void **state)
{
	struct layout_shape s = {
		.nodes = 5, .k = 3, .m = 2, .usable = 16 << 20};
	struct layout_super in = {.node = 4, .secret = 77}, out;
	uint8_t region[4096];

	assert_int_equal(layout_of(&s, &in.layout), 0);
	memset(in.uuid, 9, sizeof(in.uuid));
	layout_super_write(region, &in);
	assert_int_equal(layout_super_read(region, &out), 0);
	assert_int_equal(out.node, 4);
	assert_int_equal(out.secret, 77);
	assert_memory_equal(out.uuid, in.uuid, 16);
	assert_memory_equal(&out.layout.group, &in.layout.group,
			    sizeof(struct group));
	assert_true(out.layout.size == in.layout.size);
	for (int i = 0; i < 132; i++) {
		region[i] ^= 1;
		assert_int_equal(layout_super_read(region, &out),
				 i < 12 ? -EPROTO : -EBADMSG);
		region[i] ^= 1;
	}
}

/* --- views ---------------------------------------------------------------- */

static void shard_moves_on_and_is_lost_at_last(void **state)
{
	struct view v;

	view_first(&v, 5, 3, 2);
	assert_int_equal(view_check(&v), 0);
	assert_int_equal(view_node_dies(&v, 1), 0);
	assert_int_equal(v.epoch, 2);
	assert_int_equal(v.shard[1], VIEW_SHARD_REBUILDING);
	assert_int_equal(v.host[1], 2);
	assert_int_equal(v.shard[0], VIEW_SHARD_SERVING);
	assert_int_equal(view_node_dies(&v, 1), -EALREADY);
	assert_int_equal(view_shard_settles(&v, 0), -EINVAL);
	assert_int_equal(view_shard_settles(&v, 1), 0);
	assert_int_equal(v.shard[1], VIEW_SHARD_SETTLING);
	assert_int_equal(view_check(&v), 0);
	assert_int_equal(view_shard_serves(&v, 1), 0);
	assert_int_equal(view_shard_serves(&v, 1), -EALREADY);
	assert_int_equal(v.epoch, 4);
	assert_int_equal(view_node_dies(&v, 2), 0);
	assert_int_equal(v.host[1], 3);
	assert_int_equal(v.host[2], 3);
	assert_int_equal(view_node_dies(&v, 3), 0);
	assert_int_equal(v.shard[1], VIEW_SHARD_LOST);
	assert_int_equal(v.host[2], 4);
	assert_int_equal(v.host[3], 4);
	assert_int_equal(view_down(&v), 3);
	assert_int_equal(view_up(&v), 0x11);
	assert_int_equal(view_check(&v), 0);
	assert_int_equal(view_shard_serves(&v, 1), -EINVAL);
	assert_int_equal(view_node_dies(&v, 5), -EINVAL);
}

static void view_that_makes_no_sense_is_refused(void **state)
{
	struct view good, v;

	view_first(&good, 5, 3, 2);
	v = good;
	v.epoch = 0;
	assert_int_equal(view_check(&v), -EBADMSG);
	v = good;
	v.nodes = 64;
	assert_int_equal(view_check(&v), -EBADMSG);
	v = good;
	v.host[2] = 1;
	assert_int_equal(view_check(&v), -EBADMSG);
	v = good;
	v.node[3] = VIEW_NODE_DOWN; /* but it serves */
	assert_int_equal(view_check(&v), -EBADMSG);
	v = good;
	v.k = 4;
	assert_int_equal(view_check(&v), -EBADMSG);
	v = good;
	v.node[3] = VIEW_NODE_COMING; /* but it serves */
	assert_int_equal(view_check(&v), -EBADMSG);
	v = good;
	v.source[2] = 4; /* of a shard that is SERVING */
	assert_int_equal(view_check(&v), -EBADMSG);
	v.shard[2] = VIEW_SHARD_REBUILDING;
	assert_int_equal(view_check(&v), 0);
	v.source[2] = 3; /* itself */
	assert_int_equal(view_check(&v), -EBADMSG);
	v.source[2] = 1; /* none of its hosts */
	assert_int_equal(view_check(&v), -EBADMSG);
	v.source[2] = 255;
	assert_int_equal(view_check(&v), -EBADMSG);
}

static void new_node_comes_before_it_is_up(void **state)
{
	struct view v;

	view_first(&v, 5, 3, 2);
	assert_int_equal(view_node_comes(&v, 1), -EINVAL);
	assert_int_equal(view_node_is_up(&v, 1), -EINVAL);
	assert_int_equal(view_node_dies(&v, 1), 0);
	assert_int_equal(view_members(&v), 0x1d);
	assert_int_equal(view_node_is_up(&v, 1), -EINVAL);
	assert_int_equal(view_node_comes(&v, 1), 0);
	assert_int_equal(v.epoch, 3);
	assert_int_equal(view_up(&v), 0x1d);
	assert_int_equal(view_members(&v), 0x1f);
	assert_int_equal(view_down(&v), 0);
	assert_int_equal(v.host[1], 2);
	assert_int_equal(view_check(&v), 0);
	/* no shard goes where not all is back */
	assert_int_equal(view_node_dies(&v, 0), 0);
	assert_int_equal(v.host[0], 2);
	assert_int_equal(view_node_comes(&v, 0), 0);
	assert_int_equal(view_node_dies(&v, 0), 0);
	assert_int_equal(view_node_comes(&v, 0), 0);
	assert_int_equal(view_node_is_up(&v, 1), 0);
	assert_int_equal(view_node_is_up(&v, 1), -EINVAL);
	assert_int_equal(view_up(&v), 0x1e);
	assert_int_equal(view_check(&v), 0);
	assert_int_equal(view_node_comes(&v, 5), -EINVAL);
	assert_int_equal(view_node_is_up(&v, 5), -EINVAL);
}

/* Node 1 was away, shard 1 is at node 2. */
static void shard_abroad(struct view *v)
{
	view_first(v, 5, 3, 2);
	assert_int_equal(view_node_dies(v, 1), 0);
	assert_int_equal(view_shard_goes_home(v, 1), -EINVAL);
	assert_int_equal(view_node_comes(v, 1), 0);
	assert_int_equal(view_node_is_up(v, 1), 0);
	assert_int_equal(view_shard_goes_home(v, 1), -EINVAL); /* REBUILDING */
	assert_int_equal(view_shard_settles(v, 1), 0);
	assert_int_equal(view_shard_serves(v, 1), 0);
}

static void shard_goes_home(void **state)
{
	struct view v, w;

	shard_abroad(&v);
	assert_int_equal(view_shard_goes_home(&v, 1), 0);
	assert_int_equal(v.shard[1], VIEW_SHARD_REBUILDING);
	assert_int_equal(v.host[1], 1);
	assert_int_equal(v.source[1], 3);
	assert_int_equal(view_check(&v), 0);
	w = v; /* its home dies: it is where it was */
	assert_int_equal(view_node_dies(&w, 1), 0);
	assert_int_equal(w.host[1], 2);
	assert_int_equal(w.shard[1], VIEW_SHARD_SETTLING);
	assert_int_equal(w.source[1], 0);
	assert_int_equal(view_check(&w), 0);
	w = v; /* its source dies: to be replayed */
	assert_int_equal(view_node_dies(&w, 2), 0);
	assert_int_equal(w.host[1], 1);
	assert_int_equal(w.shard[1], VIEW_SHARD_REBUILDING);
	assert_int_equal(w.source[1], 0);
	assert_int_equal(view_check(&w), 0);
	w = v; /* its source dies, then its home */
	assert_int_equal(view_node_dies(&w, 2), 0);
	assert_int_equal(view_node_dies(&w, 1), 0);
	assert_int_equal(w.host[1], 3);
	assert_int_equal(w.shard[1], VIEW_SHARD_REBUILDING);
	assert_int_equal(view_shard_settles(&v, 1), 0);
	assert_int_equal(v.source[1], 0);
	assert_int_equal(view_shard_serves(&v, 1), 0);
	assert_int_equal(view_shard_goes_home(&v, 1), -EALREADY);
	assert_int_equal(view_shard_goes_home(&v, 5), -EINVAL);
	/* an earlier host that came back serves again */
	assert_int_equal(view_node_dies(&v, 1), 0);
	assert_int_equal(v.host[1], 2);
}

/* All hosts but the first have died in turn; that one is back. */
static void shard_comes_round(void **state)
{
	struct view v;

	shard_abroad(&v);
	assert_int_equal(view_node_dies(&v, 3), 0);
	assert_int_equal(view_node_dies(&v, 2), 0);
	assert_int_equal(v.host[1], 1);
	assert_int_equal(v.shard[1], VIEW_SHARD_REBUILDING);
	assert_int_equal(view_check(&v), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_spread_over_shards_and_prints),
		cmocka_unit_test(places_are_two_groups_and_in_range),
		cmocka_unit_test(table_fills_to_four_fifths),
		cmocka_unit_test(slot_word_gives_back_its_parts),
		cmocka_unit_test(record_comes_back_whole),
		cmocka_unit_test(record_is_refused_with_any_bit_turned),
		cmocka_unit_test(record_is_only_right_at_its_place),
		cmocka_unit_test(short_buffer_says_how_long),
		cmocka_unit_test(noise_is_no_record),
		cmocka_unit_test(layout_holds_what_was_asked),
		cmocka_unit_test(layout_fits_every_code),
		cmocka_unit_test(layout_refuses_nonsense),
		cmocka_unit_test(shard_has_a_room_on_each_of_its_hosts),
		cmocka_unit_test(shard_has_an_image_on_each_successor),
		cmocka_unit_test(superblock_comes_back_or_is_refused),
		cmocka_unit_test(shard_moves_on_and_is_lost_at_last),
		cmocka_unit_test(view_that_makes_no_sense_is_refused),
		cmocka_unit_test(new_node_comes_before_it_is_up),
		cmocka_unit_test(shard_goes_home),
		cmocka_unit_test(shard_comes_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
