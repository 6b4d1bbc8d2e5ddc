/* kv/node/replay.c - a few images are on their way while one is looked at. */
#include "kv/node/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/hash.h"
#include "kv/node/image.h"
#include "kv/node/merge.h"
#include "kv/node/newest.h"
#include "kv/node/place.h"
#include "kv/node/walk.h"

#define REPLAY_AHEAD 3u /* images under way at once */

struct replay {
	struct replay_opts o;
	struct walk *walk;
	bool walked; /* no more blocks to begin */
	struct image *image[REPLAY_AHEAD];
	uint32_t head, ahead; /* oldest under way; how many are */
	struct newest *shard[FAB_NODES_MAX]; /* NULL: not asked for */
	uint32_t *kept;			     /* merge.h; NULL: no images */
	struct fetch fetch;		     /* its record: NULL likewise */
	uint64_t records, bytes;
};

static const struct group *group_of(const struct replay *r)
{
	return &r->o.super->layout.group;
}

/* What images need besides. */
static int open_merge(struct replay *r)
{
	const struct group *g = group_of(r);

	if (r->o.since == 0)
		return 0;
	r->fetch = (struct fetch){
		.fab = r->o.fab,
		.g = g,
		.code = r->o.code,
		.secret = r->o.super->secret,
		.up = r->o.up,
		.record = malloc(OBJECT_BYTES_MAX),
	};
	r->kept = calloc(group_stripes(g) * g->k, sizeof(*r->kept));
	return r->kept != NULL && r->fetch.record != NULL ? 0 : -ENOMEM;
}

static int open_parts(struct replay *r)
{
	uint32_t i;
	int rc;

	rc = walk_open(group_of(r), r->o.up, true, &r->walk);
	if (rc == 0)
		rc = open_merge(r);
	for (i = 0; i < REPLAY_AHEAD && rc == 0; i++)
		rc = image_open(group_of(r), r->o.code, &r->image[i]);
	for (i = 0; i < group_of(r)->nodes && rc == 0; i++)
		if (r->o.shards >> i & 1)
			rc = newest_open(r->o.super->secret, &r->shard[i]);
	return rc;
}

