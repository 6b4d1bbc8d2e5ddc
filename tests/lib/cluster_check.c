/* tests/lib/cluster_check.c - see cluster_check.h. */
#include "tests/lib/cluster_check.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ec/block.h"
#include "ec/code.h"
#include "kv/client/client_impl.h"
#include "kv/client/degraded.h"
#include "kv/hash.h"
#include "kv/object.h"
#include "kv/slot.h"
#include "tests/lib/cluster_impl.h"

struct check {
	struct cluster *c;
	struct kv *kv;
	const struct layout *l;
	const struct group *g;
	struct code *code;
	char *sum; /* a block's worth */
	bool some_died;
	struct view view;
	char **key; /* of firm slots, with their lengths before them */
	size_t keys;
};

/* --- stripes
 * --------------------------------------------------------------------- */

static uint32_t node_of(const struct check *k, uint64_t s, uint32_t role)
{
	uint32_t node, block;

	group_member(k->g, s, role, &node, &block);
	return node;
}

static bool role_up(const struct check *k, uint64_t s, uint32_t role)
{
	return cluster_node(k->c, node_of(k, s, role)) != NULL;
}

static char *role_mem(const struct check *k, uint64_t s, uint32_t role)
{
	uint32_t node, block;

	group_member(k->g, s, role, &node, &block);
	return (char *)cluster_region(k->c, node) +
	       group_block_off(k->g, block);
}

/* What the member in @at knows of the block of @role. */
static struct block_rec rec_at(const struct check *k, uint64_t s, uint32_t at,
			       uint32_t role)
{
	uint32_t node, block;
	struct block_rec rec;

	group_member(k->g, s, at, &node, &block);
	block_load((void *)((char *)cluster_region(k->c, node) +
			    group_rec_off(k->g, block, role)),
		   &rec);
	return rec;
}

static const uint64_t *map_at(const struct check *k, uint64_t s, uint32_t at,
			      uint32_t role)
{
	uint32_t node, block;

	group_member(k->g, s, at, &node, &block);
	return (void *)((char *)cluster_region(k->c, node) +
			group_map_off(k->g, block, role));
}

__attribute__((format(printf, 5, 6))) static void
must(bool ok, const char *what, uint64_t s, uint32_t role, const char *fmt, ...)
{
	char more[120];
	va_list ap;

	if (ok)
		return;
	va_start(ap, fmt);
	vsnprintf(more, sizeof(more), fmt, ap);
	va_end(ap);
	fail_msg("%s: stripe %" PRIu64 " role %" PRIu32 " %s", what, s, role,
		 more);
}

