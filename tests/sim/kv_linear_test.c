/* Histories [I9]: clients change and read the same few keys while nodes die;
 * every key's history must be explained by some order of its operations, each
 * at one moment between its call and its return (Wing and Gong's search, with
 * Lowe's memory of what was tried). An operation that ended with an error that
 * says nothing (-ETIMEDOUT) may have happened at any later time, or never.
 *
 * The same over several hosts: links are cut, some clients and nodes are left
 * on the wrong side, the coordinator dies and another takes its place.
 *
 * And transfers: transactions move money between accounts; whoever reads all
 * of them in one transaction of checks sees the right sum.
 *
 * A failing seed is printed; run it alone: kv_linear_test SEED. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/client_impl.h"
#include "kv/client/lease.h"
#include "tests/lib/cluster.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/seeds.h"
#include "tests/lib/sim.h"

#define CLIENTS 3u
#define KEYS	4u
#define PER_KEY 60u /* operations in a history, at most 64 */
#define MS	UINT64_C(1000000)
#define UNKNOWN 1 /* a status: it may have happened or not */

static struct seeds seeds;

/* --- histories ------------------------------------------------------------ */

struct event {
	uint64_t from, to; /* call and return; UINT64_MAX: never known */
	enum kv_kind kind;
	uint32_t value;	 /* written; or read, 0 absent */
	uint32_t expect; /* PUT_IF, DEL: the value expected; 0: any */
	int status;
};

struct history {
	struct event e[PER_KEY];
	unsigned n;
};

/* What @e would be told if the key had @state; *next: what it has then. */
static bool explains(const struct event *e, uint32_t state, uint32_t *next)
{
	bool hit = state != 0 && (e->expect == 0 || e->expect == state);
	int want = 0;

	*next = state;
	switch (e->kind) {
	case KV_GET:
		return e->status == UNKNOWN ||
		       (state == 0 ? e->status == -ENOENT
				   : e->status == 0 && e->value == state);
	case KV_INSERT:
		want = state != 0 ? -EEXIST : 0;
		break;
	case KV_PUT_IF:
	case KV_DEL:
		want = state == 0 ? -ENOENT : hit ? 0 : -ESTALE;
		break;
	default:
		break;
	}
	if (e->status != UNKNOWN && e->status != want)
		return false;
	if (want == 0)
		*next = e->kind == KV_DEL ? 0 : e->value;
	return true;
}

#define TRIED (1u << 16)

struct search {
	const struct history *h;
	struct {
		uint64_t done;
		uint32_t state, used;
	} tried[TRIED];
	uint64_t must; /* those that are known to have happened */
};

static bool was_tried(struct search *s, uint64_t done, uint32_t state)
{
	uint64_t x = (done ^ state * UINT64_C(0x9e3779b97f4a7c15)) *
		     UINT64_C(0xff51afd7ed558ccd);
	uint32_t i = (uint32_t)(x >> 40) % TRIED;

	for (unsigned n = 0; n < TRIED; n++, i = (i + 1) % TRIED) {
		if (!s->tried[i].used)
			break;
		if (s->tried[i].done == done && s->tried[i].state == state)
			return true;
	}
	assert_false(s->tried[i].used); /* the table is large enough */
	s->tried[i].used = 1;
	s->tried[i].done = done;
	s->tried[i].state = state;
	return false;
}

/* No operation that is not done returned before @e was called. */
static bool may_be_next(const struct history *h, uint64_t done, unsigned i)
{
	for (unsigned j = 0; j < h->n; j++)
		if (!(done >> j & 1) && h->e[j].to < h->e[i].from)
			return false;
	return true;
}

static bool explain(struct search *s, uint64_t done, uint32_t state)
{
	uint32_t next;

	if ((done & s->must) == s->must)
		return true;
	if (was_tried(s, done, state))
		return false;
	for (unsigned i = 0; i < s->h->n; i++)
		if (!(done >> i & 1) && may_be_next(s->h, done, i) &&
		    explains(&s->h->e[i], state, &next) &&
		    explain(s, done | UINT64_C(1) << i, next))
			return true;
	return false;
}

