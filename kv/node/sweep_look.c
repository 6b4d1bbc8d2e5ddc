/* kv/node/sweep_look.c - which records of a block does no slot need?
 *
 * A record is left over if its key's slot names another record of the key with
 * a version at least its own: versions only grow, so this stays true. */
#include <errno.h>
#include <string.h>

#include "kv/hash.h"
#include "kv/node/fetch.h"
#include "kv/node/sweep_impl.h"
#include "kv/slot.h"

/* A record of the image, and the buckets where its key may be. */
struct look {
	struct object o;
	uint32_t unit;
	uint64_t first[2]; /* slot numbers */
	struct slot slot[2][BUCKET_PAIR_SLOTS];
};

/* --- reading -------------------------------------------------------------- */

int sweep_fetch(struct node *n, uint64_t word, struct object *out)
{
	struct fetch f = {
		.fab = n->fab,
		.g = node_group(n),
		.code = n->code,
		.secret = n->super.secret,
		.up = n->sweep->up,
		.record = n->sweep->record,
	};

	return fetch_record(&f, word, out);
}

static int read_buckets(struct node *n, struct look *l, uint32_t count)
{
	const struct view *v = &n->sweep->view;
	struct fab_op ops[2 * SWEEP_SLICE];
	struct fab_batch b = {.ops = ops};
	uint32_t i, p, shard;
	int rc;

	for (i = 0; i < count; i++) {
		shard = hash_shard(l[i].o.hdr.hash, v->nodes);
		slot_places(l[i].o.hdr.hash, n->super.layout.index_groups,
			    l[i].first);
		for (p = 0; p < 2; p++)
			fab_read(&ops[b.n++], v->host[shard],
				 sweep_slot_off(n, shard, v->host[shard],
						l[i].first[p]),
				 l[i].slot[p], BUCKET_PAIR_BYTES);
	}
	rc = fab_run(n->fab, &b);
	for (i = 0; i < b.n && rc == 0; i++)
		rc = ops[i].status; /* cppcheck-suppress uninitvar */
	return rc;
}

/* Lock held. */
static bool is_attached(const struct node *n, uint32_t client)
{
	const struct node_peer *p;

	LIST_FOREACH (p, &n->peers, link)
		if (p->role == PROTO_CLIENT && p->client == client)
			return true;
	return false;
}

static bool may_live(const struct proto_sweep *said, uint32_t client)
{
	if (client >= said->next || said->lives > PROTO_SWEEP_LIVES_MAX)
		return true;
	for (uint32_t i = 0; i < said->lives; i++)
		if (said->life[i] == client)
			return true;
	return false;
}

bool sweep_owner_gone(struct node *n, const struct object *o)
{
	uint32_t client = (uint32_t)(o->hdr.tag >> 32);
	bool gone;

	pthread_mutex_lock(&n->lock);
	gone = !may_live(&n->sweep->what, client) && !is_attached(n, client);
	pthread_mutex_unlock(&n->lock);
	return gone;
}

/* --- deciding ------------------------------------------------------------- */

static bool same_key(const struct object *a, const struct object *b)
{
	return a->hdr.key_len == b->hdr.key_len &&
	       memcmp(a->key, b->key, a->hdr.key_len) == 0;
}

/* Is @word another, newer record of the same key? 1, 0 or -errno. */
static int supersedes(struct node *n, const struct look *l, uint64_t word)
{
	struct object now;
	int rc;

	if (!slot_taken(word) || slot_print(word) != hash_print(l->o.hdr.hash))
		return 0;
	rc = sweep_fetch(n, word, &now);
	if (rc == -EBADMSG || rc == -ENODATA)
		return 0; /* changing just now: then leave it */
	if (rc != 0)
		return rc;
	return same_key(&now, &l->o) && now.hdr.version >= l->o.hdr.version;
}

static bool is_named(const struct look *l, fab_addr addr)
{
	uint32_t p, i;

	for (p = 0; p < 2; p++)
		for (i = 0; i < BUCKET_PAIR_SLOTS; i++)
			if (l->slot[p][i].word != 0 &&
			    slot_addr(l->slot[p][i].word) == addr)
				return true;
	return false;
}

