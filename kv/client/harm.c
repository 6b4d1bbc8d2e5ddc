/* kv/client/harm.c - flips bits of a pool, as failing memory would. */
#include <errno.h>
#include <string.h>

#include "ec/block.h"
#include "kv/check.h"
#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/object.h"

#define HARM_NS UINT64_C(5000000000)

/* xorshift: the same seed harms the same bits. */
static uint64_t dice(uint64_t *seed)
{
	uint64_t x = *seed != 0 ? *seed : 1;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *seed = x;
}

static int transfer(struct kv *kv, struct kv_thread *t, bool write,
		    uint8_t node, uint64_t off, void *buf, uint32_t len)
{
	struct fab_op op;
	struct fab_batch b = {
		.ops = &op, .n = 1, .deadline_ns = fab_now(t->fab) + HARM_NS};
	int rc;

	if (!(member_up(kv->member) >> node & 1))
		return -EHOSTDOWN;
	if (write)
		fab_write(&op, node, off, buf, len);
	else
		fab_read(&op, node, off, buf, len);
	rc = fab_run(t->fab, &b);
	return rc != 0 ? rc : op.status;
}

/* One bit of [@off, + @len), but not of the 8 bytes at @off + @spare. */
static int flip(struct kv *kv, struct kv_thread *t, uint8_t node, uint64_t off,
		uint32_t len, uint32_t spare, struct kv_harm *h, bool first)
{
	uint64_t seed = h->seed;
	uint32_t at;
	uint8_t byte;
	int rc;

	do
		at = (uint32_t)(dice(&seed) % len);
	while (at - spare < 8 && len > 8);
	h->seed = seed;
	rc = transfer(kv, t, false, node, off + at, &byte, 1);
	if (rc != 0)
		return rc;
	byte ^= (uint8_t)(1u << (dice(&h->seed) % 8));
	if (first) {
		h->node = node;
		h->offset = off + at;
	}
	return transfer(kv, t, true, node, off + at, &byte, 1);
}

static int flip_all(struct kv *kv, struct kv_thread *t, uint8_t node,
		    uint64_t off, uint32_t len, uint32_t spare,
		    struct kv_harm *h)
{
	int rc = 0;

	if (len == 0)
		return -EINVAL;
	for (uint32_t i = 0; rc == 0 && (i == 0 || i < h->bits); i++)
		rc = flip(kv, t, node, off, len, spare, h, i == 0);
	return rc;
}

/* Where parity @j keeps what protects (stripe, role) at @at: in a delta block
 * that is a copy, or in the parity. */
static int parity_off(struct kv *kv, struct kv_thread *t,
		      const struct kv_where *w, uint32_t j, uint8_t *node,
		      uint64_t *off)
{
	const struct group *g = &kv->layout.group;
	uint32_t n, block, role, at;
	struct block_rec rec;
	uint64_t stripe;
	int rc;

	if (j >= g->m ||
	    group_locate(g, fab_addr_make((uint8_t)w->node, w->offset), &stripe,
			 &role, &at) != 0)
		return -EINVAL;
	group_member(g, stripe, g->k + j, &n, &block);
	*node = (uint8_t)n;
	rc = transfer(kv, t, false, *node, group_rec_off(g, block, role), &rec,
		      sizeof(rec));
	if (rc != 0)
		return rc;
	if (block_rec_check(g, &rec) != 0)
		return -EAGAIN;
	*off = (rec.delta != 0 ? group_delta_off(g, rec.delta - 1)
			       : group_block_off(g, block)) +
	       at;
	return 0;
}

static int harm(struct kv *kv, const struct kv_where *w, uint32_t len,
		uint32_t spare, struct kv_harm *h)
{
	struct kv_thread *t = kv_thread(kv);
	uint8_t node = (uint8_t)w->node;
	uint64_t off = w->offset;
	int rc = 0;

	if (t == NULL)
		return -ENOMEM;
	if (h->copy > 0)
		rc = parity_off(kv, t, w, h->copy - 1, &node, &off);
	return rc != 0 ? rc : flip_all(kv, t, node, off, len, spare, h);
}

int kv_harm_key(struct kv *kv, const void *key, size_t klen, struct kv_harm *h)
{
	struct kv_thread *t = kv_thread(kv);
	struct kv_where w;
	int rc;

	if (t == NULL)
		return -ENOMEM;
	rc = kv_where(kv, key, klen, &w);
	if (rc != 0)
		return rc;
	if (h->hint) /* far ahead: a high bit of the version */
		return flip_all(kv, t, (uint8_t)w.host, w.slot + 15, 1, 8, h);
	return harm(kv, &w,
		    (uint32_t)(sizeof(struct object_hdr) + klen + w.length),
		    OBJECT_FATE_OFFSET, h);
}

int kv_harm_page(struct kv *kv, struct kv_page page, struct kv_harm *h)
{
	struct kv_where w;
	int rc = kv_where_page(kv, page, &w);

	return rc != 0 ? rc : harm(kv, &w, KV_PAGE_BYTES, UINT32_MAX / 2, h);
}

int kv_harm_at(struct kv *kv, uint8_t node, uint64_t offset, uint32_t len,
	       struct kv_harm *h)
{
	struct kv_thread *t = kv_thread(kv);

	if (t == NULL)
		return -ENOMEM;
	if (offset > kv->layout.size || len > kv->layout.size - offset ||
	    node >= kv->layout.group.nodes)
		return -EINVAL;
	return flip_all(kv, t, node, offset, len, UINT32_MAX / 2, h);
}
