/* kv/client/check_index.c - every slot: is it where its key is looked for, is
 * it the only one, does it tell what its record does, and is that right?
 *
 * What may be somebody's work under way (a tentative slot, an intent, two slots
 * of a key) is noted, and is a damage only if it is the same at the end of the
 * walk and a moment later. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/check_impl.h"
#include "kv/client/client.h"
#include "kv/client/degraded.h"
#include "kv/client/member.h"
#include "kv/client/scan.h"
#include "kv/hash.h"

#define INDEX_SLOTS   1024u
#define DOUBT_WAIT_NS UINT64_C(1000000000)

struct slot_look {
	struct kv_check *c;
	uint32_t shard;
	uint64_t at; /* the slot's number */
	struct slot slot;
	uint32_t len; /* of the record */
	struct object o;
	uint8_t klen, key[KV_KEY_BYTES_MAX]; /* of the last right look */
};

/* --- slots --------------------------------------------------------------- */

static int read_slots(struct kv_check *c, uint32_t shard, uint64_t at,
		      uint32_t n, struct slot *out)
{
	return scan_slots(c->kv, c->t, shard, at, n, out,
			  fab_now(c->t->fab) + kv_timeout_ns(c->kv));
}

static int slot_still(void *arg)
{
	struct slot_look *l = arg;
	struct slot now;
	int rc = read_slots(l->c, l->shard, l->at, 1, &now);

	return rc != 0 ? rc : now.word == l->slot.word;
}

/* Inside the view, so that the shard stays where it is. */
static int cas_here(struct slot_look *l, uint64_t byte, uint64_t from,
		    uint64_t to)
{
	struct kv *kv = l->c->kv;
	int host = member_host(kv->member, l->shard), rc;
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	if (host < 0)
		return host;
	b.deadline_ns = check_deadline(l->c);
	fab_cas(&op, (uint8_t)host,
		layout_shard_off(&kv->layout, l->shard, (uint32_t)host) +
			l->at * sizeof(struct slot) + byte,
		from, to);
	rc = fab_run(l->c->t->fab, &b);
	if (rc == 0)
		rc = op.status;
	return rc != 0 ? rc : op.old == from ? 0 : -ESTALE;
}

/* Change one of a slot's words, if nobody else has. */
static int swing(struct slot_look *l, uint64_t byte, uint64_t from, uint64_t to)
{
	int rc;

	member_enter(l->c->kv->member, l->c->t);
	rc = cas_here(l, byte, from, to);
	member_leave(l->c->kv->member, l->c->t);
	return rc;
}

/* A lost record is of no use to anyone: its slot need not wait. */
static bool may_swing(const struct slot_look *l)
{
	const struct kv_check_opts *o = &l->c->o;

	return o->mend && o->slots &&
	       (kv_clients(l->c->kv) <= 1 || l->o.key == NULL);
}

/* Tell of a slot, and set its word to @right if that is allowed. */
static void slot_wrong(struct slot_look *l, enum kv_damage_kind kind,
		       uint64_t right, const char *what)
{
	enum kv_damage_state state = KV_DAMAGE_FOUND;
	bool known = l->o.key != NULL;
	int rc;

	if (may_swing(l)) {
		rc = swing(l, 0, l->slot.word, right);
		if (rc == -ESTALE)
			return;
		state = rc == 0 ? KV_DAMAGE_MENDED : KV_DAMAGE_LOST;
	}
	check_tell(l->c, kind, state, known ? l->o.key : NULL,
		   known ? l->o.hdr.key_len : 0, "slot %llu of shard %u %s",
		   (unsigned long long)l->at, l->shard, what);
}

/* --- records ------------------------------------------------------------- */

static bool record_right(void *arg, const void *buf)
{
	struct slot_look *l = arg;

	if (object_decode(buf, l->len, l->c->kv->secret,
			  slot_addr(l->slot.word), &l->o) != 0)
		return false;
	l->klen = l->o.hdr.key_len;
	memcpy(l->key, l->o.key, l->klen);
	return true;
}

/* The record's length, by its header if the word does not tell. 0: not known.
 */
