/* kv/client/space_stats.c - how much room the pool has: ask each node, add. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/proto.h"

#define SPACE_CACHED_NS UINT64_C(500000000)
#define SPACE_CALL_NS	UINT64_C(2000000000)
#define RESERVE_SHARE	32u /* as layout.c adds for it */

static void add_node(struct kv_space *sum, const struct proto_stats *s,
		     uint64_t *dead, uint64_t *kept)
{
	sum->capacity += s->data_total * s->block_bytes;
	sum->used += (s->data_total - s->data_free) * s->block_bytes;
	*kept += s->reserve * s->block_bytes;
	*dead += s->dead_bytes; /* of blocks that lie there, not led */
	sum->slots += s->slots;
	sum->slots_used += s->slots_used;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

struct asked {
	struct fab_op op[FAB_NODES_MAX];
	struct proto_stats stats[FAB_NODES_MAX];
};

/* All at once: those that do not answer are waited for together. */
static int ask(struct kv *kv, struct kv_thread *t, struct asked *a, uint32_t *n)
{
	uint64_t up = member_up(kv->member);
	struct fab_batch b = {.ops = a->op,
			      .deadline_ns = fab_now(t->fab) + SPACE_CALL_NS};

	for (uint32_t i = 0; i < kv->layout.group.nodes; i++)
		if (up >> i & 1) {
			fab_call(&a->op[b.n], (uint8_t)i, PROTO_STATS, NULL, 0,
				 &a->stats[b.n], sizeof(a->stats[0]));
			b.n++;
		}
	*n = b.n;
	return b.n > 0 ? fab_run(t->fab, &b) : 0;
}

/* Whether node's numbers can be had, and make sense. */
static int answer(const struct fab_op *op, const struct proto_stats *s)
{
	if (op->status != 0)
		return op->status;
	return op->reply_len == sizeof(*s) && s->data_free <= s->data_total
		       ? 0
		       : -EPROTO;
}

static int add_all(const struct asked *a, uint32_t n, struct kv_space *out)
{
	uint64_t reserve, dead = 0, kept = 0;
	unsigned heard = 0;
	int rc, bad = 0;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < n; i++) {
		rc = answer(&a->op[i], &a->stats[i]);
		if (rc == 0) {
			add_node(out, &a->stats[i], &dead, &kept);
			heard++;
		} else {
			bad = rc;
		}
	}
	if (heard == 0)
		return bad == -EPROTO ? -EIO : -ETIMEDOUT;
	out->used -= dead < out->used ? dead : out->used;
	reserve = most(kept, out->capacity / RESERVE_SHARE);
	if (out->capacity > out->used + reserve)
		out->available = out->capacity - out->used - reserve;
	return 0;
}

static int ask_all(struct kv *kv, struct kv_thread *t, struct kv_space *out)
{
	struct asked *a = malloc(sizeof(*a));
	uint32_t n;
	int rc;

	if (a == NULL)
		return -ENOMEM;
	rc = ask(kv, t, a, &n);
	if (rc == 0)
		rc = add_all(a, n, out);
	free(a);
	return rc;
}

int kv_space(struct kv *kv, struct kv_space *out)
{
	struct client *c = client_of(kv);
	struct kv_thread *t = kv_thread(kv);
	uint64_t now;
	int rc = 0;

	if (t == NULL)
		return -ENOMEM;
	now = fab_now(t->fab);
	pthread_mutex_lock(&c->space_lock);
	if (c->space_at == 0 || now - c->space_at >= SPACE_CACHED_NS) {
		struct kv_space fresh;

		rc = ask_all(kv, t, &fresh);
		if (rc == 0) {
			c->space = fresh;
			c->space_at = now;
		}
	}
	*out = c->space;
	pthread_mutex_unlock(&c->space_lock);
	return rc;
}