static bool is_linearizable(const struct history *h)
{
	struct search *s = calloc(1, sizeof(*s));
	bool yes;

	s->h = h;
	for (unsigned i = 0; i < h->n; i++)
		if (h->e[i].status != UNKNOWN)
			s->must |= UINT64_C(1) << i;
	yes = explain(s, 0, 0);
	free(s);
	return yes;
}

/* The judge is judged first. */
static void the_checker_tells_right_from_wrong(void **state)
{
	struct history h = {.n = 4,
			    .e = {
				    {1, 2, KV_INSERT, 7, 0, 0},
				    {3, 6, KV_PUT, 8, 0, 0},
				    {4, 5, KV_GET, 8, 0, 0},
				    {7, 8, KV_GET, 8, 0, 0},
			    }};

	assert_true(is_linearizable(&h));
	h.e[3].value = 7; /* it went back */
	assert_false(is_linearizable(&h));
	h.e[2].value = 7;
	assert_false(is_linearizable(&h));
	h.e[1].status = UNKNOWN;
	h.e[1].to = UINT64_MAX;
	assert_true(is_linearizable(&h)); /* not yet, or never */
	h.e[1] = (struct event){3, 6, KV_INSERT, 8, 0, 0};
	assert_false(is_linearizable(&h)); /* two won */
	h.e[1].status = -EEXIST;
	assert_true(is_linearizable(&h));
	h.e[1] = (struct event){3, 6, KV_PUT_IF, 8, 9, 0};
	assert_false(is_linearizable(&h)); /* of what never was */
}

struct outcome {
	bool remote;
	unsigned known, fenced;
};

/* --- clients at work ------------------------------------------------------ */

struct world {
	struct cluster *c;
	struct sim *s;
	bool one;	   /* client, of several callers: it is alone */
	uint64_t pause_ns; /* between two operations, at most; sometimes */
	struct history h[KEYS];
	uint32_t values;
	struct worker {
		struct world *w;
		struct kv *kv;
		uint64_t version[KEYS]; /* last seen, and its value */
		uint32_t value[KEYS];
	} worker[CLIENTS];
};

static bool says_nothing(int rc)
{
	return rc == -ETIMEDOUT || rc == -EIO || rc == -ENOTCONN;
}

static int call(struct worker *k, unsigned key, struct event *e)
{
	char name[8];
	size_t klen = (size_t)sprintf(name, "key%u", key), len;
	uint32_t got = 0;
	uint64_t v = 0, expect = e->expect ? k->version[key] : 0;
	int rc;

	switch (e->kind) {
	case KV_GET:
		rc = kv_get(k->kv, name, klen, &got, sizeof(got), &len, &v);
		if (rc == 0)
			e->value = got;
		break;
	case KV_PUT:
		rc = kv_put(k->kv, name, klen, &e->value, 4, &v);
		break;
	case KV_PUT_IF:
		rc = kv_put_if(k->kv, name, klen, &e->value, 4, expect, &v);
		break;
	case KV_INSERT:
		rc = kv_insert(k->kv, name, klen, &e->value, 4, &v);
		break;
	default:
		return kv_del(k->kv, name, klen, expect);
	}
	if (rc == 0) {
		k->version[key] = v;
		k->value[key] = e->value;
	}
	return rc;
}

