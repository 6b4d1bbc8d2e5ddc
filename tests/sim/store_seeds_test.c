/* tests/sim/store_seeds_test.c - everything at once, from seeds: two to four
 * clients do everything that kv.h offers to a few keys, while up to m nodes
 * and all clients but one die, nodes stop for a while, and messages are late or
 * lost. In some seeds dead nodes are replaced, and then any number of them
 * dies, m at a time, and the coordinator's messages are lost, too. All that was
 * told must be explained by one order [I9], also what a new client reads at the
 * end [I7] [I8], and the nodes' memory must be sound.
 *
 * SEEDS=n tries that many; `store_seeds_test SEED [LAST]` runs some alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/cluster_check.h"
#include "tests/lib/player.h"
#include "tests/lib/seeds.h"
#include "tests/lib/sim.h"

#define CLIENTS_MAX 4u
#define ROUNDS	    60u
#define TIMEOUT_MS  1500u
#define MISSED_MS   2000u /* a lost message is, and mended, twice over */
#define PLAIN	    20u	  /* keys that no transaction names */
#define TXN	    10u	  /* and those behind them, which some do */
#define FEW	    5u	  /* one of so many, when it is crowded */
#define PAGED	    10u
#define ACT_NS	    UINT64_C(30000) /* about what an act takes */
#define MS	    UINT64_C(1000000)

static struct seeds seeds;

/* That things were met, over all seeds. */
static struct {
	uint64_t acts, unknown, nodes, clients, pauses, looked_twice;
} met;

struct actor {
	struct world *w;
	struct player p;
	bool ended;
};

struct world {
	struct stage stage;
	struct sim *s;
	uint32_t clients, running;
	uint32_t drop_permille; /* of messages */
	bool replaced;		/* nodes that die are */
	uint64_t pace;		/* ns between acts, at most */
	bool crowded;		/* everybody wants the same few keys */
	bool some_died, fate_ended;
	uint64_t died_in[5]; /* the view's epoch; 0: that is over */
	struct actor actor[CLIENTS_MAX];
};

/* --- what clients do ----------------------------------------------------- */

static uint8_t some_kind(struct sim *s)
{
	static const uint8_t kind[] = {
		KV_GET, KV_GET, KV_GET,	   KV_PUT,    KV_PUT, KV_PUT,
		KV_PUT, KV_PUT, KV_PUT_IF, KV_INSERT, KV_DEL,
	};

	return kind[sim_dice(s, sizeof(kind))];
}

static uint32_t some_key(const struct world *w)
{
	uint32_t i = (uint32_t)sim_dice(w->s, PLAIN + TXN + PAGED);

	if (w->crowded)
		i -= i % FEW;

	return i < PLAIN + TXN ? i : STAGE_PAGES_FROM + i - PLAIN - TXN;
}

static void do_txn(struct actor *a)
{
	static const uint8_t kinds[] = {KV_PUT_IF, KV_PUT_IF, KV_DEL, KV_INSERT,
					KV_GET};
	struct sim *s = a->w->s;
	uint32_t n = 2 + (uint32_t)sim_dice(s, 3), key[4];
	uint32_t first = a->w->crowded ? 0 : (uint32_t)sim_dice(s, TXN);
	uint8_t kind[4];

	for (uint32_t i = 0; i < n; i++) {
		key[i] = PLAIN + (first + i) % TXN;
		kind[i] = kinds[sim_dice(s, sizeof(kinds))];
		if (kind[i] != KV_INSERT && sim_dice(s, 4) != 0)
			player_do(&a->p, KV_GET, key[i]);
		if (a->p.dead)
			return;
	}
	player_txn(&a->p, kind, key, n);
}

static void do_run(struct actor *a)
{
	struct sim *s = a->w->s;
	uint32_t n = 2 + (uint32_t)sim_dice(s, 3), key[4];
	uint32_t first = (uint32_t)sim_dice(s, PLAIN + TXN - 4);
	uint8_t kind[4];

	for (uint32_t i = 0; i < n; i++) {
		key[i] = first + i;
		kind[i] = some_kind(s);
	}
	player_run(&a->p, kind, key, n);
}

static void actor_main(void *arg)
{
	struct actor *a = arg;
	struct sim *s = a->w->s;

	for (uint32_t i = 0; i < ROUNDS && !a->p.dead; i++) {
		switch (sim_dice(s, 10)) {
		case 0:
		case 1:
			do_txn(a);
			break;
		case 2:
			do_run(a);
			break;
		default:
			player_do(&a->p, some_kind(s), some_key(a->w));
		}
		sim_pause(s, sim_dice(s, a->w->pace));
	}
	a->ended = true;
	if (!a->p.dead)
		a->w->running--;
}

/* --- what befalls them
 * ----------------------------------------------------------- */

static void kill_client(struct world *w)
{
	uint32_t i = (uint32_t)sim_dice(w->s, w->clients - 1);
	struct player *p = &w->actor[i].p;

	if (p->dead)
		return;
	p->dead = w->some_died = true;
	if (!w->actor[i].ended)
		w->running--; /* it need not be waited for */
	cluster_client_kill(w->stage.c, p->kv);
	met.clients++;
}

/* Dead, or not yet what it was. Another may be in its place before any view
 * says that it died. */
