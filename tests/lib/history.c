/* tests/lib/history.c - a search for an order, after Wing and Gong, with
 * Lowe's memory of where it was before: take an act that began before any act
 * left over had ended, see if the store could have told that, go on; if there
 * is none, take back the last one. Acts of unknown end need not be taken. */
#include "tests/lib/history.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NEVER	   UINT64_MAX
#define VISITS_MAX 50000000u /* half a minute, half a GiB */

struct act {
	uint32_t who, n;
	uint64_t begun, ended; /* NEVER: unknown */
	int rc;
	bool txn, known;
	uint64_t mark; /* random: the sum of those taken tells the set */
	struct history_part part[HISTORY_PARTS_MAX];
};

/* A key in the one store that tries to tell the same. */
struct cell {
	uint64_t value; /* 0: absent */
	uint64_t lo;	/* the version with which it got it */
	uint64_t hi;	/* the highest that may have been told since */
	bool guess;	/* nobody was told @lo: it is that or more */
	bool loose;	/* of an act of unknown end: it stays a guess */
};

struct history {
	struct act *act;
	uint32_t n, cap;
	bool txn_key[HISTORY_KEYS_MAX];
};

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* --- recording ----------------------------------------------------------- */

struct history *history_new(void)
{
	struct history *h = calloc(1, sizeof(*h));

	assert(h != NULL);
	return h;
}

void history_free(struct history *h)
{
	if (h != NULL)
		free(h->act);
	free(h);
}

uint32_t history_begin(struct history *h, uint32_t who, uint64_t now,
		       const struct history_part *part, uint32_t n, bool txn)
{
	struct act *a;

	assert(n >= 1 && n <= HISTORY_PARTS_MAX);
	if (h->n == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 256;
		h->act = realloc(h->act, h->cap * sizeof(*h->act));
		assert(h->act != NULL);
	}
	a = &h->act[h->n];
	*a = (struct act){.who = who,
			  .n = n,
			  .txn = txn,
			  .begun = now,
			  .ended = NEVER,
			  .mark = mix(h->n + 1)};
	memcpy(a->part, part, n * sizeof(*part));
	for (uint32_t i = 0; i < n; i++) {
		assert(part[i].key < HISTORY_KEYS_MAX);
		h->txn_key[part[i].key] |= txn;
	}
	return h->n++;
}

void history_end(struct history *h, uint32_t act, uint64_t now, int rc,
		 const struct history_part *part)
{
	struct act *a = &h->act[act];

	a->ended = now;
	a->rc = rc;
	a->known = true;
	memcpy(a->part, part, a->n * sizeof(*part));
}

void history_unknown(struct history *h, uint32_t act)
{
	h->act[act].known = false;
	h->act[act].ended = NEVER;
}

void history_void(struct history *h, uint32_t act)
{
	struct act *a = &h->act[act];

	a->known = true;
	a->rc = 0;
	a->n = 0;
}

uint32_t history_acts(const struct history *h)
{
	return h->n;
}

uint32_t history_unknowns(const struct history *h)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < h->n; i++)
		n += !h->act[i].known;
	return n;
}

/* --- the one store ------------------------------------------------------- */

struct search {
	const struct history *h;
	struct cell cell[HISTORY_KEYS_MAX];
	uint64_t taken_sum, cells_sum;
};

static uint64_t cell_sum(uint32_t key, const struct cell *c)
{
	return mix(mix(mix(c->value + c->guess + c->loose) + c->lo) + c->hi) *
	       (2 * key + 1);
}

static void cell_set(struct search *s, uint32_t key, struct cell c)
{
	s->cells_sum -= cell_sum(key, &s->cell[key]);
	s->cell[key] = c;
	s->cells_sum += cell_sum(key, &c);
}

/* Could the key's version be @v now? */
static bool version_fits(const struct cell *c, bool txn_key, uint64_t v)
{
	return txn_key || c->guess ? v >= c->lo : v == c->hi;
}

/* Could a change that wants version @expect be refused for that? */
static bool stale_fits(const struct cell *c, bool txn_key, uint64_t expect)
{
	return txn_key || c->guess || expect != c->hi;
}

/* What @p's condition says to cell @c: 0 or the errno. With versions that may
 * move, both answers can be right: @told is then taken, if it can be. */
static int condition(const struct cell *c, bool txn_key,
		     const struct history_part *p, bool in_txn, int told)
{
	bool absent = p->kind == KV_INSERT ||
		      (in_txn && p->kind == KV_GET && p->expect == 0);

	if (absent)
		return c->value != 0 ? -EEXIST : 0;
	if (p->kind == KV_PUT || (p->kind == KV_GET && !in_txn))
		return 0;
	if (c->value == 0)
		return -ENOENT;
	if (p->kind == KV_DEL && p->expect == 0)
		return 0;
	if (told == -ESTALE)
		return stale_fits(c, txn_key, p->expect) ? -ESTALE : 0;
	return version_fits(c, txn_key, p->expect) ? 0 : -ESTALE;
}

