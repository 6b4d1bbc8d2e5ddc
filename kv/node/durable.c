/* kv/node/durable.c - see durable.h. The disk is slow, so a thread of its own
 * writes to it; a node without threads does it in its worker. */
#include "kv/node/durable.h"

#include <errno.h>
#include <stdlib.h>

#include "ec/alloc.h"
#include "kv/node/cut.h"
#include "kv/node/disk.h"
#include "kv/slot.h"

struct durable {
	struct cut cut;
	bool made;		/* it is whole */
	uint64_t seen;		/* by views: durable */
	struct fab_request *rq; /* STORE to be done or being done */
	uint32_t slot;
	int broken; /* -errno: what was written may be lost for ever */
	bool stop;
	pthread_cond_t wake;
	pthread_t thread;
	bool threaded;
};

/* --- the cut -------------------------------------------------------------- */

static void add_block(void *arg, uint32_t block, const struct block_rec *rec,
		      const void *map)
{
	struct node *n = arg;
	struct cut_block b = {
		.block = block,
		.life = rec->life,
		.used = rec->used,
		.state = rec->state,
		.kind = rec->kind,
		.sealed = rec->sealed,
	};

	cut_add_block(&n->durable->cut, &b, map,
		      node_group(n)->block_bytes / GROUP_UNIT_BYTES / 8);
}

static void add_shards(struct node *n)
{
	const struct layout *l = &n->super.layout;
	const struct view *v = &n->view.view;
	uint32_t s;

	for (s = 0; s < v->nodes; s++)
		if (v->host[s] == n->id && v->shard[s] == VIEW_SHARD_SERVING)
			cut_add_shard(&n->durable->cut, s,
				      (char *)n->opts.region +
					      layout_shard_off(l, s, n->id),
				      slot_shard_bytes(l->index_groups));
}

int durable_cut(struct node *n, uint64_t number)
{
	struct durable *d = n->durable;

	if (d == NULL)
		return -EINVAL;
	if (d->rq != NULL)
		return -EBUSY;
	d->made = false;
	cut_begin(&d->cut, &n->super, number);
	alloc_cut(n->alloc, add_block, n);
	add_shards(n);
	if (d->cut.failed != 0)
		return d->cut.failed;
	d->made = true;
	return 0;
}

/* --- writing it ----------------------------------------------------------- */

int durable_store(struct node *n, struct fab_request *rq, uint64_t number,
		  uint32_t slot)
{
	struct durable *d = n->durable;

	if (d == NULL || slot > 1)
		return -EINVAL;
	if (d->broken != 0)
		return d->broken;
	if (d->rq != NULL)
		return -EBUSY;
	if (!d->made || d->cut.head.number != number)
		return -ESTALE;
	d->rq = rq;
	d->slot = slot;
	pthread_cond_signal(&d->wake);
	return 0;
}

/* First what the cut names, then the cut. Not locked: while there is a STORE
 * nobody makes another cut. */
static int write_out(struct node *n)
{
	const struct disk *disk = n->opts.disk;
	struct durable *d = n->durable;
	void *file;
	size_t len;
	int rc;

	rc = cut_pack(&d->cut, &file, &len);
	if (rc != 0)
		return rc;
	/* After a failed sync the system may have dropped what it could not
	 * write, and the next one would not tell. */
	rc = d->broken = disk->sync(disk->arg);
	if (rc == 0)
		rc = disk->write(disk->arg, cut_name(d->slot), file, len);
	free(file);
	return rc;
}

/* Locked; the lock is let go meanwhile. */
static void store_now(struct node *n)
{
	struct durable *d = n->durable;
	struct fab_request *rq = d->rq;
	int rc;

	pthread_mutex_unlock(&n->lock);
	rc = write_out(n);
	pthread_mutex_lock(&n->lock);
	d->rq = NULL;
	fab_reply(rq, rc, NULL, 0);
}

static void *store_main(void *arg)
{
	struct node *n = arg;
	struct durable *d = n->durable;

	pthread_mutex_lock(&n->lock);
	while (!d->stop)
		if (d->rq != NULL)
			store_now(n);
		else
			pthread_cond_wait(&d->wake, &n->lock);
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

int durable_work(struct node *n, uint64_t *again)
{
	struct durable *d = n->durable;
	int did = 0;

	(void)again;
	if (d == NULL || d->threaded)
		return 0;
	pthread_mutex_lock(&n->lock);
	if (d->rq != NULL) {
		store_now(n);
		did = 1;
	}
	pthread_mutex_unlock(&n->lock);
	return did;
}

/* --- views ---------------------------------------------------------------- */

void durable_view(struct node *n, uint64_t number)
{
	struct durable *d = n->durable;

	if (d == NULL || number <= d->seen)
		return;
	d->seen = number;
	if (d->made && d->cut.head.number == number) {
		alloc_cut_durable(n->alloc);
		node_kick(n); /* blocks that may leave now */
	}
}

/* --- life ----------------------------------------------------------------- */

/* What is in the region now is what the pool's durable cut says; or, in a
 * region made anew, anything may be needed of what will be rebuilt here. */
static void first_needs(struct node *n)
{
	if (!n->opts.keep) {
		alloc_cut_unknown(n->alloc);
		return;
	}
	cut_begin(&n->durable->cut, &n->super, 0);
	alloc_cut(n->alloc, add_block, n);
	alloc_cut_durable(n->alloc);
}

int durable_open(struct node *n)
{
	struct durable *d;
	int rc = 0;

	if (n->opts.disk == NULL)
		return 0;
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	pthread_cond_init(&d->wake, NULL);
	n->durable = d;
	first_needs(n);
	if (n->opts.threads)
		rc = -pthread_create(&d->thread, NULL, store_main, n);
	d->threaded = n->opts.threads && rc == 0;
	if (rc != 0)
		durable_close(n);
	return rc;
}

void durable_close(struct node *n)
{
	struct durable *d = n->durable;

	if (d == NULL)
		return;
	pthread_mutex_lock(&n->lock);
	d->stop = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&n->lock);
	if (d->threaded)
		pthread_join(d->thread, NULL);
	if (d->rq != NULL)
		fab_reply(d->rq, -ECANCELED, NULL, 0);
	pthread_cond_destroy(&d->wake);
	cut_free(&d->cut);
	free(d);
	n->durable = NULL;
}