int replay_open(const struct replay_opts *opts, struct replay **out)
{
	struct replay *r = calloc(1, sizeof(*r));
	int rc;

	if (r == NULL)
		return -ENOMEM;
	r->o = *opts;
	rc = open_parts(r);
	if (rc != 0) {
		replay_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

static struct image *take_oldest(struct replay *r)
{
	struct image *img = r->image[r->head];

	r->head = (r->head + 1) % REPLAY_AHEAD;
	r->ahead--;
	return img;
}

void replay_close(struct replay *r)
{
	uint32_t i;

	if (r == NULL)
		return;
	while (r->ahead > 0)
		image_finish(take_oldest(r), r->o.fab);
	for (i = 0; i < FAB_NODES_MAX; i++)
		newest_close(r->shard[i]);
	for (i = 0; i < REPLAY_AHEAD; i++)
		image_close(r->image[i]);
	walk_close(r->walk);
	free(r->fetch.record);
	free(r->kept);
	free(r);
}

/* --- scanning ------------------------------------------------------------- */

/* Nothing in it is younger than the images: its records are where they were
 * when those were made. A record of it that is being changed (seq is odd) may
 * be read in part: then it is looked at. */
static bool is_kept(struct replay *r, const struct walk_block *wb)
{
	const struct block_rec *rec = &wb->rec;

	if (r->kept == NULL || rec->state == BLOCK_OPEN || rec->seq % 2 != 0 ||
	    rec->sealed >= r->o.since)
		return false;
	r->kept[wb->stripe * group_of(r)->k + wb->role] = rec->life;
	return true;
}

static int begin_one(struct replay *r)
{
	uint32_t free_at = (r->head + r->ahead) % REPLAY_AHEAD;
	struct walk_block wb;
	int rc;

	do {
		rc = walk_next(r->walk, r->o.fab, &wb);
		r->walked = rc == 0;
		if (rc <= 0)
			return rc;
	} while (wb.rec.kind != BLOCK_RECORDS || is_kept(r, &wb));
	rc = image_start(r->image[free_at], r->o.fab, r->o.up, &wb);
	if (rc == 0)
		r->ahead++;
	return rc;
}

static int scan(struct replay *r, const struct image *img)
{
	const struct walk_block *wb = image_block(img);
	const struct group *g = group_of(r);
	uint32_t at = 0, unit, shard;
	struct object o;
	int rc = 0;

	while (rc == 0 && image_next(img, r->o.super->secret, &at, &unit, &o)) {
		shard = hash_shard(o.hdr.hash, g->nodes);
		if (r->shard[shard] == NULL)
			continue;
		if (image_dead(img, unit, o.hdr.units)) /* R2 */
			continue;
		r->records++;
		rc = newest_add(r->shard[shard],
				group_addr(g, wb->stripe, wb->role,
					   unit * GROUP_UNIT_BYTES),
				&o);
	}
	r->bytes += image_bytes(img);
	return rc;
}

int replay_step(struct replay *r)
{
	struct image *img;
	int rc;

	while (!r->walked && r->ahead < REPLAY_AHEAD) {
		rc = begin_one(r);
		if (rc == -EAGAIN && r->ahead > 0)
			break;
		if (rc != 0)
			return rc;
	}
	if (r->ahead == 0)
		return 0;
	img = take_oldest(r);
	rc = image_finish(img, r->o.fab);
	if (rc == -ENODATA) /* given back meanwhile: R1 */
		return 1;
	if (rc == 0)
		rc = scan(r, img);
	return rc == 0 ? 1 : rc;
}

void replay_progress(const struct replay *r, uint64_t *done, uint64_t *total)
{
	walk_progress(r->walk, done, total);
	*done *= group_of(r)->block_bytes;
	*total *= group_of(r)->block_bytes;
}

/* --- placing -------------------------------------------------------------- */

/* Those whose record is COMMITTED come first: they have been in the index
 * together and so fit (P1). One that is PENDING may never have been: if it does
 * not fit, it was not, and its writer is told that its operation failed. */
static int place_fate(const struct newest *t, struct place *p, bool committed,
		      const uint32_t *where, uint64_t *keys)
{
	uint32_t hint;
	const struct newest_rec *rec;
	const struct newest_key *k;
	size_t i;
	int rc;

	for (i = 0; i < newest_room(t); i++) {
		k = newest_at(t, i);
		rec = k != NULL ? newest_choose(k) : NULL;
		if (rec == NULL || (rec == &k->committed) != committed)
			continue;
		hint = where != NULL ? where[i] : MERGE_ANYWHERE;
		if (hint == MERGE_IS_THERE)
			continue;
		rc = place_add(p, k->hash, rec->word, rec->version,
			       hint != MERGE_ANYWHERE ? hint : rec->slot);
		if (rc == -ENOSPC && !committed)
			continue;
		if (rc != 0)
			return rc;
		(*keys)++;
	}
	return 0;
}

static int merge_shard(struct replay *r, uint32_t shard, struct place *p,
		       uint32_t **where, struct proto_rebuilt *out)
{
	struct merge_opts o = {
		.layout = &r->o.super->layout,
		.shard = shard,
		.image = r->o.image[shard],
		.kept = r->kept,
		.fetch = &r->fetch,
		.winners = r->shard[shard],
	};

	if (r->kept == NULL)
		return 0;
	out->note = r->o.since;
	return merge_image(&o, p, where, &out->kept);
}

/* An image whose keys do not fit, or that makes no sense, is not to be had. */
static int without_image(const struct replay *r, int rc)
{
	bool bad = rc == -ENOSPC || rc == -EBADMSG;

	return r->kept != NULL && bad ? -ESTALE : rc;
}

int replay_place(struct replay *r, uint32_t shard, void *room,
		 struct proto_rebuilt *out)
{
	const struct newest *t = r->shard[shard];
	uint32_t *where = NULL;
	struct place *p;
	int rc;

	*out = (struct proto_rebuilt){.records = r->records, .bytes = r->bytes};
	rc = place_open(r->o.super->layout.index_groups, &p);
	if (rc != 0)
		return rc;
	rc = merge_shard(r, shard, p, &where, out);
	if (rc == 0)
		rc = place_fate(t, p, true, where, &out->keys);
	if (rc == 0)
		rc = place_fate(t, p, false, where, &out->keys);
	if (rc == 0)
		place_write(p, room);
	free(where);
	place_close(p);
	return without_image(r, rc);
}