static uint32_t record_len(struct slot_look *l)
{
	struct kv_check *c = l->c;
	fab_addr addr = slot_addr(l->slot.word);
	uint32_t units = slot_units(l->slot.word), role, at;
	struct object_hdr h;
	uint64_t stripe;

	if (group_locate(c->g, addr, &stripe, &role, &at) != 0 ||
	    role >= c->g->k)
		return 0;
	if (units == 0 && check_read(c, fab_addr_node(addr),
				     fab_addr_offset(addr), &h, sizeof(h)) == 0)
		units = h.units;
	if (units == 0 || units * GROUP_UNIT_BYTES > OBJECT_BYTES_MAX ||
	    units * GROUP_UNIT_BYTES > c->g->block_bytes - at)
		return 0;
	return units * GROUP_UNIT_BYTES;
}

/* A long record whose header is wrong: how long it is, from elsewhere, to
 * l->len; it stays 0 if there is none. -errno that could not be found out. */
static int mend_record_len(struct slot_look *l)
{
	struct kv_check *c = l->c;
	int rc = degraded_record(c->kv, c->t, l->slot.word, c->copy,
				 OBJECT_BYTES_MAX, &l->o, check_deadline(c));

	if (rc == 0)
		l->len = (uint32_t)l->o.hdr.units * GROUP_UNIT_BYTES;
	return rc == -ETIMEDOUT || rc == -ENOMEM ? rc : 0;
}

static int lost(struct slot_look *l)
{
	if (slot_still(l) != 1)
		return -ESTALE;
	l->o.key = NULL;
	if (l->c->o.drop_lost && l->c->o.mend)
		slot_wrong(l, KV_DAMAGE_WORD, 0,
			   "names a record that is lost; it is emptied");
	return -EIO;
}

static int check_record(struct slot_look *l)
{
	struct kv_check *c = l->c;
	struct check_object o = {.addr = slot_addr(l->slot.word),
				 .buf = c->buf,
				 .right = record_right,
				 .still = slot_still,
				 .arg = l,
				 .kind = KV_DAMAGE_RECORD,
				 .key = l->key,
				 .klen = &l->klen,
				 .what = "a record"};
	int rc = 0;

	l->klen = 0;
	l->len = record_len(l);
	if (l->len == 0)
		rc = mend_record_len(l);
	if (rc != 0)
		return rc;
	o.len = l->len;
	if (o.len == 0) {
		if (slot_still(l) != 1)
			return -ESTALE;
		check_tell(c, KV_DAMAGE_RECORD, KV_DAMAGE_LOST, NULL, 0,
			   "slot %llu of shard %u names no record",
			   (unsigned long long)l->at, l->shard);
		return lost(l);
	}
	rc = check_object(c, &o);
	if (rc == -EIO)
		return lost(l);
	if (rc == 0) /* the buffer may have been used for other looks */
		rc = object_decode(c->buf, l->len, c->kv->secret, o.addr,
				   &l->o) != 0
			     ? -EAGAIN
			     : 0;
	return rc;
}

/* --- the slot against its record ----------------------------------------- */

static bool in_place(const struct slot_look *l)
{
	uint64_t first[2];

	if (hash_shard(l->o.hdr.hash, l->c->g->nodes) != l->shard)
		return false;
	slot_places(l->o.hdr.hash, l->c->kv->layout.index_groups, first);
	for (unsigned p = 0; p < 2; p++)
		if (l->at >= first[p] && l->at < first[p] + BUCKET_PAIR_SLOTS)
			return true;
	return false;
}

static uint64_t right_word(const struct slot_look *l)
{
	uint64_t flags = l->o.hdr.type == OBJECT_TOMB ? SLOT_TOMB : 0;

	return slot_word(slot_addr(l->slot.word), l->o.hdr.units,
			 l->o.hdr.version, hash_print(l->o.hdr.hash), flags);
}

/* The slot was read where all others look for it. */
static bool host_answers(const struct slot_look *l)
{
	int host = member_host(l->c->kv->member, l->shard);

	return host >= 0 && check_answers(l->c, (uint8_t)host);
}

/* The record lies on its own node as it was judged, all of it, and the slot
 * names it. */
