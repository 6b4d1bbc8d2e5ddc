/* kv/client/space.c - the life of a client's space; spots and frees. */
#include "kv/client/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/sysinfo.h>

#include "kv/client/member.h"
#include "kv/client/pages.h"
#include "kv/client/persist.h"
#include "kv/client/space_impl.h"

#define LANES_DEFAULT_MAX 8u
#define MARKS_INLINE	  8192u /* the freer itself sends some */
#define CLOSE_NS	  UINT64_C(5000000000)
#define CLOSE_NAP_NS	  UINT64_C(1000000)  /* twice as long each time, */
#define CLOSE_NAP_MAX_NS  UINT64_C(16000000) /* up to this */

/* --- opening ------------------------------------------------------------- */

static uint32_t lanes_of(const struct kv *kv)
{
	int cpus = get_nprocs();
	uint32_t n = kv->opts.lanes;

	if (n == 0)
		n = cpus < 1			    ? 1
		    : cpus > (int)LANES_DEFAULT_MAX ? LANES_DEFAULT_MAX
						    : (uint32_t)cpus;
	return n < SPACE_LANES_MAX ? n : SPACE_LANES_MAX;
}

static int lanes_open(struct space *sp)
{
	size_t bytes = sp->nlanes * sizeof(*sp->lanes);

	sp->lanes = aligned_alloc(_Alignof(struct space_lane), bytes);
	if (sp->lanes == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < sp->nlanes; i++) {
		sp->lanes[i] = (struct space_lane){0};
		pthread_mutex_init(&sp->lanes[i].lock, NULL);
	}
	return 0;
}

static void lanes_close(struct space *sp)
{
	for (uint32_t i = 0; i < sp->nlanes; i++)
		pthread_mutex_destroy(&sp->lanes[i].lock);
	free(sp->lanes);
}

int space_open(struct kv *kv, struct space **out)
{
	const struct group *g = &kv->layout.group;
	struct space *sp = calloc(1, sizeof(*sp));

	if (sp == NULL)
		goto err;
	sp->kv = kv;
	sp->total = g->block_bytes / GROUP_UNIT_BYTES;
	sp->block_shift = (uint32_t)__builtin_ctz(g->block_bytes);
	sp->nlanes = lanes_of(kv);
	/* Clients begin at different nodes. */
	atomic_store(&sp->next_node, kv->id);
	sp->blocks = calloc(SPACE_BLOCKS_MAX, sizeof(*sp->blocks));
	if (sp->blocks == NULL)
		goto err_free;
	sp->open_at =
		calloc((size_t)g->nodes * g->blocks, sizeof(*sp->open_at));
	if (sp->open_at == NULL)
		goto err_free_blocks;
	if (lanes_open(sp) != 0)
		goto err_free_open_at;
	if (doubt_open(sp) != 0)
		goto err_close_lanes;
	if (marks_open(kv, &sp->marks) != 0)
		goto err_close_doubt;
	pthread_mutex_init(&sp->pool_lock, NULL);
	pthread_mutex_init(&sp->io_lock, NULL);
	*out = sp;
	return 0;

err_close_doubt:
	doubt_close(sp);
err_close_lanes:
	lanes_close(sp);
err_free_open_at:
	free(sp->open_at);
err_free_blocks:
	free(sp->blocks);
err_free:
	free(sp);
err:
	return -ENOMEM;
}

/* --- blocks of ours ------------------------------------------------------ */

/* Where the number of the block of ours is kept that @addr lies in. NULL: in
 * no block at all. */
static _Atomic uint16_t *open_at(struct space *sp, fab_addr addr)
{
	const struct group *g = space_group(sp);
	uint64_t off = fab_addr_offset(addr) - g->block_off;
	uint64_t block = off >> sp->block_shift; /* no division: it is hot */

	if (fab_addr_node(addr) >= g->nodes || block >= g->blocks)
		return NULL;
	return &sp->open_at[fab_addr_node(addr) * (uint64_t)g->blocks + block];
}

