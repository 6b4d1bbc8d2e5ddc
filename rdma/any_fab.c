/* rdma/any_fab.c - a queue over several transports: hands batches on to a
 * queue of each, and takes them back when they are complete. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "rdma/any_impl.h"

#define SLICE_NS     UINT64_C(20000) /* waited at one while others may come */
#define SLICE_MAX_NS UINT64_C(640000)

/* A batch in pieces, one for each transport. */
struct split {
	struct fab_batch *whole;
	struct fab_batch piece[ANY_WAYS];
	uint32_t left; /* pieces not complete */
	LIST_ENTRY(split) link;
	uint8_t *way;	    /* of each operation of the whole */
	struct fab_op op[]; /* all, those of a piece in a row */
};

struct any_fab {
	struct fab fab;
	struct any_net *net;
	struct fab *queue[ANY_WAYS]; /* opened when first used */
	LIST_HEAD(, split) splits;   /* mostly none */
	uint64_t dice;
};

static struct any_fab *any_fab(struct fab *f)
{
	return (struct any_fab *)f;
}

static int queue_of(struct any_fab *f, unsigned w, struct fab **out)
{
	int rc = 0;

	if (f->queue[w] == NULL)
		rc = fab_open(atomic_load(&f->net->way[w]), &f->queue[w]);
	*out = f->queue[w];
	return rc;
}

static unsigned op_way(struct any_fab *f, const struct fab_op *op)
{
	return atomic_load(&f->net->by[op->node]);
}

/* --- what is complete ----------------------------------------------------- */

static struct split *split_of(struct any_fab *f, const struct fab_batch *b)
{
	struct split *s;

	LIST_FOREACH (s, &f->splits, link)
		if (b >= s->piece && b < s->piece + ANY_WAYS)
			return s;
	return NULL;
}

/* Operations go back to their places: those of each transport kept their
 * order. */
static void split_back(struct any_fab *f, struct split *s)
{
	struct fab_batch *b = s->whole;
	uint32_t at[ANY_WAYS] = {0};

	for (uint32_t i = 0; i < b->n; i++) {
		unsigned w = s->way[i];

		b->ops[i] = s->piece[w].ops[at[w]++];
	}
	b->left = 0;
	LIST_REMOVE(s, link);
	free(s);
	fab_done(&f->fab, b);
}

static void piece_ended(struct any_fab *f, struct split *s)
{
	if (--s->left == 0)
		split_back(f, s);
}

/* What a transport counts itself. */
static void take_counts(struct any_fab *f, struct fab *q)
{
	f->fab.count.failed += q->count.failed;
	f->fab.count.bytes_called += q->count.bytes_called;
	f->fab.count.direct += q->count.direct;
	q->count.failed = q->count.bytes_called = q->count.direct = 0;
}

static void collect(struct any_fab *f, struct fab *q)
{
	struct fab_batch *b;
	struct split *s;

	take_counts(f, q);
	while ((b = TAILQ_FIRST(&q->done)) != NULL) {
		TAILQ_REMOVE(&q->done, b, link);
		s = split_of(f, b);
		if (s != NULL)
			piece_ended(f, s);
		else
			fab_done(&f->fab, b);
	}
}

/* --- posting -------------------------------------------------------------- */

static int hand_on(struct any_fab *f, unsigned w, struct fab_batch *b)
{
	struct fab *q;
	int rc = queue_of(f, w, &q);

	if (rc != 0)
		return rc;
	q->under_way++;
	rc = q->ops->post(q, b);
	if (rc == 0)
		collect(f, q);
	else
		q->under_way--;
	return rc;
}

/* It could not be begun. */
static void piece_refused(struct any_fab *f, struct split *s, unsigned w)
{
	for (uint32_t i = 0; i < s->piece[w].n; i++)
		s->piece[w].ops[i].status = -EHOSTDOWN;
	piece_ended(f, s);
}

static void piece_fill(struct split *s, unsigned w, struct fab_op *ops)
{
	struct fab_batch *b = s->whole, *p = &s->piece[w];

	*p = (struct fab_batch){.ops = ops, .deadline_ns = b->deadline_ns};
	for (uint32_t i = 0; i < b->n; i++)
		if (s->way[i] == w)
			p->ops[p->n++] = b->ops[i];
	p->left = p->n;
	s->left += p->n > 0;
}

