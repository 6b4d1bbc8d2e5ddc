/* ec/alloc.c - life of a struct alloc: made from records, asked for sums. */
#include "ec/alloc.h"

#include <assert.h>
#include <errno.h>

#include "ec/alloc_impl.h"
#include "ec/former.h"

static void set_close(struct bits *set, uint32_t k)
{
	for (uint32_t i = 0; set != NULL && i < k; i++)
		bits_close(&set[i]);
	free(set);
}

static int set_open(struct bits **out, uint32_t k, uint32_t size)
{
	struct bits *set = calloc(k, sizeof(*set));

	*out = set;
	if (set == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < k; i++)
		if (bits_open(&set[i], size) != 0)
			return -ENOMEM; /* rows_close() undoes */
	return 0;
}

static void maps_close(uint64_t **map, size_t n)
{
	for (size_t i = 0; map != NULL && i < n; i++)
		free(map[i]);
	free(map);
}

static void rows_close(struct alloc *a)
{
	for (uint32_t j = 0; a->row != NULL && j < a->m; j++) {
		struct alloc_row *row = &a->row[j];

		bits_close(&row->fresh);
		bits_close(&row->coded);
		set_close(row->free, a->k);
		set_close(row->partial, a->k);
		set_close(row->victim, a->k);
		set_close(row->leaving, a->k);
		set_close(row->need, a->k);
		set_close(row->need_new, a->k);
		maps_close(row->dead, a->k * a->periods);
		maps_close(row->dead_new, a->k * a->periods);
		set_close(row->retiring, a->k);
		free(row->taken);
	}
	free(a->row);
}

static int row_open(const struct alloc *a, struct alloc_row *row)
{
	row->taken = calloc(a->periods, sizeof(*row->taken));
	if (row->taken == NULL || bits_open(&row->fresh, a->periods) != 0 ||
	    bits_open(&row->coded, a->periods) != 0 ||
	    set_open(&row->free, a->k, a->periods) != 0 ||
	    set_open(&row->partial, a->k, a->periods) != 0 ||
	    set_open(&row->victim, a->k, a->periods) != 0 ||
	    set_open(&row->leaving, a->k, a->periods) != 0 ||
	    set_open(&row->need, a->k, a->periods) != 0 ||
	    set_open(&row->need_new, a->k, a->periods) != 0 ||
	    set_open(&row->retiring, a->k, a->periods) != 0)
		return -ENOMEM;
	row->dead = calloc((size_t)a->k * a->periods, sizeof(*row->dead));
	row->dead_new = calloc((size_t)a->k * a->periods, sizeof(*row->dead));
	if (row->dead == NULL || row->dead_new == NULL)
		return -ENOMEM;
	return 0;
}

static int rows_open(struct alloc *a)
{
	a->row = calloc(a->m, sizeof(*a->row));
	if (a->row == NULL)
		return -ENOMEM;
	for (uint32_t j = 0; j < a->m; j++)
		if (row_open(a, &a->row[j]) != 0)
			return -ENOMEM;
	return 0;
}

/* Take one record into the counts. *@fresh becomes false if it was ever used */
static int adopt(struct alloc *a, const struct alloc_at *at, bool *fresh)
{
	struct block_rec rec;

	if (at->rec->seq % 2 != 0)
		return -EUCLEAN;
	block_load(at->rec, &rec);
	if (block_rec_check(a->o.group, &rec) != 0)
		return -EBADMSG;
	if (rec.busy != 0)
		return -EUCLEAN;
	if (rec.seq != 0)
		*fresh = false;
	if (at->parity >= 0 && rec.state != BLOCK_FREE)
		bits_put(&a->row[at->parity].coded, at->period, true);
	if (at->parity >= 0 && rec.delta != 0)
		delta_adopt(a, at, &rec);
	alloc_count(a, at, &rec, 1);
	return 0;
}

static int adopt_all(struct alloc *a)
{
	struct alloc_at at;
	bool fresh = true;
	int rc;

	for (uint32_t b = 0; b < a->o.group->blocks; b++) {
		uint32_t mine = b % a->w;
		uint32_t n = mine < a->k ? 1 : a->k;

		alloc_at_block(a, b, mine < a->k ? mine : 0, &at);
		for (; n > 0; n--, alloc_next(&at)) {
			rc = adopt(a, &at, &fresh);
			if (rc != 0)
				return rc;
		}
	}
	delta_adopted(a, fresh);
	return 0;
}

/* Not before a view speaks of this node: alloc_set_view(). */
static void adopt_former(struct alloc *a, struct former *f)
{
	for (uint32_t b = former_next(f, 0); b != BITS_NONE;
	     b = former_next(f, b + 1))
		bits_put(&a->touched, b, true);
	a->former = f;
}

/* Nothing will be rebuilt, or all is: D2. */
static void forget_former(struct alloc *a)
{
	uint32_t b, bytes;

	for (;;) {
		pthread_mutex_lock(&a->lock);
		b = former_next(a->former, 0);
		if (b != BITS_NONE) {
			bytes = alloc_fold_end(former_rec(a->former, b));
			former_decided(a->former, b);
		}
		pthread_mutex_unlock(&a->lock);
		if (b == BITS_NONE)
			return;
		alloc_zero(a, b, bytes);
	}
}

/* Victims need the records of all roles in place. */
static void judge_all(struct alloc *a)
{
	struct alloc_at at;

	for (uint32_t b = 0; b < a->o.group->blocks; b++) {
		alloc_at_block(a, b, 0, &at);
		for (uint32_t n = at.parity < 0 ? 0 : a->k; n > 0;
		     n--, alloc_next(&at))
			alloc_judge(a, &at);
	}
}

