/* kv/client/doubt.c - blocks that nodes keep for us and we know nothing of.
 *
 *   in doubt --> all attempts up to the doubt have ended --> OWNED(over)
 *            --> all attempts up to the answer have ended --> FORSAKE what is
 *                in no struct of ours --> sure
 *
 * D1. After OWNED(over) the node refuses what comes late of attempts up to
 *     @over: so its list has all that they left there.
 * D2. What it lists is of an attempt that had begun when the answer came. If
 *     those have ended and no struct of ours is that block, with that life,
 *     then none will ever be; and nobody writes to it.
 * D3. It may hold data that others have sealed with us, if a member refused a
 *     SEAL for too long: so it is closed as if its owner had died, which
 *     forgets nothing. */
#include <errno.h>
#include <stdlib.h>

#include "kv/client/member.h"
#include "kv/client/space_impl.h"
#include "kv/proto.h"

#define DOUBT_AGAIN_NS UINT64_C(100000000)  /* attempts go on */
#define DOUBT_HUNG_NS  UINT64_C(1000000000) /* it did not answer */

_Static_assert(PROTO_OWNS_MAX >= SPACE_BLOCKS_MAX, "each list brings us on");

struct doubt {
	/* under the pool's lock: */
	uint64_t tickets;	       /* given */
	uint64_t nodes;		       /* in doubt: bit n */
	uint64_t since[FAB_NODES_MAX]; /* tickets when it was last doubted */
	/* of the thread that works: */
	uint64_t again_ns;
	bool listed;   /* @owns is @node's answer, */
	uint64_t high; /* given when it came, for doubts up to: */
	uint64_t over;
	uint32_t node;
	struct proto_owns owns;
};

int doubt_open(struct space *sp)
{
	sp->doubt = calloc(1, sizeof(*sp->doubt));
	return sp->doubt != NULL ? 0 : -ENOMEM;
}

void doubt_close(struct space *sp)
{
	free(sp->doubt);
}

/* --- any thread ----------------------------------------------------------- */

uint64_t doubt_ticket(struct space *sp, struct space_block *b)
{
	uint64_t ticket;

	pthread_mutex_lock(&sp->pool_lock);
	ticket = b->ticket = ++sp->doubt->tickets;
	pthread_mutex_unlock(&sp->pool_lock);
	return ticket;
}

void doubt_node(struct space *sp, uint32_t node)
{
	struct doubt *d = sp->doubt;

	pthread_mutex_lock(&sp->pool_lock);
	d->nodes |= UINT64_C(1) << node;
	d->since[node] = d->tickets;
	pthread_mutex_unlock(&sp->pool_lock);
	space_wake(sp);
}

bool doubt_pending(struct space *sp)
{
	bool any;

	pthread_mutex_lock(&sp->pool_lock);
	any = sp->doubt->nodes != 0;
	pthread_mutex_unlock(&sp->pool_lock);
	return any;
}

/* --- the worker ----------------------------------------------------------- */

/* All attempts up to this have ended. Locked. */
static uint64_t over(const struct space *sp)
{
	uint64_t least = sp->doubt->tickets + 1;

	for (uint32_t i = 0; i < atomic_load(&sp->high); i++) {
		const struct space_block *b = &sp->blocks[i];

		if (atomic_load(&b->state) == SPACE_OPENING && b->ticket != 0 &&
		    b->ticket < least)
			least = b->ticket;
	}
	return least - 1;
}

/* A node whose answer would be about all that is in doubt. What died has
 * nothing any more. */
static bool next_node(struct space *sp)
{
	struct doubt *d = sp->doubt;
	bool found = false;

	pthread_mutex_lock(&sp->pool_lock);
	d->nodes &= member_all(sp->kv->member);
	d->over = over(sp);
	for (uint32_t n = 0; n < FAB_NODES_MAX && !found; n++)
		if (d->nodes >> n & 1 && d->since[n] <= d->over) {
			d->node = n;
			found = true;
		}
	pthread_mutex_unlock(&sp->pool_lock);
	return found;
}

