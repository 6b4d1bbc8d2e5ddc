/* tests/lib/by_hand.c - see by_hand.h. */
#include "tests/lib/by_hand.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ec/stripe.h"
#include "kv/hash.h"
#include "kv/slot.h"
#include "tests/lib/sim.h"

#define ALL_COPIES UINT64_MAX
#define CALL_NS	   UINT64_C(60000000000)

static const struct layout *layout(const struct hand *h)
{
	return &h->joined.super.layout;
}

static struct proto_hello hello_of(const struct hand *h)
{
	struct proto_hello hello = {
		.magic = PROTO_MAGIC,
		.version = PROTO_VERSION,
		.role = PROTO_CLIENT,
		.client = h->joined.client,
	};

	memcpy(hello.uuid, h->joined.super.uuid, sizeof(hello.uuid));
	return hello;
}

static void attach(struct hand *h, uint32_t id, const char *address)
{
	struct proto_hello hello = hello_of(h);

	assert_int_equal(fab_net_attach(h->net, (uint8_t)id, address, &hello,
					sizeof(hello)),
			 0);
}

void hand_open(struct cluster *c, struct hand *h)
{
	struct proto_join rq = {.what = "by hand"};
	struct sim *sim = cluster_sim(c);
	uint32_t id;

	*h = (struct hand){.c = c};
	assert_int_equal(sim ? sim_net_open(sim, "hand", &h->net)
			     : fab_shm_open(NULL, &h->net),
			 0);
	assert_int_equal(fab_open(h->net, &h->fab), 0);
	attach(h, FAB_NODE_COORD, cluster_address(c));
	assert_int_equal(hand_call(h, FAB_NODE_COORD, PROTO_JOIN, &rq,
				   sizeof(rq), &h->joined, sizeof(h->joined)),
			 0);
	for (id = 0; id < h->joined.view.nodes; id++)
		if (h->joined.view.node[id] == VIEW_NODE_UP)
			attach(h, id, h->joined.address[id]);
	cluster_settle(c);
	hand_watch(h, 1);
}

void hand_die(struct hand *h)
{
	fab_close(h->fab);
	fab_net_close(h->net);
}

void hand_leave(struct hand *h)
{
	assert_int_equal(
		hand_call(h, FAB_NODE_COORD, PROTO_LEAVE, NULL, 0, NULL, 0), 0);
	hand_die(h);
}

void hand_watch(struct hand *h, uint32_t ms)
{
	struct proto_watch rq = {.epoch = h->joined.view.epoch, .wait_ms = ms};
	static struct proto_view_set set;
	uint32_t id;

	assert_int_equal(hand_call(h, FAB_NODE_COORD, PROTO_WATCH, &rq,
				   sizeof(rq), &set, sizeof(set)),
			 0);
	h->joined.view = set.view;
	for (id = 0; id < h->joined.view.nodes; id++)
		if (h->joined.view.node[id] == VIEW_NODE_DOWN)
			fab_net_cut(h->net, (uint8_t)id);
}

int hand_call(struct hand *h, uint32_t node, uint16_t type, const void *req,
	      uint32_t len, void *reply, uint32_t cap)
{
	uint32_t got = 0;
	int rc = fab_call_run(h->fab, (uint8_t)node, type, req, len, reply, cap,
			      &got, CALL_NS);

	if (rc == 0)
		assert_int_equal(got, cap);
	return rc;
}

/* --- blocks --------------------------------------------------------------- */

static void add_copy(struct hand_block *b, uint32_t node, uint64_t offset)
{
	b->copy[b->copies].node = node;
	b->copy[b->copies].offset = offset;
	b->copies++;
}

static void open_at(struct hand *h, struct hand_block *b, uint32_t role,
		    uint64_t opened, uint32_t delta)
{
	const struct group *g = &layout(h)->group;
	struct proto_open rq = {
		.epoch = h->joined.view.epoch,
		.stripe = b->stripe,
		.opened = opened,
		.role = b->role,
		.owner = h->joined.client,
		.life = b->life,
		.kind = b->kind,
	};
	struct proto_opened out = {.delta = delta};
	uint32_t node, block;

	group_member(g, b->stripe, role, &node, &block);
	if (h->joined.view.node[node] != VIEW_NODE_UP)
		return;
	if (delta == 0)
		assert_int_equal(hand_call(h, node, PROTO_OPEN, &rq, sizeof(rq),
					   &out, sizeof(out)),
				 0);
	if (role < g->k)
		add_copy(b, node, group_block_off(g, block));
	else
		add_copy(b, node, group_delta_off(g, out.delta - 1));
}