static void do_one(struct worker *k, unsigned key)
{
	static const enum kv_kind kinds[] = {KV_GET,	KV_GET,	   KV_PUT,
					     KV_PUT_IF, KV_PUT_IF, KV_INSERT,
					     KV_DEL};
	struct world *w = k->w;
	struct event *e = &w->h[key].e[w->h[key].n++];

	e->kind = kinds[sim_dice(w->s, 7)];
	if (e->kind == KV_PUT_IF && k->value[key] == 0)
		e->kind = KV_INSERT;
	if (e->kind == KV_PUT_IF || (e->kind == KV_DEL && sim_dice(w->s, 2)))
		e->expect = k->value[key];
	e->value = e->kind == KV_GET ? 0 : ++w->values;
	e->status = UNKNOWN;
	e->to = UINT64_MAX;
	e->from = sim_now(w->s);
	e->status = call(k, key, e);
	e->to = sim_now(w->s);
	if (says_nothing(e->status)) {
		e->status = UNKNOWN;
		e->to = UINT64_MAX;
	}
}

static void worker_main(void *arg)
{
	struct worker *k = arg;
	struct world *w = k->w;
	unsigned key, idle = 0;

	while (idle < 20) {
		key = (unsigned)sim_dice(w->s, KEYS);
		idle++;
		if (w->h[key].n >= PER_KEY - CLIENTS)
			continue;
		idle = 0;
		do_one(k, key);
		if (lease_is_dead(k->kv->lease))
			return; /* fenced: the others go on */
		if (sim_dice(w->s, 4) == 0)
			cluster_sleep(w->c, sim_dice(w->s, w->pause_ns));
	}
}

static void kill_two(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		uint32_t id = (uint32_t)sim_dice(w->s, 5);

		cluster_sleep(w->c, sim_dice(w->s, 15 * MS));
		if (cluster_node(w->c, id) != NULL)
			cluster_kill_node(w->c, id);
	}
}

static void tell(const struct history *h)
{
	static const char *const name[] = {"?",	     "get",    "put",
					   "put_if", "insert", "del"};

	for (unsigned i = 0; i < h->n; i++)
		print_error("%8lu..%-8ld %-6s %u expect %u: %d\n",
			    (unsigned long)h->e[i].from / 1000,
			    h->e[i].to == UINT64_MAX
				    ? -1
				    : (long)(h->e[i].to / 1000),
			    name[h->e[i].kind], h->e[i].value, h->e[i].expect,
			    h->e[i].status);
}

/* --- links that are cut -------------------------------------------------- */

static struct {
	char far[128]; /* names on the other side, each with a space behind */
	bool on;
} cut;

static bool is_far(const char *name)
{
	char word[48];

	snprintf(word, sizeof(word), "%s ", name);
	return strstr(cut.far, word) != NULL;
}

static bool passes(void *arg, const char *net, const char *server)
{
	return !cut.on || is_far(net) == is_far(server);
}

static void far_add(const char *format, unsigned i)
{
	size_t len = strlen(cut.far);

	snprintf(cut.far + len, sizeof(cut.far) - len, format, i, i);
}

/* One or two nodes, some clients, and sometimes the coordinator. */
static void choose_sides(struct world *w)
{
	uint32_t first = (uint32_t)sim_dice(w->s, 5);

	strcpy(cut.far, " ");
	if (sim_dice(w->s, 4) != 0)
		far_add("node%u sim:n%u ", first);
	if (sim_dice(w->s, 2) != 0)
		far_add("node%u sim:n%u ", (first + 2) % 5);
	for (unsigned i = 1; i <= CLIENTS; i++)
		if (sim_dice(w->s, 2) != 0)
			far_add("kv%u ", i);
	if (sim_dice(w->s, 4) == 0)
		far_add("coord sim:pool ", 0);
}

static void cut_links(struct world *w)
{
	choose_sides(w);
	sim_on_link(w->s, passes, NULL);
	for (unsigned i = 0; i < 2; i++) {
		cluster_sleep(w->c, sim_dice(w->s, 100 * MS));
		cut.on = true;
		if (sim_dice(w->s, 3) == 0) {
			cluster_sleep(w->c, sim_dice(w->s, 300 * MS));
			cluster_kill_coord(w->c);
			cluster_sleep(w->c, sim_dice(w->s, 300 * MS));
			cluster_start_coord(w->c);
		}
		cluster_sleep(w->c, sim_dice(w->s, 1500 * MS));
		cut.on = false;
	}
}