static int keep(struct node *n, uint32_t shard, uint64_t slot)
{
	uint32_t host = n->sweep->view.host[shard];
	struct {
		struct proto_keep head;
		uint32_t slot;
	} rq = {.head = {.shard = shard, .n = 1}, .slot = (uint32_t)slot};
	int rc;

	node_view_up(n, &rq.head.epoch);
	if (host != n->id)
		return peer_call(n, host, PROTO_KEEP, &rq,
				 sizeof(rq.head) + sizeof(rq.slot), NULL, 0);
	pthread_mutex_lock(&n->lock);
	rc = sweep_keep(n, &rq.head);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

static int mark_it(struct node *n, const struct look *l)
{
	const struct walk_block *wb = image_block(n->sweep->image);

	n->sweep->out.marked++;
	return sweep_mark(n, wb->stripe, wb->role, wb->rec.life, l->unit,
			  l->o.hdr.units);
}

/* Bytes that the opener of an open block wrote may be used again at any time,
 * so no mark may be set there; what was in it before (ec/again.h) stays. One
 * that is READY takes no marks. */
static bool may_mark(const struct node *n, const struct look *l)
{
	const struct block_rec *rec = &image_block(n->sweep->image)->rec;

	if (rec->state == BLOCK_OPEN)
		return l->o.hdr.life != rec->life;
	return (rec->flags & BLOCK_F_READY) == 0;
}

/* It is left over, as slot @slot (which holds @word) says. If it may not be
 * marked, a tombstone that covers it must stay. */
static int leave_over(struct node *n, const struct look *l, uint64_t slot,
		      uint64_t word)
{
	uint32_t shard = hash_shard(l->o.hdr.hash, n->sweep->view.nodes);

	if (may_mark(n, l))
		return mark_it(n, l);
	return word & SLOT_TOMB ? keep(n, shard, slot) : 0;
}

static int decide(struct node *n, const struct look *l)
{
	const struct walk_block *wb = image_block(n->sweep->image);
	uint32_t p, i;
	int rc;

	if (is_named(l, group_addr(node_group(n), wb->stripe, wb->role,
				   l->unit * GROUP_UNIT_BYTES)))
		return 0;
	if (l->o.hdr.fate == OBJECT_KILLED && may_mark(n, l))
		return mark_it(n, l);
	if ((l->o.hdr.fate == OBJECT_PENDING || l->o.hdr.fate == OBJECT_SOLO) &&
	    sweep_owner_gone(n, &l->o)) {
		if (may_mark(n, l))
			return mark_it(n, l); /* nobody will name it */
		n->sweep->out.tombs++;	      /* struct proto_swept */
	}
	for (p = 0; p < 2; p++)
		for (i = 0; i < BUCKET_PAIR_SLOTS; i++) {
			rc = supersedes(n, l, l->slot[p][i].word);
			if (rc < 0)
				return rc;
			if (rc > 0)
				return leave_over(n, l, l->first[p] + i,
						  l->slot[p][i].word);
		}
	return 0;
}

/* --- a block -------------------------------------------------------------- */

static bool wanted(struct node *n, const struct look *l)
{
	const struct view *v = &n->sweep->view;
	uint32_t shard = hash_shard(l->o.hdr.hash, v->nodes);

	return v->shard[shard] == VIEW_SHARD_SERVING &&
	       !image_dead(n->sweep->image, l->unit, l->o.hdr.units);
}

static int decide_all(struct node *n, struct look *l, uint32_t count)
{
	uint32_t i;
	int rc;

	if (count == 0)
		return 0;
	rc = read_buckets(n, l, count);
	for (i = 0; i < count && rc == 0; i++)
		rc = decide(n, &l[i]);
	return rc;
}

int sweep_look(struct node *n)
{
	struct sweep *s = n->sweep;
	struct look l[SWEEP_SLICE];
	uint32_t at = 0, count = 0;
	int rc = 0;

	while (rc == 0 && image_next(s->image, n->super.secret, &at,
				     &l[count].unit, &l[count].o)) {
		s->out.records++;
		if (!wanted(n, &l[count]))
			continue;
		if (++count < SWEEP_SLICE)
			continue;
		rc = decide_all(n, l, count);
		count = 0;
	}
	if (rc == 0)
		rc = decide_all(n, l, count);
	return rc == 0 ? node_marks_flush(n, &n->sweep->marks) : rc;
}
