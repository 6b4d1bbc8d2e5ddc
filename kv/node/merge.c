/* kv/node/merge.c - see merge.h. */
#include "kv/node/merge.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "kv/hash.h"

enum fate {
	FATE_NONE,    /* empty, or given up without anyone to miss it */
	FATE_STAYS,   /* names a KEPT block (I2) */
	FATE_GONE,    /* given up; a winner must turn up (I4) */
	FATE_CLAIMED, /* it has */
};

struct merge {
	const struct merge_opts *o;
	uint32_t slots;
	uint8_t *fate; /* of each slot */
	uint32_t *where;
};

/* Slots that a winner found to be of its key. */
struct same {
	uint32_t slot[2 * BUCKET_PAIR_SLOTS];
	uint32_t n;
	uint32_t gone; /* one that is given up, but was its own */
};

/* --- slots by what they name ---------------------------------------------- */

/* The life of the KEPT block that @word names, 0, or -EBADMSG. */
static int kept_life(const struct merge_opts *o, uint64_t word, uint32_t *life)
{
	const struct group *g = &o->layout->group;
	uint64_t stripe;
	uint32_t role, at;

	if (group_locate(g, slot_addr(word), &stripe, &role, &at) != 0 ||
	    role >= g->k)
		return -EBADMSG;
	*life = o->kept[stripe * g->k + role];
	return 0;
}

static int sort_slots(struct merge *m)
{
	uint32_t s, life = 0;
	uint64_t word;
	int rc;

	for (s = 0; s < m->slots; s++) {
		word = m->o->image[s].word;
		if (word == 0)
			continue;
		rc = kept_life(m->o, word, &life);
		if (rc == 0 && word & SLOT_TENTATIVE && life != 0)
			return -ESTALE; /* I5 */
		if (rc != 0)
			return rc;
		if (word & SLOT_TENTATIVE)
			continue;
		m->fate[s] = life != 0 ? FATE_STAYS : FATE_GONE;
	}
	return 0;
}

/* --- a winner looks for its key ------------------------------------------- */

/* Is the record that was fetched the one that slot @s means? Not if the block
 * was given back and is used again by now. */
static bool is_meant(const struct merge *m, uint32_t s, const struct object *o)
{
	uint64_t word = m->o->image[s].word;
	uint32_t life = 0;

	kept_life(m->o, word, &life);
	return o->hdr.life <= life &&
	       hash_print(o->hdr.hash) == slot_print(word) &&
	       (o->hdr.version & 0xff) == slot_version8(word) &&
	       hash_shard(o->hdr.hash, m->o->layout->group.nodes) ==
		       m->o->shard;
}

/* What is in slot @s? It is given up if it names nothing (its block is being
 * given back, as its records are superseded). */
static int look(struct merge *m, size_t key, uint32_t s, struct same *same)
{
	uint64_t word = m->o->image[s].word;
	struct object o;
	int rc = fetch_record(m->o->fetch, word, &o);

	if (rc != 0 && rc != -EBADMSG && rc != -ENODATA)
		return rc;
	if (rc != 0 || !is_meant(m, s, &o))
		m->fate[s] = FATE_CLAIMED;
	else if (newest_firm(m->o->winners, key, slot_addr(word), &o))
		same->slot[same->n++] = s;
	return 0;
}

/* The slot is given up; @key is one that it may have been of. */
static void claim(struct merge *m, size_t key, uint32_t s, struct same *same)
{
	const struct newest_rec *best =
		newest_choose(newest_at(m->o->winners, key));

	if (slot_addr(m->o->image[s].word) == slot_addr(best->word))
		same->gone = s;
	m->fate[s] = FATE_CLAIMED;
}

static int look_at_pair(struct merge *m, size_t key, uint64_t first,
			uint8_t print, struct same *same)
{
	uint32_t i, s;
	int rc = 0;

	for (i = 0; i < BUCKET_PAIR_SLOTS && rc == 0; i++) {
		s = (uint32_t)first + i;
		if (slot_print(m->o->image[s].word) != print)
			continue;
		if (m->fate[s] == FATE_GONE)
			claim(m, key, s, same);
		else if (m->fate[s] == FATE_STAYS)
			rc = look(m, key, s, same);
	}
	return rc;
}

/* Of the slots of one key at most one stays: that which names what counts. */
static uint32_t settle(struct merge *m, size_t key, const struct same *same)
{
	const struct newest_rec *best =
		newest_choose(newest_at(m->o->winners, key));
	uint32_t i, s, where = same->gone;

	for (i = 0; i < same->n; i++) {
		s = same->slot[i];
		if (slot_addr(m->o->image[s].word) == slot_addr(best->word)) {
			where = MERGE_IS_THERE;
			continue;
		}
		m->fate[s] = FATE_CLAIMED;
		if (where == MERGE_ANYWHERE)
			where = s;
	}
	return where;
}

static int one_winner(struct merge *m, size_t key)
{
	const struct newest_key *k = newest_at(m->o->winners, key);
	struct same same = {.gone = MERGE_ANYWHERE};
	uint64_t first[2];
	uint32_t p;
	int rc = 0;

	m->where[key] = MERGE_ANYWHERE;
	if (k == NULL)
		return 0;
	slot_places(k->hash, m->o->layout->index_groups, first);
	for (p = 0; p < 2 && rc == 0; p++)
		rc = look_at_pair(m, key, first[p], hash_print(k->hash), &same);
	if (rc == 0)
		m->where[key] = settle(m, key, &same);
	return rc;
}

/* --- all of it ------------------------------------------------------------ */

static int pin(const struct merge *m, struct place *p, uint64_t *pinned)
{
	const struct slot *image = m->o->image;
	uint32_t s;
	int rc = 0;

	for (s = 0; s < m->slots && rc == 0; s++) {
		if (m->fate[s] == FATE_GONE)
			return -ESTALE; /* I4 */
		if (m->fate[s] != FATE_STAYS)
			continue;
		rc = place_pin(p, s, image[s].word, image[s].version);
		++*pinned;
	}
	return rc;
}

static int merge(struct merge *m, struct place *p, uint64_t *pinned)
{
	size_t i;
	int rc = sort_slots(m);

	for (i = 0; i < newest_room(m->o->winners) && rc == 0; i++)
		rc = one_winner(m, i);
	return rc != 0 ? rc : pin(m, p, pinned);
}

int merge_image(const struct merge_opts *o, struct place *p, uint32_t **where,
		uint64_t *pinned)
{
	struct merge m = {
		.o = o,
		.slots = o->layout->index_groups * BUCKET_GROUP * BUCKET_SLOTS,
	};
	int rc = -ENOMEM;

	*pinned = 0;
	m.fate = calloc(m.slots, sizeof(*m.fate));
	m.where = malloc(newest_room(o->winners) * sizeof(*m.where));
	if (m.fate != NULL && m.where != NULL)
		rc = merge(&m, p, pinned);
	free(m.fate);
	if (rc == 0)
		*where = m.where;
	else
		free(m.where);
	return rc;
}