int hand_alloc(struct hand *h, uint32_t leader, uint8_t kind,
	       struct hand_block *b)
{
	const struct group *g = &layout(h)->group;
	struct proto_alloc rq = {
		.epoch = h->joined.view.epoch,
		.owner = h->joined.client,
		.kind = kind,
	};
	struct proto_grant grant;
	uint32_t r, node, block;
	int rc;

	rc = hand_call(h, leader, PROTO_ALLOC, &rq, sizeof(rq), &grant,
		       sizeof(grant));
	if (rc != 0)
		return rc;
	*b = (struct hand_block){.stripe = grant.stripe,
				 .role = grant.role,
				 .life = grant.life,
				 .kind = kind};
	group_member(g, b->stripe, b->role, &b->node, &block);
	open_at(h, b, b->role, grant.opened, 0);
	for (r = g->k; r < group_width(g); r++) {
		group_member(g, b->stripe, r, &node, &block);
		open_at(h, b, r, grant.opened,
			node == leader ? grant.delta : 0);
	}
	return 0;
}

static void write_copies(struct hand *h, const struct hand_block *b,
			 uint64_t copies, uint32_t at, const void *buf,
			 uint32_t len)
{
	struct fab_op ops[1 + KV_PARITIES_MAX];
	struct fab_batch batch = {.ops = ops};
	uint32_t i;

	for (i = 0; i < b->copies; i++)
		if (copies >> i & 1)
			fab_write(&ops[batch.n++], (uint8_t)b->copy[i].node,
				  b->copy[i].offset + at, buf, len);
	assert_int_equal(fab_run(h->fab, &batch), 0);
	for (i = 0; i < batch.n; i++)
		assert_int_equal(ops[i].status, 0);
}

uint64_t hand_write(struct hand *h, struct hand_block *b,
		    const struct hand_record *r, uint64_t copies)
{
	const struct group *g = &layout(h)->group;
	fab_addr addr = group_addr(g, b->stripe, b->role, b->at);
	struct object o = {.key = r->key, .val = r->val};
	uint32_t units = object_units(strlen(r->key), strlen(r->val));
	char *buf = malloc(units * GROUP_UNIT_BYTES);

	o.hdr.version = r->version;
	o.hdr.tag = (uint64_t)h->joined.client << 32;
	o.hdr.hash = hash_of(r->key, strlen(r->key));
	o.hdr.slot = (uint64_t)UINT32_MAX << 8;
	o.hdr.key_len = (uint8_t)strlen(r->key);
	o.hdr.val_len = (uint32_t)strlen(r->val);
	o.hdr.type = r->type;
	o.hdr.life = b->life;
	object_encode(buf, h->joined.super.secret, addr, &o);
	memcpy(buf + OBJECT_FATE_OFFSET, &r->fate, sizeof(r->fate));
	write_copies(h, b, copies, b->at, buf, units * GROUP_UNIT_BYTES);
	free(buf);
	b->at += units * GROUP_UNIT_BYTES;
	return slot_word(addr, units, r->version, hash_print(o.hdr.hash),
			 r->type == OBJECT_TOMB ? SLOT_TOMB : 0);
}

void hand_fate(struct hand *h, const struct hand_block *b, uint64_t word,
	       uint64_t fate)
{
	uint32_t role, at;
	uint64_t stripe;

	assert_int_equal(group_locate(&layout(h)->group, slot_addr(word),
				      &stripe, &role, &at),
			 0);
	write_copies(h, b, ALL_COPIES, at + OBJECT_FATE_OFFSET, &fate,
		     sizeof(fate));
}

void hand_seal(struct hand *h, const struct hand_block *b)
{
	struct proto_seal rq = {
		.epoch = h->joined.view.epoch,
		.stripe = b->stripe,
		.role = b->role,
		.owner = h->joined.client,
		.life = b->life,
		.used = b->at,
	};
	uint32_t i;

	for (i = 0; i < b->copies; i++)
		assert_int_equal(hand_call(h, b->copy[i].node, PROTO_SEAL, &rq,
					   sizeof(rq), NULL, 0),
				 0);
}

