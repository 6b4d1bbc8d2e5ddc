/* kv/node/restart.c - see restart.h.
 *
 *	cuts -> what each data block was, and shards (placed at home)
 *	slots -> which units of record blocks live
 *	block by block: zero what does not
 *	stripe by stripe: parity; then records and bitmaps of all members */
#include "kv/node/restart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/block.h"
#include "ec/code.h"
#include "kv/object.h"
#include "kv/slot.h"
#include "rdma/fabric.h"

#define ENCODE_BYTES (64u * 1024)

/* One data block of the pool. */
struct rblock {
	struct cut_block was; /* state FREE: nothing else counts */
	bool told;	      /* by its node's cut */
	uint64_t *dead;	      /* its bitmap, owned; NULL when FREE */
};

struct restart {
	const struct restart_opts *o;
	const struct layout *l;
	const struct group *g;
	struct code *code;
	struct rblock *block; /* stripe * k + role */
	uint64_t blocks;
	uint64_t shards; /* bit s: placed */
	size_t map_words;
	struct restart_report *out;
};

static uint32_t units_of(const struct group *g)
{
	return g->block_bytes / GROUP_UNIT_BYTES;
}

static char *at_addr(const struct restart *r, fab_addr a)
{
	return (char *)r->o->region[fab_addr_node(a)] + fab_addr_offset(a);
}

static void discard(const struct restart *r, uint32_t node, uint64_t off,
		    uint64_t len)
{
	fab_region_discard(r->o->region[node], r->o->region_fd[node], off, len);
}

/* --- what the cuts say ---------------------------------------------------- */

static int take_block(struct restart *r, uint32_t node,
		      const struct cut_block *b, const void *map)
{
	struct rblock *to;
	uint64_t stripe;
	uint32_t role;

	group_of_block(r->g, node, b->block, &stripe, &role);
	to = &r->block[stripe * r->g->k + role];
	if (role >= r->g->k || to->told)
		return -EBADMSG;
	to->told = true;
	to->was = *b;
	if (b->state == BLOCK_FREE)
		return 0;
	to->dead = malloc(r->map_words * sizeof(uint64_t));
	if (to->dead == NULL)
		return -ENOMEM;
	memcpy(to->dead, map, r->map_words * sizeof(uint64_t));
	r->out->blocks++;
	return 0;
}

/* R4. */
static void place_slots(struct slot *to, const struct slot *from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (from[i].word != 0 && !(from[i].word & SLOT_TENTATIVE))
			to[i] = from[i];
}

static int take_shard(struct restart *r, const struct cut_shard *s,
		      const void *slots)
{
	uint64_t bit = UINT64_C(1) << s->shard;

	if (r->shards & bit)
		return -EBADMSG;
	r->shards |= bit;
	place_slots((void *)((char *)r->o->region[s->shard] +
			     layout_shard_off(r->l, s->shard, s->shard)),
		    slots, s->bytes / sizeof(struct slot));
	return 0;
}

static int take_cut(struct restart *r, uint32_t node)
{
	struct cut_reader rd = {.cut = &r->o->cut[node], .layout = r->l};
	struct cut_block b;
	struct cut_shard s;
	const void *p;
	int rc;

	while ((rc = cut_next_block(&rd, &b, &p)) == 1) {
		rc = take_block(r, node, &b, p);
		if (rc != 0)
			return rc;
	}
	if (rc != 0)
		return rc;
	while ((rc = cut_next_shard(&rd, &s, &p)) == 1) {
		rc = take_shard(r, &s, p);
		if (rc != 0)
			return rc;
	}
	return rc;
}

/* All that is not data is made anew. */
static void clear_node(struct restart *r, uint32_t node)
{
	struct layout_super super = *r->o->super;

	super.magic = LAYOUT_MAGIC;
	super.version = LAYOUT_VERSION;
	super.node = node;
	layout_super_write(r->o->region[node], &super);
	memset((char *)r->o->region[node] + r->g->rec_off, 0,
	       group_rec_bytes(r->g));
	discard(r, node, r->g->map_off, r->l->index_off - r->g->map_off);
	discard(r, node, r->l->index_off, r->g->block_off - r->l->index_off);
}

static int take_all(struct restart *r)
{
	uint32_t nodes = r->g->nodes;
	uint64_t i;
	int rc = 0;

	for (uint32_t n = 0; n < nodes; n++)
		clear_node(r, n);
	for (uint32_t n = 0; n < nodes && rc == 0; n++)
		rc = take_cut(r, n);
	if (rc != 0)
		return rc;
	for (i = 0; i < r->blocks; i++)
		if (!r->block[i].told)
			return -EBADMSG;
	return r->shards == (nodes == 64 ? UINT64_MAX
					 : (UINT64_C(1) << nodes) - 1)
		       ? 0
		       : -EBADMSG;
}

/* --- R2: which units live ------------------------------------------------- */

