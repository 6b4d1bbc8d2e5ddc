/* ec/stripe.c - a degraded read as a machine: records, plan, ranges, check. */
#include "ec/stripe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/stripe_impl.h"

#define TRIES_MAX 64u /* before the caller is told to sleep */
#define RETRY_NS  UINT64_C(50000)

static void find_peers(struct stripe_read *sr)
{
	uint32_t node, block;

	for (uint32_t j = 0; j < sr->g->m; j++) {
		struct stripe_peer *peer = &sr->peer[sr->npeers];

		group_member(sr->g, sr->stripe, sr->g->k + j, &node, &block);
		if ((sr->up >> node & 1) == 0)
			continue;
		peer->row = j;
		peer->node = (uint8_t)node;
		peer->block = block;
		sr->npeers++;
	}
}

static uint32_t ops_max(const struct group *g)
{
	/* each peer: records twice, parity, deltas; each data node: data */
	return g->m * (3 + g->k) + g->k;
}

int stripe_read_open(const struct group *g, const struct code *c,
		     uint64_t stripe, uint32_t role, uint32_t at, uint32_t len,
		     uint64_t up, void *buf, struct stripe_read **out)
{
	uint32_t slice = len < STRIPE_SLICE_BYTES ? len : STRIPE_SLICE_BYTES;
	struct stripe_read *sr;

	if (stripe >= group_stripes(g) || role >= g->k || len == 0 ||
	    at > g->block_bytes || len > g->block_bytes - at)
		return -EINVAL;
	sr = calloc(1, sizeof(*sr));
	if (sr == NULL)
		goto err;
	sr->ops = calloc(ops_max(g), sizeof(*sr->ops));
	if (sr->ops == NULL)
		goto err_free_sr;
	sr->scratch = malloc((size_t)(g->k + 2 * g->m) * slice);
	if (sr->scratch == NULL)
		goto err_free_ops;
	sr->g = g;
	sr->c = c;
	sr->stripe = stripe;
	sr->role = role;
	sr->at = at;
	sr->len = len;
	sr->up = up;
	sr->buf = buf;
	sr->batch.ops = sr->ops;
	find_peers(sr);
	*out = sr;
	return 0;

err_free_ops:
	free(sr->ops);
err_free_sr:
	free(sr);
err:
	return -ENOMEM;
}

void stripe_read_close(struct stripe_read *sr)
{
	if (sr == NULL)
		return;
	free(sr->scratch);
	free(sr->ops);
	free(sr);
}

/* What the last batch came to. */
static int batch_status(const struct fab_batch *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		if (b->ops[i].status == -EREMOTEIO)
			return -EBADMSG; /* a record sent us astray */
		if (b->ops[i].status != 0)
			return -EHOSTDOWN;
	}
	return 0;
}

static int ask_records(struct stripe_read *sr, struct fab_batch **batch)
{
	sr->batch.n = 0;
	for (uint32_t p = 0; p < sr->npeers; p++) {
		struct stripe_peer *peer = &sr->peer[p];

		fab_read(&sr->ops[sr->batch.n++], peer->node,
			 group_rec_off(sr->g, peer->block, 0), peer->rec,
			 sr->g->k * (uint32_t)sizeof(peer->rec[0]));
	}
	sr->phase = STRIPE_RECORDS;
	*batch = &sr->batch;
	return 1;
}

/* Something moved under us. */
static int again(struct stripe_read *sr, struct fab_batch **batch)
{
	if (++sr->tries < TRIES_MAX)
		return ask_records(sr, batch);
	sr->tries = 0;
	sr->phase = STRIPE_START;
	return -EAGAIN;
}

static int go_on(struct stripe_read *sr, struct fab_batch **batch)
{
	int rc = stripe_plan_make(sr);

	if (rc == -EAGAIN)
		return again(sr, batch);
	if (rc != 0)
		return rc;
	stripe_plan_ops(sr);
	sr->phase = STRIPE_RANGES;
	*batch = &sr->batch;
	return 1;
}

static int digest_records(struct stripe_read *sr, struct fab_batch **batch)
{
	for (uint32_t p = 0; p < sr->npeers; p++) {
		for (uint32_t i = 0; i < sr->g->k; i++) {
			const struct block_rec *rec = &sr->peer[p].rec[i];

			if (rec->seq % 2 != 0)
				return again(sr, batch);
			if (block_rec_check(sr->g, rec) != 0)
				return -EBADMSG;
		}
	}
	return go_on(sr, batch);
}

