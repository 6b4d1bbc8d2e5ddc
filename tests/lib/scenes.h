/* tests/lib/scenes.h - one thing that a client does, in a small pool that was
 * made for it, while others die at a chosen moment. Whatever the moment: what
 * the client was told, and what another client reads afterwards, has an order
 * [I7] [I8] [I9], and the memory of the nodes that are left is sound. */
#ifndef ACESO_TESTS_LIB_SCENES_H
#define ACESO_TESTS_LIB_SCENES_H
#include "tests/lib/player.h"

struct scene {
	const char *name;
	void (*prepare)(struct player *p);
	void (*act)(struct player *p);
	/* Another client, at the same time, that nobody kills; or NULL. */
	void (*rival)(struct player *p);
	/* Another client is there and does nothing: ours is not alone. */
	bool company;
	/* What counts as an operation: the client's own, or everybody's. */
	bool everybodys;
	uint32_t step;	     /* every so manieth is tried */
	uint32_t least;	     /* so many must be met, or the test is none */
	bool folds, retires; /* it makes the nodes do that */
	bool images;	     /* and that: rounds of checkpoints */
	bool reopens;	     /* a small pool, nearly full: space comes back
				from blocks that hold live records, too */
};

extern const struct scene scenes[];
extern const uint32_t scenes_n;

#define STRIKE_CLIENT UINT32_MAX

/* Somebody dies just before the @n-th operation (counted from 1) after the
 * act's begin, or after the strike before this one. */
struct strike {
	uint32_t who; /* a node, or STRIKE_CLIENT */
	uint32_t n;
	bool hit; /* out: it came to that */
};

/* Second strikes count everybody's operations, to the end of the scene. */
void scene_play(const struct scene *scene, uint64_t seed, struct strike *strike,
		uint32_t strikes);

/* The same, but dead nodes are replaced, also those that die while they come:
 * in the end all is as it was, and then m others die, too. */
void scene_play_replaced(const struct scene *scene, uint64_t seed,
			 struct strike *strike, uint32_t strikes);

/* --- for main()s: scenes_run.c -------------------------------------------- */

/* NULL: there is none. */
const struct scene *scene_named(const char *name);

/* @test once for each scene, which is its state; how many failed. */
int scenes_run(const char *group, void (*test)(void **state));

/* One of them alone: SCENE SEED WHO N [WHO M]..., WHO -1 the client; the exit
 * code. */
int scene_play_words(int argc, char **argv,
		     void (*play)(const struct scene *scene, uint64_t seed,
				  struct strike *strike, uint32_t strikes));

#endif