static void dead_set(uint64_t *dead, uint32_t at, uint32_t len, bool is)
{
	for (; len > 0; at++, len--)
		if (is)
			dead[at / 64] |= UINT64_C(1) << at % 64;
		else
			dead[at / 64] &= ~(UINT64_C(1) << at % 64);
}

/* The record that @word names: its block, and where in it. */
static struct rblock *record_block(struct restart *r, uint64_t word,
				   uint32_t *unit)
{
	fab_addr a = slot_addr(word);
	struct rblock *b;
	uint64_t stripe;
	uint32_t role, at;

	if (fab_addr_node(a) >= r->g->nodes ||
	    group_locate(r->g, a, &stripe, &role, &at) != 0 || role >= r->g->k)
		return NULL;
	b = &r->block[stripe * r->g->k + role];
	*unit = at / GROUP_UNIT_BYTES;
	return b->was.state != BLOCK_FREE && b->was.kind == BLOCK_RECORDS
		       ? b
		       : NULL;
}

/* It counts, whatever its writer said of it after the cut. */
static void commit(char *rec)
{
	static const uint64_t fate = OBJECT_COMMITTED;
	uint64_t now;

	memcpy(&now, rec + OBJECT_FATE_OFFSET, sizeof(now));
	if (now != OBJECT_COMMITTED)
		memcpy(rec + OBJECT_FATE_OFFSET, &fate, sizeof(fate));
}

static void live_slot(struct restart *r, uint64_t word)
{
	struct rblock *b;
	struct object o;
	uint32_t unit, left;
	char *rec;

	if (word == 0)
		return;
	r->out->keys++;
	b = record_block(r, word, &unit);
	if (b == NULL) {
		r->out->damaged++;
		return;
	}
	rec = at_addr(r, slot_addr(word));
	left = units_of(r->g) - unit;
	if (object_decode(rec, (size_t)left * GROUP_UNIT_BYTES,
			  r->o->super->secret, slot_addr(word), &o) != 0) {
		r->out->damaged++;
		o.hdr.units =
			(uint16_t)(slot_units(word) ? slot_units(word) : 1);
		if (o.hdr.units > left)
			o.hdr.units = (uint16_t)left;
	} else {
		commit(rec);
	}
	dead_set(b->dead, unit, o.hdr.units, false);
}

static void live_all(struct restart *r)
{
	uint64_t n = slot_shard_bytes(r->l->index_groups) / sizeof(struct slot);

	for (uint64_t i = 0; i < r->blocks; i++)
		if (r->block[i].dead != NULL &&
		    r->block[i].was.kind == BLOCK_RECORDS)
			memset(r->block[i].dead, 0xff,
			       r->map_words * sizeof(uint64_t));
	for (uint32_t s = 0; s < r->g->nodes; s++) {
		const struct slot *slot =
			(const void *)((char *)r->o->region[s] +
				       layout_shard_off(r->l, s, s));

		for (uint64_t i = 0; i < n; i++)
			live_slot(r, slot[i].word);
	}
}

/* Pages that are zeros already are not made dirty. */
static void zero_unit(struct restart *r, char *p)
{
	static const char zeros[GROUP_UNIT_BYTES];
	uint32_t magic;

	if (memcmp(p, zeros, sizeof(zeros)) == 0)
		return;
	memcpy(&magic, p + offsetof(struct object_hdr, magic), sizeof(magic));
	r->out->lost += magic == OBJECT_MAGIC;
	memset(p, 0, sizeof(zeros));
}

static void zero_dead(struct restart *r, const struct rblock *b, char *base)
{
	for (uint32_t u = 0; u < units_of(r->g); u++)
		if (b->dead[u / 64] >> u % 64 & 1)
			zero_unit(r, base + (size_t)u * GROUP_UNIT_BYTES);
}

/* --- R1, R3: stripes ------------------------------------------------------ */

static struct rblock *rblock_of(const struct restart *r, uint64_t stripe,
				uint32_t role)
{
	return &r->block[stripe * r->g->k + role];
}

/* ROWS come and go together. Some of a stripe's being FREE, it was leaving,
 * wholly obsolete; or being opened, and nothing was written. Some being PAGES,
 * all are from now on: ec/again.h, A7. */
static void settle_rows(struct restart *r, uint64_t stripe)
{
	uint32_t rows = 0, others = 0, role;
	struct rblock *b;

	for (role = 0; role < r->g->k; role++) {
		b = rblock_of(r, stripe, role);
		if (b->was.state != BLOCK_FREE && b->was.kind == BLOCK_ROWS)
			rows++;
		else if (b->was.state != BLOCK_FREE)
			others++;
	}
	for (role = 0; role < r->g->k; role++) {
		b = rblock_of(r, stripe, role);
		if (b->was.kind != BLOCK_ROWS || rows == r->g->k)
			continue;
		if (others != 0)
			b->was.kind = BLOCK_PAGES;
		else
			b->was.state = BLOCK_FREE;
	}
}