static void race(struct cluster *c, void *arg)
{
	struct world *w = calloc(1, sizeof(*w));
	struct outcome *out = arg;

	w->c = c;
	w->s = cluster_sim(c);
	w->pause_ns = out->remote ? 100 * MS : MS;
	w->one = sim_dice(w->s, 3) == 0;
	for (unsigned i = 0; i < CLIENTS; i++) {
		w->worker[i].w = w;
		w->worker[i].kv =
			i > 0 && w->one ? w->worker[0].kv : cluster_client(c);
		cluster_spawn(c, worker_main, &w->worker[i]);
	}
	if (out->remote)
		cut_links(w);
	else
		kill_two(w);
	cluster_join(c);
	for (unsigned i = 0; i < CLIENTS; i++)
		out->fenced += lease_is_dead(w->worker[i].kv->lease);
	for (unsigned i = 0; i < KEYS; i++) {
		for (unsigned j = 0; j < w->h[i].n; j++)
			out->known += w->h[i].e[j].status != UNKNOWN;
		if (!is_linearizable(&w->h[i])) {
			tell(&w->h[i]);
			fail_msg("the history of key %u has no explanation", i);
		}
	}
	free(w);
}

static void every_history_has_an_explanation(void **state)
{
	struct outcome out = {.remote = false};
	unsigned all = 0;

	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM,
					 .seed = seed,
					 .slots = 400,
					 .ckpt_ms = (uint32_t)seed % 4,
					 .rest_ms = cluster_rest_ms(seed)};

		seeds_tell(seed);
		cluster_run(&o, race, &out);
		all += KEYS * (PER_KEY - CLIENTS);
	}
	if (seeds_are_many(seeds)) /* it was about something */
		assert_true(out.known > all * 9 / 10);
}

static void so_it_has_when_links_are_cut(void **state)
{
	static struct mem_disk disk;
	struct outcome out = {.remote = true};
	/* They are long. */
	unsigned every = seeds_are_many(seeds) ? 4 : 1;

	for (uint64_t seed = seeds.first; seed <= seeds.last; seed += every) {
		struct cluster_opts o = {.mode = CLUSTER_SIM,
					 .seed = seed,
					 .slots = 400,
					 .remote = true,
					 .store = &disk,
					 .lease_ms = 100,
					 .op_timeout_ms = 3000,
					 .ckpt_ms = (uint32_t)seed % 4,
					 .rest_ms = cluster_rest_ms(seed)};

		memset(&disk, 0, sizeof(disk));
		seeds_tell(seed);
		cluster_run(&o, race, &out);
	}
	if (!seeds_are_many(seeds))
		return;
	assert_true(out.fenced > 0 &&
		    out.fenced < CLIENTS * (seeds.last - seeds.first + 1));
}

/* --- transfers ------------------------------------------------------------ */

#define ACCOUNTS 4u
#define START	 100

struct bank {
	struct cluster *c;
	struct sim *s;
	unsigned moved, refused, audits;
	struct teller {
		struct bank *b;
		struct kv *kv;
	} teller[CLIENTS];
};

static struct kv_req account_req(char name[8], unsigned i, enum kv_kind kind,
				 int *sum, uint64_t expect)
{
	size_t klen = (size_t)sprintf(name, "acc%u", i);

	return (struct kv_req){.kind = (uint8_t)kind,
			       .key = name,
			       .klen = (uint16_t)klen,
			       .val = sum,
			       .len = 4,
			       .buf = sum,
			       .cap = 4,
			       .expect = expect};
}

static int read_account(struct kv *kv, unsigned i, int *sum, uint64_t *version)
{
	char name[8];
	struct kv_req rq = account_req(name, i, KV_GET, sum, 0);
	int rc = kv_run(kv, &rq, 1);

	*version = rq.version;
	return rc;
}