static bool seen_again(struct slot_look *l)
{
	fab_addr addr = slot_addr(l->slot.word);
	struct check_object o = {.len = l->len};
	struct object now;

	return check_read(l->c, fab_addr_node(addr), fab_addr_offset(addr),
			  l->c->copy, o.len) == 0 &&
	       object_decode(l->c->copy, o.len, l->c->kv->secret, addr, &now) ==
		       0 &&
	       now.hdr.crc == l->o.hdr.crc &&
	       now.hdr.version == l->o.hdr.version &&
	       hash_of(now.key, now.hdr.key_len) == l->o.hdr.hash &&
	       slot_still(l) == 1 && check_answers(l->c, fab_addr_node(addr));
}

/* Nobody is told of a wrong slot, and none is changed, but for what two looks
 * agree on, a while apart, in one view, at nodes that live: whoever has not
 * heard of a death yet may read what a dead node's memory was, and a decoded
 * record may be what lay in its units before. */
static bool surely(struct slot_look *l)
{
	struct member *m = l->c->kv->member;
	uint64_t epoch = member_epoch(m);

	if (!seen_again(l))
		return false;
	fab_sleep(l->c->t->fab, CHECK_LOOK_NS);
	return seen_again(l) && host_answers(l) && member_epoch(m) == epoch;
}

/* The hint follows the word a little later, and may stay one behind where its
 * writer died: but it is never ahead. */
static void check_hint(struct slot_look *l)
{
	struct slot now = l->slot;
	enum kv_damage_state state = KV_DAMAGE_FOUND;
	int rc;

	for (unsigned i = 0; i < CHECK_LOOKS; i++) {
		if (now.word != l->slot.word || now.version <= l->o.hdr.version)
			return;
		fab_sleep(l->c->t->fab, CHECK_LOOK_NS);
		if (read_slots(l->c, l->shard, l->at, 1, &now) != 0)
			return;
	}
	if (!surely(l))
		return;
	if (l->c->o.mend) {
		rc = swing(l, 8, now.version, l->o.hdr.version);
		if (rc == -ESTALE)
			return;
		state = rc == 0 ? KV_DAMAGE_MENDED : KV_DAMAGE_LOST;
	}
	check_tell(l->c, KV_DAMAGE_HINT, state, l->o.key, l->o.hdr.key_len,
		   "slot %llu of shard %u has version %llx, its record %llx",
		   (unsigned long long)l->at, l->shard,
		   (unsigned long long)now.version,
		   (unsigned long long)l->o.hdr.version);
}

/* In use, but marked as obsolete? The mark comes after the change that made it
 * so: then the slot has another word by now. A record like this is written anew
 * elsewhere, before its block is given back under it. */
static void check_mark(struct slot_look *l)
{
	struct kv_check *c = l->c;
	enum kv_damage_state state = KV_DAMAGE_FOUND;
	int rc;

	if (!check_is_marked(c, slot_addr(l->slot.word)))
		return;
	fab_sleep(c->t->fab, CHECK_LOOK_NS);
	if (slot_still(l) != 1)
		return;
	if (c->o.mend && l->o.hdr.type == OBJECT_PUT) {
		rc = kv_put_if(c->kv, l->o.key, l->o.hdr.key_len, l->o.val,
			       l->o.hdr.val_len, l->o.hdr.version, NULL);
		if (rc == -ESTALE || rc == -ENOENT)
			return;
		state = rc == 0 ? KV_DAMAGE_MENDED : KV_DAMAGE_LOST;
	}
	check_tell(c, KV_DAMAGE_MARKED, state, l->key, l->klen,
		   "the record that slot %llu of shard %u names is marked as "
		   "obsolete",
		   (unsigned long long)l->at, l->shard);
}

static int doubt(struct slot_look *l, enum kv_damage_kind kind)
{
	struct kv_check *c = l->c;

	if (c->doubts == c->doubts_cap) {
		size_t cap = c->doubts_cap != 0 ? 2 * c->doubts_cap : 64;
		void *more = realloc(c->doubt, cap * sizeof(*c->doubt));

		if (more == NULL)
			return -ENOMEM;
		c->doubt = more;
		c->doubts_cap = cap;
	}
	c->doubt[c->doubts++] = (struct check_doubt){(uint8_t)kind, l->shard,
						     l->at, l->slot.word};
	return 0;
}