/* A version that a change was given must be beyond all before. */
static bool new_version_fits(const struct cell *c, bool txn_key, uint64_t v)
{
	if (v == 0)
		return true; /* nobody was told */
	return !txn_key && c->value != 0 && !c->guess ? v == c->hi + 1
						      : v > c->hi;
}

static bool write_part(struct search *s, const struct act *a,
		       const struct history_part *p)
{
	struct cell c = s->cell[p->key];
	uint64_t v = a->known ? p->version : 0;
	bool guess = !a->known || (v == 0 && (c.value == 0 || c.guess));

	if (!new_version_fits(&c, s->h->txn_key[p->key], v))
		return false;
	if (v == 0)
		v = c.hi + 1; /* or more, of a key that had none */
	c = (struct cell){.value = p->kind == KV_DEL ? 0 : p->value,
			  .lo = v,
			  .hi = v,
			  .guess = guess,
			  .loose = !a->known};
	cell_set(s, p->key, c);
	return true;
}

static bool read_part(struct search *s, const struct act *a,
		      const struct history_part *p)
{
	struct cell c = s->cell[p->key];

	if (a->rc == -ENOENT)
		return c.value == 0;
	if (c.value == 0 || c.value != p->value)
		return false;
	if (!version_fits(&c, s->h->txn_key[p->key], p->version))
		return false;
	if (c.guess)
		c.lo = p->version;
	if (p->version > c.hi)
		c.hi = p->version;
	c.guess = c.loose;
	cell_set(s, p->key, c);
	return true;
}

static bool do_part(struct search *s, const struct act *a,
		    const struct history_part *p)
{
	if (p->kind != KV_GET)
		return write_part(s, a, p);
	return a->txn || read_part(s, a, p);
}

/* A refusal: the reason that was told must hold. */
static bool refused(const struct search *s, const struct act *a)
{
	for (uint32_t i = 0; i < a->n; i++) {
		const struct history_part *p = &a->part[i];
		int told = a->txn ? p->status : a->rc;

		if (told != 0 &&
		    condition(&s->cell[p->key], s->h->txn_key[p->key], p,
			      a->txn, told) != told)
			return false;
	}
	return true;
}

/* Could the store have told what @a was told, now? Then do it. */
static bool act_do(struct search *s, const struct act *a)
{
	bool read = !a->txn && a->part[0].kind == KV_GET;

	if (a->known && a->rc != 0 && !read)
		return refused(s, a);
	for (uint32_t i = 0; i < a->n; i++)
		if (condition(&s->cell[a->part[i].key],
			      s->h->txn_key[a->part[i].key], &a->part[i],
			      a->txn, 0) != 0)
			return false;
	for (uint32_t i = 0; i < a->n; i++)
		if (!do_part(s, a, &a->part[i]))
			return false;
	return true;
}

/* --- the search
 * ---------------------------------------------------------------- */

struct step {
	uint32_t act;
	struct cell was[HISTORY_PARTS_MAX];
	uint32_t first; /* as it was */
};

struct memory {
	uint64_t *slot;
	uint64_t size, used;
};

struct hunt {
	struct search s;
	struct memory m;
	bool *taken;
	struct step *step;
	uint32_t depth, first; /* all before @first are taken or unknown */
	uint32_t known, done;  /* acts of known end; taken of these */
	uint32_t *unknown, unknowns;
	uint32_t deepest, deepest_first;
	uint32_t visits;
};

/* True if it was not there. */
static bool remember(struct memory *m, uint64_t x)
{
	uint64_t i;

	x += x == 0;
	if (2 * m->used >= m->size) {
		struct memory big = {.size = m->size ? 4 * m->size : 4096};

		big.slot = calloc(big.size, sizeof(*big.slot));
		assert(big.slot != NULL);
		for (i = 0; i < m->size; i++)
			if (m->slot[i] != 0)
				remember(&big, m->slot[i]);
		free(m->slot);
		*m = big;
	}
	for (i = x & (m->size - 1); m->slot[i] != 0;
	     i = (i + 1) & (m->size - 1))
		if (m->slot[i] == x)
			return false;
	m->slot[i] = x;
	m->used++;
	return true;
}

static void restore(struct hunt *u, const struct step *st)
{
	const struct act *a = &u->s.h->act[st->act];

	for (uint32_t i = a->n; i-- > 0;)
		cell_set(&u->s, a->part[i].key, st->was[i]);
}

static void save(struct hunt *u, uint32_t at, struct step *st)
{
	const struct act *a = &u->s.h->act[at];

	st->act = at;
	st->first = u->first;
	for (uint32_t i = 0; i < a->n; i++)
		st->was[i] = u->s.cell[a->part[i].key];
}

static bool take(struct hunt *u, uint32_t at)
{
	const struct act *a = &u->s.h->act[at];
	struct step *st = &u->step[u->depth];
	uint64_t sum = u->s.taken_sum + a->mark;

	save(u, at, st);
	if (!act_do(&u->s, a) || !remember(&u->m, mix(sum) ^ u->s.cells_sum)) {
		restore(u, st);
		return false;
	}
	u->s.taken_sum = sum;
	u->taken[at] = true;
	u->done += a->known;
	u->depth++;
	while (u->first < u->s.h->n &&
	       (u->taken[u->first] || !u->s.h->act[u->first].known))
		u->first++;
	return true;
}

