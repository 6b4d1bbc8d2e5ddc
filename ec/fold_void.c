/* ec/fold_void.c - an orphan that another opening came before.
 *
 * A leader gives a block away and dies, and with it all who heard of that but
 * the data node. The next leader knows nothing, and gives the same life of it
 * to somebody else, whom the data node refuses; and who may die, too, or never
 * hear the answer, before this is taken back. What is left is an orphan here
 * that on its data node is somebody else's. Neither of them has written: that
 * comes when all members have opened (S7). So all of it is obsolete, and the
 * leader gives it back, with what the data node has of the other. */
#include <errno.h>

#include "ec/alloc_impl.h"
#include "rdma/fabric.h"

/* Alone in it since it was opened: not opened again, nor from before a restart
 * of the pool. */
static bool has_owner(const struct block_rec *rec)
{
	return rec->owner != 0 && rec->owner != BLOCK_OWNER_PAST;
}

static bool is_another(const struct block_rec *here,
		       const struct block_rec *data)
{
	if (data->life != here->life)
		return false;
	if (data->state == BLOCK_FREE)
		return true;
	return has_owner(here) && has_owner(data) &&
	       (data->owner != here->owner || data->kind != here->kind);
}

static int read_rec(struct alloc *a, struct fab *f, const struct alloc_at *at,
		    struct block_rec *rec)
{
	const struct group *g = a->o.group;
	uint32_t node, block;
	int rc;

	group_member(g, at->stripe, at->role, &node, &block);
	rc = copy_read(
		f,
		fab_addr_make((uint8_t)node, group_rec_off(g, block, at->role)),
		rec, sizeof(*rec));
	if (rc == 0 && rec->seq % 2 != 0)
		rc = -EAGAIN;
	return rc != 0 ? rc : block_rec_check(g, rec);
}

static void make_obsolete(struct alloc *a, const struct alloc_at *at,
			  uint32_t life)
{
	uint32_t units = a->o.group->block_bytes / GROUP_UNIT_BYTES;
	struct block_rec rec;

	pthread_mutex_lock(&a->lock);
	block_load(at->rec, &rec);
	if (rec.life == life && (rec.flags & BLOCK_F_ALIGN) != 0) {
		rec.dead += alloc_map_set(alloc_map_at(a, at), 0, units);
		rec.flags &= (uint8_t)~BLOCK_F_ALIGN;
		alloc_move(a, at, &rec);
		alloc_judge(a, at);
	}
	pthread_mutex_unlock(&a->lock);
}

int void_orphan(struct alloc *a, struct fab *f, const struct alloc_at *at,
		const struct block_rec *here)
{
	struct block_rec data;
	int rc = read_rec(a, f, at, &data);

	if (rc != 0)
		return rc;
	if (!is_another(here, &data))
		return 0;
	make_obsolete(a, at, here->life);
	return 1;
}
