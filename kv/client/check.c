/* kv/client/check.c - a pass over the pool: its state, its pace, its voice. */
#include "kv/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/check_impl.h"
#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/proto.h"

/* --- one operation ------------------------------------------------------- */

static int run_one(struct kv_check *c, struct fab_op *op)
{
	struct fab_batch b = {
		.ops = op, .n = 1, .deadline_ns = check_deadline(c)};
	int rc = fab_run(c->t->fab, &b);

	return rc != 0 ? rc : op->status;
}

int check_read(struct kv_check *c, uint8_t node, uint64_t off, void *buf,
	       uint32_t len)
{
	struct fab_op op;

	if (!(member_up(c->kv->member) >> node & 1))
		return -EHOSTDOWN;
	fab_read(&op, node, off, buf, len);
	return run_one(c, &op);
}

bool check_answers(struct kv_check *c, uint8_t node)
{
	struct proto_stats st;
	uint32_t len = 0;

	return fab_call_run(c->t->fab, node, PROTO_STATS, NULL, 0, &st,
			    sizeof(st), &len, CHECK_ASK_NS) == 0 &&
	       member_up(c->kv->member) >> node & 1;
}

int check_write(struct kv_check *c, uint8_t node, uint64_t off, const void *buf,
		uint32_t len)
{
	struct fab_op op;

	int rc = -EHOSTDOWN;

	member_enter(c->kv->member, c->t);
	if (member_up(c->kv->member) >> node & 1) {
		fab_write(&op, node, off, buf, len);
		rc = run_one(c, &op);
	}
	member_leave(c->kv->member, c->t);
	return rc;
}

int check_rec(struct kv_check *c, uint64_t stripe, uint32_t role, uint32_t at,
	      struct block_rec *out)
{
	uint32_t node, block;
	int rc = 0;

	group_member(c->g, stripe, at, &node, &block);
	for (unsigned i = 0; i < CHECK_LOOKS; i++) {
		rc = check_read(c, (uint8_t)node,
				group_rec_off(c->g, block, role), out,
				sizeof(*out));
		if (rc != 0)
			return rc;
		if (out->seq % 2 == 0)
			return block_rec_check(c->g, out);
		fab_sleep(c->t->fab, CHECK_LOOK_NS / 100);
	}
	return -EAGAIN;
}

/* --- the blocks as they were --------------------------------------------- */

static size_t recs_bytes(const struct group *g)
{
	return (size_t)g->blocks * g->k * sizeof(struct block_rec);
}

static int read_recs(struct kv_check *c, uint32_t node)
{
	size_t bytes = recs_bytes(c->g), n;
	char *to = malloc(bytes);
	int rc = 0;

	if (to == NULL)
		return -ENOMEM;
	for (size_t at = 0; rc == 0 && at < bytes; at += n) {
		n = bytes - at < FAB_OP_BYTES_MAX ? bytes - at
						  : FAB_OP_BYTES_MAX;
		rc = check_read(c, (uint8_t)node,
				group_rec_off(c->g, 0, 0) + at, to + at,
				(uint32_t)n);
	}
	if (rc == 0)
		c->rec[node] = (struct block_rec *)to;
	else
		free(to);
	return rc == -EHOSTDOWN ? 0 : rc;
}

static uint64_t units_total(const struct group *g)
{
	return group_stripes(g) * g->k * (g->block_bytes / GROUP_UNIT_BYTES);
}

static int open_parts(struct kv_check *c)
{
	int rc = 0;

	c->buf = malloc(OBJECT_BYTES_MAX);
	c->copy = malloc(OBJECT_BYTES_MAX);
	if (c->o.space)
		c->named = calloc((units_total(c->g) + 63) / 64, 8);
	if (c->buf == NULL || c->copy == NULL ||
	    (c->o.space && c->named == NULL))
		return -ENOMEM;
	for (uint32_t n = 0; rc == 0 && n < c->g->nodes; n++)
		rc = read_recs(c, n);
	return rc == 0 && c->o.gone ? check_space_open(c) : rc;
}

int kv_check_open(struct kv *kv, const struct kv_check_opts *opts,
		  struct kv_check **out)
{
	struct kv_check *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return -ENOMEM;
	c->kv = kv;
	c->o = *opts;
	c->g = &kv->layout.group;
	c->t = kv_thread(kv);
	c->moves = member_moves(kv->member);
	rc = c->t != NULL ? open_parts(c) : -ENOMEM;
	if (rc != 0) {
		kv_check_close(c);
		return rc;
	}
	c->begin_ns = fab_now(c->t->fab);
	c->total = (uint64_t)kv->layout.index_groups * BUCKET_GROUP *
		   BUCKET_SLOTS * c->g->nodes;
	*out = c;
	return 0;
}

void kv_check_close(struct kv_check *c)
{
	if (c == NULL)
		return;
	for (uint32_t n = 0; n < FAB_NODES_MAX; n++)
		free(c->rec[n]);
	free(c->named);
	free(c->gone);
	free(c->buf);
	free(c->copy);
	free(c->doubt);
	free(c->key);
	free(c);
}

void kv_check_sum(const struct kv_check *c, struct kv_check_sum *out)
{
	*out = c->sum;
}

void kv_check_progress(const struct kv_check *c, uint64_t *done,
		       uint64_t *total)
{
	*done = c->done;
	*total = c->total;
}