static void move_some(struct teller *t)
{
	struct bank *b = t->b;
	unsigned x = (unsigned)sim_dice(b->s, ACCOUNTS);
	unsigned y =
		(x + 1 + (unsigned)sim_dice(b->s, ACCOUNTS - 1)) % ACCOUNTS;
	int sx, sy, rc, some = (int)sim_dice(b->s, 10);
	char nx[8], ny[8];
	struct kv_req rq[2];
	uint64_t vx, vy;

	if (read_account(t->kv, x, &sx, &vx) != 0 ||
	    read_account(t->kv, y, &sy, &vy) != 0)
		return;
	sx -= some;
	sy += some;
	rq[0] = account_req(nx, x, KV_PUT_IF, &sx, vx);
	rq[1] = account_req(ny, y, KV_PUT_IF, &sy, vy);
	rc = kv_txn(t->kv, rq, 2);
	assert_true(rc == 0 || rc == -ESTALE || says_nothing(rc));
	b->moved += rc == 0;
	b->refused += rc == -ESTALE;
}

/* All accounts at one moment: read them, then have it confirmed. */
static void audit(struct teller *t)
{
	struct kv_req rq[ACCOUNTS];
	char name[ACCOUNTS][8];
	int sum[ACCOUNTS], total = 0;
	uint64_t v;

	for (unsigned i = 0; i < ACCOUNTS; i++) {
		if (read_account(t->kv, i, &sum[i], &v) != 0)
			return;
		rq[i] = account_req(name[i], i, KV_GET, &sum[i], v);
		rq[i].buf = NULL;
		rq[i].cap = 0;
		total += sum[i];
	}
	if (kv_txn(t->kv, rq, ACCOUNTS) != 0)
		return;
	assert_int_equal(total, ACCOUNTS * START);
	t->b->audits++;
}

static void teller_main(void *arg)
{
	struct teller *t = arg;

	for (unsigned i = 0; i < 40; i++) {
		if (sim_dice(t->b->s, 4) == 0)
			audit(t);
		else
			move_some(t);
		cluster_sleep(t->b->c, sim_dice(t->b->s, MS));
	}
}

static void bank_day(struct cluster *c, void *arg)
{
	struct bank *total = arg, b = {.c = c, .s = cluster_sim(c)};
	struct kv *kv = cluster_client(c);
	int start = START, sum, all = 0;
	uint64_t v;

	for (unsigned i = 0; i < ACCOUNTS; i++) {
		char name[8];
		struct kv_req rq = account_req(name, i, KV_INSERT, &start, 0);

		assert_int_equal(kv_run(kv, &rq, 1), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		b.teller[i].b = &b;
		b.teller[i].kv = cluster_client(c);
		cluster_spawn(c, teller_main, &b.teller[i]);
	}
	cluster_sleep(c, sim_dice(b.s, 30 * MS));
	if (sim_dice(b.s, 2))
		cluster_kill_node(c, (uint32_t)sim_dice(b.s, 5));
	cluster_join(c);
	for (unsigned i = 0; i < ACCOUNTS; i++) {
		assert_int_equal(read_account(kv, i, &sum, &v), 0);
		all += sum;
	}
	assert_int_equal(all, ACCOUNTS * START);
	total->moved += b.moved;
	total->refused += b.refused;
	total->audits += b.audits;
}

static void no_money_is_made_or_lost(void **state)
{
	struct bank total = {0};

	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM,
					 .seed = seed,
					 .slots = 400,
					 .ckpt_ms = (uint32_t)seed % 4,
					 .rest_ms = cluster_rest_ms(seed)};

		seeds_tell(seed);
		cluster_run(&o, bank_day, &total);
	}
	if (seeds_are_many(seeds))
		assert_true(total.moved > 20 && total.refused > 0 &&
			    total.audits > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_checker_tells_right_from_wrong),
		cmocka_unit_test(every_history_has_an_explanation),
		cmocka_unit_test(so_it_has_when_links_are_cut),
		cmocka_unit_test(no_money_is_made_or_lost),
	};

	seeds = seeds_of(argc, argv, 40);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
