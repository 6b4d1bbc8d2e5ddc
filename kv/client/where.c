/* kv/client/where.c - where a key or a page lies: for 'aceso explain'. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ec/block.h"
#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/client/op.h"

/* The block's state as its first parity node that answers tells it. */
static void block_state(struct kv *kv, struct kv_thread *t,
			struct kv_where *out)
{
	const struct group *g = &kv->layout.group;
	struct block_rec rec;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	uint32_t node, block;

	snprintf(out->state, sizeof(out->state), "unknown");
	for (uint32_t r = g->k; r < group_width(g); r++) {
		group_member(g, out->stripe, r, &node, &block);
		if (!(member_up(kv->member) >> node & 1))
			continue;
		fab_read(&op, (uint8_t)node, group_rec_off(g, block, out->role),
			 &rec, sizeof(rec));
		if (fab_run(t->fab, &b) != 0 || op.status != 0 ||
		    block_rec_check(g, &rec) != 0)
			continue;
		snprintf(out->state, sizeof(out->state), "%s",
			 block_state_name(rec.state));
		return;
	}
}

static int where_addr(struct kv *kv, struct kv_thread *t, fab_addr addr,
		      struct kv_where *out)
{
	const struct group *g = &kv->layout.group;
	uint32_t role, at, block;
	int rc;

	rc = group_locate(g, addr, &out->stripe, &role, &at);
	if (rc != 0)
		return -EINVAL;
	out->node = fab_addr_node(addr);
	out->offset = fab_addr_offset(addr);
	out->role = role;
	out->parities = g->m;
	for (uint32_t j = 0; j < g->m; j++)
		group_member(g, out->stripe, g->k + j, &out->parity_node[j],
			     &block);
	block_state(kv, t, out);
	return 0;
}

int kv_where(struct kv *kv, const void *key, size_t klen, struct kv_where *out)
{
	struct kv_thread *t = kv_thread(kv);
	struct kv_req rq = {.kind = KV_GET, .key = key, .klen = (uint16_t)klen};
	struct op *op;
	int rc;

	if (klen == 0 || klen > KV_KEY_BYTES_MAX)
		return -EINVAL;
	op = t != NULL ? op_begin(kv, t, &rq) : NULL;
	if (op == NULL)
		return -ENOMEM;
	op->raw = true;
	member_enter(kv->member, t);
	run_ops(t, op);
	member_leave(kv->member, t);
	memset(out, 0, sizeof(*out));
	rc = op->status;
	if (rc == 0) {
		out->hash = op->hash;
		out->shard = op->shard;
		out->host = op->host;
		out->slot = op_slot_off(op, op->seen.slot);
		out->version = op->seen.version;
		out->length = op->seen.val_len;
		rc = where_addr(kv, t, slot_addr(op->seen.word), out);
	}
	op_free(op);
	return rc;
}

int kv_where_page(struct kv *kv, struct kv_page page, struct kv_where *out)
{
	struct kv_thread *t = kv_thread(kv);

	if (t == NULL)
		return -ENOMEM;
	memset(out, 0, sizeof(*out));
	return where_addr(kv, t, page.addr, out);
}
