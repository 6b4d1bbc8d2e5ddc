/* kv/client/space_work.c - what happens to blocks besides being written: views
 * change, and the background opens ahead, seals and sends marks. */
#include "kv/client/member.h"
#include "kv/client/persist.h"
#include "kv/client/space_impl.h"

#define MARKS_WAIT_NS UINT64_C(100000000) /* for company */

/* --- views --------------------------------------------------------------- */

void space_new_view(struct space *sp, struct kv_thread *t)
{
	uint32_t high = atomic_load(&sp->high);

	atomic_store(&sp->moved_ns, fab_now(t->fab));
	for (uint32_t i = 0; i < high; i++) {
		struct space_lane *lane = space_lock_if(sp, i, SPACE_OPEN);

		if (lane == NULL)
			continue;
		if (!lane_block_survives(sp, &sp->blocks[i]))
			lane_close_block(sp, &sp->blocks[i]);
		pthread_mutex_unlock(&lane->lock);
	}
	atomic_store(&sp->full_ns, 0);
	atomic_store(&sp->rows_full_ns, 0);
	space_wake(sp);
}

/* --- durable checkpoints ------------------------------------------------- */

static void each_block(struct space *sp, void (*fn)(struct units *u))
{
	uint32_t high = atomic_load(&sp->high);

	for (uint32_t i = 0; i < high; i++) {
		struct space_lane *lane = space_lock_if(sp, i, SPACE_OPEN);

		if (lane == NULL)
			lane = space_lock_if(sp, i, SPACE_CLOSING);
		if (lane == NULL)
			continue;
		if (sp->blocks[i].kind != BLOCK_ROWS)
			fn(&sp->blocks[i].units);
		pthread_mutex_unlock(&lane->lock);
	}
}

void space_cut(struct space *sp)
{
	each_block(sp, units_hold_cut);
}

void space_cut_durable(struct space *sp)
{
	each_block(sp, units_hold_durable);
	atomic_store(&sp->full_ns, 0);
	atomic_store(&sp->rows_full_ns, 0);
	atomic_store(&sp->held_ns, 0);
}

/* --- the background ------------------------------------------------------ */

static bool is_outdated(struct space *sp, const struct space_block *b)
{
	return b->kind == BLOCK_RECORDS &&
	       b->opened < member_index_version(sp->kv->member);
}

/* @b, open, should be sealed although it is not full. */
static bool is_stale(struct space *sp, struct space_block *b, uint64_t now)
{
	uint64_t idle;

	if (b->takes != b->takes_seen) {
		b->takes_seen = b->takes;
		b->quiet_ns = now;
	}
	if (is_outdated(sp, b))
		return true;
	idle = now - b->quiet_ns;
	if (b->takes == 0)
		return idle > SPACE_IDLE_NS;
	return b->kind == BLOCK_ROWS && idle > SPACE_ROWS_IDLE_NS;
}

static void close_stale(struct space *sp, struct kv_thread *t)
{
	uint64_t now = fab_now(t->fab);
	uint32_t high = atomic_load(&sp->high);

	for (uint32_t i = 0; i < high; i++) {
		struct space_lane *lane = space_lock_if(sp, i, SPACE_OPEN);

		if (lane == NULL)
			continue;
		if (is_stale(sp, &sp->blocks[i], now))
			lane_close_block(sp, &sp->blocks[i]);
		pthread_mutex_unlock(&lane->lock);
	}
}

int space_seal_all(struct space *sp, struct kv_thread *t)
{
	uint32_t high = atomic_load(&sp->high);
	int did = 0, rc = 0;

	for (uint32_t i = 0; i < high; i++) {
		int one = block_seal(sp, t, &sp->blocks[i]);

		if (one > 0)
			did = 1;
		if (one < 0)
			rc = one;
	}
	return rc != 0 ? rc : did;
}

int space_send_marks(struct space *sp, struct kv_thread *t)
{
	int rc = marks_send(sp->marks, t);

	if (rc > 0)
		atomic_store(&sp->marks_ns, fab_now(t->fab));
	return rc;
}

/* A few marks wait a little for company. True if they may go now. */
static bool marks_due(struct space *sp, struct kv_thread *t, uint32_t n)
{
	uint64_t now = fab_now(t->fab), due = atomic_load(&sp->marks_due);

	if (n >= SPACE_MARKS_SEND || (due != 0 && now >= due))
		return true;
	if (due == 0)
		atomic_store(&sp->marks_due, now + MARKS_WAIT_NS);
	return false;
}

int space_marks_round(struct space *sp, struct kv_thread *t, bool flush)
{
	uint32_t n = marks_waiting(sp->marks);
	int rc = 0, did = 0;

	if (n == 0)
		return 0;
	if (!flush && !marks_due(sp, t, n))
		return 0;
	atomic_store(&sp->marks_due, 0);
	while (rc >= 0 && n > 0) {
		rc = space_send_marks(sp, t);
		if (rc <= 0)
			break;
		did = 1;
		n = marks_waiting(sp->marks);
		if (!flush && n < SPACE_MARKS_SEND)
			break; /* they came meanwhile: they wait in turn */
	}
	return rc < 0 ? rc : did;
}

int space_background(struct space *sp, struct kv_thread *t, bool flush)
{
	/* Who only flushes waits for no node that may be hung; and doubts are
	 * one thread's. */
	int did = flush ? 0 : doubt_work(sp, t), sealed, marked;

	atomic_store(&sp->work, false);
	for (uint32_t i = 0; i < sp->nlanes; i++)
		did |= lane_open_ahead(sp, t, i);
	close_stale(sp, t);
	persist_tell(sp->kv, t);
	sealed = space_seal_all(sp, t);
	marked = space_marks_round(sp, t, flush);
	if (sealed < 0)
		return sealed;
	return marked < 0 ? marked : did | sealed | marked;
}

/* An open block that close_stale() has an eye on. */
static bool is_watched(struct space *sp, uint32_t i)
{
	struct space_lane *lane = space_lock_if(sp, i, SPACE_OPEN);
	struct space_block *b = &sp->blocks[i];
	bool watched;

	if (lane == NULL)
		return false;
	watched = b->takes == 0 || b->kind == BLOCK_ROWS || is_outdated(sp, b);
	pthread_mutex_unlock(&lane->lock);
	return watched;
}

bool space_pending(struct space *sp)
{
	uint32_t high = atomic_load(&sp->high);

	if (atomic_load(&sp->work) || marks_waiting(sp->marks) != 0 ||
	    doubt_pending(sp) || persist_untold(sp->kv))
		return true;
	for (uint32_t i = 0; i < high; i++) {
		uint8_t state = atomic_load(&sp->blocks[i].state);

		if (state == SPACE_CLOSING || state == SPACE_SEALING ||
		    is_watched(sp, i))
			return true;
	}
	return false;
}
