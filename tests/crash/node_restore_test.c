/* tests/crash/node_restore_test.c - a dead node is replaced by one with memory
 * that is all zeros, which gets its blocks back while a client goes on. At
 * some operation meanwhile it dies, too, or another node does; whoever is dead
 * is replaced. In the end all are up and every byte is as it should be; then m
 * nodes that never died do, and all is read from what was restored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/cluster_check.h"
#include "tests/lib/effort.h"
#include "tests/lib/player.h"
#include "tests/lib/sim.h"

#define NODES	   5u
#define KEYS	   24u
#define PAGE_KEYS  6u
#define MS	   UINT64_C(1000000)
#define NEVER	   UINT32_MAX
#define TIMEOUT_MS 3000u

struct play {
	struct stage stage;
	struct player actor;
	struct sim *sim;
	uint32_t node;	/* is replaced */
	uint32_t who;	/* dies then, */
	uint32_t at;	/* before this operation; NEVER */
	bool traffic;	/* a client goes on */
	uint32_t count; /* operations */
	bool counting, hit, acted;
};

static void fill(struct player *p)
{
	p->stage->value_max = 6000;
	for (uint32_t i = 0; i < 2 * KEYS; i++)
		player_do(p, KV_PUT, i % KEYS);
	for (uint32_t i = 0; i < PAGE_KEYS; i++)
		player_do(p, KV_PUT, STAGE_PAGES_FROM + i);
	for (uint32_t i = 0; i < KEYS / 2; i++)
		player_do(p, KV_PUT, i);
}

static void on_effect(void *arg, struct fab_net *net)
{
	struct play *y = arg;

	if (!y->counting || ++y->count != y->at)
		return;
	y->counting = false;
	y->hit = true;
	cluster_kill_node(y->stage.c, y->who);
}

/* Changes of every kind until the others are done. */
static void act(void *arg)
{
	struct play *y = arg;

	for (uint32_t i = 0; i < 60; i++) {
		player_do(&y->actor, KV_PUT, i % KEYS);
		if (i % 7 == 0)
			player_do(&y->actor, KV_PUT,
				  STAGE_PAGES_FROM + i % PAGE_KEYS);
		if (i % 9 == 0)
			player_do(&y->actor, KV_DEL, i % KEYS);
	}
	y->acted = true;
}

static void replace(struct play *y, uint32_t node)
{
	struct view v;

	for (unsigned i = 0; i < 10000; i++) {
		coord_view(cluster_coord(y->stage.c), &v);
		if (v.node[node] == VIEW_NODE_DOWN)
			break;
		cluster_sleep(y->stage.c, MS);
	}
	assert_int_equal(v.node[node], VIEW_NODE_DOWN);
	cluster_replace_node(y->stage.c, node);
}

static void read_all(struct play *y)
{
	player_read_all(&y->actor, KEYS, PAGE_KEYS);
}

/* All are there; m of those that never died go. */
static void lose_others(struct play *y)
{
	uint32_t lost = 0;

	for (uint32_t i = 1; i < NODES && lost < 2; i++) {
		uint32_t id = (y->node + i) % NODES;

		if (y->hit && id == y->who)
			continue;
		cluster_kill_node(y->stage.c, id);
		lost++;
	}
	cluster_settle(y->stage.c);
	read_all(y);
	cluster_check(y->stage.c, y->actor.kv, false);
}

static void body(struct cluster *c, void *arg)
{
	struct play *y = arg;

	y->stage.c = c;
	y->sim = cluster_sim(c);
	player_init(&y->actor, &y->stage, 0);
	fill(&y->actor);
	cluster_kill_node(c, y->node);
	cluster_settle(c);
	sim_on_effect(y->sim, on_effect, y);
	y->counting = true;
	replace(y, y->node);
	if (y->traffic)
		cluster_spawn(c, act, y);
	else
		y->acted = true;
	while (!y->acted)
		cluster_sleep(c, MS / 10);
	if (!y->hit)
		cluster_settle(c); /* perhaps it comes to it yet */
	y->counting = false;
	if (y->hit)
		replace(y, y->who);
	cluster_settle(c);
	sim_on_effect(y->sim, NULL, NULL);
	read_all(y);
	kv_sync(y->actor.kv);
	cluster_settle(c);
	cluster_check(c, y->actor.kv, false);
	lose_others(y);
	assert_true(history_check(y->stage.h, stderr));
}

/* Returns how many operations there were, or 0 if it was struck. */
static uint32_t play(uint64_t seed, uint32_t node, uint32_t who, uint32_t at,
		     bool traffic)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .usable = 4u << 20,
				 .slots = 1024,
				 .op_timeout_ms = TIMEOUT_MS,
				 .clients = 4};
	struct play *y = calloc(1, sizeof(*y));
	uint32_t n;

	assert_non_null(y);
	fprintf(stderr, "restore %d %u %u %d %d\n", (int)seed, node, who,
		(int)at, traffic);
	*y = (struct play){
		.node = node, .who = who, .at = at, .traffic = traffic};
	y->stage.h = history_new();
	cluster_run(&o, body, y);
	n = y->hit ? 0 : y->count;
	history_free(y->stage.h);
	free(y);
	return n;
}

/* Some @samples moments of a restore of @node's; @who dies then. */
static void at_moments(uint32_t node, uint32_t who, bool traffic,
		       uint32_t samples)
{
	uint32_t all = play(1 + node, node, who, NEVER, traffic), hits = 0;

	assert_true(all > 20);
	for (uint32_t i = 0; i < samples; i++)
		hits += play(1 + node, node, who,
			     1 + (uint32_t)((uint64_t)all * i / samples),
			     traffic) == 0;
	assert_true(hits >= (samples + 1) / 2);
}

static void a_node_comes_back(void **state)
{
	for (uint32_t node = 0; node < NODES; node++)
		play(11, node, 0, NEVER, node % 2 != 0);
}

static void it_may_die_again(void **state)
{
	at_moments(0, 0, false, (uint32_t)effort(8));
	at_moments(3, 3, true, (uint32_t)effort(8));
}

static void another_may_die_meanwhile(void **state)
{
	at_moments(1, 2, false, (uint32_t)effort(8));
	at_moments(2, 0, true, (uint32_t)effort(8));
	at_moments(4, 3, true, (uint32_t)effort(8));
}

/* node_restore_test SEED NODE WHO AT TRAFFIC: one of them alone. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_comes_back),
		cmocka_unit_test(it_may_die_again),
		cmocka_unit_test(another_may_die_meanwhile),
	};

	if (argc == 6) {
		play(strtoull(argv[1], NULL, 0), (uint32_t)atoi(argv[2]),
		     (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]),
		     atoi(argv[5]) != 0);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