void hand_mark(struct hand *h, const struct hand_block *b, uint64_t word)
{
	struct {
		struct proto_mark head;
		struct proto_mark_one one;
	} rq = {.head = {.epoch = h->joined.view.epoch, .n = 1}};
	struct proto_marked marked;
	uint64_t stripe;
	uint32_t role, at, i;

	assert_int_equal(group_locate(&layout(h)->group, slot_addr(word),
				      &stripe, &role, &at),
			 0);
	rq.one = (struct proto_mark_one){.stripe = stripe,
					 .role = role,
					 .life = b->life,
					 .at = at / GROUP_UNIT_BYTES,
					 .len = slot_units(word)};
	for (i = 0; i < b->copies; i++)
		assert_int_equal(hand_call(h, b->copy[i].node, PROTO_MARK, &rq,
					   sizeof(rq.head) + sizeof(rq.one),
					   &marked, sizeof(marked)),
				 0);
}

/* --- the index ------------------------------------------------------------ */

static int read_at(struct hand *h, fab_addr a, void *buf, uint32_t len)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	fab_read(&op, fab_addr_node(a), fab_addr_offset(a), buf, len);
	assert_int_equal(fab_run(h->fab, &b), 0);
	return op.status;
}

/* Does @word name a right record of @key? Decoded if its node is down. */
static bool names(struct hand *h, const char *key, uint64_t word)
{
	const struct group *g = &layout(h)->group;
	uint32_t len = slot_units(word) * GROUP_UNIT_BYTES;
	char *buf = malloc(len);
	struct object o;
	struct code *code;
	bool yes;

	if (read_at(h, slot_addr(word), buf, len) != 0) {
		assert_int_equal(code_open(g->k, g->m, &code), 0);
		assert_int_equal(stripe_read_run(h->fab, g, code,
						 slot_addr(word), len,
						 view_up(&h->joined.view), buf,
						 fab_now(h->fab) + CALL_NS),
				 0);
		code_close(code);
	}
	yes = object_decode(buf, len, h->joined.super.secret, slot_addr(word),
			    &o) == 0 &&
	      o.hdr.key_len == strlen(key) &&
	      memcmp(o.key, key, o.hdr.key_len) == 0;
	free(buf);
	return yes;
}

/* The slot of @key, or (@empty) the first empty one it may have. */
static bool look(struct hand *h, const char *key, bool empty, uint32_t *node,
		 uint64_t *slot, struct slot *found)
{
	uint64_t hash = hash_of(key, strlen(key)), first[2], off;
	uint32_t shard = hash_shard(hash, layout(h)->group.nodes), p, i;
	struct slot s[BUCKET_PAIR_SLOTS];

	*node = h->joined.view.host[shard];
	slot_places(hash, layout(h)->index_groups, first);
	for (p = 0; p < 2; p++) {
		off = layout_shard_off(layout(h), shard, *node) +
		      first[p] * sizeof(struct slot);
		assert_int_equal(read_at(h, fab_addr_make((uint8_t)*node, off),
					 s, sizeof(s)),
				 0);
		for (i = 0; i < BUCKET_PAIR_SLOTS; i++) {
			if (empty ? s[i].word != 0
				  : slot_print(s[i].word) != hash_print(hash) ||
					    !names(h, key, s[i].word))
				continue;
			*slot = off + i * sizeof(struct slot);
			*found = s[i];
			return true;
		}
	}
	return false;
}

bool hand_find(struct hand *h, const char *key, uint32_t *node, uint64_t *slot,
	       uint64_t *word, uint64_t *version)
{
	struct slot s;

	if (!look(h, key, false, node, slot, &s))
		return false;
	*word = s.word;
	*version = s.version;
	return true;
}

void hand_point(struct hand *h, const char *key, uint64_t word,
		uint64_t version)
{
	struct fab_op ops[2];
	struct fab_batch b = {.ops = ops, .n = 2};
	struct slot s;
	uint32_t node;
	uint64_t slot;

	if (!look(h, key, false, &node, &slot, &s))
		assert_true(look(h, key, true, &node, &slot, &s));
	fab_cas(&ops[0], (uint8_t)node, slot, s.word, word);
	fab_write(&ops[1], (uint8_t)node, slot + 8, &version, 8);
	assert_int_equal(fab_run(h->fab, &b), 0);
	assert_int_equal(ops[0].status, 0);
	assert_int_equal(ops[1].status, 0);
	assert_true(ops[0].old == s.word);
}

uint64_t hand_put(struct hand *h, struct hand_block *b,
		  const struct hand_record *r)
{
	uint64_t word = hand_write(h, b, r, ALL_COPIES);

	hand_point(h, r->key, word, r->version);
	return word;
}
