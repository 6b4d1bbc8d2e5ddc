/* kv/client/lane.c - shelves of open blocks, and spots out of them.
 *
 *	take: shelf [0], [1] -> open a block (one thread at a time) -> again
 *	      all nodes full -> any lane's blocks -> urgent: the reserve
 *	                     -> wait a little if own marks may free some
 */
#include <assert.h>
#include <errno.h>

#include "kv/client/clean.h"
#include "kv/client/member.h"
#include "kv/client/persist.h"
#include "kv/client/space_impl.h"

/* A request up to this size that block [0] cannot serve is a sign that it is
 * used up; a larger one may just not find a gap. */
static uint32_t typical_units(unsigned class)
{
	switch (class) {
	case SPACE_PAGES:
		return KV_PAGE_BYTES / GROUP_UNIT_BYTES;
	case SPACE_ROWS:
		return UINT32_MAX;
	default:
		return 16;
	}
}

static bool is_page_class(unsigned class)
{
	return class == SPACE_PAGES || class == SPACE_ROWS;
}

/* --- closing ------------------------------------------------------------- */

static void shelf_drop(struct space_shelf *sh, const struct space_block *b)
{
	if (sh->open[0] == b) {
		sh->open[0] = sh->open[1];
		sh->open[1] = NULL;
	} else if (sh->open[1] == b) {
		sh->open[1] = NULL;
	}
}

void lane_close_block(struct space *sp, struct space_block *b)
{
	struct space_lane *lane = space_lane_of(sp, atomic_load(&b->lane));

	assert(atomic_load(&b->state) == SPACE_OPEN);
	shelf_drop(&lane->shelf[b->class], b);
	atomic_store(&b->state, SPACE_CLOSING);
	space_wake(sp);
}

bool space_member_holds(struct space *sp, const struct space_block *b,
			uint32_t i)
{
	return member_holds(sp->kv->member, b->member[i].node, b->epoch);
}

/* What is named in it is at home there still: see space_trim(). */
static bool has_home(struct space *sp, const struct space_block *b)
{
	uint32_t n = b->kind == BLOCK_ROWS ? space_group(sp)->k : 1;

	for (uint32_t i = 0; i < n; i++)
		if (!space_member_holds(sp, b, i))
			return false;
	return true;
}

static bool is_member(const struct space_block *b, uint32_t node)
{
	for (uint32_t i = 0; i < b->members; i++)
		if (b->member[i].node == node)
			return true;
	return false;
}

/* Some parity node of its stripe came after it was opened. */
static bool lacks_one(struct space *sp, const struct space_block *b)
{
	const struct group *g = space_group(sp);
	uint64_t all = member_all(sp->kv->member);
	uint32_t node, block;

	for (uint32_t r = g->k; r < group_width(g); r++) {
		group_member(g, b->stripe, r, &node, &block);
		if (!(all >> node & 1))
			continue;
		if (!is_member(b, node) ||
		    !member_holds(sp->kv->member, node, b->epoch))
			return true;
	}
	return false;
}

bool lane_block_survives(struct space *sp, struct space_block *b)
{
	const struct group *g = space_group(sp);
	uint8_t had = b->members, n = 0;

	if (!space_member_holds(sp, b, 0) || lacks_one(sp, b))
		return false;
	for (uint8_t i = 0; i < b->members; i++)
		n += space_member_holds(sp, b, i);
	if (n == had)
		return true;
	/* Every stripe spans all nodes: another block would be no better. */
	if (b->kind == BLOCK_ROWS || g->nodes > group_width(g))
		return false;
	for (uint8_t i = n = 0; i < had; i++)
		if (space_member_holds(sp, b, i))
			b->member[n++] = b->member[i];
	b->members = n;
	return true;
}

/* --- taking from a shelf ------------------------------------------------- */

static void spot_fill(struct space_block *b, const struct units_run *run,
		      struct space_spot *out)
{
	uint64_t at = (uint64_t)run->at * GROUP_UNIT_BYTES;

	out->block = b;
	out->addr = b->addr + at;
	out->units = run->len;
	out->life = b->life;
	out->epoch = b->epoch;
	out->copies = 0;
	if (b->kind == BLOCK_ROWS)
		return; /* row.c knows where to write */
	out->copies = b->members;
	for (uint8_t i = 0; i < b->members; i++) {
		out->copy[i].node = b->member[i].node;
		out->copy[i].offset = b->member[i].offset + at;
	}
}