static int note_key(struct slot_look *l)
{
	struct kv_check *c = l->c;

	if (c->keys == c->keys_cap) {
		size_t cap = c->keys_cap != 0 ? 2 * c->keys_cap : 4096;
		void *more = realloc(c->key, cap * sizeof(*c->key));

		if (more == NULL)
			return -ENOMEM;
		c->key = more;
		c->keys_cap = cap;
	}
	c->key[c->keys++] = (struct check_key){l->o.hdr.hash, l->at,
					       l->slot.word, l->shard};
	return 0;
}

static int judge(struct slot_look *l)
{
	uint64_t right = right_word(l);
	int rc = 0;

	check_name(l->c, slot_addr(l->slot.word), l->o.hdr.units);
	if (!in_place(l)) {
		if (surely(l))
			slot_wrong(l, KV_DAMAGE_PLACE, 0,
				   "names a record of a key that is not looked "
				   "for there");
		return 0;
	}
	if (right != l->slot.word) {
		if (surely(l))
			slot_wrong(l, KV_DAMAGE_WORD, right,
				   "tells something else than its record");
		return 0;
	}
	if (l->slot.version > l->o.hdr.version)
		check_hint(l);
	check_mark(l);
	if (l->o.hdr.type == OBJECT_INTENT)
		rc = doubt(l, KV_DAMAGE_TXN);
	return rc == 0 ? note_key(l) : rc;
}

static int check_slot(struct slot_look *l)
{
	int rc;

	if (l->slot.word == 0)
		return 0;
	if (l->slot.word & SLOT_TENTATIVE) {
		check_name(l->c, slot_addr(l->slot.word),
			   slot_units(l->slot.word));
		return doubt(l, KV_DAMAGE_TENTATIVE);
	}
	for (unsigned i = 0; i < 64; i++) {
		l->c->sum.records += i == 0;
		rc = check_record(l);
		if (rc != -ESTALE && rc != -EAGAIN)
			break;
		rc = read_slots(l->c, l->shard, l->at, 1, &l->slot);
		if (rc != 0)
			return rc;
		if (l->slot.word == 0 || l->slot.word & SLOT_TENTATIVE)
			return 0;
	}
	if (rc == -EIO || rc == -ESTALE || rc == -EAGAIN)
		return 0; /* told; or it never stands still */
	return rc == 0 ? judge(l) : rc;
}

/* --- at the end ---------------------------------------------------------- */

static int by_hash(const void *pa, const void *pb)
{
	const struct check_key *a = pa, *b = pb;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return (a->slot > b->slot) - (a->slot < b->slot);
}

static bool load(struct slot_look *l, const struct check_key *k)
{
	l->shard = k->shard;
	l->at = k->slot;
	return read_slots(l->c, l->shard, l->at, 1, &l->slot) == 0 &&
	       l->slot.word == k->word && check_record(l) == 0;
}

/* Two slots whose keys have one hash: is it one key, now? */
static void check_pair(struct kv_check *c, const struct check_key *a,
		       const struct check_key *b)
{
	struct slot_look x = {.c = c}, y = {.c = c};
	uint8_t key[KV_KEY_BYTES_MAX];

	for (unsigned i = 0; i < 2; i++) {
		if (!load(&x, a))
			return;
		memcpy(key, x.o.key, x.o.hdr.key_len);
		x.o.key = key;
		if (!load(&y, b) || y.o.hdr.key_len != x.o.hdr.key_len ||
		    memcmp(y.o.key, key, x.o.hdr.key_len) != 0)
			return;
		fab_sleep(c->t->fab, CHECK_LOOK_NS);
	}
	if (!surely(&x) || !surely(&y))
		return;
	if (x.o.hdr.version < y.o.hdr.version)
		slot_wrong(&x, KV_DAMAGE_TWICE, 0,
			   "is a second one of its key, and older");
	else
		slot_wrong(&y, KV_DAMAGE_TWICE, 0,
			   "is a second one of its key, and older");
}

