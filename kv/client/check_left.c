/* kv/client/check_left.c - which units of a block of records that was closed
 * for a client that is gone are nobody's: what it had begun to write, and what
 * lies within a record's reach behind that (kv/node/leftover.c lets it alone,
 * as it knows no names).
 *
 * Q1. What is a record, whole and right, is not looked at here: a replay may
 *     have it until the sweep has marked it. What is none is never taken by a
 *     replay, so only a slot can need it: one that names a record which has
 *     gone bad. Slots only come to name what is whole, or named already; so
 *     whoever has read all of them since the block was closed, at any moments,
 *     knows which may.
 * Q2. An orphan's copies may differ until they are made equal (S6 in
 *     ec/README.md): a record may be torn here and whole there, and be what the
 *     block's nodes agree on in the end. Such a block is let alone.
 * Q3. Its writers are gone, or have closed it before it was opened again. So
 *     bytes change in one way only: units that are marked are zeroed when it is
 *     opened once more, and a mark that comes after that is refused, as it
 *     names the block's life. */
#include <errno.h>
#include <string.h>

#include "kv/client/check_impl.h"
#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/client/scan.h"

#define LEFT_SLOTS 1024u
#define REACH	   (OBJECT_BYTES_MAX / GROUP_UNIT_BYTES + 1)

/* --- what slots name ------------------------------------------------------ */

/* Of a record whose length its word does not tell the first unit will do: it is
 * right, and tells that itself, or nothing in its reach is touched. */
static void name_records(struct kv_check *c, const struct slot *slot,
			 uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t units = slot_units(slot[i].word);

		if (slot[i].word != 0)
			check_name(c, slot_addr(slot[i].word),
				   units != 0 ? units : 1);
	}
}

static int name_shard(struct kv_check *c, uint32_t shard)
{
	uint64_t slots = c->total / c->g->nodes;
	struct slot slot[LEFT_SLOTS];
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < slots; at += LEFT_SLOTS) {
		uint32_t n = slots - at < LEFT_SLOTS ? (uint32_t)(slots - at)
						     : LEFT_SLOTS;

		rc = scan_slots(c->kv, c->t, shard, at, n, slot,
				fab_now(c->t->fab) + kv_timeout_ns(c->kv));
		if (rc == 0) {
			name_records(c, slot, n);
			rc = kv_check_pace(c, n * sizeof(*slot));
		}
	}
	return rc;
}

int check_left_names(struct kv_check *c)
{
	int rc = 0;

	for (uint32_t s = 0; rc == 0 && s < c->g->nodes; s++)
		rc = name_shard(c, s);
	return rc;
}

/* --- a block -------------------------------------------------------------- */

/* Q2: 1, 0 or -errno. A member that is away is brought back from the others. */
static int is_settled(struct kv_check *c, uint64_t stripe, uint32_t role)
{
	struct block_rec rec;
	int rc;

	for (uint32_t j = 0; j < c->g->m; j++) {
		rc = check_rec(c, stripe, role, c->g->k + j, &rec);
		if (rc == -EHOSTDOWN)
			continue;
		if (rc != 0 || (rec.flags & BLOCK_F_ALIGN) != 0)
			return rc;
	}
	return 1;
}

static int read_bytes(struct kv_check *c, const struct block_look *b)
{
	uint32_t node, block, n;
	int rc = 0;

	group_member(c->g, b->stripe, b->role, &node, &block);
	for (uint32_t at = 0; rc == 0 && at < b->rec.used; at += n) {
		n = b->rec.used - at < FAB_OP_BYTES_MAX ? b->rec.used - at
							: FAB_OP_BYTES_MAX;
		rc = check_read(c, (uint8_t)node,
				group_block_off(c->g, block) + at,
				b->bytes + at, n);
	}
	return rc != 0 ? rc : kv_check_pace(c, b->rec.used);
}

static bool is_dead(const struct block_look *b, uint32_t unit)
{
	return b->dead[unit / 64] >> (unit % 64) & 1;
}

/* Units of what needs no look: a record, or what is marked. 0: neither. */
static uint32_t units_at(const struct kv_check *c, const struct block_look *b,
			 uint32_t unit)
{
	uint32_t at = unit * GROUP_UNIT_BYTES;
	struct object o;

	if (is_dead(b, unit))
		return 1;
	if (object_decode(b->bytes + at, b->rec.used - at, c->kv->secret,
			  group_addr(c->g, b->stripe, b->role, at), &o) != 0)
		return 0;
	return o.hdr.units;
}

/* As if what is not to be touched were marked already (Q1). */
static void shield(const struct kv_check *c, const struct block_look *b)
{
	uint32_t units = b->rec.used / GROUP_UNIT_BYTES, bad = 0, n;

	for (uint32_t u = 0; u < units; u += n) {
		n = units_at(c, b, u);
		if (n == 0 && check_is_named(c, b->stripe, b->role, u))
			bad = u + REACH; /* as long as it may be */
		if (n == 0 && u >= bad) {
			n = 1;
			continue;
		}
		n = n != 0 ? n : 1;
		for (uint32_t i = u; i < u + n; i++)
			b->dead[i / 64] |= UINT64_C(1) << (i % 64);
	}
}

int check_left_records(struct kv_check *c, struct block_look *b)
{
	int rc = is_settled(c, b->stripe, b->role);

	if (rc <= 0)
		return rc;
	rc = read_bytes(c, b);
	if (rc != 0)
		return rc == -EHOSTDOWN ? 0 : rc;
	shield(c, b);
	return 1;
}
