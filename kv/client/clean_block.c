/* kv/client/clean_block.c - one round: which block, and its records.
 *
 *   look at all nodes' block records -> picks -> marks and bytes of one
 *     -> each record there that is not marked: move.c -> marks, at once */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/clean_impl.h"
#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/client/space_impl.h"

#define SHARE_GOOD 4u /* of a block: worth it before it is needed */
#define ON_THE_WAY 2u /* blocks that are empty, and not given back yet */
#define WAIT_NS	   UINT64_C(1000000)
#define WAIT_TIMES 200u
#define FLUSHES	   16u
#define LOOK_NS	   UINT64_C(200000000) /* between looks that can wait */
#define MOVES	   32u		       /* side by side */
#define READ_NS	   UINT64_C(1000000000)

/* --- which --------------------------------------------------------------- */

static uint32_t units_of(const struct group *g)
{
	return g->block_bytes / GROUP_UNIT_BYTES;
}

static int read_at(struct kv *kv, struct kv_thread *t, uint32_t node,
		   uint64_t off, void *to, size_t bytes)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < bytes; at += FAB_OP_BYTES_MAX) {
		size_t n = bytes - at;

		if (!(member_up(kv->member) >> node & 1))
			return -EAGAIN;
		if (n > FAB_OP_BYTES_MAX)
			n = FAB_OP_BYTES_MAX;
		fab_read(&op, (uint8_t)node, off + at, (char *)to + at,
			 (uint32_t)n);
		b.deadline_ns = fab_now(t->fab) + READ_NS;
		rc = fab_run(t->fab, &b);
		if (rc == 0)
			rc = op.status;
	}
	return rc == 0 ? 0 : -EAGAIN;
}

static bool is_past(const struct clean *c, const struct clean_pick *p)
{
	for (uint32_t i = 0; i < CLEAN_PAST; i++)
		if (c->past[i].gain != 0 && c->past[i].stripe == p->stripe &&
		    c->past[i].role == p->role && c->past[i].life == p->life)
			return true;
	return false;
}

/* What is obsolete, and what was never written. */
static uint32_t gain_of(const struct group *g, const struct block_rec *rec)
{
	uint32_t end = (rec->used + GROUP_UNIT_BYTES - 1) / GROUP_UNIT_BYTES;

	return rec->dead + (rec->used != 0 ? units_of(g) - end : 0);
}

/* Closed, at rest, partly obsolete. */
static bool is_worth(const struct group *g, const struct block_rec *rec)
{
	return rec->seq % 2 == 0 && block_rec_check(g, rec) == 0 &&
	       rec->state == BLOCK_SEALED && rec->kind == BLOCK_RECORDS &&
	       (rec->flags & ~BLOCK_F_LEFT) == 0 && rec->dead < units_of(g) &&
	       gain_of(g, rec) >= units_of(g) / CLEAN_SHARE_LEAST;
}

/* Sorted, the best last; what there is no room for is found another time. */
static void pick(struct clean *c, const struct clean_pick *p)
{
	uint32_t at = c->picks;

	if (is_past(c, p))
		return;
	while (at > 0 && c->pick[at - 1].gain > p->gain)
		at--;
	if (c->picks < CLEAN_PICKS) {
		memmove(&c->pick[at + 1], &c->pick[at],
			(c->picks++ - at) * sizeof(*p));
		c->pick[at] = *p;
	} else if (at > 0) {
		memmove(&c->pick[0], &c->pick[1], (at - 1) * sizeof(*p));
		c->pick[at - 1] = *p;
	}
}

static void look_at(struct kv *kv, uint32_t node)
{
	const struct group *g = &kv->layout.group;
	struct clean *c = kv->clean;
	struct clean_pick p;

	for (uint32_t b = 0; b < g->blocks; b++) {
		const struct block_rec *rec;

		group_of_block(g, node, b, &p.stripe, &p.role);
		if (p.role >= g->k)
			continue;
		rec = &c->recs[(size_t)b * g->k + p.role];
		if (!is_worth(g, rec))
			continue;
		p.life = rec->life;
		p.gain = gain_of(g, rec);
		pick(c, &p);
	}
}

