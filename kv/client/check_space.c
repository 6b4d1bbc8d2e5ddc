/* kv/client/check_space.c - units that nothing names and nobody has marked as
 * obsolete: space that is lost until somebody marks it. Only in blocks that
 * were closed before the walk began, as what is new goes elsewhere. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/check_impl.h"
#include "kv/client/member.h"
#include "kv/client/space.h"
#include "kv/proto.h"

/* The block as it was at the beginning, on its own node; false: not known. */
static bool rec_before(const struct kv_check *c, struct block_look *b)
{
	uint32_t node, block;

	group_member(c->g, b->stripe, b->role, &node, &block);
	if (c->rec[node] == NULL)
		return false;
	b->rec = c->rec[node][(size_t)block * c->g->k + b->role];
	return b->rec.seq % 2 == 0 && block_rec_check(c->g, &b->rec) == 0;
}

/* --- whose ---------------------------------------------------------------- */

static int by_id(const void *pa, const void *pb)
{
	const uint32_t *a = pa, *b = pb;

	return (*a > *b) - (*a < *b);
}

/* Who alone wrote what is in the block; 0: not known. */
static uint32_t writer_of(const struct block_rec *rec)
{
	return rec->state == BLOCK_OPEN ? 0 : rec->owner;
}

/* Their writers, as they were written down: with many twins. */
static size_t writers(const struct kv_check *c, uint32_t *to)
{
	size_t n = 0, recs = (size_t)c->g->blocks * c->g->k;

	for (uint32_t node = 0; node < c->g->nodes; node++)
		for (size_t i = 0; c->rec[node] != NULL && i < recs; i++) {
			uint32_t id = writer_of(&c->rec[node][i]);

			if (id == 0 || id == BLOCK_OWNER_PAST)
				continue;
			if (to != NULL)
				to[n] = id;
			n++;
		}
	return n;
}

int check_space_open(struct kv_check *c)
{
	size_t n = writers(c, NULL);

	c->gone = malloc((n + 1) * sizeof(*c->gone));
	if (c->gone == NULL)
		return -ENOMEM;
	writers(c, c->gone);
	qsort(c->gone, n, sizeof(*c->gone), by_id);
	for (size_t i = 0; i < n; i++) {
		uint32_t id = c->gone[i];

		if ((i == 0 || id != c->gone[i - 1]) &&
		    kv_client_swept(c->kv, id) == 1)
			c->gone[c->gones++] = id;
	}
	return 0;
}

static bool was_gone(const struct kv_check *c, uint32_t id)
{
	return id != 0 &&
	       bsearch(&id, c->gone, c->gones, sizeof(id), by_id) != NULL;
}

/* Pages, all by clients that were gone; or records: of those nobody else has
 * any that are not whole (check_left.c), and what a restart found has been
 * looked through by it. */
static bool is_left(const struct kv_check *c, const struct block_rec *rec)
{
	uint32_t id = writer_of(rec);

	if (rec->kind != BLOCK_RECORDS)
		return id == BLOCK_OWNER_PAST || was_gone(c, id);
	return id == 0 ? (rec->flags & BLOCK_F_LEFT) != 0 : was_gone(c, id);
}

/* --- a block -------------------------------------------------------------- */

/* A stripe of rows needs no folding. */
static bool was_closed(const struct block_rec *rec)
{
	return rec->state == BLOCK_SEALED ||
	       (rec->kind == BLOCK_ROWS && rec->state == BLOCK_FOLDED);
}

/* Closed then, and the same block still: 1, 0, -errno. */
static int is_closed(struct kv_check *c, struct block_look *b)
{
	struct block_rec now;
	int rc;

	if (!rec_before(c, b) || !was_closed(&b->rec) ||
	    (c->o.gone && !is_left(c, &b->rec)))
		return 0;
	rc = check_rec(c, b->stripe, b->role, b->role, &now);
	if (rc != 0)
		return rc == -EHOSTDOWN ? 0 : rc;
	return now.state == b->rec.state && now.life == b->rec.life;
}

