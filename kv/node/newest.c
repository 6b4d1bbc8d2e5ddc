/* kv/node/newest.c - an open-addressing table, doubled when 2/3 full. */
#include "kv/node/newest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "kv/hash.h"
#include "kv/slot.h"

#define NEWEST_ROOM_FIRST 1024u

struct newest {
	uint64_t secret;
	size_t room, keys; /* room: a power of two */
	struct newest_key *key;
};

int newest_open(uint64_t secret, struct newest **out)
{
	struct newest *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return -ENOMEM;
	t->secret = secret;
	t->room = NEWEST_ROOM_FIRST;
	t->key = calloc(t->room, sizeof(*t->key));
	if (t->key == NULL) {
		free(t);
		return -ENOMEM;
	}
	*out = t;
	return 0;
}

void newest_close(struct newest *t)
{
	if (t == NULL)
		return;
	free(t->key);
	free(t);
}

static bool is_gap(const struct newest_key *k)
{
	return k->committed.word == 0 && k->pending.word == 0;
}

/* The place of @id: where it is, or the gap where it would be. */
static struct newest_key *find(struct newest_key *key, size_t room,
			       const uint64_t id[2])
{
	size_t i = id[0] & (room - 1);

	while (!is_gap(&key[i]) &&
	       (key[i].id[0] != id[0] || key[i].id[1] != id[1]))
		i = (i + 1) & (room - 1);
	return &key[i];
}

static int grow(struct newest *t)
{
	size_t i, room = t->room * 2;
	struct newest_key *key;

	if (t->keys < t->room / 3 * 2)
		return 0;
	key = calloc(room, sizeof(*key));
	if (key == NULL)
		return -ENOMEM;
	for (i = 0; i < t->room; i++)
		if (!is_gap(&t->key[i]))
			*find(key, room, t->key[i].id) = t->key[i];
	free(t->key);
	t->key = key;
	t->room = room;
	return 0;
}

/* The numbers of a client's operations go round. */
static bool better_solo(const struct newest_rec *a, const struct newest_rec *b)
{
	if (a->tag >> 32 != b->tag >> 32)
		return a->tag >> 32 > b->tag >> 32;
	return (int32_t)((uint32_t)a->tag - (uint32_t)b->tag) < 0;
}

/* N1 within a bucket. The version is compared first, and the address is what
 * is left of the word when the rest is equal or means less. */
static bool better(const struct newest_rec *a, const struct newest_rec *b)
{
	if (b->word == 0 || a->version != b->version)
		return b->word == 0 || a->version > b->version;
	if (a->solo != b->solo)
		return b->solo != 0;
	if (a->solo && a->tag != b->tag)
		return better_solo(a, b);
	return slot_addr(a->word) < slot_addr(b->word);
}

static struct newest_rec rec_of(fab_addr addr, const struct object *o)
{
	const struct object_hdr *h = &o->hdr;
	uint64_t flags = h->type == OBJECT_TOMB ? SLOT_TOMB : 0;

	return (struct newest_rec){
		.version = h->version,
		.tag = h->tag,
		.solo = h->fate == OBJECT_SOLO,
		.word = slot_word(addr, h->units, h->version,
				  hash_print(h->hash), flags),
		.slot = h->slot >> 8 < NEWEST_NO_SLOT ? (uint32_t)(h->slot >> 8)
						      : NEWEST_NO_SLOT,
	};
}

int newest_add(struct newest *t, fab_addr addr, const struct object *o)
{
	struct newest_rec rec = rec_of(addr, o), *best;
	struct newest_key *k;
	XXH128_hash_t id;
	int rc;

	if (o->hdr.fate == OBJECT_KILLED)
		return 0;
	rc = grow(t);
	if (rc != 0)
		return rc;
	id = XXH3_128bits_withSeed(o->key, o->hdr.key_len, t->secret);
	k = find(t->key, t->room, (uint64_t[2]){id.low64, id.high64});
	if (is_gap(k)) {
		t->keys++;
		k->id[0] = id.low64;
		k->id[1] = id.high64;
		k->hash = o->hdr.hash;
	}
	best = o->hdr.fate == OBJECT_COMMITTED || o->hdr.fate == OBJECT_SOLO
		       ? &k->committed
		       : &k->pending;
	if (better(&rec, best))
		*best = rec;
	return 0;
}

bool newest_firm(struct newest *t, size_t i, fab_addr addr,
		 const struct object *o)
{
	XXH128_hash_t id =
		XXH3_128bits_withSeed(o->key, o->hdr.key_len, t->secret);
	struct newest_key *k = &t->key[i];
	struct newest_rec rec = rec_of(addr, o);

	rec.solo = 0;
	if (k->id[0] != id.low64 || k->id[1] != id.high64)
		return false;
	if (better(&rec, &k->committed))
		k->committed = rec;
	return true;
}

size_t newest_keys(const struct newest *t)
{
	return t->keys;
}

size_t newest_room(const struct newest *t)
{
	return t->room;
}

const struct newest_key *newest_at(const struct newest *t, size_t i)
{
	return is_gap(&t->key[i]) ? NULL : &t->key[i];
}

const struct newest_rec *newest_choose(const struct newest_key *k)
{
	const struct newest_rec *c = &k->committed, *p = &k->pending;

	if (p->word == 0 || c->word == 0)
		return c->word != 0 ? c : p->word != 0 ? p : NULL;
	if (p->version <= c->version)
		return c;
	if (object_begins(p->version) && !(c->word & SLOT_TOMB))
		return c; /* N2 */
	return p;
}