static int check_opts(const struct alloc_opts *o)
{
	if (o->group == NULL || o->code == NULL || o->region == NULL ||
	    group_check(o->group) != 0 || o->node >= o->group->nodes)
		return -EINVAL;
	return 0;
}

int alloc_open(const struct alloc_opts *opts, struct alloc **out)
{
	struct alloc *a;
	int rc = check_opts(opts);

	if (rc != 0)
		return rc;
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return -ENOMEM;
	a->o = *opts;
	a->k = opts->group->k;
	a->m = opts->group->m;
	a->w = a->k + a->m;
	a->periods = opts->group->blocks / a->w;
	pthread_mutex_init(&a->work, NULL);
	pthread_mutex_init(&a->lock, NULL);
	rc = rows_open(a);
	if (rc == 0)
		rc = bits_open(&a->warm, opts->group->blocks);
	if (rc == 0)
		rc = bits_open(&a->touched, opts->group->blocks);
	if (rc == 0)
		rc = early_open(a);
	if (rc == 0)
		rc = delta_open(a);
	if (rc == 0)
		rc = adopt_all(a);
	if (rc != 0) {
		alloc_close(a);
		return rc;
	}
	judge_all(a);
	alloc_set_up(a, UINT64_MAX);
	adopt_former(a, opts->former);
	*out = a;
	return 0;
}

void alloc_close(struct alloc *a)
{
	if (a == NULL)
		return;
	delta_close(a);
	early_close(a);
	bits_close(&a->warm);
	bits_close(&a->touched);
	rows_close(a);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->work);
	free(a);
}

/* Row @j's stripes all have their role r on the same node: see alloc_impl.h. */
static void row_set_up(struct alloc *a, uint32_t j, uint64_t up,
		       uint64_t members)
{
	uint32_t n = a->o.group->nodes;
	uint32_t first = (a->o.node + n - (a->k + j) % n) % n; /* of role 0 */
	struct alloc_row *row = &a->row[j];

	row->led = (up >> a->o.node & 1) != 0;
	row->all_up = true;
	row->coming = false;
	row->role_up = 0;
	for (uint32_t r = 0; r < a->w; r++) {
		uint32_t node = (first + r) % n;
		bool is_up = (up >> node & 1) != 0;

		row->coming |= !is_up && (members >> node & 1) != 0;
		if (!is_up && (r < a->k || (members >> node & 1) == 0))
			row->all_up = false;
		if (is_up && r < a->k)
			row->role_up |= 1u << r;
		else if (is_up && r < a->k + j)
			row->led = false; /* one before this node leads */
	}
}

void alloc_set_view(struct alloc *a, uint64_t up, uint64_t members)
{
	uint64_t self = UINT64_C(1) << a->o.node;

	if ((up & self) != 0)
		forget_former(a);
	pthread_mutex_lock(&a->lock);
	if ((members & self) == 0)
		up |= self; /* no view speaks of this node yet */
	members |= up;
	__atomic_store_n(&a->up, up, __ATOMIC_RELAXED);
	__atomic_store_n(&a->coming, (up & self) == 0, __ATOMIC_RELAXED);
	/* Whatever a view says: what is not here yet is not. */
	a->rebuilding = ((up & self) == 0 || a->rebuilding) && !a->rebuilt;
	for (uint32_t j = 0; j < a->m; j++)
		row_set_up(a, j, up, members);
	pthread_mutex_unlock(&a->lock);
}

void alloc_set_up(struct alloc *a, uint64_t up)
{
	alloc_set_view(a, up | UINT64_C(1) << a->o.node, up);
}

static void add_row(const struct alloc *a, const struct alloc_row *row,
		    struct alloc_usage *out)
{
	out->own_blocks += a->periods - row->fresh.n;
	if (!row->led)
		return;
	out->data_total += (uint64_t)a->periods * a->k;
	for (uint32_t i = 0; i < a->k; i++) {
		if (row->role_up >> i & 1)
			out->data_free += row->free[i].n;
		else /* nobody can have these */
			out->data_total -= row->free[i].n;
	}
	out->open_blocks += row->count[BLOCK_OPEN];
	out->sealed_blocks +=
		row->count[BLOCK_SEALED] + row->count[BLOCK_FOLDING];
	out->folded_blocks +=
		row->count[BLOCK_FOLDED] + row->count[BLOCK_RETIRING];
}

void alloc_usage(struct alloc *a, struct alloc_usage *out)
{
	pthread_mutex_lock(&a->lock);
	*out = (struct alloc_usage){
		.own_blocks = a->own_taken,
		.delta_used = a->o.group->deltas - a->free_deltas,
		.dead_bytes = a->own_dead * GROUP_UNIT_BYTES,
		.folds = a->folds,
		.retires = a->retires,
		.reopened = a->reopened,
		.fold_backlog = a->queued,
	};
	for (uint32_t j = 0; j < a->m; j++)
		add_row(a, &a->row[j], out);
	pthread_mutex_unlock(&a->lock);
}

void alloc_owned(struct alloc *a, uint32_t owner,
		 void (*each)(void *arg, uint64_t stripe, uint32_t role,
			      const struct block_rec *rec),
		 void *arg)
{
	struct block_rec rec;
	struct alloc_at at;

	for (uint32_t b = 0; b < a->o.group->blocks; b++) {
		uint32_t mine = b % a->w;
		uint32_t n = mine < a->k ? 1 : a->k;

		alloc_at_block(a, b, mine < a->k ? mine : 0, &at);
		for (; n > 0; n--, alloc_next(&at)) {
			block_load(at.rec, &rec);
			if (rec.state == BLOCK_OPEN && rec.owner == owner)
				each(arg, at.stripe, at.role, &rec);
		}
	}
}
