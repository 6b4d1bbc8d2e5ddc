/* kv/node/owned.c - the open blocks of a client: all of one that is dead, or
 * those that one which lives knows nothing of, as an answer to it was lost
 * (kv/client/doubt.c). */
#include <errno.h>
#include <stdlib.h>

#include "ec/again.h"
#include "kv/node/node_impl.h"

struct orphan {
	uint64_t stripe;
	uint32_t role, life;
	uint8_t kind;
};

struct orphans {
	struct orphan *one;
	size_t n, cap;
	bool failed;
};

static void orphan_note(void *arg, uint64_t stripe, uint32_t role,
			const struct block_rec *rec)
{
	struct orphans *o = arg;

	if (o->n == o->cap) {
		size_t cap = o->cap ? 2 * o->cap : 16;
		struct orphan *more = realloc(o->one, cap * sizeof(*more));

		if (more == NULL) {
			o->failed = true;
			return;
		}
		o->one = more;
		o->cap = cap;
	}
	o->one[o->n++] = (struct orphan){stripe, role, rec->life, rec->kind};
}

static bool is_meant(const struct orphan *o, const struct proto_seal *rq)
{
	return rq == NULL || (o->stripe == rq->stripe && o->role == rq->role &&
			      o->life == rq->life);
}

/* Noted first, as closing one changes what alloc_owned() goes through. */
static int close_blocks(struct node *n, uint32_t owner,
			const struct proto_seal *rq)
{
	struct orphans o = {0};

	alloc_owned(n->alloc, owner, orphan_note, &o);
	for (size_t i = 0; i < o.n; i++)
		if (is_meant(&o.one[i], rq) &&
		    alloc_orphan(n->alloc, o.one[i].stripe, o.one[i].role,
				 o.one[i].life, node_clock(n)) == 0)
			leftover_note(n, o.one[i].stripe, o.one[i].role,
				      o.one[i].life, o.one[i].kind);
	free(o.one);
	node_kick(n);
	return o.failed ? -ENOMEM : 0;
}

int owned_orphans(struct node *n, uint32_t owner)
{
	int rc = close_blocks(n, owner, NULL);

	again_forsake(n->alloc, owner);
	return rc;
}

int owned_forsake(struct node *n, const struct proto_seal *rq)
{
	return close_blocks(n, rq->owner, rq);
}

static void own(void *arg, uint64_t stripe, uint32_t role,
		const struct block_rec *rec)
{
	struct proto_owns *o = arg;

	o->more = o->n == PROTO_OWNS_MAX;
	if (o->more)
		return;
	o->block[o->n].stripe = stripe;
	o->block[o->n].role = role;
	o->block[o->n++].life = rec->life;
}

void owned_list(struct node *n, uint32_t owner, struct proto_owns *out)
{
	alloc_owned(n->alloc, owner, own, out);
}
