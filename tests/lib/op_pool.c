/* tests/lib/op_pool.c - see op_pool.h. */
#include "tests/lib/op_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/member.h"
#include "kv/hash.h"

void opool_open(struct space_pool *p)
{
	spool_open(p, &(struct spool_shape){.usable = 4u << 20});
	p->kv.opts.op_timeout_ms = 1000;
	p->kv.secret = 12345;
	assert_int_equal(txn_keys_open(&p->client.txn_keys), 0);
	pthread_mutex_init(&p->client.lock, NULL);
	pthread_cond_init(&p->client.kick, NULL);
}

void opool_close(struct space_pool *p)
{
	txn_keys_close(p->client.txn_keys);
	pthread_cond_destroy(&p->client.kick);
	pthread_mutex_destroy(&p->client.lock);
	spool_close(p);
}

static void actor_init(struct space_pool *p, struct actor *a)
{
	memset(a, 0, sizeof(*a));
	a->p = p;
}

void actor_begin(struct space_pool *p, struct actor *a, enum kv_kind kind,
		 const char *key, const char *val, uint64_t expect)
{
	actor_init(p, a);
	if (val != NULL)
		strcpy(a->val, val);
	a->rq = (struct kv_req){.kind = (uint8_t)kind,
				.key = key,
				.klen = (uint16_t)strlen(key),
				.val = a->val,
				.len = (uint32_t)strlen(a->val),
				.buf = a->buf,
				.cap = sizeof(a->buf) - 1,
				.expect = expect};
	a->op = op_begin(&p->kv, kv_thread(&p->kv), &a->rq);
	assert_non_null(a->op);
}

void actor_txn(struct space_pool *p, struct actor *a, struct kv_req *reqs,
	       uint32_t n)
{
	actor_init(p, a);
	a->op = op_txn_begin(&p->kv, kv_thread(&p->kv), reqs, n);
	assert_non_null(a->op);
}

bool actor_step(struct actor *a)
{
	struct fab *f = kv_thread(&a->p->kv)->fab;
	int verdict;

	if (a->done)
		return false;
	if (a->batch != NULL) {
		assert_int_equal(fab_run(f, a->batch), 0);
		a->batches++;
		a->batch = NULL;
	}
	verdict = op_step(a->op, &a->batch);
	if (verdict == OP_DONE)
		a->done = true;
	else if (verdict != OP_POST)
		fab_sleep(f, a->op->wait_ns);
	if (verdict != OP_POST)
		a->batch = NULL;
	return true;
}

void actor_run(struct actor *a)
{
	for (unsigned i = 0; actor_step(a); i++)
		assert_true(i < 100000);
}

void actor_free(struct actor *a)
{
	struct op *op = a->op;

	for (; op != NULL; op = op->child)
		if (op->txn != NULL)
			op_txn_abandon(op);
	op_free(a->op);
	a->op = NULL;
}

static bool has_key(struct space_pool *p, uint64_t word, const char *key)
{
	struct object o = opool_record(p, word);

	return o.hdr.key_len == strlen(key) &&
	       memcmp(o.key, key, o.hdr.key_len) == 0;
}

uint64_t opool_slot(struct space_pool *p, const char *key, unsigned *tentative)
{
	uint64_t h = hash_of(key, strlen(key)), place[2], word = 0;
	uint32_t shard = hash_shard(h, p->layout.group.nodes);
	int host = member_host(p->kv.member, shard);
	uint64_t off = layout_shard_off(&p->layout, shard, (uint32_t)host);
	const struct slot *s = (void *)((char *)p->region[host] + off);
	unsigned firm = 0;

	*tentative = 0;
	slot_places(h, p->layout.index_groups, place);
	for (unsigned i = 0; i < 2 * BUCKET_PAIR_SLOTS; i++) {
		uint64_t w = s[place[i / 16] + i % 16].word;

		if (w == 0 || slot_print(w) != hash_print(h))
			continue;
		if (w & SLOT_TENTATIVE) {
			++*tentative;
		} else if (has_key(p, w, key)) {
			firm++;
			word = w;
		}
	}
	assert_true(firm <= 1); /* N1 */
	return word;
}

struct object opool_record(struct space_pool *p, uint64_t word)
{
	struct object o;
	uint32_t units = slot_units(word);

	if (units == 0)
		units = OBJECT_BYTES_MAX / 64;
	assert_int_equal(object_decode(spool_mem(p, slot_addr(word)),
				       units * 64, p->kv.secret,
				       slot_addr(word), &o),
			 0);
	return o;
}

uint64_t opool_fate(struct space_pool *p, fab_addr addr, uint32_t j)
{
	const struct group *g = &p->layout.group;
	uint64_t stripe, fate, off = fab_addr_offset(addr);
	uint32_t role, at, node = fab_addr_node(addr);

	assert_int_equal(group_locate(g, addr, &stripe, &role, &at), 0);
	if (j > 0) {
		struct block_rec rec;

		node = spool_node(p, stripe, g->k + j - 1);
		rec = spool_rec(p, node, stripe, role);
		assert_int_not_equal(rec.delta, 0);
		off = group_delta_off(g, rec.delta - 1) + at;
	}
	memcpy(&fate, (char *)p->region[node] + off + OBJECT_FATE_OFFSET, 8);
	return fate;
}
