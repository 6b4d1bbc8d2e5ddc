/* tests/crash/scene_seeds_test.c - any scene, any two deaths, at any moment,
 * dead nodes replaced or not: all from a seed. What node_kill_test.c,
 * pair_kill_test.c and node_replace_test.c try in order, here is tried at
 * random, so that a soak goes on finding moments that they pass over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/scenes.h"
#include "tests/lib/seeds.h"

#define NODES 5u

static struct seeds seeds;

static uint32_t roll(uint64_t *dice, uint32_t n)
{
	*dice = *dice * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(*dice >> 33) % n;
}

/* Small numbers as likely as large ones. */
static uint32_t moment(uint64_t *dice, uint32_t most)
{
	uint32_t up_to = 2;

	while (up_to < most && roll(dice, 4) != 0)
		up_to *= 2;
	return 1 + roll(dice, up_to < most ? up_to : most);
}

static uint32_t victim(uint64_t *dice, bool client)
{
	uint32_t who = roll(dice, NODES + (client ? 1 : 0));

	return who < NODES ? who : STRIKE_CLIENT;
}

static void run_seed(uint64_t seed)
{
	uint64_t dice = seed * UINT64_C(0x9e3779b97f4a7c15);
	const struct scene *s = &scenes[roll(&dice, scenes_n)];
	bool replaced = roll(&dice, 2) != 0;
	struct strike st[2] = {{.n = 0}, {.n = 0}};

	st[0].who = victim(&dice, !replaced);
	st[0].n = 1 + roll(&dice, s->least * s->step);
	do
		st[1].who = victim(&dice, !replaced);
	while (st[1].who == st[0].who && !replaced);
	st[1].n = moment(&dice, 3000);
	seeds_tell(seed);
	fprintf(stderr, "%s: %d at %u, then %d after %u%s\n", s->name,
		(int)st[0].who, st[0].n, (int)st[1].who, st[1].n,
		replaced ? "; replaced" : "");
	if (replaced)
		scene_play_replaced(s, seed, st, 2);
	else
		scene_play(s, seed, st, 2);
}

static void any_two_die(void **state)
{
	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++)
		run_seed(seed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_two_die),
	};

	seeds = seeds_of(argc, argv, 60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