static bool all_zero(const char *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* What the members that are up know of the stripe, unless all is well. */
static void show_records(const struct check *k, uint64_t s, bool well)
{
	if (!well)
		cluster_show_stripe(k->c, s);
}

static void check_data(struct check *k, uint64_t s, uint32_t r)
{
	struct block_rec rec;

	if (!role_up(k, s, r))
		return;
	rec = rec_at(k, s, r, r);
	if (rec.state == BLOCK_FREE)
		must(all_zero(role_mem(k, s, r), k->g->block_bytes),
		     "D2: a free block is zero", s, r, "life %u", rec.life);
}

static size_t first_difference(const char *a, const char *b, size_t n)
{
	size_t i = 0;

	while (i < n && a[i] == b[i])
		i++;
	return i;
}

/* A leader may have died between two that zero what is obsolete, and the next
 * one be busy with others first (A4 in ec/again.h). */
static bool is_zeroing(const struct check *k, uint64_t s, uint32_t r,
		       const struct block_rec *rec)
{
	struct block_rec own = rec_at(k, s, r, r);

	return rec->state == BLOCK_RETIRING && own.state == BLOCK_RETIRING &&
	       ((rec->flags | own.flags) & BLOCK_F_ZEROED) != 0;
}

/* The first difference that is not in a unit which the zeroing one has marked.
 */
static size_t first_in_use(const struct check *k, uint64_t s, uint32_t r,
			   uint32_t zeroing, const char *delta,
			   const char *data)
{
	const uint64_t *map = map_at(k, s, zeroing, r);
	size_t i, unit, n = k->g->block_bytes;

	for (i = 0; i < n; i++) {
		unit = i / GROUP_UNIT_BYTES;
		if (delta[i] != data[i] && !(map[unit / 64] >> unit % 64 & 1))
			break;
	}
	return i;
}

static void check_delta(struct check *k, uint64_t s, uint32_t r, uint32_t at,
			const struct block_rec *rec)
{
	const char *delta, *data;
	size_t i;

	if (!block_has_copy(rec) || !role_up(k, s, r))
		return;
	delta = (char *)cluster_region(k->c, node_of(k, s, at)) +
		group_delta_off(k->g, rec->delta - 1);
	data = role_mem(k, s, r);
	i = first_difference(delta, data, k->g->block_bytes);
	if (i != k->g->block_bytes && is_zeroing(k, s, r, rec))
		i = first_in_use(k, s, r, rec->flags & BLOCK_F_ZEROED ? at : r,
				 delta, data);
	show_records(k, s, i == k->g->block_bytes);
	must(i == k->g->block_bytes, "D1: the delta is a full copy", s, r,
	     "at role %u: %s from byte %zu of %u", at,
	     block_state_name(rec->state), i, rec->used);
}

/* A folded ROW is as good as a folded block, and may be one here already
 * (again_split()). */
static bool same_kind(uint32_t a, uint32_t b)
{
	return a == b || (a != BLOCK_RECORDS && b != BLOCK_RECORDS);
}

/* Members agree, but for who has folded or freed what others have yet to. */
static void check_agree(struct check *k, uint64_t s, uint32_t r, uint32_t at,
			const struct block_rec *rec)
{
	struct block_rec own;
	bool agree;

	if (!role_up(k, s, r))
		return;
	own = rec_at(k, s, r, r);
	if (rec->state == BLOCK_FREE || own.state == BLOCK_FREE)
		return;
	agree = own.life == rec->life && same_kind(own.kind, rec->kind);
	show_records(k, s, agree);
	must(agree, "members agree", s, r, "life %u %u kind %u %u at role %u",
	     own.life, rec->life, own.kind, rec->kind, at);
}

static void check_sum(struct check *k, uint64_t s, uint32_t at)
{
	size_t i =
		first_difference(k->sum, role_mem(k, s, at), k->g->block_bytes);

	if (i == k->g->block_bytes)
		return;
	show_records(k, s, false);
	must(false, "S1: the parity is the sum", s, at, "from byte %zu", i);
}

static void check_parity(struct check *k, uint64_t s, uint32_t j)
{
	uint32_t at = k->g->k + j, bytes = k->g->block_bytes;
	bool seen = true;

	if (!role_up(k, s, at))
		return;
	memset(k->sum, 0, bytes);
	for (uint32_t r = 0; r < k->g->k; r++) {
		struct block_rec rec = rec_at(k, s, at, r);
		uint32_t lo = 0, hi = bytes;

		/* A row that its dead writer tore is in nobody's value. */
		seen &= rec.kind != BLOCK_ROWS || !k->some_died;
		check_delta(k, s, r, at, &rec);
		check_agree(k, s, r, at, &rec);
		if (!block_in_parity(&rec, &lo, &hi))
			continue;
		seen &= role_up(k, s, r);
		if (seen)
			code_fold(k->code, j, r, hi - lo,
				  role_mem(k, s, r) + lo, k->sum + lo);
	}
	if (seen)
		check_sum(k, s, at);
}

static void check_stripes(struct check *k)
{
	for (uint64_t s = 0; s < group_stripes(k->g); s++) {
		for (uint32_t r = 0; r < k->g->k; r++)
			check_data(k, s, r);
		for (uint32_t j = 0; j < k->g->m; j++)
			check_parity(k, s, j);
	}
}

/* --- slots
 * ------------------------------------------------------------------------- */

static bool belongs(const struct check *k, uint64_t hash, uint32_t shard,
		    uint64_t slot)
{
	uint64_t place[2];

	slot_places(hash, k->l->index_groups, place);
	return hash_shard(hash, k->g->nodes) == shard &&
	       ((slot >= place[0] && slot < place[0] + BUCKET_PAIR_SLOTS) ||
		(slot >= place[1] && slot < place[1] + BUCKET_PAIR_SLOTS));
}

static void read_record(struct check *k, uint64_t word, char *buf, uint32_t len)
{
	fab_addr addr = slot_addr(word);
	struct kv_thread *t = kv_thread(k->kv);
	uint32_t node = fab_addr_node(addr);

	if (cluster_node(k->c, node) != NULL)
		memcpy(buf,
		       (char *)cluster_region(k->c, node) +
			       fab_addr_offset(addr),
		       len);
	else
		assert_int_equal(
			degraded_read(k->kv, t, addr, len, buf, false,
				      fab_now(t->fab) + CLUSTER_SETTLE_NS),
			0);
}

static void note_key(struct check *k, const struct object *o)
{
	char *key = malloc(1u + o->hdr.key_len);

	assert_non_null(key);
	key[0] = (char)o->hdr.key_len;
	memcpy(key + 1, o->key, o->hdr.key_len);
	k->key[k->keys++] = key;
}

static void check_record(struct check *k, uint32_t shard, uint64_t slot,
			 uint64_t word, const struct object *o)
{
	bool tomb = (word & SLOT_TOMB) != 0;

	must(belongs(k, o->hdr.hash, shard, slot) &&
		     slot_print(word) == hash_print(o->hdr.hash) &&
		     hash_of(o->key, o->hdr.key_len) == o->hdr.hash,
	     "a slot of another key", shard, (uint32_t)slot, " ");
	must((uint8_t)o->hdr.version == slot_version8(word) &&
		     tomb == (o->hdr.type == OBJECT_TOMB),
	     "a slot tells its record", shard, (uint32_t)slot, " ");
	must(o->hdr.fate == OBJECT_COMMITTED || o->hdr.fate == OBJECT_SOLO ||
		     (k->some_died && o->hdr.fate == OBJECT_PENDING),
	     "a slot's record is committed", shard, (uint32_t)slot,
	     "fate %" PRIx64 " key %.*s", o->hdr.fate, o->hdr.key_len,
	     (const char *)o->key);
	note_key(k, o);
}

static void check_slot(struct check *k, uint32_t shard, uint64_t slot,
		       uint64_t word)
{
	uint32_t len = slot_units(word) * GROUP_UNIT_BYTES;
	struct object o;
	char *buf;

	if (word == 0)
		return;
	if (word & SLOT_TENTATIVE) {
		must(k->some_died, "a slot was left tentative", shard,
		     (uint32_t)slot, " ");
		return;
	}
	if (len == 0)
		len = (uint32_t)OBJECT_BYTES_MAX / GROUP_UNIT_BYTES *
		      GROUP_UNIT_BYTES;
	buf = malloc(len);
	assert_non_null(buf);
	read_record(k, word, buf, len);
	must(object_decode(buf, len, k->c->super.secret, slot_addr(word), &o) ==
		     0,
	     "a slot names a whole record", shard, (uint32_t)slot,
	     "word %" PRIx64, word);
	check_record(k, shard, slot, word, &o);
	free(buf);
}

static void check_shard(struct check *k, uint32_t shard)
{
	uint32_t host = k->view.host[shard];
	uint64_t n = (uint64_t)k->l->index_groups * BUCKET_GROUP * BUCKET_SLOTS;
	const struct slot *slot;

	if (k->view.shard[shard] != VIEW_SHARD_SERVING)
		return;
	slot = (void *)((char *)cluster_region(k->c, host) +
			layout_shard_off(k->l, shard, host));
	for (uint64_t i = 0; i < n; i++)
		check_slot(k, shard, i, slot[i].word);
}

static int by_key(const void *pa, const void *pb)
{
	const char *a = *(char *const *)pa, *b = *(char *const *)pb;
	uint8_t la = (uint8_t)a[0], lb = (uint8_t)b[0];

	return la != lb ? (int)la - (int)lb : memcmp(a + 1, b + 1, la);
}

static void check_keys(struct check *k)
{
	qsort(k->key, k->keys, sizeof(*k->key), by_key);
	for (size_t i = 1; i < k->keys; i++)
		if (by_key(&k->key[i - 1], &k->key[i]) == 0)
			fail_msg("two slots of key %.*s", k->key[i][0],
				 k->key[i] + 1);
}

static void check_slots(struct check *k)
{
	uint64_t n = (uint64_t)k->l->index_groups * BUCKET_GROUP *
		     BUCKET_SLOTS * k->g->nodes;

	coord_view(cluster_coord(k->c), &k->view);
	k->key = calloc(n, sizeof(*k->key));
	assert_non_null(k->key);
	for (uint32_t shard = 0; shard < k->g->nodes; shard++)
		check_shard(k, shard);
	check_keys(k);
	for (size_t i = 0; i < k->keys; i++)
		free(k->key[i]);
	free(k->key);
}

void cluster_check(struct cluster *c, struct kv *kv, bool some_died)
{
	struct check k = {.c = c,
			  .kv = kv,
			  .l = cluster_layout(c),
			  .some_died = some_died};

	cluster_await_rest(c);
	k.g = &k.l->group;
	assert_int_equal(code_open(k.g->k, k.g->m, &k.code), 0);
	k.sum = malloc(k.g->block_bytes);
	assert_non_null(k.sum);
	check_stripes(&k);
	check_slots(&k);
	free(k.sum);
	code_close(k.code);
}