static struct split *split_new(struct any_fab *f, struct fab_batch *b)
{
	struct split *s = malloc(sizeof(*s) + b->n * (sizeof(s->op[0]) + 1));
	struct fab_op *next;

	if (s == NULL)
		return NULL;
	s->whole = b;
	s->left = 0;
	s->way = (uint8_t *)&s->op[b->n];
	for (uint32_t i = 0; i < b->n; i++) {
		s->way[i] = (uint8_t)op_way(f, &b->ops[i]);
		b->ops[i].status = -EINPROGRESS;
	}
	next = s->op;
	for (unsigned w = 0; w < ANY_WAYS; w++) {
		piece_fill(s, w, next);
		next += s->piece[w].n;
	}
	return s;
}

/* All at once: the pieces are on their way before any is waited for. */
static int post_split(struct any_fab *f, struct fab_batch *b)
{
	struct split *s = split_new(f, b);
	uint32_t pieces = 0;

	if (s == NULL)
		return -ENOMEM;
	LIST_INSERT_HEAD(&f->splits, s, link);
	for (unsigned w = 0; w < ANY_WAYS; w++)
		pieces |= s->piece[w].n > 0 ? 1u << w : 0;
	for (unsigned w = 0; w < ANY_WAYS; w++) {
		if (!(pieces >> w & 1))
			continue;
		if (hand_on(f, w, &s->piece[w]) != 0)
			piece_refused(f, s, w);
	}
	return 0;
}

static int any_post(struct fab *fab, struct fab_batch *b)
{
	struct any_fab *f = any_fab(fab);
	unsigned w = op_way(f, &b->ops[0]);

	for (uint32_t i = 1; i < b->n; i++)
		if (op_way(f, &b->ops[i]) != w)
			return post_split(f, b);
	return hand_on(f, w, b);
}

/* --- progress ------------------------------------------------------------- */

/* How many have something under way; the last of them. */
static unsigned busy(struct any_fab *f, struct fab **last)
{
	unsigned n = 0;

	for (int w = 0; w < ANY_WAYS; w++)
		if (f->queue[w] != NULL && f->queue[w]->under_way > 0) {
			*last = f->queue[w];
			n++;
		}
	return n;
}

static void turn(struct any_fab *f, struct fab *q, uint64_t until)
{
	q->ops->progress(q, until);
	collect(f, q);
}

static void turn_all(struct any_fab *f, uint64_t until)
{
	for (int w = 0; w < ANY_WAYS; w++)
		if (f->queue[w] != NULL && f->queue[w]->under_way > 0)
			turn(f, f->queue[w], until);
}

/* There is no waiting for several at once: each has a slice of time. */
static void any_progress(struct fab *fab, uint64_t until)
{
	uint64_t before = fab->completions, slice = SLICE_NS, now, end;
	struct any_fab *f = any_fab(fab);
	struct fab *only;

	if (busy(f, &only) == 1) {
		turn(f, only, until);
		return;
	}
	turn_all(f, 0);
	while (fab->completions == before && until != 0) {
		now = fab_clock_now(NULL);
		if (now >= until)
			break;
		end = now + slice < until ? now + slice : until;
		turn_all(f, end);
		slice = slice < SLICE_MAX_NS ? slice * 2 : slice;
	}
}

/* --- its life ------------------------------------------------------------- */

static uint64_t any_random(struct fab *fab)
{
	return fab_dice(&any_fab(fab)->dice);
}

static void any_fab_close(struct fab *fab)
{
	struct any_fab *f = any_fab(fab);

	for (int w = 0; w < ANY_WAYS; w++)
		fab_close(f->queue[w]);
	free(f);
}

static const struct fab_ops any_fab_ops = {
	.close = any_fab_close,
	.post = any_post,
	.progress = any_progress,
	.now = fab_clock_now,
	.wall = fab_clock_wall,
	.random = any_random,
	.sleep = fab_clock_sleep,
};

int any_fab_open(struct fab_net *n, struct fab **out)
{
	struct any_fab *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -ENOMEM;
	fab_init(&f->fab, &any_fab_ops);
	f->net = any_net(n);
	LIST_INIT(&f->splits);
	if (getrandom(&f->dice, sizeof(f->dice), 0) != sizeof(f->dice)) {
		free(f);
		return -EIO;
	}
	*out = &f->fab;
	return 0;
}