/* --- telling ------------------------------------------------------------- */

static const struct {
	const char *name, *remedy;
	bool leak;
} kinds[KV_DAMAGE_KINDS] = {
	[KV_DAMAGE_RECORD] = {"record", "it is decoded and written back",
			      false},
	[KV_DAMAGE_PAGE] = {"page", "it is decoded and written back", false},
	[KV_DAMAGE_COPY] = {"copy", "it is written anew", false},
	[KV_DAMAGE_PARITY] = {"parity", "it is made anew from the data", false},
	[KV_DAMAGE_PLACE] = {"slot-misplaced", "the slot is emptied", false},
	[KV_DAMAGE_TWICE] = {"slot-twice", "the slot of the older is emptied",
			     false},
	[KV_DAMAGE_WORD] = {"slot-word", "it is set right", false},
	[KV_DAMAGE_HINT] = {"slot-hint", "it is set right", false},
	[KV_DAMAGE_MARKED] = {"marked-in-use", "it is written anew elsewhere",
			      false},
	[KV_DAMAGE_LEAK] = {"leak", "the space is returned", true},
	[KV_DAMAGE_TENTATIVE] = {"slot-tentative", "the slot is emptied", true},
	[KV_DAMAGE_TXN] = {"transaction-open", "it is finished or undone",
			   true},
};

static void count(struct kv_check *c, const struct kv_damage *d)
{
	if (d->leak) {
		c->sum.leaks++;
		c->sum.returned += d->state == KV_DAMAGE_MENDED;
		return;
	}
	c->sum.wrong++;
	c->sum.mended += d->state == KV_DAMAGE_MENDED;
	c->sum.lost += d->state == KV_DAMAGE_LOST;
}

void check_tell(struct kv_check *c, enum kv_damage_kind kind,
		enum kv_damage_state state, const void *key, size_t klen,
		const char *fmt, ...)
{
	struct kv_damage d = {.kind = kind,
			      .state = state,
			      .name = kinds[kind].name,
			      .remedy = kinds[kind].remedy,
			      .leak = kinds[kind].leak};
	va_list ap;

	if (key != NULL && klen <= sizeof(d.key)) {
		d.klen = (uint8_t)klen;
		memcpy(d.key, key, klen);
	}
	va_start(ap, fmt);
	vsnprintf(d.words, sizeof(d.words), fmt, ap);
	va_end(ap);
	count(c, &d);
	if (c->o.damage != NULL)
		c->o.damage(c->o.arg, &d);
}

/* --- pace ---------------------------------------------------------------- */

int kv_check_pace(struct kv_check *c, uint64_t bytes)
{
	uint64_t due, now;

	c->sum.bytes += bytes;
	c->paced += bytes;
	if (c->paced < CHECK_SLICE)
		return 0;
	if (c->o.going != NULL && c->o.going(c->o.arg) != 0)
		return -ECANCELED;
	now = fab_now(c->t->fab);
	if (c->o.rate != 0) {
		due = c->begin_ns + c->paced * 1000 / c->o.rate * 1000000;
		if (due > now)
			fab_sleep(c->t->fab, due - now);
	}
	c->begin_ns = fab_now(c->t->fab);
	c->paced = 0;
	return 0;
}

/* --- what is named ------------------------------------------------------- */

static uint64_t unit_bit(const struct kv_check *c, uint64_t stripe,
			 uint32_t role, uint32_t unit)
{
	return (stripe * c->g->k + role) *
		       (c->g->block_bytes / GROUP_UNIT_BYTES) +
	       unit;
}

void check_name(struct kv_check *c, fab_addr addr, uint32_t units)
{
	uint64_t stripe, bit;
	uint32_t role, at;

	if (c->named == NULL ||
	    group_locate(c->g, addr, &stripe, &role, &at) != 0 ||
	    role >= c->g->k)
		return;
	if (units > (c->g->block_bytes - at) / GROUP_UNIT_BYTES)
		units = (c->g->block_bytes - at) / GROUP_UNIT_BYTES;
	bit = unit_bit(c, stripe, role, at / GROUP_UNIT_BYTES);
	for (uint32_t i = 0; i < units; i++)
		c->named[(bit + i) / 64] |= UINT64_C(1) << ((bit + i) % 64);
}

bool check_is_named(const struct kv_check *c, uint64_t stripe, uint32_t role,
		    uint32_t unit)
{
	uint64_t bit = unit_bit(c, stripe, role, unit);

	return c->named[bit / 64] >> (bit % 64) & 1;
}

void kv_check_name_page(struct kv_check *c, struct kv_page page)
{
	check_name(c, page.addr, KV_PAGE_BYTES / GROUP_UNIT_BYTES);
}

bool check_is_marked(struct kv_check *c, fab_addr addr)
{
	uint32_t role, at, node, block;
	uint64_t stripe, word;

	if (group_locate(c->g, addr, &stripe, &role, &at) != 0)
		return false;
	at /= GROUP_UNIT_BYTES;
	group_member(c->g, stripe, role, &node, &block);
	return check_read(c, (uint8_t)node,
			  group_map_off(c->g, block, role) + at / 64 * 8, &word,
			  sizeof(word)) == 0 &&
	       (word >> (at % 64) & 1) != 0;
}
