/* ec/fold_retire.c - giving a wholly obsolete block back.
 *
 *   leader (first parity up)     other parities         data node
 *   fold_victim()
 *   fold_retire()  ------------> fold_retire() ...
 *     fold_work()                  fold_work()
 *   fold_retired() here and  <-- fold_retired()
 *   there: all parities
 *   are without it
 *     --------------------------------------------->  fold_free(): zero, FREE
 *     ------------------------>  fold_free()
 *   fold_free()
 *
 * The leader is last, so that what it may grant again is free everywhere. Each
 * step may be repeated, and a new leader begins where its own record stands. A
 * ROW stripe needs no folding: it leaves with its parity, which is zeroed.
 *
 * Until the first fold_free() the block is as it was on its data node, so any
 * parity that dies or stops half-way hurts nobody. If the data node dies before
 * a parity has its copy, that parity just keeps the block. */
#include <errno.h>

#include "ec/alloc_impl.h"
#include "ec/fold.h"

/* SEALED or FOLDED, to RETIRING. Lock held. */
static void retire_rec(struct alloc *a, const struct alloc_at *at, bool again)
{
	struct block_rec rec;

	block_load(at->rec, &rec);
	rec.progress = 0;
	if (at->parity >= 0 && rec.state == BLOCK_SEALED) {
		/* Never folded: the delta is its copy, and all is out. */
		delta_unqueue(a, rec.delta - 1);
		rec.progress = alloc_fold_end(&rec);
		a->retires++;
	}
	rec.state = BLOCK_RETIRING;
	rec.flags &= BLOCK_F_LEFT;
	rec.flags |= again ? BLOCK_F_AGAIN : 0;
	alloc_move(a, at, &rec);
}

static int retire(struct alloc *a, struct alloc_at *at, struct block_rec *rec,
		  bool again)
{
	switch (rec->state) {
	case BLOCK_OPEN: /* its owner has sealed it elsewhere already */
		return -EAGAIN;
	case BLOCK_SEALED:
	case BLOCK_FOLDING:
		if (rec->state == BLOCK_SEALED &&
		    (rec->flags & (BLOCK_F_ALIGN | BLOCK_F_HELD)) == 0)
			break;
		rec->flags |= BLOCK_F_RETIRE; /* in fold_work()'s hands */
		alloc_move(a, at, rec);
		return 0;
	case BLOCK_FOLDED:
		break;
	default:
		return 0; /* at it, or done */
	}
	for (uint32_t n = alloc_span(a, at, rec->kind); n > 0;
	     n--, alloc_next(at))
		retire_rec(a, at, again);
	return 0;
}

/* Another life: gone long ago, or still to be rebuilt here, and then first of
 * all. "Not yet" keeps the leader from giving the block back meanwhile, so what
 * is being rebuilt cannot vanish elsewhere. Lock held. */
static int await(struct alloc *a, const struct alloc_at *at,
		 const struct block_rec *rec, uint32_t life)
{
	if (!early_expects(a, rec, life))
		return -ESTALE;
	bits_put(&a->wanted, at->block, true);
	return -EAGAIN;
}

int fold_retire(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life,
		bool again)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate_any(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	pthread_mutex_lock(&a->lock);
	block_load(at.rec, &rec);
	if (rec.life == life)
		rc = retire(a, &at, &rec, again);
	else
		rc = await(a, &at, &rec, life);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

bool fold_retired(struct alloc *a, uint64_t stripe, uint32_t role,
		  uint32_t life)
{
	struct block_rec rec;
	struct alloc_at at;

	if (alloc_locate_any(a, stripe, role, &at) != 0)
		return false;
	block_load(at.rec, &rec);
	if (rec.life != life)
		return rec.life > life; /* gone long ago */
	return rec.state == BLOCK_FREE || alloc_is_out(&at, &rec);
}

/* May victim (row @j, @role) go: are the nodes up that must zero it? */
static bool may_go(const struct alloc *a, uint32_t j, uint32_t role,
		   const struct block_rec *rec)
{
	uint32_t all = (uint32_t)((UINT64_C(1) << a->k) - 1);
	uint32_t need = rec->kind == BLOCK_ROWS ? all : 1u << role;

	return (a->row[j].role_up & need) == need;
}

static bool find_victim(struct alloc *a, uint32_t j, bool begun,
			struct alloc_at *at, struct block_rec *rec)
{
	struct alloc_row *row = &a->row[j];

	if (!row->led || (begun && row->count[BLOCK_RETIRING] == 0))
		return false;
	for (uint32_t i = 0; i < a->k; i++) {
		uint32_t p = bits_next(&row->victim[i], 0);

		for (; p != BITS_NONE; p = bits_next(&row->victim[i], p + 1)) {
			alloc_at_block(a, p * a->w + a->k + j, i, at);
			block_load(at->rec, rec);
			if ((rec->state == BLOCK_RETIRING) == begun &&
			    may_go(a, j, i, rec) &&
			    !alloc_is_needed(a, j, i, p) &&
			    again_find(a, at) == NULL)
				return true;
		}
	}
	return false;
}

int fold_victim(struct alloc *a, uint64_t *stripe, uint32_t *role,
		uint8_t *kind, uint32_t *life)
{
	struct block_rec rec;
	struct alloc_at at;
	bool found = false;

	pthread_mutex_lock(&a->lock);
	for (uint32_t j = 0; !found && j < a->m; j++)
		found = find_victim(a, j, true, &at, &rec);
	for (uint32_t j = 0; !found && j < a->m; j++)
		found = find_victim(a, j, false, &at, &rec);
	pthread_mutex_unlock(&a->lock);
	if (!found)
		return -ENOENT;
	*stripe = at.stripe;
	*role = at.role;
	*kind = rec.kind;
	*life = rec.life;
	return 0;
}

static bool is_half_freed(const struct alloc *a, const struct alloc_at *at,
			  const struct block_rec *rec)
{
	return at->parity >= 0 && !a->row[at->parity].led &&
	       alloc_is_out(at, rec);
}

int fold_stray(struct alloc *a, uint32_t *at, uint64_t *stripe, uint32_t *role,
	       uint32_t *life)
{
	return alloc_look(a, at, is_half_freed, stripe, role, life);
}

/* On the data node no more than "nobody writes" is asked for. */
static bool may_free(const struct alloc_at *at, const struct block_rec *rec)
{
	if (at->parity >= 0)
		return alloc_is_out(at, rec);
	return rec->state == BLOCK_SEALED || rec->state == BLOCK_RETIRING;
}

int fold_free(struct alloc *a, uint64_t stripe, uint32_t role, uint32_t life)
{
	struct block_rec rec;
	struct alloc_at at;
	int rc = alloc_locate_any(a, stripe, role, &at);

	if (rc != 0)
		return rc;
	block_load(at.rec, &rec);
	if (early_expects(a, &rec, life))
		return -EAGAIN; /* fold_retire() was not asked, or not here */
	if (rec.life != life)
		return -ESTALE;
	if (rec.state == BLOCK_FREE)
		return 0;
	if (!may_free(&at, &rec))
		return -EAGAIN;
	alloc_clear(a, &at);
	return 0;
}
