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

int main(int argc, char **argv)
{
	const char *n = getenv("SAMPLES");

	if (n != NULL)
		samples = (uint32_t)atoi(n);
	if (samples == 0)
		samples = 1;
	if (argc > 4)
		return scene_play_words(argc, argv, scene_play_replaced);
	return scenes_run("a node dies and is replaced", one_dies) +
	       scenes_run("two nodes die and are replaced", two_die);
}
