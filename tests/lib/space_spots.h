/* tests/lib/space_spots.h - a test program's one pool, and short names for
 * what its tests do with spots. Include it once. */
#ifndef ACESO_TESTS_LIB_SPACE_SPOTS_H
#define ACESO_TESTS_LIB_SPACE_SPOTS_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/space_impl.h"
#include "tests/lib/space_pool.h"

#define UNITS	   1024u /* in a block of 64 KiB */
#define BLOCKS_MAX 4096u

static struct space_pool pool;
static const struct spool_shape plain __attribute__((unused)) = {0};

static inline struct kv_thread *me(void)
{
	return kv_thread(&pool.kv);
}

static inline uint64_t soon(void)
{
	return atomic_load(&pool.now) + UINT64_C(2000000000);
}

static inline int take(enum space_class class, uint32_t units,
		       struct space_spot *out)
{
	return space_take(pool.kv.space, me(), class, units, false, soon(),
			  out);
}

static inline void settle(const struct space_spot *s)
{
	space_settle(pool.kv.space, s);
}

static inline void obsolete(const struct space_spot *s, uint32_t life)
{
	space_obsolete(pool.kv.space, me(), s->addr, s->units, life);
}

static inline int background(bool flush)
{
	return space_background(pool.kv.space, me(), flush);
}

/* Write @fill to copy @c of the spot, or all with -1. */
static inline void write_spot(const struct space_spot *s, int c, int fill)
{
	for (int i = 0; i < s->copies; i++)
		if (c < 0 || c == i)
			memset(spool_mem(&pool,
					 fab_addr_make(s->copy[i].node,
						       s->copy[i].offset)),
			       fill, s->units * GROUP_UNIT_BYTES);
}

struct place {
	uint64_t stripe;
	uint32_t role, at;
};

static inline struct place place_of(const struct space_spot *s)
{
	struct place p;

	assert_int_equal(group_locate(&pool.layout.group, s->addr, &p.stripe,
				      &p.role, &p.at),
			 0);
	return p;
}

/* The state of the spot's block at every member that is up. */
static inline void assert_state(const struct place *p, uint8_t state)
{
	const struct group *g = &pool.layout.group;
	uint32_t node = spool_node(&pool, p->stripe, p->role);

	for (uint32_t r = g->k; r <= group_width(g); r++) {
		if (atomic_load(&pool.up) >> node & 1)
			assert_int_equal(
				spool_rec(&pool, node, p->stripe, p->role)
					.state,
				state);
		if (r < group_width(g))
			node = spool_node(&pool, p->stripe, r);
	}
}

static inline uint32_t dead_at(const struct place *p, uint32_t node)
{
	return spool_rec(&pool, node, p->stripe, p->role).dead;
}

#endif