/* The lane's lock is held. */
static bool shelf_take(struct space *sp, struct space_shelf *sh, uint32_t min,
		       uint32_t want, struct space_spot *out)
{
	struct units_run run;
	struct space_block *b, *first = sh->open[0];
	int i;

	for (i = 0; i < 2; i++) {
		b = sh->open[i];
		if (b == NULL || !has_home(sp, b))
			continue;
		if (units_take(&b->units, min, want, &run))
			break;
		b->refused = true;
	}
	if (i == 2)
		return false;
	spot_fill(b, &run, out);
	b->takes++;
	atomic_fetch_add_explicit(&b->inflight, 1, memory_order_relaxed);
	if (i == 1 && (min <= typical_units(first->class) ||
		       units_room(&first->units) < sp->total / 8))
		lane_close_block(sp, first);
	if (sh->open[1] == NULL && units_room(&b->units) < sp->total / 2 &&
	    !sh->wanted && b->class != SPACE_RESERVE) {
		sh->wanted = true;
		space_wake(sp);
	}
	return true;
}

static bool lane_take_here(struct space *sp, struct space_lane *lane,
			   unsigned class, uint32_t min, uint32_t want,
			   struct space_spot *out)
{
	bool ok;

	pthread_mutex_lock(&lane->lock);
	ok = shelf_take(sp, &lane->shelf[class], min, want, out);
	pthread_mutex_unlock(&lane->lock);
	return ok;
}

/* --- opening ------------------------------------------------------------- */

static void shelf_put(struct space *sp, struct space_lane *lane,
		      struct space_block *b)
{
	struct space_shelf *sh = &lane->shelf[b->class];

	if (b->kind != BLOCK_ROWS)
		atomic_store(space_open_at(sp, b),
			     (uint16_t)(b - sp->blocks + 1));
	atomic_store(&b->state, SPACE_OPEN);
	if (sh->open[0] != NULL && sh->open[1] != NULL)
		lane_close_block(sp, sh->open[0]);
	sh->open[sh->open[0] != NULL] = b;
	sh->wanted = false;
	/* The view may have changed while the nodes were asked: as
	 * space_new_view() takes this lock too, one of the two sees it. */
	if (b->epoch != member_epoch(sp->kv->member) &&
	    !lane_block_survives(sp, b))
		lane_close_block(sp, b);
}

/* Open one block more for the shelf, whose turn to open is ours. */
static int shelf_open(struct space *sp, struct kv_thread *t, uint32_t lane_no,
		      unsigned class, uint32_t run, bool urgent, bool wait,
		      uint64_t deadline_ns)
{
	struct space_lane *lane = space_lane_of(sp, lane_no);
	struct space_block *b = NULL;
	int rc;

	rc = block_open(sp, t, lane_no, class, run, urgent, wait, deadline_ns,
			&b);
	pthread_mutex_lock(&lane->lock);
	lane->shelf[class].opening = false;
	if (rc == 0)
		shelf_put(sp, lane, b);
	else
		lane->shelf[class].wanted = false;
	if (rc == 0 && !urgent)
		atomic_store(&sp->held_ns, 0);
	pthread_mutex_unlock(&lane->lock);
	return rc;
}

static bool shelf_claim(struct space_lane *lane, unsigned class)
{
	bool mine;

	pthread_mutex_lock(&lane->lock);
	mine = !lane->shelf[class].opening;
	lane->shelf[class].opening = true;
	pthread_mutex_unlock(&lane->lock);
	return mine;
}

/* Have one block more on the shelf, opened by this thread or another one. */
static int lane_grow(struct space *sp, struct kv_thread *t, uint32_t lane_no,
		     unsigned class, uint32_t run, bool urgent,
		     uint64_t deadline_ns)
{
	struct space_lane *lane = space_lane_of(sp, lane_no);
	uint64_t nap = SPACE_NAP_MIN_NS;

	if (shelf_claim(lane, class))
		return shelf_open(sp, t, lane_no, class, run, urgent,
				  class != SPACE_ROWS, deadline_ns);
	for (;;) {
		bool opening;

		if (fab_now(t->fab) >= deadline_ns)
			return -ETIMEDOUT;
		fab_sleep(t->fab, nap);
		if (nap < SPACE_NAP_MAX_NS)
			nap *= 2;
		pthread_mutex_lock(&lane->lock);
		opening = lane->shelf[class].opening;
		pthread_mutex_unlock(&lane->lock);
		if (!opening)
			return 0;
	}
}

