/* checkpoint/restore.c - see restore.h. */
#include "checkpoint/restore.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/image.h"

#define RESTORE_READ_PIECES 256u /* in one READ: 1 MiB */
#define RESTORE_READS	    4u	 /* in one batch */
#define RESTORE_HEADS	    (2 * CKPT_PEERS_MAX)

/* A version that some head promises. */
struct found {
	struct ckpt_image_head head;
	uint32_t peer, buffer;
};

typedef enum ckpt_step restore_state(struct ckpt_restore *r);

struct ckpt_restore {
	struct ckpt_restore_opts o;
	restore_state *state;
	struct found found[RESTORE_HEADS]; /* newest first */
	uint32_t n_found, next;		   /* the one that is tried now */
	uint32_t from, at; /* pieces: being read are [from, at) */
	uint32_t *table;
	int status;
	struct ckpt_restored out;
	struct fab_op ops[RESTORE_HEADS];
	struct fab_batch batch;
};

static restore_state restore_ask, restore_heads, restore_try, restore_table,
	restore_read, restore_check, restore_done;

int ckpt_restore_open(const struct ckpt_restore_opts *opts,
		      struct ckpt_restore **out)
{
	struct ckpt_restore *r;
	int rc = ckpt_size_check(opts->size);

	if (rc != 0 || opts->n_peers > CKPT_PEERS_MAX || opts->to == NULL)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->table = malloc(ckpt_pieces(opts->size) * sizeof(*r->table));
	if (r->table == NULL) {
		free(r);
		return -ENOMEM;
	}
	r->o = *opts;
	r->status = -ENODATA;
	r->state = restore_ask;
	*out = r;
	return 0;
}

void ckpt_restore_close(struct ckpt_restore *r)
{
	if (r == NULL)
		return;
	free(r->table);
	free(r);
}

static void batch_begin(struct ckpt_restore *r)
{
	uint64_t ns = r->o.timeout_ns != 0 ? r->o.timeout_ns : CKPT_ROUND_NS;

	r->batch = (struct fab_batch){
		.ops = r->ops,
		.deadline_ns = fab_now(r->o.fab) + ns,
		.user = r->batch.user,
	};
}

/* Read from @f's area, @off bytes behind its start. */
static void add_read(struct ckpt_restore *r, uint32_t peer, uint64_t off,
		     void *to, uint32_t len)
{
	const struct ckpt_peer *p = &r->o.peer[peer];

	fab_read(&r->ops[r->batch.n++], p->node, p->area + off, to, len);
	r->out.bytes += len;
}

static enum ckpt_step post(struct ckpt_restore *r, restore_state *then)
{
	r->state = then;
	return r->batch.n > 0 ? CKPT_POST : CKPT_MORE;
}

static bool all_read(const struct ckpt_restore *r)
{
	uint32_t i;

	for (i = 0; i < r->batch.n; i++)
		if (r->ops[i].status != 0)
			return false;
	return true;
}

/* --- heads --------------------------------------------------------------- */

static enum ckpt_step restore_ask(struct ckpt_restore *r)
{
	uint32_t i;

	batch_begin(r);
	for (i = 0; i < 2 * r->o.n_peers; i++) {
		struct found *f = &r->found[i];

		f->peer = i / 2;
		f->buffer = i % 2;
		add_read(r, f->peer, ckpt_area_head(f->buffer), &f->head,
			 sizeof(f->head));
	}
	return post(r, restore_heads);
}

static int newest_first(const void *pa, const void *pb)
{
	const struct found *a = pa, *b = pb;

	if (a->head.version != b->head.version)
		return a->head.version < b->head.version ? 1 : -1;
	return a->peer < b->peer ? -1 : a->peer > b->peer;
}

static enum ckpt_step restore_heads(struct ckpt_restore *r)
{
	uint32_t i;

	for (i = 0; i < r->batch.n; i++) {
		struct found *f = &r->found[i];

		if (r->ops[i].status != 0)
			r->status = -EHOSTDOWN;
		else if (ckpt_head_check(&f->head, r->o.region, r->o.size) ==
				 0 &&
			 f->head.note >= r->o.least)
			r->found[r->n_found++] = *f;
	}
	qsort(r->found, r->n_found, sizeof(r->found[0]), newest_first);
	r->state = restore_try;
	return CKPT_MORE;
}