static int look(struct kv *kv, struct kv_thread *t)
{
	const struct group *g = &kv->layout.group;
	int rc = 0;

	kv->clean->picks = 0;
	kv->clean->looked_ns = fab_now(t->fab);
	for (uint32_t node = 0; node < g->nodes; node++) {
		if (!(member_up(kv->member) >> node & 1))
			continue;
		rc = read_at(
			kv, t, node, group_rec_off(g, 0, 0), kv->clean->recs,
			(size_t)g->blocks * g->k * sizeof(struct block_rec));
		if (rc != 0)
			return rc;
		look_at(kv, node);
	}
	return 0;
}

/* --- its records --------------------------------------------------------- */

struct moves {
	struct kv *kv;
	struct kv_thread *t;
	struct kv_req req[MOVES];
	uint32_t n;
	uint32_t moved;
	int rc; /* -ENOSPC, -ENOMEM: no use to go on */
};

static void take_status(struct moves *m, int status)
{
	m->moved += status == 0;
	if (status == -ENOSPC || status == -ENOTCONN)
		m->rc = status;
}

static void run_moves(struct moves *m)
{
	struct op *all[MOVES], *ops = NULL;

	for (uint32_t i = 0; i < m->n; i++) {
		all[i] = op_begin(m->kv, m->t, &m->req[i]);
		if (all[i] == NULL) {
			m->rc = -ENOMEM;
			m->n = i;
			break;
		}
		all[i]->link = ops;
		ops = all[i];
	}
	if (ops == NULL)
		return;
	member_enter(m->kv->member, m->t);
	run_ops(m->t, ops);
	member_leave(m->kv->member, m->t);
	client_kick(m->kv);
	for (uint32_t i = 0; i < m->n; i++) {
		take_status(m, m->req[i].status);
		op_free(all[i]);
	}
	m->n = 0;
}

static bool may_move(const struct kv *kv, const struct object *o)
{
	return (o->hdr.type == OBJECT_PUT || o->hdr.type == OBJECT_TOMB) &&
	       o->hdr.fate != OBJECT_KILLED &&
	       kv->opts.movable(o->key, o->hdr.key_len);
}

static void add(struct moves *m, const struct object *o, fab_addr addr)
{
	if (!may_move(m->kv, o))
		return;
	m->req[m->n++] = (struct kv_req){
		.kind = OP_MOVE,
		.flags = KV_URGENT,
		.klen = o->hdr.key_len,
		.key = o->key,
		.val = o->val,
		.len = o->hdr.val_len,
		.expect = addr,
		.version = o->hdr.version,
	};
	if (m->n == MOVES)
		run_moves(m);
}

static bool is_dead(const struct clean *c, uint32_t unit)
{
	return c->dead[unit / 64] >> (unit % 64) & 1;
}

static void move_all(struct moves *m, const struct clean_pick *p)
{
	const struct group *g = &m->kv->layout.group;
	const struct clean *c = m->kv->clean;
	uint32_t units = units_of(g);

	for (uint32_t u = 0; u < units && m->rc == 0;) {
		uint32_t at = u * GROUP_UNIT_BYTES;
		fab_addr addr = group_addr(g, p->stripe, p->role, at);
		struct object o;

		if (is_dead(c, u) ||
		    object_decode(c->image + at, g->block_bytes - at,
				  m->kv->secret, addr, &o) != 0) {
			u++;
			continue;
		}
		u += o.hdr.units;
		add(m, &o, addr);
	}
	run_moves(m);
}

static int read_block(struct kv *kv, struct kv_thread *t,
		      const struct clean_pick *p)
{
	const struct group *g = &kv->layout.group;
	uint32_t node, block;
	int rc;

	group_member(g, p->stripe, p->role, &node, &block);
	rc = read_at(kv, t, node, group_map_off(g, block, p->role),
		     kv->clean->dead, units_of(g) / 8);
	if (rc == 0)
		rc = read_at(kv, t, node, group_block_off(g, block),
			     kv->clean->image, g->block_bytes);
	return rc;
}

/* Some may have to wait for others' blocks; not all do. */
static void tell(struct kv *kv, struct kv_thread *t)
{
	for (uint32_t i = 0; i < FLUSHES; i++)
		if (space_send_marks(kv->space, t) == 0)
			return;
}

static int read_rec(struct kv *kv, struct kv_thread *t,
		    const struct clean_pick *p, struct block_rec *rec)
{
	const struct group *g = &kv->layout.group;
	uint32_t node, block;

	group_member(g, p->stripe, p->role, &node, &block);
	return read_at(kv, t, node, group_rec_off(g, block, p->role), rec,
		       sizeof(*rec));
}