static int read_map(struct kv_check *c, struct block_look *b)
{
	uint32_t node, block, bytes = c->g->block_bytes / GROUP_UNIT_BYTES / 8;

	group_member(c->g, b->stripe, b->role, &node, &block);
	return check_read(c, (uint8_t)node, group_map_off(c->g, block, b->role),
			  b->dead, bytes);
}

static bool is_leak(const struct kv_check *c, const struct block_look *b,
		    uint32_t unit)
{
	return !(b->dead[unit / 64] >> (unit % 64) & 1) &&
	       !check_is_named(c, b->stripe, b->role, unit);
}

/* Marks go with the block's life, so that a late one hits nothing new. */
static uint64_t leaks_of(struct kv_check *c, const struct block_look *b,
			 bool give)
{
	uint32_t units = b->rec.used / GROUP_UNIT_BYTES, from;
	uint64_t n = 0;

	for (uint32_t u = 0; u < units; u++) {
		if (!is_leak(c, b, u))
			continue;
		for (from = u; u < units && is_leak(c, b, u); u++)
			n++;
		if (give)
			space_obsolete(c->kv->space, c->t,
				       group_addr(c->g, b->stripe, b->role,
						  from * GROUP_UNIT_BYTES),
				       u - from, b->rec.life);
	}
	return n;
}

/* Its marks, and what else may not be given back: 1, 0, -errno. */
static int look_at(struct kv_check *c, struct block_look *b)
{
	int rc = is_closed(c, b);

	if (rc <= 0)
		return rc;
	rc = read_map(c, b);
	if (rc != 0)
		return rc == -EHOSTDOWN ? 0 : rc;
	if (!c->o.gone || b->rec.kind != BLOCK_RECORDS ||
	    leaks_of(c, b, false) == 0)
		return 1;
	return check_left_records(c, b);
}

static int check_block(struct kv_check *c, struct block_look *b)
{
	int rc = look_at(c, b);
	uint64_t n;

	if (rc <= 0)
		return rc;
	n = leaks_of(c, b, c->o.mend);
	c->sum.leaked_bytes += n * GROUP_UNIT_BYTES;
	if (n > 0)
		check_tell(c, KV_DAMAGE_LEAK,
			   c->o.mend ? KV_DAMAGE_MENDED : KV_DAMAGE_FOUND, NULL,
			   0,
			   "stripe %llu, block %u: %llu bytes are in nobody's "
			   "use",
			   (unsigned long long)b->stripe, b->role,
			   (unsigned long long)n * GROUP_UNIT_BYTES);
	return kv_check_pace(c, c->g->block_bytes / GROUP_UNIT_BYTES / 8);
}

/* For the status; that it is lost is no harm. */
static void tell_returned(struct kv_check *c)
{
	struct proto_returned msg = {.bytes = c->sum.leaked_bytes};

	(void)fab_call_run(c->t->fab, FAB_NODE_COORD, PROTO_RETURNED, &msg,
			   sizeof(msg), NULL, 0, NULL, CHECK_ASK_NS);
}

static int check_blocks(struct kv_check *c)
{
	struct block_look b = {
		.dead = malloc(c->g->block_bytes / GROUP_UNIT_BYTES / 8),
		.bytes = malloc(c->g->block_bytes)};
	int rc = b.dead != NULL && b.bytes != NULL ? 0 : -ENOMEM;

	for (; rc == 0 && b.stripe < group_stripes(c->g); b.stripe++)
		for (b.role = 0; rc == 0 && b.role < c->g->k; b.role++)
			rc = check_block(c, &b);
	free(b.dead);
	free(b.bytes);
	return rc;
}

int kv_check_space(struct kv_check *c)
{
	int rc = 0;

	if (c->named == NULL)
		return -EINVAL;
	if (c->o.gone)
		rc = check_left_names(c);
	if (rc == 0 && c->o.gone && member_moves(c->kv->member) != c->moves)
		rc = -EAGAIN;
	/* marks of ours that still wait would look like leaks */
	if (rc == 0)
		rc = kv_sync(c->kv);
	if (rc == 0)
		rc = check_blocks(c);
	if (rc == 0)
		rc = kv_sync(c->kv);
	if (rc == 0 && c->o.gone && c->o.mend)
		tell_returned(c);
	return rc;
}