/* --- one of them --------------------------------------------------------- */

static enum ckpt_step restore_try(struct ckpt_restore *r)
{
	const struct found *f = &r->found[r->next];
	uint64_t off, left, len;
	char *to = (char *)r->table;

	if (r->next == r->n_found) {
		r->state = restore_done;
		return CKPT_MORE;
	}
	off = ckpt_area_table(r->o.size, f->buffer);
	batch_begin(r);
	for (left = ckpt_pieces(r->o.size) * sizeof(*r->table); left > 0;
	     left -= len) {
		len = left < FAB_OP_BYTES_MAX ? left : FAB_OP_BYTES_MAX;
		add_read(r, f->peer, off, to, (uint32_t)len);
		off += len;
		to += len;
	}
	return post(r, restore_table);
}

static enum ckpt_step refuse(struct ckpt_restore *r)
{
	r->next++;
	r->out.refused++;
	r->state = restore_try;
	return CKPT_MORE;
}

static enum ckpt_step restore_table(struct ckpt_restore *r)
{
	const struct found *f = &r->found[r->next];

	if (!all_read(r))
		r->status = -EHOSTDOWN;
	if (!all_read(r) ||
	    ckpt_table_sum(r->table, ckpt_pieces(r->o.size)) != f->head.sum)
		return refuse(r);
	r->at = 0;
	r->state = restore_read;
	return CKPT_MORE;
}

static char *home(const struct ckpt_restore *r, uint32_t piece)
{
	return (char *)r->o.to + (uint64_t)piece * CKPT_PIECE_BYTES;
}

static enum ckpt_step restore_read(struct ckpt_restore *r)
{
	const struct found *f = &r->found[r->next];
	uint32_t pieces = ckpt_pieces(r->o.size), n;

	batch_begin(r);
	r->from = r->at;
	while (r->at < pieces && r->batch.n < RESTORE_READS) {
		n = pieces - r->at;
		if (n > RESTORE_READ_PIECES)
			n = RESTORE_READ_PIECES;
		add_read(r, f->peer,
			 ckpt_area_buffer(r->o.size, f->buffer) +
				 (uint64_t)r->at * CKPT_PIECE_BYTES,
			 home(r, r->at), n * CKPT_PIECE_BYTES);
		r->at += n;
	}
	return post(r, restore_check);
}

static bool pieces_right(const struct ckpt_restore *r)
{
	uint32_t p;

	for (p = r->from; p < r->at; p++)
		if (ckpt_piece_crc(home(r, p)) != r->table[p])
			return false;
	return true;
}

static enum ckpt_step restore_check(struct ckpt_restore *r)
{
	const struct found *f = &r->found[r->next];

	if (!all_read(r))
		r->status = -EHOSTDOWN;
	if (!all_read(r) || !pieces_right(r))
		return refuse(r);
	if (r->at < ckpt_pieces(r->o.size)) {
		r->state = restore_read;
		return CKPT_MORE;
	}
	r->status = 0;
	r->out.version = f->head.version;
	r->out.note = f->head.note;
	r->out.peer = f->peer;
	r->state = restore_done;
	return CKPT_DONE;
}

static enum ckpt_step restore_done(struct ckpt_restore *r)
{
	return CKPT_DONE;
}

enum ckpt_step ckpt_restore_step(struct ckpt_restore *r,
				 struct fab_batch **next)
{
	enum ckpt_step s = r->state(r);

	if (s == CKPT_POST)
		*next = &r->batch;
	return s;
}

int ckpt_restore_result(const struct ckpt_restore *r, struct ckpt_restored *out)
{
	*out = r->out;
	return r->status;
}

int ckpt_restore_run(struct ckpt_restore *r, struct fab *f,
		     struct ckpt_restored *out)
{
	struct fab_batch *b;
	enum ckpt_step s;
	uint32_t i;
	int rc;

	while ((s = ckpt_restore_step(r, &b)) != CKPT_DONE) {
		if (s != CKPT_POST)
			continue;
		rc = fab_run(f, b);
		for (i = 0; rc != 0 && i < b->n; i++)
			b->ops[i].status = rc;
	}
	return ckpt_restore_result(r, out);
}