/* It has been emptied, and is as it was. */
static bool is_on_the_way(struct kv *kv, struct kv_thread *t,
			  const struct clean_pick *p)
{
	struct block_rec rec;

	return p->gain != 0 && read_rec(kv, t, p, &rec) == 0 &&
	       rec.life == p->life && rec.state != BLOCK_FREE;
}

static uint32_t on_the_way(struct kv *kv, struct kv_thread *t)
{
	struct clean *c = kv->clean;
	uint32_t n = 0;

	for (uint32_t b = 1; b <= 2 * ON_THE_WAY; b++)
		n += is_on_the_way(kv, t,
				   &c->past[(c->next_past - b) % CLEAN_PAST]);
	return n;
}

/* W2: what was taken from the reserve comes back before more is taken. False:
 * it does not; or there was nothing to wait for. */
static bool wait_for_blocks(struct kv *kv, struct kv_thread *t, uint32_t most)
{
	bool waited = false;

	for (uint32_t i = 0; i < WAIT_TIMES; i++) {
		if (on_the_way(kv, t) <= most)
			return waited;
		waited = true;
		tell(kv, t);
		fab_sleep(t->fab, WAIT_NS);
	}
	return false;
}

/* The one to be emptied next, if it is as it was seen: leaders may have begun
 * to open it again. */
static bool next_pick(struct kv *kv, struct kv_thread *t,
		      struct clean_pick *out)
{
	struct clean *c = kv->clean;

	while (c->picks > 0) {
		struct block_rec rec;

		*out = c->pick[--c->picks];
		if (read_rec(kv, t, out, &rec) == 0 && rec.life == out->life &&
		    is_worth(&kv->layout.group, &rec))
			return true;
	}
	return false;
}

/* One that holds what may not be moved is left alone until others have had
 * their turn; one for which there was no room is met again. */
static int empty(struct kv *kv, struct kv_thread *t)
{
	struct clean *c = kv->clean;
	struct moves m = {.kv = kv, .t = t};
	struct clean_pick p;
	int rc;

	wait_for_blocks(kv, t, ON_THE_WAY);
	if (!next_pick(kv, t, &p))
		return 1;
	rc = read_block(kv, t, &p);
	if (rc != 0)
		return rc;
	move_all(&m, &p);
	tell(kv, t);
	if (m.rc == -ENOSPC)
		return wait_for_blocks(kv, t, 0) ? 1 : -ENOSPC;
	c->past[c->next_past++ % CLEAN_PAST] = p;
	return m.rc != 0 ? m.rc : 1;
}

/* --- a round ------------------------------------------------------------- */

static int rooms(struct kv *kv)
{
	const struct group *g = &kv->layout.group;
	struct clean *c = kv->clean;

	if (c->recs == NULL)
		c->recs = malloc((size_t)g->blocks * g->k *
				 sizeof(struct block_rec));
	if (c->image == NULL)
		c->image = malloc(g->block_bytes);
	if (c->dead == NULL)
		c->dead = malloc(units_of(g) / 8);
	return c->recs != NULL && c->image != NULL && c->dead != NULL ? 0
								      : -ENOMEM;
}

static bool has_good(const struct clean *c, const struct group *g)
{
	return c->picks > 0 &&
	       c->pick[c->picks - 1].gain >= units_of(g) / SHARE_GOOD;
}

int clean_block(struct kv *kv, struct kv_thread *t, enum clean_want want)
{
	struct clean *c = kv->clean;
	bool closed = false;
	int rc = rooms(kv);

	if (rc == 0 && c->picks == 0 && want != CLEAN_FULL &&
	    fab_now(t->fab) - c->looked_ns < LOOK_NS)
		return 0;
	if (rc == 0 && c->picks == 0)
		rc = look(kv, t);
	if (rc != 0)
		return rc;
	if (has_good(c, &kv->layout.group))
		return empty(kv, t);
	if (want != CLEAN_FULL) {
		c->picks = 0;
		return 0;
	}
	rc = clean_pages(kv, t);
	if (rc != 0)
		return rc;
	closed = lane_close_pieces(kv->space,
				   units_of(&kv->layout.group) / SHARE_GOOD);
	if (c->picks > 0)
		return empty(kv, t);
	if (!closed)
		memset(c->past, 0, sizeof(c->past));
	return closed;
}