static void check_pairs(struct kv_check *c)
{
	if (c->keys > 0)
		qsort(c->key, c->keys, sizeof(*c->key), by_hash);
	for (size_t i = 1; i < c->keys; i++)
		if (c->key[i].hash == c->key[i - 1].hash)
			check_pair(c, &c->key[i - 1], &c->key[i]);
}

/* A reader finishes or undoes what is left of a transaction. */
static void check_txn(struct slot_look *l)
{
	uint8_t key[KV_KEY_BYTES_MAX];
	uint8_t klen;
	bool gone;

	if (check_record(l) != 0 || l->o.hdr.type != OBJECT_INTENT)
		return;
	klen = l->o.hdr.key_len;
	memcpy(key, l->o.key, klen);
	gone = l->c->o.mend &&
	       kv_put_if(l->c->kv, key, klen, "", 0, UINT64_MAX, NULL) ==
		       -ESTALE &&
	       slot_still(l) == 0;
	check_tell(l->c, KV_DAMAGE_TXN,
		   gone ? KV_DAMAGE_MENDED : KV_DAMAGE_FOUND, key, klen,
		   "a transaction holds slot %llu of shard %u",
		   (unsigned long long)l->at, l->shard);
}

/* What is tentative may go only if no replay can take its record for one that
 * was acknowledged later (N3 in insert.c): else the sweep takes it out. */
static bool may_empty(struct slot_look *l)
{
	struct kv_check *c = l->c;
	fab_addr addr = slot_addr(l->slot.word);

	if (!c->o.mend || !c->o.slots || kv_clients(c->kv) > 1)
		return false;
	l->len = record_len(l);
	if (l->len == 0)
		return true;
	if (check_read(c, fab_addr_node(addr), fab_addr_offset(addr), c->buf,
		       l->len) != 0)
		return false;
	return !record_right(l, c->buf) || !in_place(l) ||
	       l->o.hdr.version <
		       object_first_version(member_index_version(c->kv->member),
					    0);
}

static void check_doubt(struct kv_check *c, const struct check_doubt *d)
{
	struct slot_look l = {.c = c, .shard = d->shard, .at = d->slot};
	bool empty;

	if (read_slots(c, d->shard, d->slot, 1, &l.slot) != 0 ||
	    l.slot.word != d->word)
		return;
	if (d->kind == KV_DAMAGE_TXN) {
		check_txn(&l);
		return;
	}
	if (!host_answers(&l))
		return;
	empty = may_empty(&l);
	l.o.key = NULL;
	if (empty)
		slot_wrong(&l, KV_DAMAGE_TENTATIVE, 0,
			   "belongs to an insert that nobody goes on with");
	else
		check_tell(c, KV_DAMAGE_TENTATIVE, KV_DAMAGE_FOUND, NULL, 0,
			   "slot %llu of shard %u belongs to an insert that "
			   "nobody goes on with",
			   (unsigned long long)d->slot, d->shard);
}

/* --- the walk ------------------------------------------------------------ */

static int check_shard(struct kv_check *c, uint32_t shard)
{
	uint64_t slots = c->total / c->g->nodes;
	struct slot slot[INDEX_SLOTS];
	struct slot_look l = {.c = c, .shard = shard};
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < slots; at += INDEX_SLOTS) {
		uint32_t n = slots - at < INDEX_SLOTS ? (uint32_t)(slots - at)
						      : INDEX_SLOTS;

		rc = read_slots(c, shard, at, n, slot);
		for (uint32_t i = 0; rc == 0 && i < n; i++) {
			l.at = at + i;
			l.slot = slot[i];
			rc = check_slot(&l);
		}
		c->done += n;
		if (rc == 0)
			rc = kv_check_pace(c, n * sizeof(struct slot));
	}
	return rc;
}

int kv_check_index(struct kv_check *c)
{
	int rc = 0;

	c->done = 0;
	for (uint32_t s = 0; rc == 0 && s < c->g->nodes; s++)
		rc = check_shard(c, s);
	if (rc != 0)
		return rc;
	check_pairs(c);
	if (c->doubts > 0)
		fab_sleep(c->t->fab, DOUBT_WAIT_NS);
	for (size_t i = 0; i < c->doubts; i++)
		check_doubt(c, &c->doubt[i]);
	return 0;
}
