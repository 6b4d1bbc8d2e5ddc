/* kv/client/scan.c - every key: read all slots of all shards, a piece at a
 * time, and the records they name. A record that is not plainly right (being
 * changed, on a dead node, part of a transaction) is left to kv_get(). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/client.h"
#include "kv/client/degraded.h"
#include "kv/client/member.h"
#include "kv/client/op.h"
#include "kv/client/scan.h"
#include "kv/hash.h"

#define SCAN_SLOTS    1024u /* read at once */
#define SCAN_WAIT_NS  UINT64_C(250000000)
#define SCAN_SAME_MAX 4u /* looks at a wrong record under one word */

struct scan {
	struct kv *kv;
	struct kv_thread *t;
	const void *prefix;
	size_t plen;
	int (*each)(void *arg, const void *key, size_t klen, const void *val,
		    size_t vlen, uint64_t version);
	void *arg;
	uint32_t shard;
	uint64_t deadline;
	struct slot slot[SCAN_SLOTS];
	char rec[OBJECT_BYTES_MAX + GROUP_UNIT_BYTES];
	char val[KV_VALUE_BYTES_MAX];
};

static int read_at(struct kv_thread *t, uint8_t node, uint64_t off, void *buf,
		   uint32_t len)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc;

	fab_read(&op, node, off, buf, len);
	rc = fab_run(t->fab, &b);
	return rc != 0 ? rc : op.status;
}

int scan_slots(struct kv *kv, struct kv_thread *t, uint32_t shard,
	       uint64_t first, uint32_t n, struct slot *out, uint64_t deadline)
{
	uint64_t epoch;
	int host, rc;

	for (;;) {
		epoch = member_epoch(kv->member);
		host = member_host(kv->member, shard);
		if (host == -EIO)
			return -EIO;
		if (host >= 0) {
			rc = read_at(t, (uint8_t)host,
				     layout_shard_off(&kv->layout, shard,
						      (uint32_t)host) +
					     first * sizeof(struct slot),
				     out, n * (uint32_t)sizeof(struct slot));
			if (rc == 0)
				return 0;
			member_suspect(kv->member, t, (uint32_t)host);
		}
		if (fab_now(t->fab) >= deadline)
			return -ETIMEDOUT;
		member_wait(kv->member, t, epoch,
			    fab_now(t->fab) + SCAN_WAIT_NS);
	}
}

/* The record that @word names, to s->rec: 0, -ENODATA if it is no more. */
static int read_record(struct scan *s, uint64_t word, struct object *o)
{
	uint32_t units = slot_units(word);
	fab_addr addr = slot_addr(word);
	int rc = -ERANGE;

	for (int i = 0; i < 3 && rc == -ERANGE; i++) {
		uint32_t len = (units ? units : 1) * GROUP_UNIT_BYTES;

		if (len > sizeof(s->rec))
			return -ENODATA;
		rc = degraded_read(s->kv, s->t, addr, len, s->rec, false,
				   s->deadline);
		if (rc != 0)
			return rc;
		rc = object_decode(s->rec, len, s->kv->secret, addr, o);
		units = o->hdr.units;
	}
	return rc == 0 ? 0 : -ENODATA;
}

static bool wanted(const struct scan *s, const struct object *o)
{
	return o->hdr.key_len >= s->plen &&
	       memcmp(o->key, s->prefix, s->plen) == 0 &&
	       hash_shard(o->hdr.hash, s->kv->layout.group.nodes) == s->shard;
}

/* What the key's value is by kv_get(): the record was an intent. */
static int tell_by_get(struct scan *s, const struct object *o)
{
	uint64_t version;
	size_t len;
	int rc;

	rc = kv_get(s->kv, o->key, o->hdr.key_len, s->val, sizeof(s->val), &len,
		    &version);
	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return rc;
	return s->each(s->arg, o->key, o->hdr.key_len, s->val, len, version);
}

static int tell(struct scan *s, const struct object *o)
{
	if (!wanted(s, o) || o->hdr.type == OBJECT_TOMB)
		return 0;
	if (o->hdr.type == OBJECT_INTENT)
		return tell_by_get(s, o);
	return s->each(s->arg, o->key, o->hdr.key_len, o->val, o->hdr.val_len,
		       o->hdr.version);
}

static int scan_slot(struct scan *s, uint64_t word)
{
	struct object o;
	int rc;

	if (!slot_taken(word) || word & SLOT_TOMB)
		return 0;
	rc = read_record(s, word, &o);
	return rc == 0 ? tell(s, &o) : rc;
}

/* The record that @word names is wrong: have it from the rest of its stripe, or
 * say that it is lost. */
static int tell_damaged(struct scan *s, uint64_t word)
{
	struct object o;
	int rc = degraded_record(s->kv, s->t, word, s->rec, sizeof(s->rec), &o,
				 s->deadline);

	return rc == 0 ? tell(s, &o) : rc;
}

/* What a slot names was replaced while we looked: a key that is there all the
 * time is to be met, so look at the slot anew. Under a word that stays, it is
 * damaged, and kv_get() would say so. */
static int scan_again(struct scan *s, uint64_t at, uint64_t word)
{
	struct slot slot;
	uint32_t same = 0;
	int rc;

	while ((rc = scan_slot(s, word)) == -ENODATA) {
		rc = scan_slots(s->kv, s->t, s->shard, at, 1, &slot,
				s->deadline);
		if (rc != 0)
			return rc;
		same = slot.word == word ? same + 1 : 0;
		if (same >= SCAN_SAME_MAX)
			return tell_damaged(s, word);
		word = slot.word;
	}
	return rc;
}

static void new_deadline(struct scan *s)
{
	s->deadline = fab_now(s->t->fab) + kv_timeout_ns(s->kv);
}

static int scan_shard(struct scan *s)
{
	uint64_t slots = (uint64_t)s->kv->layout.index_groups * BUCKET_GROUP *
			 BUCKET_SLOTS;
	int rc;

	for (uint64_t at = 0; at < slots; at += SCAN_SLOTS) {
		uint32_t n = slots - at < SCAN_SLOTS ? (uint32_t)(slots - at)
						     : SCAN_SLOTS;

		new_deadline(s);
		rc = scan_slots(s->kv, s->t, s->shard, at, n, s->slot,
				s->deadline);
		for (uint32_t i = 0; rc == 0 && i < n; i++)
			rc = scan_again(s, at + i, s->slot[i].word);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int kv_scan(struct kv *kv, const void *prefix, size_t plen,
	    int (*each)(void *arg, const void *key, size_t klen,
			const void *val, size_t vlen, uint64_t version),
	    void *arg)
{
	struct kv_thread *t = kv_thread(kv);
	struct scan *s = t != NULL ? malloc(sizeof(*s)) : NULL;
	int rc = 0;

	if (s == NULL)
		return -ENOMEM;
	*s = (struct scan){.kv = kv,
			   .t = t,
			   .prefix = prefix,
			   .plen = plen,
			   .each = each,
			   .arg = arg};
	for (s->shard = 0; rc == 0 && s->shard < kv->layout.group.nodes;
	     s->shard++)
		rc = scan_shard(s);
	free(s);
	return rc;
}