static uint32_t away(struct world *w)
{
	uint32_t n = 0;
	struct view v;

	coord_view(cluster_coord(w->stage.c), &v);
	for (uint32_t id = 0; id < v.nodes; id++) {
		bool up = v.node[id] == VIEW_NODE_UP;

		if (!up || v.epoch > w->died_in[id] + 2)
			w->died_in[id] = 0;
		n += cluster_node(w->stage.c, id) == NULL || !up ||
		     w->died_in[id] != 0;
	}
	return n;
}

static void kill_node(struct world *w)
{
	uint32_t id = (uint32_t)sim_dice(w->s, 5);

	struct view v;

	if (away(w) >= 2 || cluster_node(w->stage.c, id) == NULL)
		return;
	coord_view(cluster_coord(w->stage.c), &v);
	w->died_in[id] = v.epoch;
	cluster_kill_node(w->stage.c, id);
	met.nodes++;
}

static void stop_node(struct world *w)
{
	char address[16];

	snprintf(address, sizeof(address), "sim:n%u",
		 (unsigned)sim_dice(w->s, 5));
	sim_server_pause(w->s, address);
	sim_pause(w->s, sim_dice(w->s, 20 * MS));
	sim_server_resume(w->s, address);
	met.pauses++;
}

static void fate_main(void *arg)
{
	struct world *w = arg;
	uint32_t n = (uint32_t)sim_dice(w->s, w->replaced ? 12 : 6);

	for (uint32_t i = 0; i < n; i++) {
		sim_pause(w->s,
			  sim_dice(w->s, ROUNDS * (w->pace / 2 + ACT_NS)));
		if (w->running == 0)
			break; /* what is at rest is looked at now */
		switch (sim_dice(w->s, 5)) {
		case 0:
			kill_client(w);
			break;
		case 1:
			stop_node(w);
			break;
		default:
			kill_node(w);
		}
	}
	w->fate_ended = true;
}

/* --- a seed
 * ------------------------------------------------------------------------ */

static void check_order(const struct world *w)
{
	bool ok = history_check(w->stage.h, stderr);

	met.acts += history_acts(w->stage.h);
	met.unknown += history_unknowns(w->stage.h);
	met.looked_twice += w->stage.looked_twice;
	assert_true(ok);
}

static const uint64_t paces[] = {MS / 100, MS / 10, MS};

static void body(struct cluster *c, void *arg)
{
	struct world *w = arg;
	struct player last;

	w->stage.c = c;
	w->s = cluster_sim(c);
	w->clients = 2 + (uint32_t)sim_dice(w->s, CLIENTS_MAX - 1);
	w->pace = paces[sim_dice(w->s, 3)];
	w->crowded = sim_dice(w->s, 2) != 0;
	for (uint32_t i = 0; i < w->clients; i++) {
		w->actor[i].w = w;
		player_init(&w->actor[i].p, &w->stage, i);
	}
	sim_drop(w->s, w->drop_permille, w->replaced ? "coord" : "kv");
	for (uint32_t i = 0; i < w->clients; i++)
		cluster_spawn(c, actor_main, &w->actor[i]);
	w->running = w->clients;
	cluster_spawn(c, fate_main, w);
	while (w->running > 0 || !w->fate_ended)
		cluster_sleep(c, MS / 10);
	sim_drop(w->s, 0, "");
	player_init(&last, &w->stage, CLIENTS_MAX);
	player_read_all(&last, PLAIN + TXN, PAGED);
	cluster_settle(c);
	player_read_all(&last, PLAIN + TXN, PAGED);
	check_order(w);
	/* A message of the last moments that was lost is missed when its time
	 * is up; what it was about is mended then (kv/client/doubt.c). */
	if (w->drop_permille != 0)
		cluster_sleep(c, MISSED_MS * MS);
	/* Whose time was up leaves what the dead leave. */
	cluster_check(c, last.kv,
		      w->some_died || history_unknowns(w->stage.h) > 0);
}

static void run_seed(uint64_t seed)
{
	struct cluster_opts o = {
		.mode = CLUSTER_SIM, .seed = seed, .op_timeout_ms = TIMEOUT_MS};
	struct world *w = calloc(1, sizeof(*w));

	seeds_tell(seed);
	assert_non_null(w);
	if (seed % 3 == 0)
		o.usable = 4u << 20; /* blocks fill and come back */
	if (seed % 3 == 0)
		w->stage.value_max = 6000;
	if (seed % 4 == 1)
		o.slow_permille = 20;
	if (seed % 5 == 2)
		w->drop_permille = 20;
	o.ckpt_ms = (uint32_t)(seed % 7) * 5; /* 0: none */
	o.rest_ms = cluster_rest_ms(seed);
	if (seed % 7 >= 4) {
		o.respawn_ns = MS / 2;
		w->replaced = true;
	}
	w->stage.h = history_new();
	cluster_run(&o, body, w);
	history_free(w->stage.h);
	free(w);
}

static void everything_at_once(void **state)
{
	memset(&met, 0, sizeof(met));
	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++)
		run_seed(seed);
	print_message(
		"%llu acts, %llu of unknown end; died: %llu nodes, %llu "
		"clients; %llu pauses; %llu looks at freed pages\n",
		(unsigned long long)met.acts, (unsigned long long)met.unknown,
		(unsigned long long)met.nodes, (unsigned long long)met.clients,
		(unsigned long long)met.pauses,
		(unsigned long long)met.looked_twice);
	if (seeds_are_many(seeds))
		assert_true(met.nodes > 10 && met.clients > 2 &&
			    met.unknown > 2 && met.pauses > 5);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_at_once),
	};

	seeds = seeds_of(argc, argv, 60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
