/* tests/crash/node_kill_test.c - for each thing a client does, for each node
 * and the client itself, for n = 1, 2, ...: it dies just before the n-th remote
 * operation. Long scenes in steps, but for EVERY=1.
 *
 *   node_kill_test SCENE WHO N: one of them alone; WHO 5: the client */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/scenes.h"
#include "tests/lib/sim.h"

#define NODES	5u
#define VICTIMS (NODES + 1) /* the last is the client */
/* Sanitizers: a share of the moments, other ones for each node. */
#define SLOW	  (SIM_SLOWNESS > 1 ? 3 * SIM_SLOWNESS : 1)
#define EACH_NODE (SIM_SLOWNESS > 1 ? 2 : 1)

static struct strike strike_of(uint32_t victim)
{
	return (struct strike){.who = victim < NODES ? victim : STRIKE_CLIENT};
}

static uint32_t step_of(const struct scene *scene)
{
	return getenv("EVERY") != NULL ? 1 : scene->step * SLOW;
}

/* Until the act ends before the strike comes; how many came. */
static uint32_t every_moment(const struct scene *scene, uint32_t victim)
{
	struct strike st = strike_of(victim);
	uint32_t hits = 0, step = step_of(scene);

	st.hit = true;
	for (st.n = 1 + victim % step; st.hit; st.n += step) {
		st.hit = false;
		fprintf(stderr, "%s: %s %u dies at %u\n", scene->name,
			victim < NODES ? "node" : "client, as", victim, st.n);
		scene_play(scene, 1 + victim, &st, 1);
		hits += st.hit;
	}
	return hits;
}

static void somebody_dies(void **state)
{
	const struct scene *scene = *state;

	for (uint32_t i = 0; i < VICTIMS; i += EACH_NODE)
		assert_true(every_moment(scene, i) >=
			    (scene->least + SLOW - 1) / SLOW);
}

/* node_kill_test SCENE NODE N: one of them alone. */
static int play_one(char **argv)
{
	const struct scene *scene = scene_named(argv[1]);
	uint32_t victim = (uint32_t)atoi(argv[2]);
	struct strike st = strike_of(victim);

	st.n = (uint32_t)atoi(argv[3]);
	if (scene == NULL)
		return 2;
	scene_play(scene, 1 + victim, &st, 1);
	return st.hit ? 0 : 1;
}

int main(int argc, char **argv)
{
	return argc == 4 ? play_one(argv)
			 : scenes_run("somebody dies", somebody_dies);
}
