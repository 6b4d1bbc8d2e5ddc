/* tests/lib/scenes_run.c - what the main()s of the crash suites share: every
 * scene as a test of its own, and one of them alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/scenes.h"

#define SCENES_MAX  32u
#define STRIKES_MAX 4u

const struct scene *scene_named(const char *name)
{
	for (uint32_t i = 0; i < scenes_n; i++)
		if (strcmp(scenes[i].name, name) == 0)
			return &scenes[i];
	return NULL;
}

int scenes_run(const char *group, void (*test)(void **state))
{
	struct CMUnitTest tests[SCENES_MAX];

	assert_true(scenes_n <= SCENES_MAX);
	for (uint32_t i = 0; i < scenes_n; i++)
		tests[i] = (struct CMUnitTest){
			.name = scenes[i].name,
			.test_func = test,
			.initial_state = (void *)&scenes[i],
		};
	return _cmocka_run_group_tests(group, tests, scenes_n, NULL, NULL);
}

int scene_play_words(int argc, char **argv,
		     void (*play)(const struct scene *scene, uint64_t seed,
				  struct strike *strike, uint32_t strikes))
{
	const struct scene *scene = scene_named(argv[1]);
	struct strike st[STRIKES_MAX] = {{.n = 0}};
	uint32_t n = 0;

	for (int i = 3; i + 1 < argc && n < STRIKES_MAX; i += 2)
		st[n++] = (struct strike){.who = (uint32_t)atoi(argv[i]),
					  .n = (uint32_t)atoi(argv[i + 1])};
	if (scene == NULL)
		return 2;
	play(scene, strtoull(argv[2], NULL, 0), st, n);
	return 0;
}
