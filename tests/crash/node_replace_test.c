/* tests/crash/node_replace_test.c - nodes die as in node_kill_test.c and
 * pair_kill_test.c, and each is replaced. Also who dies while another, or it
 * itself, is being brought back. In the end nothing is missing: then m other
 * nodes die. Moments are samples, the same in every run; SAMPLES=n takes more.
 *
 *   node_replace_test SCENE SEED WHO N [WHO M]: one of them alone */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/scenes.h"
#include "tests/lib/sim.h"

#define NODES 5u

static uint32_t samples = 5 / SIM_SLOWNESS; /* of each scene and kind */

/* Everybody's operations from the first death to the second; there are more of
 * them where there is more to bring back. */
static const uint32_t later[] = {1,  4,	  9,   17,  30,	 50,
				 80, 120, 170, 230, 300, 400};
#define LATER (sizeof(later) / sizeof(later[0]))
#define MUCH  8u

static uint32_t moment(const struct scene *scene, uint32_t i)
{
	return 1 + i * 7 % (scene->least * scene->step);
}

/* --- one dies ------------------------------------------------------------- */

static void one_dies(void **state)
{
	const struct scene *scene = *state;
	uint32_t hits = 0;

	for (uint32_t i = 0; i < samples; i++) {
		struct strike st = {.who = i % NODES,
				    .n = moment(scene, i + i / NODES)};

		fprintf(stderr, "%s: seed %u, node %u at %u\n", scene->name,
			1 + i, st.who, st.n);
		scene_play_replaced(scene, 1 + i, &st, 1);
		hits += st.hit;
	}
	assert_true(hits >= (samples + 1) / 2);
}

/* --- two die -------------------------------------------------------------- */

/* In every fifth pair it is the same one again. */
static void two_die(void **state)
{
	const struct scene *scene = *state;
	uint32_t number = (uint32_t)(scene - scenes), both = 0;

	for (uint32_t i = 0; i < samples; i++) {
		struct strike st[2] = {{.n = 0}, {.n = 0}};

		st[0].who = (number + i) % NODES;
		st[0].n = moment(scene, i);
		st[1].who = (st[0].who + i + number) % NODES;
		st[1].n = later[(i * 5 + number + i / LATER) % LATER];
		if (scene->folds)
			st[1].n *= MUCH;
		fprintf(stderr,
			"%s: seed %u, node %u at %u, node %u after %u\n",
			scene->name, 1 + i, st[0].who, st[0].n, st[1].who,
			st[1].n);
		scene_play_replaced(scene, 1 + i, st, 2);
		both += st[0].hit && st[1].hit;
	}
	assert_true(both >= (samples + 1) / 2);
}

/* -------------------------------------------------------------------------- */

static int play_one(int argc, char **argv)
{
	struct strike st[2] = {{.n = 0}, {.n = 0}};

	for (int i = 0; i < 2 && argc > 4 + 2 * i; i++) {
		st[i].who = (uint32_t)atoi(argv[3 + 2 * i]);
		st[i].n = (uint32_t)atoi(argv[4 + 2 * i]);
	}
	for (uint32_t i = 0; i < scenes_n; i++)
		if (strcmp(scenes[i].name, argv[1]) == 0)
			scene_play_replaced(&scenes[i],
					    strtoull(argv[2], NULL, 0), st,
					    argc > 6 ? 2 : 1);
	return 0;
}

static int run_all(const char *name, void (*test)(void **state))
{
	struct CMUnitTest tests[32];

	for (uint32_t i = 0; i < scenes_n; i++)
		tests[i] = (struct CMUnitTest){
			.name = scenes[i].name,
			.test_func = test,
			.initial_state = (void *)&scenes[i],
		};
	return _cmocka_run_group_tests(name, tests, scenes_n, NULL, NULL);
}

int main(int argc, char **argv)
{
	const char *n = getenv("SAMPLES");

	if (n != NULL)
		samples = (uint32_t)atoi(n);
	if (samples == 0)
		samples = 1;
	if (argc > 4)
		return play_one(argc, argv);
	return run_all("a node dies and is replaced", one_dies) +
	       run_all("two nodes die and are replaced", two_die);
}
