/* kv/client/space_stats.c - how much room the pool has: ask each node, add. */
#include <errno.h>
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

static int ask_all(struct kv *kv, struct kv_thread *t, struct kv_space *out)
{
	uint64_t up = member_up(kv->member), reserve, dead = 0, kept = 0;
	struct proto_stats s;
	uint32_t len;
	int rc, bad = 0;
	unsigned heard = 0;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < kv->layout.group.nodes; i++) {
		if (!(up >> i & 1))
			continue;
		len = 0;
		rc = fab_call_run(t->fab, (uint8_t)i, PROTO_STATS, NULL, 0, &s,
				  sizeof(s), &len, SPACE_CALL_NS);
		if (rc == 0 && len == sizeof(s) &&
		    s.data_free <= s.data_total) {
			add_node(out, &s, &dead, &kept);
			heard++;
		} else {
			bad = rc != 0 ? rc : -EPROTO;
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
