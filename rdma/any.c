/* rdma/any.c - a net whose nodes are reached over whatever their addresses
 * say. See any_impl.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/any_impl.h"

static int open_way(struct any_net *net, enum any_way w, struct fab_net **out)
{
	const struct fab_key *key = net->has_key ? &net->key : NULL;

	return w == ANY_TCP ? fab_tcp_open(key, out) : fab_verbs_open(key, out);
}

/* It knows what was registered before it was there: no adapter is there yet
 * that could refuse. */
static void add_way(struct any_net *net, enum any_way w, struct fab_net *over)
{
	struct fab_areas *s = &net->net.areas;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->n; i++)
		(void)fab_net_register(over, s->area[i].at, s->area[i].bytes);
	atomic_store(&net->way[w], over);
	pthread_mutex_unlock(&s->lock);
}

/* The net of @w, opened if it is not yet. */
static int way(struct any_net *net, enum any_way w, struct fab_net **out)
{
	int rc = 0;

	pthread_mutex_lock(&net->lock);
	*out = atomic_load(&net->way[w]);
	if (*out == NULL) {
		rc = open_way(net, w, out);
		if (rc == 0) {
			if (net->down != NULL)
				fab_net_on_down(*out, net->down, net->down_arg);
			add_way(net, w, *out);
		}
	}
	pthread_mutex_unlock(&net->lock);
	return rc;
}

static int way_by(const char *address, enum any_way *out)
{
	if (strncmp(address, "tcp:", 4) == 0)
		*out = ANY_TCP;
	else if (strncmp(address, "verbs:", 6) == 0)
		*out = ANY_VERBS;
	else
		return -EINVAL;
	return 0;
}

static int any_attach(struct fab_net *n, uint8_t id, const char *address,
		      const void *hello, size_t len)
{
	struct any_net *net = any_net(n);
	struct fab_net *over;
	enum any_way w;
	int rc = way_by(address, &w);

	if (rc != 0)
		return rc;
	if (fab_net_up(any_way_of(net, id), id))
		return -EALREADY;
	rc = way(net, w, &over);
	if (rc == 0)
		rc = fab_net_attach(over, id, address, hello, len);
	if (rc == 0)
		atomic_store(&net->by[id], (uint8_t)w);
	return rc;
}

static void any_cut(struct fab_net *n, uint8_t id)
{
	fab_net_cut(any_way_of(any_net(n), id), id);
}

static bool any_up(struct fab_net *n, uint8_t id)
{
	return fab_net_up(any_way_of(any_net(n), id), id);
}

static uint64_t any_size(struct fab_net *n, uint8_t id)
{
	return fab_net_size(any_way_of(any_net(n), id), id);
}

static void any_prepare(struct fab_net *n, uint8_t id, uint64_t offset,
			uint64_t len, bool map)
{
	fab_net_prepare(any_way_of(any_net(n), id), id, offset, len, map);
}

/* Only adapters need to know. */
static int any_area_add(struct fab_net *n, struct fab_area *a)
{
	struct fab_net *over = atomic_load(&any_net(n)->way[ANY_VERBS]);

	return over != NULL ? fab_net_register(over, a->at, a->bytes) : 0;
}

static void any_area_drop(struct fab_net *n, struct fab_area *a)
{
	struct fab_net *over = atomic_load(&any_net(n)->way[ANY_VERBS]);

	if (over != NULL)
		fab_net_deregister(over, a->at);
}

static void any_on_down(struct fab_net *n, void (*down)(void *arg, uint8_t id),
			void *arg)
{
	struct any_net *net = any_net(n);
	struct fab_net *over;

	pthread_mutex_lock(&net->lock);
	net->down = down;
	net->down_arg = arg;
	for (int w = 0; w < ANY_WAYS; w++) {
		over = atomic_load(&net->way[w]);
		if (over != NULL)
			fab_net_on_down(over, down, arg);
	}
	pthread_mutex_unlock(&net->lock);
}

static void any_close(struct fab_net *n)
{
	struct any_net *net = any_net(n);

	for (int w = 0; w < ANY_WAYS; w++)
		fab_net_close(atomic_load(&net->way[w]));
	pthread_mutex_destroy(&net->lock);
	explicit_bzero(&net->key, sizeof(net->key));
	free(net);
}

static const struct fab_net_ops any_net_ops = {
	.open = any_fab_open,
	.attach = any_attach,
	.cut = any_cut,
	.up = any_up,
	.size = any_size,
	.on_down = any_on_down,
	.prepare = any_prepare,
	.area_add = any_area_add,
	.area_drop = any_area_drop,
	.close = any_close,
};

int fab_any_open(const struct fab_key *key, struct fab_net **out)
{
	struct any_net *net = calloc(1, sizeof(*net));
	struct fab_net *tcp;
	int rc;

	if (net == NULL)
		return -ENOMEM;
	net->net.ops = &any_net_ops;
	net->has_key = key != NULL;
	if (key != NULL)
		net->key = *key;
	pthread_mutex_init(&net->lock, NULL);
	rc = way(net, ANY_TCP, &tcp);
	if (rc != 0) {
		any_close(&net->net);
		return rc;
	}
	*out = &net->net;
	return 0;
}