/* One that is open, and of no use to somebody. Its lane's lock is held. */
static bool is_in_pieces(const struct space *sp, const struct space_block *b,
			 uint32_t least)
{
	return b->kind == BLOCK_RECORDS && b->refused &&
	       units_room(&b->units) >= least &&
	       units_room(&b->units) < sp->total;
}

bool lane_close_pieces(struct space *sp, uint32_t least)
{
	uint32_t high = atomic_load(&sp->high);
	bool closed = false;

	for (uint32_t i = 0; i < high && !closed; i++) {
		struct space_lane *lane = space_lock_if(sp, i, SPACE_OPEN);

		if (lane == NULL)
			continue;
		closed = is_in_pieces(sp, &sp->blocks[i], least);
		if (closed)
			lane_close_block(sp, &sp->blocks[i]);
		pthread_mutex_unlock(&lane->lock);
	}
	return closed;
}

int lane_open_aside(struct space *sp, struct kv_thread *t,
		    struct space_aside *out)
{
	struct space_lane *lane = space_lane_of(sp, 0);
	struct space_block *b = NULL;
	int rc = block_open(sp, t, 0, SPACE_PAGES, 0, false, true,
			    fab_now(t->fab) + SPACE_ASIDE_NS, &b);

	if (rc != 0)
		return rc;
	pthread_mutex_lock(&lane->lock);
	*out = (struct space_aside){
		.block = b,
		.addr = b->addr,
		.life = b->life,
		.room = units_room(&b->units),
	};
	if (b->again)
		atomic_store(&b->state, SPACE_OPEN);
	else
		shelf_put(sp, lane, b);
	rc = b->again ? 0 : -ENOENT;
	pthread_mutex_unlock(&lane->lock);
	return rc;
}

void lane_close_aside(struct space *sp, const struct space_aside *a)
{
	struct space_block *b = a->block;
	struct space_lane *lane =
		space_lock_if(sp, (uint32_t)(b - sp->blocks), SPACE_OPEN);

	if (lane == NULL)
		return;
	if (b->addr == a->addr && b->life == a->life)
		lane_close_block(sp, b);
	pthread_mutex_unlock(&lane->lock);
}

int lane_open_ahead(struct space *sp, struct kv_thread *t, uint32_t lane_no)
{
	struct space_lane *lane = space_lane_of(sp, lane_no);
	int did = 0;

	for (unsigned class = 0; class <= SPACE_ROWS; class ++) {
		struct space_shelf *sh = &lane->shelf[class];
		bool mine;

		pthread_mutex_lock(&lane->lock);
		mine = sh->wanted && !sh->opening && sh->open[1] == NULL;
		if (mine)
			sh->opening = true;
		pthread_mutex_unlock(&lane->lock);
		if (mine && shelf_open(sp, t, lane_no, class, 0, false, false,
				       fab_now(t->fab) + SPACE_CALL_NS) == 0)
			did = 1;
	}
	return did;
}

/* --- when the pool is full ----------------------------------------------- */

static bool full_lately(struct space *sp, struct kv_thread *t)
{
	uint64_t at = atomic_load_explicit(&sp->full_ns, memory_order_relaxed);

	return at != 0 && fab_now(t->fab) - at < SPACE_FULL_NS;
}

/* From any open block that holds the same kind of thing. */
static bool take_anywhere(struct space *sp, unsigned class, uint32_t min,
			  uint32_t want, struct space_spot *out)
{
	for (uint32_t i = 0; i < sp->nlanes; i++) {
		struct space_lane *lane = &sp->lanes[i];

		if (lane_take_here(sp, lane, class, min, want, out))
			return true;
		if (!is_page_class(class) &&
		    lane_take_here(sp, lane,
				   class == SPACE_COLD ? SPACE_HOT : SPACE_COLD,
				   min, want, out))
			return true;
	}
	return false;
}