static bool settle_data(struct restart *r, uint64_t stripe, uint32_t role)
{
	const struct rblock *b = rblock_of(r, stripe, role);
	fab_addr a = group_addr(r->g, stripe, role, 0);

	if (b->was.state == BLOCK_FREE) {
		discard(r, fab_addr_node(a), fab_addr_offset(a),
			r->g->block_bytes);
		return false;
	}
	if (b->was.kind == BLOCK_RECORDS)
		zero_dead(r, b, at_addr(r, a));
	return true;
}

static void encode(struct restart *r, uint64_t stripe)
{
	const void *data[CODE_DATA_MAX];
	void *parity[CODE_PARITY_MAX];
	uint32_t at, i;

	for (at = 0; at < r->g->block_bytes; at += ENCODE_BYTES) {
		for (i = 0; i < r->g->k; i++)
			data[i] = at_addr(r, group_addr(r->g, stripe, i, at));
		for (i = 0; i < r->g->m; i++)
			parity[i] = at_addr(
				r, group_addr(r->g, stripe, r->g->k + i, at));
		code_encode(r->code, ENCODE_BYTES, data, parity);
	}
}

static void clear_parity(struct restart *r, uint64_t stripe)
{
	for (uint32_t i = r->g->k; i < group_width(r->g); i++) {
		fab_addr a = group_addr(r->g, stripe, i, 0);

		discard(r, fab_addr_node(a), fab_addr_offset(a),
			r->g->block_bytes);
	}
}

static uint32_t dead_units(const struct restart *r, const struct rblock *b)
{
	uint32_t n = 0;

	for (size_t w = 0; w < r->map_words; w++)
		n += (uint32_t)__builtin_popcountll(b->dead[w]);
	return n;
}

/* Bytes that are in use as far as anybody knows. In a block of records marks
 * say all there is to say; a block that was open may be full. */
static uint32_t used_of(const struct restart *r, const struct rblock *b)
{
	if (b->was.kind == BLOCK_RECORDS || b->was.state == BLOCK_OPEN ||
	    b->was.used == 0)
		return r->g->block_bytes;
	return b->was.used;
}

/* The record at member @mine of the stripe. */
static void write_rec(struct restart *r, uint64_t stripe, uint32_t role,
		      uint32_t mine)
{
	const struct rblock *b = rblock_of(r, stripe, role);
	struct block_rec rec = {.life = b->was.life};
	uint32_t node, block;
	char *region;

	group_member(r->g, stripe, mine, &node, &block);
	region = r->o->region[node];
	if (b->was.state != BLOCK_FREE) {
		rec.kind = b->was.kind;
		rec.state = mine == role && rec.kind != BLOCK_ROWS
				    ? BLOCK_SEALED
				    : BLOCK_FOLDED;
		rec.owner = BLOCK_OWNER_PAST;
		rec.used = used_of(r, b);
		rec.dead = dead_units(r, b);
		rec.sealed = r->o->index_version;
		memcpy(region + group_map_off(r->g, block, role), b->dead,
		       r->map_words * sizeof(uint64_t));
	}
	block_publish((void *)(region + group_rec_off(r->g, block, role)),
		      &rec);
}

static void settle_stripe(struct restart *r, uint64_t stripe)
{
	bool any = false;
	uint32_t role, j;

	settle_rows(r, stripe);
	for (role = 0; role < r->g->k; role++)
		if (settle_data(r, stripe, role))
			any = true;
	if (any)
		encode(r, stripe);
	else
		clear_parity(r, stripe);
	for (role = 0; role < r->g->k; role++) {
		write_rec(r, stripe, role, role);
		for (j = r->g->k; j < group_width(r->g); j++)
			write_rec(r, stripe, role, j);
	}
}

static void settle_all(struct restart *r)
{
	uint64_t n = group_stripes(r->g), bytes;

	bytes = (uint64_t)r->g->k * r->g->block_bytes;
	for (uint64_t s = 0; s < n; s++) {
		settle_stripe(r, s);
		if (r->o->progress != NULL)
			r->o->progress(r->o->arg, (s + 1) * bytes, n * bytes);
	}
}

/* --- all of it ------------------------------------------------------------ */

static int restart_open(struct restart *r)
{
	r->map_words = units_of(r->g) / 64;
	r->blocks = group_stripes(r->g) * r->g->k;
	r->block = calloc(r->blocks, sizeof(*r->block));
	if (r->block == NULL)
		return -ENOMEM;
	return code_open(r->g->k, r->g->m, &r->code);
}

static void restart_close(struct restart *r)
{
	for (uint64_t i = 0; r->block != NULL && i < r->blocks; i++)
		free(r->block[i].dead);
	free(r->block);
	code_close(r->code);
}

int restart_run(const struct restart_opts *opts, struct restart_report *out)
{
	struct restart r = {
		.o = opts,
		.l = &opts->super->layout,
		.g = &opts->super->layout.group,
		.out = out,
	};
	int rc;

	*out = (struct restart_report){0};
	rc = restart_open(&r);
	if (rc == 0)
		rc = take_all(&r);
	if (rc == 0) {
		live_all(&r);
		settle_all(&r);
	}
	restart_close(&r);
	return rc;
}
