/* tests/crash/node_kill_test.c - for each thing a client does, for each node,
 * for n = 1, 2, ...: the node dies just before the n-th remote operation. */
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
/* Sanitizers: a share of the moments, other ones for each node. */
#define SLOW	  (SIM_SLOWNESS > 1 ? 3 * SIM_SLOWNESS : 1)
#define EACH_NODE (SIM_SLOWNESS > 1 ? 2 : 1)

/* Until the act ends before the strike comes; how many came. */
static uint32_t every_moment(const struct scene *scene, uint32_t node)
{
	struct strike st = {.who = node, .hit = true};
	uint32_t hits = 0, step = scene->step * SLOW;

	for (st.n = 1 + node % step; st.hit; st.n += step) {
		st.hit = false;
		fprintf(stderr, "%s: node %u dies at %u\n", scene->name, node,
			st.n);
		scene_play(scene, 1 + node, &st, 1);
		hits += st.hit;
	}
	return hits;
}

static void node_dies(void **state)
{
	const struct scene *scene = *state;

	for (uint32_t node = 0; node < NODES; node += EACH_NODE)
		assert_true(every_moment(scene, node) >=
			    (scene->least + SLOW - 1) / SLOW);
}

/* node_kill_test SCENE NODE N: one of them alone. */
static int play_one(char **argv)
{
	struct strike st = {.who = (uint32_t)atoi(argv[2]),
			    .n = (uint32_t)atoi(argv[3])};

	for (uint32_t i = 0; i < scenes_n; i++)
		if (strcmp(scenes[i].name, argv[1]) == 0)
			scene_play(&scenes[i], 1 + st.who, &st, 1);
	return st.hit ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[32];

	if (argc == 4)
		return play_one(argv);
	for (uint32_t i = 0; i < scenes_n; i++)
		tests[i] = (struct CMUnitTest){
			.name = scenes[i].name,
			.test_func = node_dies,
			.initial_state = (void *)&scenes[i],
		};
	return _cmocka_run_group_tests("a node dies", tests, scenes_n, NULL,
				       NULL);
}