_Atomic uint16_t *space_open_at(struct space *sp, const struct space_block *b)
{
	return open_at(sp, b->addr);
}

struct space_lane *space_lock_if(struct space *sp, uint32_t i,
				 enum space_state state)
{
	struct space_block *b = &sp->blocks[i];
	struct space_lane *lane;

	if (atomic_load(&b->state) != state)
		return NULL;
	lane = space_lane_of(sp, atomic_load(&b->lane));
	pthread_mutex_lock(&lane->lock);
	if (atomic_load(&b->state) == state &&
	    space_lane_of(sp, atomic_load(&b->lane)) == lane)
		return lane;
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

void space_on_work(struct space *sp, void (*wake)(void *arg), void *arg)
{
	sp->wake = wake;
	sp->wake_arg = arg;
}

void space_wake(struct space *sp)
{
	if (atomic_load_explicit(&sp->work, memory_order_relaxed))
		return;
	if (!atomic_exchange(&sp->work, true) && sp->wake != NULL)
		sp->wake(sp->wake_arg);
}

/* --- spots --------------------------------------------------------------- */

int space_take(struct space *sp, struct kv_thread *t, enum space_class class,
	       uint32_t units, bool urgent, uint64_t deadline_ns,
	       struct space_spot *out)
{
	assert(class < SPACE_CLASSES);
	return lane_take(sp, t, class, units, units, urgent, deadline_ns, out);
}

bool space_trim(struct space *sp, struct space_spot *spot)
{
	uint8_t n = 0;

	for (uint8_t i = 0; i < spot->copies; i++)
		if (member_holds(sp->kv->member, spot->copy[i].node,
				 spot->epoch))
			spot->copy[n++] = spot->copy[i];
	spot->copies = n;
	return n > 0 && spot->copy[0].node == fab_addr_node(spot->addr);
}

void space_settle(struct space *sp, const struct space_spot *spot)
{
	struct space_block *b = spot->block;

	/* Who closes the block sets its state and then looks at inflight. */
	if (atomic_fetch_sub(&b->inflight, 1) == 1 &&
	    atomic_load(&b->state) == SPACE_CLOSING)
		space_wake(sp);
}

void space_abandon(struct space *sp, const struct space_spot *spot)
{
	struct space_block *b = spot->block;
	struct space_lane *lane = space_lane_of(sp, atomic_load(&b->lane));

	pthread_mutex_lock(&lane->lock);
	units_give(&b->units,
		   (uint32_t)((spot->addr - b->addr) / GROUP_UNIT_BYTES),
		   spot->units, true);
	pthread_mutex_unlock(&lane->lock);
	space_settle(sp, spot);
}

/* --- frees --------------------------------------------------------------- */

/* Frees of @b are kept here, and @addr lies in it. */
static bool is_kept(const struct space *sp, const struct space_block *b,
		    fab_addr addr)
{
	uint8_t state = atomic_load(&b->state);

	return (state == SPACE_OPEN || state == SPACE_CLOSING) &&
	       b->kind != BLOCK_ROWS && addr >= b->addr &&
	       addr - b->addr < (uint64_t)sp->total * GROUP_UNIT_BYTES;
}

/* False: not ours to use again while it is open, so it is to be marked. */
static bool give(struct space_block *b, fab_addr addr, uint32_t units,
		 uint32_t life)
{
	uint64_t off = addr - b->addr;
	uint32_t at = (uint32_t)(off / GROUP_UNIT_BYTES);
	uint32_t page = KV_PAGE_BYTES / GROUP_UNIT_BYTES;

	if (off % GROUP_UNIT_BYTES != 0)
		return true;
	if (units_is_old(&b->units, at, units))
		return false;
	if (life != 0 && life != b->life)
		return true;
	if (b->kind == BLOCK_PAGES && (at % page != 0 || units % page != 0))
		return true;
	units_give(&b->units, at, units, false);
	return true;
}

/* True if the block is open here: then the free is dealt with. */
static bool give_here(struct space *sp, fab_addr addr, uint32_t units,
		      uint32_t life)
{
	_Atomic uint16_t *number = open_at(sp, addr);
	uint16_t i = number != NULL ? atomic_load(number) : 0;
	struct space_block *b;
	struct space_lane *lane;
	bool kept;

	if (i == 0)
		return false;
	b = &sp->blocks[i - 1];
	lane = space_lane_of(sp, atomic_load(&b->lane));
	pthread_mutex_lock(&lane->lock);
	kept = space_lane_of(sp, atomic_load(&b->lane)) == lane &&
	       is_kept(sp, b, addr);
	if (kept)
		kept = give(b, addr, units, life);
	pthread_mutex_unlock(&lane->lock);
	return kept;
}

void space_mark(struct space *sp, uint64_t stripe, uint32_t role, uint32_t life,
		uint32_t at, uint32_t units)
{
	uint32_t n = marks_add(sp->marks, &(struct proto_mark_one){
						  .stripe = stripe,
						  .role = role,
						  .life = life,
						  .at = at,
						  .len = units,
					  });

	/* The first one starts the clock; they go in company. */
	if (n == 1 || (n != 0 && n % SPACE_MARKS_SEND == 0))
		space_wake(sp);
}

void space_obsolete(struct space *sp, struct kv_thread *t, fab_addr addr,
		    uint32_t units, uint32_t life)
{
	const struct group *g = space_group(sp);
	uint64_t stripe;
	uint32_t role, at;

	persist_touch(sp->kv);
	if (give_here(sp, addr, units, life))
		return;
	if (group_locate(g, addr, &stripe, &role, &at) != 0 || role >= g->k ||
	    at % GROUP_UNIT_BYTES != 0)
		return;
	at /= GROUP_UNIT_BYTES;
	if (units == 0 || units > sp->total - at)
		return;
	space_mark(sp, stripe, role, life, at, units);
	if (marks_waiting(sp->marks) > MARKS_INLINE)
		space_send_marks(sp, t);
}

/* --- closing ------------------------------------------------------------- */

static void close_open(struct space *sp)
{
	uint32_t high = atomic_load(&sp->high);

	for (uint32_t i = 0; i < high; i++) {
		struct space_lane *lane = space_lock_if(sp, i, SPACE_OPEN);

		if (lane == NULL)
			continue;
		lane_close_block(sp, &sp->blocks[i]);
		pthread_mutex_unlock(&lane->lock);
	}
}

static bool all_done(struct space *sp)
{
	uint32_t high = atomic_load(&sp->high);

	for (uint32_t i = 0; i < high; i++)
		if (atomic_load(&sp->blocks[i].state) != SPACE_UNUSED)
			return false;
	return marks_waiting(sp->marks) == 0;
}

void space_leave(struct space *sp, struct kv_thread *t)
{
	uint64_t until = fab_now(t->fab) + CLOSE_NS, now;
	uint64_t nap = CLOSE_NAP_NS;

	close_open(sp);
	for (;;) {
		space_seal_all(sp, t);
		space_marks_round(sp, t, true);
		now = fab_now(t->fab);
		if (all_done(sp) || now >= until ||
		    member_gives_up(sp->kv->member, now))
			break;
		fab_sleep(t->fab, nap);
		if (nap < CLOSE_NAP_MAX_NS)
			nap *= 2;
	}
}

void space_close(struct space *sp)
{
	if (sp == NULL)
		return;
	pages_scratch_free(sp);
	for (uint32_t i = 0; i < SPACE_BLOCKS_MAX; i++)
		units_close(&sp->blocks[i].units);
	pthread_mutex_destroy(&sp->io_lock);
	pthread_mutex_destroy(&sp->pool_lock);
	marks_close(sp->marks);
	doubt_close(sp);
	lanes_close(sp);
	free(sp->open_at);
	free(sp->blocks);
	free(sp);
}
