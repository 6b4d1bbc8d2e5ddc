/* ec/rebuild_data.c - the own data role: decoded to where it belongs. No one
 * reads the block, and none is granted here, before this node is up. */
#include <errno.h>
#include <string.h>

#include "ec/rebuild_impl.h"

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
	pthread_mutex_unlock(&r->a->lock);
	if (!behind)
		return 0;
	if (!look_settled(&r->look, r->at.role))
		return -EAGAIN;
	r->take = 1u << r->at.role;
	r->end = rebuild_bytes(r, r->at.role);
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
	if (r->fetched == 0)
		rebuild_map(r, r->end);
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
	if (rebuild_behind(r, &r->at))
		rebuild_enter(r, &r->at, rows ? BLOCK_FOLDED : BLOCK_SEALED);
	else
		rc = -EAGAIN;
	pthread_mutex_unlock(&r->a->lock);
	return rc;
}

/* D2: nothing of it may stay. */
void data_drop(struct rebuild *r)
{
	if (r->fetched > 0)
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
