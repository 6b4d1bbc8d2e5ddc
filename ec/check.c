/* ec/check.c - a stripe's parity against its data, window by window: fetch the
 * data, sum it up, compare; what differs is fetched once more before it is
 * wrong. The records must stand as they did all the while. */
#include "ec/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ec/alloc_impl.h"

#define CHECK_WINDOW 65536u
#define CHECK_TRIES  2u
#define CHECK_NS     UINT64_C(2000000000)

struct checking {
	struct alloc *a;
	struct fab *f;
	uint64_t stripe;
	uint32_t parity, block; /* row; this node's block */
	bool mend;
	struct block_rec rec[64]; /* of the data roles, as they stood */
	uint32_t at, len;	  /* the window */
	char *data;		  /* k windows */
	char *sum;
	struct check_found *out;
};

/* --- how the stripe stands ----------------------------------------------- */

static void load(struct checking *c, struct block_rec *to)
{
	struct alloc_at at;

	for (uint32_t i = 0; i < c->a->k; i++) {
		alloc_at_block(c->a, c->block, i, &at);
		block_load(at.rec, &to[i]);
	}
}

static bool is_copy(const struct block_rec *rec)
{
	return rec->state == BLOCK_SEALED && rec->kind != BLOCK_ROWS &&
	       rec->delta != 0 && (rec->flags & BLOCK_F_ALIGN) == 0;
}

static bool is_in(const struct block_rec *rec)
{
	return rec->state == BLOCK_FOLDED;
}

/* No one is at work on it: windows of folds, rows being written. */
static bool at_rest(const struct checking *c)
{
	for (uint32_t i = 0; i < c->a->k; i++) {
		const struct block_rec *rec = &c->rec[i];

		if (rec->busy != 0 || rec->state == BLOCK_FOLDING ||
		    rec->state == BLOCK_RETIRING)
			return false;
		if (rec->kind == BLOCK_ROWS && rec->state != BLOCK_FOLDED &&
		    rec->state != BLOCK_FREE)
			return false;
	}
	return true;
}

static bool stands(struct checking *c)
{
	struct block_rec now[64];

	load(c, now);
	for (uint32_t i = 0; i < c->a->k; i++)
		if (now[i].state != c->rec[i].state ||
		    now[i].life != c->rec[i].life ||
		    now[i].delta != c->rec[i].delta ||
		    now[i].flags != c->rec[i].flags || now[i].busy != 0)
			return false;
	return true;
}

/* --- one window ---------------------------------------------------------- */

static bool wants(const struct checking *c, uint32_t i)
{
	return is_in(&c->rec[i]) || is_copy(&c->rec[i]);
}

static int fetch(struct checking *c)
{
	struct fab_op op[64];
	struct fab_batch b = {.ops = op,
			      .deadline_ns = fab_now(c->f) + CHECK_NS};
	uint64_t up = __atomic_load_n(&c->a->up, __ATOMIC_RELAXED);
	uint32_t node, block;
	int rc;

	for (uint32_t i = 0; i < c->a->k; i++) {
		if (!wants(c, i))
			continue;
		group_member(c->a->o.group, c->stripe, i, &node, &block);
		if (!(up >> node & 1))
			return -EHOSTDOWN;
		fab_read(&op[b.n++], (uint8_t)node,
			 group_block_off(c->a->o.group, block) + c->at,
			 c->data + (size_t)i * CHECK_WINDOW, c->len);
	}
	if (b.n == 0)
		return 0;
	rc = fab_run(c->f, &b);
	for (uint32_t i = 0; rc == 0 && i < b.n; i++)
		rc = op[i].status;
	c->out->bytes += (uint64_t)b.n * c->len;
	return rc;
}

static void add_up(struct checking *c)
{
	memset(c->sum, 0, c->len);
	for (uint32_t i = 0; i < c->a->k; i++)
		if (is_in(&c->rec[i]))
			code_fold(c->a->o.code, c->parity, i, c->len,
				  c->data + (size_t)i * CHECK_WINDOW, c->sum);
}

