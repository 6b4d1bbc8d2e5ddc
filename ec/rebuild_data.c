/* ec/rebuild_data.c - the own data role: decoded to where it belongs, or kept
 * there (former.h). No one reads the block, and none is granted here, before
 * this node is up. */
#include <errno.h>
#include <string.h>

#include "ec/former.h"
#include "ec/rebuild_impl.h"

/* --- what is here from before --------------------------------------------- */

/* K2. Lock held. */
static bool is_kept(const struct rebuild *r)
{
	const struct block_rec *is = look_rec(&r->look, r->at.role);
	const struct block_rec *was = former_rec(r->a->former, r->at.block);

	return was != NULL && was->life == is->life && was->kind == is->kind &&
	       was->opened == is->opened && was->used == is->used;
}

/* K4. */
static void forget(struct rebuild *r)
{
	const struct block_rec *was;
	uint32_t bytes = 0;

	pthread_mutex_lock(&r->a->lock);
	was = former_rec(r->a->former, r->at.block);
	if (was != NULL) {
		bytes = alloc_fold_end(was);
		former_decided(r->a->former, r->at.block);
	}
	pthread_mutex_unlock(&r->a->lock);
	if (was != NULL)
		alloc_zero(r->a, r->at.block, bytes);
}

/* Its record tells now what it is. Lock held. */
static void keep(struct rebuild *r)
{
	former_decided(r->a->former, r->at.block);
	r->sum.kept_bytes += r->end - r->patched;
}

/* K3: where the next piece is that has marked units; at most @bytes of it. */
static uint32_t next_marked(struct rebuild *r, uint32_t bytes)
{
	const uint32_t words = BLOCK_FOLD_STEP / GROUP_UNIT_BYTES / 64;
	const uint64_t *map = look_map(r, r->at.role);
	uint32_t n = 0;

	for (uint32_t at = r->fetched; at < r->end && n < bytes;
	     at += BLOCK_FOLD_STEP) {
		if (map[at / BLOCK_FOLD_STEP * words] != 0)
			n += BLOCK_FOLD_STEP;
		else if (n > 0)
			break;
		else
			r->fetched += BLOCK_FOLD_STEP;
	}
	return n;
}

/* --- the steps ------------------------------------------------------------ */

static int look(struct rebuild *r)
{
	const struct block_rec *rec;
	int rc = look_read(r, &r->look);
	bool behind;

	if (rc != 0)
		return rc;
	if (r->look.leader < 0)
		return -EIO; /* all parities and this one: too many */
	rec = look_rec(&r->look, r->at.role);
	pthread_mutex_lock(&r->a->lock);
	/* Gone: other roles of a ROW stripe are free already, and zeros. */
	if (rec->state == BLOCK_FREE || look_gone(&r->look, r->at.role))
		rebuild_life(r, &r->at, rec->life);
	behind = rebuild_behind(r, &r->at);
	r->kept = behind && is_kept(r);
	pthread_mutex_unlock(&r->a->lock);
	if (!behind) {
		forget(r);
		return 0;
	}
	if (!look_settled(&r->look, r->at.role))
		return -EAGAIN;
	r->take = 1u << r->at.role;
	r->end = rebuild_bytes(r, r->at.role);
	if (r->kept)
		rc = look_again(r); /* the bitmap */
	if (rc != 0)
		return rc;
	r->step = REBUILD_FETCH;
	return 1;
}

static char *here(const struct rebuild *r)
{
	return alloc_region_at(r->a,
			       group_block_off(r->a->o.group, r->at.block));
}

static int fetch(struct rebuild *r, uint32_t bytes)
{
	uint32_t n = r->end - r->fetched;
	int rc = 0;

	n = n < bytes ? n : bytes;
	if (r->kept) {
		n = next_marked(r, bytes);
		r->patched += n;
	} else if (r->fetched == 0) {
		forget(r);
		rebuild_map(r, r->end);
	}
	if (n > 0)
		rc = rebuild_decode(r, r->at.role, r->fetched, n,
				    here(r) + r->fetched);
	r->fetched += n; /* touched, even if it failed */
	if (rc != 0)
		return rc;
	if (r->fetched == r->end)
		r->step = REBUILD_CHECK;
	return 1;
}

static int check(struct rebuild *r)
{
	bool rows = look_rec(&r->look, r->at.role)->kind == BLOCK_ROWS;
	int rc = look_again(r);

	if (rc == 0 && !look_holds(r, r->at.role))
		rc = -EAGAIN;
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&r->a->lock);
	if (!rebuild_behind(r, &r->at)) {
		rc = -EAGAIN;
	} else {
		if (r->kept)
			keep(r);
		rebuild_enter(r, &r->at, rows ? BLOCK_FOLDED : BLOCK_SEALED);
	}
	pthread_mutex_unlock(&r->a->lock);
	return rc;
}

/* D2: nothing of it may stay. What was kept is a candidate still: pieces of it
 * that were fetched, half perhaps, are marked for as long as it can be. */
void data_drop(struct rebuild *r)
{
	if (r->fetched > 0 && !r->kept)
		memset(here(r), 0, r->fetched);
}

int data_step(struct rebuild *r, uint32_t bytes)
{
	switch (r->step) {
	case REBUILD_LOOK:
		return look(r);
	case REBUILD_FETCH:
		return fetch(r, bytes);
	default:
		return check(r);
	}
}