static int ask(struct space *sp, struct kv_thread *t)
{
	struct doubt *d = sp->doubt;
	struct proto_owned req = {.over = d->over, .owner = sp->kv->id};
	uint32_t len = 0;
	int rc = fab_call_run(t->fab, (uint8_t)d->node, PROTO_OWNED, &req,
			      sizeof(req), &d->owns, sizeof(d->owns), &len,
			      SPACE_CALL_NS);

	if (rc != 0)
		return rc;
	if (len < PROTO_OWNS_BYTES(0) || d->owns.n > PROTO_OWNS_MAX ||
	    len != PROTO_OWNS_BYTES(d->owns.n))
		return -EBADMSG;
	pthread_mutex_lock(&sp->pool_lock);
	d->high = d->tickets;
	pthread_mutex_unlock(&sp->pool_lock);
	d->listed = true;
	return 0;
}

/* Is (@stripe, @role, @life) a block of ours? Of a ROWS block each node names
 * a role of its own. Locked, and D2 holds. */
static bool is_ours(const struct space *sp, uint64_t stripe, uint32_t role,
		    uint32_t life)
{
	for (uint32_t i = 0; i < atomic_load(&sp->high); i++) {
		const struct space_block *b = &sp->blocks[i];
		uint8_t state = atomic_load(&b->state);

		if (state != SPACE_UNUSED && state != SPACE_OPENING &&
		    b->stripe == stripe && b->life == life &&
		    (b->role == role || b->kind == BLOCK_ROWS))
			return true;
	}
	return false;
}

/* Keep in the list what is nobody's. False: attempts of its time go on. */
static bool sift(struct space *sp)
{
	struct doubt *d = sp->doubt;
	uint32_t n = 0;
	bool may;

	pthread_mutex_lock(&sp->pool_lock);
	may = over(sp) >= d->high;
	for (uint32_t i = 0; may && i < d->owns.n; i++)
		if (!is_ours(sp, d->owns.block[i].stripe, d->owns.block[i].role,
			     d->owns.block[i].life))
			d->owns.block[n++] = d->owns.block[i];
	if (may)
		d->owns.n = n;
	pthread_mutex_unlock(&sp->pool_lock);
	return may;
}

static int forsake(struct space *sp, struct kv_thread *t)
{
	struct doubt *d = sp->doubt;
	int rc = 0;

	for (; rc == 0 && d->owns.n > 0; d->owns.n--) {
		struct proto_seal req = {
			.stripe = d->owns.block[d->owns.n - 1].stripe,
			.role = d->owns.block[d->owns.n - 1].role,
			.owner = sp->kv->id,
			.life = d->owns.block[d->owns.n - 1].life,
		};

		rc = fab_call_run(t->fab, (uint8_t)d->node, PROTO_FORSAKE, &req,
				  sizeof(req), NULL, 0, NULL, SPACE_CALL_NS);
	}
	return rc;
}

/* Nothing of what was doubted before OWNED is left; with @more it was not all.
 */
static void sure(struct space *sp)
{
	struct doubt *d = sp->doubt;

	pthread_mutex_lock(&sp->pool_lock);
	if (d->since[d->node] <= d->over && !d->owns.more)
		d->nodes &= ~(UINT64_C(1) << d->node);
	pthread_mutex_unlock(&sp->pool_lock);
}

static int work(struct space *sp, struct kv_thread *t)
{
	struct doubt *d = sp->doubt;
	int rc;

	if (!d->listed && !next_node(sp))
		return -EAGAIN;
	rc = d->listed ? 0 : ask(sp, t);
	if (rc == 0 && !sift(sp))
		return -EAGAIN;
	if (rc == 0)
		rc = forsake(sp, t);
	d->listed = false;
	if (rc == 0)
		sure(sp);
	return rc;
}

int doubt_work(struct space *sp, struct kv_thread *t)
{
	struct doubt *d = sp->doubt;
	int rc;

	if (!doubt_pending(sp) || fab_now(t->fab) < d->again_ns)
		return 0;
	rc = work(sp, t);
	if (rc != 0)
		d->again_ns = fab_now(t->fab) +
			      (rc == -EAGAIN ? DOUBT_AGAIN_NS : DOUBT_HUNG_NS);
	return rc == 0;
}
