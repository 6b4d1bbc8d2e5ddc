/* rdma/verbs_reg.c - the memory of a net's user, registered with adapters.
 *
 * An adapter is known by its protection domain, while a link of this net leads
 * through it; meanwhile all areas are registered with it that it takes. What
 * all know is under the lock of the net's areas. A lane looks into a copy of
 * its own, and takes another one when it finds that something has changed: so
 * posting shares nothing but a word that hardly ever does. */
#include <errno.h>

#include "rdma/verbs_impl.h"

_Static_assert(VERBS_ADAPTERS <= FAB_AREA_WORDS, "a word for each");

static struct fab_areas *areas_of(struct verbs_net *net)
{
	return &net->net.net.areas;
}

static void changed(struct verbs_net *net)
{
	atomic_fetch_add(&net->changes, 1);
}

/* --- an area and an adapter ---------------------------------------------- */

static int tell(struct ibv_pd *pd, struct fab_area *a, void **word)
{
	*word = ibv_reg_mr(pd, a->at, a->bytes, IBV_ACCESS_LOCAL_WRITE);
	if (*word != NULL)
		return 0;
	return errno != 0 ? -errno : -ENOMEM;
}

static void forget(void **word)
{
	if (*word != NULL)
		ibv_dereg_mr(*word);
	*word = NULL;
}

/* --- areas come and go --------------------------------------------------- */

void verbs_area_drop(struct fab_net *n, struct fab_area *a)
{
	for (unsigned i = 0; i < VERBS_ADAPTERS; i++)
		forget(&a->word[i]);
	changed((struct verbs_net *)n);
}

int verbs_area_add(struct fab_net *n, struct fab_area *a)
{
	struct verbs_net *net = (struct verbs_net *)n;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < VERBS_ADAPTERS; i++)
		if (net->adapter[i].pd != NULL)
			rc = tell(net->adapter[i].pd, a, &a->word[i]);
	if (rc != 0)
		verbs_area_drop(n, a);
	else
		changed(net);
	return rc;
}

/* --- so do adapters ------------------------------------------------------ */

static void tell_all(struct verbs_net *net, unsigned adapter)
{
	struct fab_areas *s = areas_of(net);

	for (unsigned i = 0; i < s->n; i++)
		(void)tell(net->adapter[adapter].pd, &s->area[i],
			   &s->area[i].word[adapter]);
	changed(net);
}

static void forget_all(struct verbs_net *net, unsigned adapter)
{
	struct fab_areas *s = areas_of(net);

	for (unsigned i = 0; i < s->n; i++)
		forget(&s->area[i].word[adapter]);
	changed(net);
}

static int find(const struct verbs_net *net, const struct ibv_pd *pd)
{
	for (unsigned i = 0; i < VERBS_ADAPTERS; i++)
		if (net->adapter[i].pd == pd)
			return (int)i;
	return -1;
}

int verbs_adapter_hold(struct verbs_net *net, struct ibv_pd *pd)
{
	int i;

	pthread_mutex_lock(&areas_of(net)->lock);
	i = find(net, pd);
	if (i < 0) {
		i = find(net, NULL);
		if (i >= 0) {
			net->adapter[i].pd = pd;
			tell_all(net, (unsigned)i);
		}
	}
	if (i >= 0)
		net->adapter[i].links++;
	pthread_mutex_unlock(&areas_of(net)->lock);
	return i;
}

void verbs_adapter_release(struct verbs_net *net, int adapter)
{
	if (adapter < 0)
		return;
	pthread_mutex_lock(&areas_of(net)->lock);
	if (--net->adapter[adapter].links == 0) {
		forget_all(net, (unsigned)adapter);
		net->adapter[adapter].pd = NULL;
	}
	pthread_mutex_unlock(&areas_of(net)->lock);
}

/* --- a lane's copy ------------------------------------------------------- */

static void copy(struct verbs_net *net, int adapter, struct verbs_reach *r)
{
	struct fab_areas *s = areas_of(net);
	struct ibv_mr *mr;

	pthread_mutex_lock(&s->lock);
	r->changes = atomic_load(&net->changes);
	r->n = 0;
	for (unsigned i = 0; adapter >= 0 && i < s->n; i++) {
		mr = s->area[i].word[adapter];
		if (mr != NULL)
			r->area[r->n++] =
				(struct verbs_area){.at = s->area[i].at,
						    .bytes = s->area[i].bytes,
						    .lkey = mr->lkey};
	}
	pthread_mutex_unlock(&s->lock);
}

/* The last that begins at @at or before it. */
static const struct verbs_area *at_or_before(const struct verbs_reach *r,
					     const uint8_t *at)
{
	unsigned lo = 0, hi = r->n, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (r->area[mid].at <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 ? &r->area[lo - 1] : NULL;
}

bool verbs_reach_find(struct verbs_net *net, int adapter, struct verbs_reach *r,
		      const void *buf, size_t len, uint32_t *lkey)
{
	const struct verbs_area *a;
	const uint8_t *at = buf;

	if (atomic_load_explicit(&net->changes, memory_order_acquire) !=
	    r->changes)
		copy(net, adapter, r);
	a = at_or_before(r, at);
	if (a == NULL || (size_t)(at - a->at) > a->bytes ||
	    len > a->bytes - (size_t)(at - a->at))
		return false;
	*lkey = a->lkey;
	return true;
}