static uint64_t differ(const char *a, const char *b, uint32_t n)
{
	uint64_t wrong = 0;

	if (memcmp(a, b, n) == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		wrong += a[i] != b[i];
	return wrong;
}

/* @mine is this node's, @right what it should be. */
static uint64_t compare(struct checking *c, char *mine, const char *right,
			bool mend)
{
	uint64_t wrong = differ(mine, right, c->len);

	if (wrong != 0 && mend)
		memcpy(mine, right, c->len);
	return wrong;
}

static char *mine(const struct checking *c, uint64_t off)
{
	return (char *)alloc_region_at(c->a, off) + c->at;
}

/* The bytes here against those fetched: how many differ, or -EAGAIN. Under
 * @work nobody clears them, and those who would first change the record. */
static int64_t judge(struct checking *c, bool mend)
{
	const struct group *g = c->a->o.group;
	int64_t wrong = -EAGAIN;

	pthread_mutex_lock(&c->a->work);
	pthread_mutex_lock(&c->a->lock);
	if (stands(c)) {
		wrong = (int64_t)compare(
			c, mine(c, group_block_off(g, c->block)), c->sum, mend);
		for (uint32_t i = 0; i < c->a->k; i++)
			if (is_copy(&c->rec[i]))
				wrong += (int64_t)compare(
					c,
					mine(c,
					     group_delta_off(
						     g, c->rec[i].delta - 1)),
					c->data + (size_t)i * CHECK_WINDOW,
					mend);
		if (wrong > 0 && mend)
			bits_put(&c->a->row[c->parity].coded,
				 c->block / c->a->w, true);
	}
	pthread_mutex_unlock(&c->a->lock);
	pthread_mutex_unlock(&c->a->work);
	return wrong;
}

static int check_window(struct checking *c)
{
	int64_t wrong = 0;
	int rc;

	for (unsigned i = 0; i < CHECK_TRIES; i++) {
		rc = fetch(c);
		if (rc != 0)
			return rc;
		add_up(c);
		wrong = judge(c, c->mend && i == CHECK_TRIES - 1);
		if (wrong < 0)
			return (int)wrong;
		if (wrong == 0)
			return 0;
	}
	c->out->wrong += (uint64_t)wrong;
	c->out->mended = c->mend;
	return 0;
}

/* --- a stripe ------------------------------------------------------------ */

static int check_windows(struct checking *c)
{
	uint32_t end = c->a->o.group->block_bytes;
	int rc = 0;

	for (c->at = 0; rc == 0 && c->at < end; c->at += c->len) {
		c->len =
			end - c->at < CHECK_WINDOW ? end - c->at : CHECK_WINDOW;
		c->out->bytes += c->len;
		rc = check_window(c);
	}
	return rc;
}

/* Nothing was ever in it: its memory may not even be there, and must not be
 * called into being by looking at it. */
static bool is_blank(struct checking *c)
{
	bool blank = true;

	for (uint32_t i = 0; i < c->a->k; i++)
		blank = blank && !wants(c, i);
	pthread_mutex_lock(&c->a->lock);
	blank = blank &&
		!bits_has(&c->a->row[c->parity].coded, c->block / c->a->w);
	pthread_mutex_unlock(&c->a->lock);
	return blank;
}

int check_stripe(struct alloc *a, struct fab *f, uint64_t stripe,
		 uint32_t parity, bool mend, struct check_found *out)
{
	struct checking c = {.a = a,
			     .f = f,
			     .stripe = stripe,
			     .parity = parity,
			     .mend = mend,
			     .out = out};
	uint32_t node;
	int rc = -ENOMEM;

	memset(out, 0, sizeof(*out));
	if (stripe >= group_stripes(a->o.group) || parity >= a->m)
		return -EINVAL;
	group_member(a->o.group, stripe, a->k + parity, &node, &c.block);
	if (node != a->o.node)
		return -EINVAL;
	load(&c, c.rec);
	if (!at_rest(&c))
		return -EAGAIN;
	if (is_blank(&c))
		return 0;
	c.data = malloc((size_t)a->k * CHECK_WINDOW);
	c.sum = malloc(CHECK_WINDOW);
	if (c.data != NULL && c.sum != NULL)
		rc = check_windows(&c);
	free(c.data);
	free(c.sum);
	return rc;
}