/* The reserve's blocks are lane 0's, whoever asks: there are only a few. */
static int take_reserve(struct space *sp, struct kv_thread *t, uint32_t units,
			uint64_t deadline_ns, struct space_spot *out)
{
	int rc;

	do {
		if (lane_take_here(sp, &sp->lanes[0], SPACE_RESERVE, units,
				   units, out))
			return 0;
		rc = lane_grow(sp, t, 0, SPACE_RESERVE, units, true,
			       deadline_ns);
	} while (rc == 0);
	return rc;
}

/* True if marks of this client may give space back in a moment. */
static bool grace(struct space *sp, struct kv_thread *t, uint32_t *tries)
{
	uint64_t now = fab_now(t->fab);
	uint64_t sent = atomic_load(&sp->marks_ns);

	if (*tries >= SPACE_GRACE_TRIES)
		return false;
	if (marks_waiting(sp->marks) == 0 &&
	    (sent == 0 || now - sent > SPACE_GRACE_NS))
		return false;
	++*tries;
	space_send_marks(sp, t);
	fab_sleep(t->fab, SPACE_GRACE_NAP_NS);
	return true;
}

/* Have cuts come at all? A disk that is full, or broken, makes none, and who
 * waits shall know before its time is up. */
static bool cuts_come(struct space *sp, struct kv_thread *t)
{
	uint64_t since = 0, now = fab_now(t->fab);

	if (atomic_compare_exchange_strong(&sp->held_ns, &since, now))
		return true;
	return now < since + kv_timeout_ns(sp->kv) / 8 * 7;
}

/* Free blocks wait for a durable checkpoint: have one made. It comes with new
 * views, and one of them is the time to ask again. */
static int wait_durable(struct space *sp, struct kv_thread *t, int rc)
{
	if (rc != -EINPROGRESS)
		return rc;
	persist_hurry(sp->kv, t);
	return cuts_come(sp, t) ? -EAGAIN : -ENOSPC;
}

/* What is obsolete in a stripe cannot be had again while one of its nodes is
 * away; mostly it is replaced in a moment. That takes views, for which nobody
 * waits in here. */
static bool is_moving(struct space *sp, struct kv_thread *t)
{
	uint64_t at = atomic_load(&sp->moved_ns);

	return at != 0 && fab_now(t->fab) - at < SPACE_AWAY_NS;
}

/* What @rc means that was the last word of all nodes. */
static int refused(struct space *sp, struct kv_thread *t, int rc)
{
	if (rc == -ENOSPC && is_moving(sp, t))
		return -EAGAIN;
	return wait_durable(sp, t, rc);
}

int lane_take(struct space *sp, struct kv_thread *t, unsigned class,
	      uint32_t min, uint32_t want, bool urgent, uint64_t deadline_ns,
	      struct space_spot *out)
{
	uint32_t lane_no = t->lane % sp->nlanes, tries = 0;
	int rc;

	if (min == 0 || min > sp->total)
		return -EINVAL;
	persist_touch(sp->kv);
	for (;;) {
		if (lane_take_here(sp, &sp->lanes[lane_no], class, min, want,
				   out))
			return 0;
		rc = -ENOSPC;
		if (!full_lately(sp, t) || !(urgent || is_moving(sp, t)))
			rc = lane_grow(sp, t, lane_no, class, min, false,
				       deadline_ns);
		if (rc == 0)
			continue;
		if (!is_page_class(class))
			clean_want(sp->kv->clean, CLEAN_FULL);
		if ((rc != -ENOSPC && rc != -EINPROGRESS) ||
		    class == SPACE_ROWS)
			return rc;
		if (take_anywhere(sp, class, min, want, out))
			return 0;
		if (urgent && !is_page_class(class))
			rc = take_reserve(sp, t, min, deadline_ns, out);
		if (rc == 0)
			return 0;
		if (rc == -ENOSPC && !is_page_class(class) &&
		    clean_helps(sp->kv->clean, fab_now(t->fab)))
			return -ENOBUFS;
		if (urgent && !is_page_class(class))
			return refused(sp, t, rc);
		if (rc == -EINPROGRESS || is_moving(sp, t) ||
		    !grace(sp, t, &tries))
			return refused(sp, t, rc);
	}
}