/* What was decided on @a holds for @b too. Not by seq alone: marks of obsolete
 * units change that and nothing else, and may come all the time. None of these
 * values comes back in the same life. */
static bool same_standing(const struct block_rec *a, const struct block_rec *b)
{
	return b->seq % 2 == 0 && a->state == b->state && a->kind == b->kind &&
	       a->busy == b->busy && a->progress == b->progress &&
	       a->delta == b->delta && a->life == b->life;
}

static bool stood_still(const struct stripe_read *sr)
{
	for (uint32_t p = 0; p < sr->npeers; p++) {
		const struct stripe_peer *peer = &sr->peer[p];

		for (uint32_t i = 0; peer->asked && i < sr->g->k; i++)
			if (!same_standing(&peer->rec[i], &peer->before[i]) ||
			    !same_standing(&peer->rec[i], &peer->after[i]))
				return false;
	}
	return true;
}

static int slice_done(struct stripe_read *sr, struct fab_batch **batch)
{
	stripe_plan_solve(sr);
	sr->done += sr->plan.hi - sr->plan.lo;
	if (sr->done == sr->len)
		return 0;
	return go_on(sr, batch);
}

/* The records around the ranges bracket what came from parity nodes. What came
 * from data nodes needs no bracket from before: it was sealed by the time of
 * the first records. Behind, only a role of which some is obsolete can leave,
 * and be zeroed there, while the answer of its node is on its way. */
static int digest_ranges(struct stripe_read *sr, struct fab_batch **batch)
{
	if (!stood_still(sr))
		return again(sr, batch);
	if (!stripe_plan_doubts(sr))
		return slice_done(sr, batch);
	stripe_plan_confirm(sr);
	sr->phase = STRIPE_CONFIRM;
	*batch = &sr->batch;
	return 1;
}

static int digest_confirm(struct stripe_read *sr, struct fab_batch **batch)
{
	return stood_still(sr) ? slice_done(sr, batch) : again(sr, batch);
}

int stripe_read_step(struct stripe_read *sr, struct fab_batch **batch)
{
	int rc;

	if (sr->phase == STRIPE_START)
		return ask_records(sr, batch);
	rc = batch_status(&sr->batch);
	if (rc != 0)
		return rc;
	switch (sr->phase) {
	case STRIPE_RECORDS:
		return digest_records(sr, batch);
	case STRIPE_RANGES:
		return digest_ranges(sr, batch);
	default:
		return digest_confirm(sr, batch);
	}
}

static int run(struct fab *f, struct stripe_read *sr, uint64_t deadline_ns)
{
	struct fab_batch *b;
	int rc;

	while ((rc = stripe_read_step(sr, &b)) == 1 || rc == -EAGAIN) {
		if (fab_now(f) >= deadline_ns)
			return -ETIMEDOUT;
		if (rc == -EAGAIN) {
			fab_sleep(f, RETRY_NS);
			continue;
		}
		b->deadline_ns = deadline_ns;
		rc = fab_run(f, b);
		if (rc != 0)
			return rc;
	}
	return rc;
}

static int read_run(struct fab *f, const struct group *g, const struct code *c,
		    fab_addr addr, uint32_t len, uint64_t up, void *buf,
		    uint64_t deadline_ns, bool surely)
{
	struct stripe_read *sr;
	uint32_t role, at;
	uint64_t stripe;
	int rc;

	rc = group_locate(g, addr, &stripe, &role, &at);
	if (rc != 0)
		return -EINVAL;
	rc = stripe_read_open(g, c, stripe, role, at, len, up, buf, &sr);
	if (rc != 0)
		return rc;
	sr->surely = surely;
	rc = run(f, sr, deadline_ns);
	stripe_read_close(sr);
	return rc;
}

int stripe_read_run(struct fab *f, const struct group *g, const struct code *c,
		    fab_addr addr, uint32_t len, uint64_t up, void *buf,
		    uint64_t deadline_ns)
{
	return read_run(f, g, c, addr, len, up, buf, deadline_ns, false);
}

int stripe_read_surely(struct fab *f, const struct group *g,
		       const struct code *c, fab_addr addr, uint32_t len,
		       uint64_t up, void *buf, uint64_t deadline_ns)
{
	return read_run(f, g, c, addr, len, up, buf, deadline_ns, true);
}