static uint32_t take_back(struct hunt *u)
{
	struct step *st = &u->step[--u->depth];
	const struct act *a = &u->s.h->act[st->act];

	restore(u, st);
	u->s.taken_sum -= a->mark;
	u->taken[st->act] = false;
	u->done -= a->known;
	u->first = st->first;
	return st->act;
}

/* The earliest end among what is left: whoever began later must wait. */
static uint64_t horizon(const struct hunt *u)
{
	const struct history *h = u->s.h;
	uint64_t end = NEVER;

	for (uint32_t i = u->first; i < h->n && h->act[i].begun <= end; i++)
		if (!u->taken[i] && h->act[i].ended < end)
			end = h->act[i].ended;
	return end;
}

/* Candidates in order: those of known end from @first, then the unknown ones,
 * numbered behind. Takes the first that fits from number @from on. */
static bool advance(struct hunt *u, uint32_t from)
{
	const struct history *h = u->s.h;
	uint64_t end = horizon(u);
	uint32_t i;

	for (i = from > u->first ? from : u->first;
	     i < h->n && h->act[i].begun <= end; i++)
		if (!u->taken[i] && h->act[i].known && take(u, i))
			return true;
	for (i = from > h->n ? from - h->n : 0; i < u->unknowns; i++)
		if (!u->taken[u->unknown[i]] &&
		    h->act[u->unknown[i]].begun <= end &&
		    take(u, u->unknown[i]))
			return true;
	return false;
}

/* The number behind which to go on, after @act was taken back. */
static uint32_t behind(const struct hunt *u, uint32_t act)
{
	if (u->s.h->act[act].known)
		return act + 1;
	for (uint32_t i = 0; i < u->unknowns; i++)
		if (u->unknown[i] == act)
			return u->s.h->n + i + 1;
	return UINT32_MAX;
}

static bool hunt(struct hunt *u)
{
	uint32_t from = 0;

	while (u->done < u->known) {
		if (u->done > u->deepest) {
			u->deepest = u->done;
			u->deepest_first = u->first;
		}
		if (u->visits++ < VISITS_MAX && advance(u, from)) {
			from = 0;
			continue;
		}
		if (u->depth == 0 || u->visits >= VISITS_MAX)
			return false;
		from = behind(u, take_back(u));
	}
	return true;
}

/* --- telling
 * ----------------------------------------------------------------------- */

static void show_part(FILE *to, const struct history_part *p)
{
	static const char *const name[] = {"?",	     "get",    "put",
					   "put_if", "insert", "del"};

	fprintf(to,
		" %s k%" PRIu32 " value %" PRIu64 " expect %" PRIx64
		" -> %d version %" PRIx64 ";",
		name[p->kind <= KV_DEL ? p->kind : 0], p->key, p->value,
		p->expect, p->status, p->version);
}

static bool shares(const struct act *a, const struct act *b)
{
	for (uint32_t i = 0; i < a->n; i++)
		for (uint32_t j = 0; j < b->n; j++)
			if (a->part[i].key == b->part[j].key)
				return true;
	return false;
}

/* What was done to the keys of the act that could not be placed. */
static void show(const struct history *h, uint32_t at, FILE *to)
{
	for (uint32_t i = 0; i < h->n && at < h->n; i++) {
		const struct act *a = &h->act[i];

		if (!shares(a, &h->act[at]))
			continue;
		fprintf(to,
			"%s%4" PRIu32 " client %" PRIu32 " [%" PRIu64
			", %" PRId64 "]%s rc %d",
			i == at ? "=> " : "   ", i, a->who, a->begun,
			(int64_t)a->ended, a->known ? "" : " unknown", a->rc);
		for (uint32_t j = 0; j < a->n; j++)
			show_part(to, &a->part[j]);
		fputc('\n', to);
	}
}

bool history_check(const struct history *h, FILE *to)
{
	struct hunt u = {.s = {.h = h}};
	bool found;

	u.taken = calloc(h->n + 1, sizeof(*u.taken));
	u.step = calloc(h->n + 1, sizeof(*u.step));
	u.unknown = calloc(h->n + 1, sizeof(*u.unknown));
	assert(u.taken != NULL && u.step != NULL && u.unknown != NULL);
	for (uint32_t i = 0; i < h->n; i++)
		if (!h->act[i].known)
			u.unknown[u.unknowns++] = i;
	u.known = h->n - u.unknowns;
	for (uint32_t k = 0; k < HISTORY_KEYS_MAX; k++)
		u.s.cells_sum += cell_sum(k, &u.s.cell[k]);
	while (u.first < h->n && !h->act[u.first].known)
		u.first++;
	found = hunt(&u);
	if (!found && to != NULL && u.visits >= VISITS_MAX)
		fprintf(to, "given up after %u steps: there may be an order\n",
			u.visits);
	if (!found && to != NULL)
		show(h, u.deepest_first, to);
	free(u.m.slot);
	free(u.taken);
	free(u.step);
	free(u.unknown);
	return found;
}
