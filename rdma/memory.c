/* rdma/memory.c - memory that a net's user has registered: see
 * fab_net_register(). Here is which there is; what it is good for, only a
 * transport knows. */
#include <errno.h>
#include <string.h>

#include "rdma/fabric_impl.h"

/* The first that ends behind @at; n: none. */
static unsigned first_behind(const struct fab_areas *s, const uint8_t *at)
{
	unsigned i = 0;

	while (i < s->n && s->area[i].at + s->area[i].bytes <= at)
		i++;
	return i;
}

static void take_out(struct fab_areas *s, unsigned i)
{
	memmove(&s->area[i], &s->area[i + 1],
		(--s->n - i) * sizeof(s->area[0]));
}

static int add(struct fab_net *net, uint8_t *at, size_t bytes)
{
	struct fab_areas *s = &net->areas;
	unsigned i = first_behind(s, at);
	int rc = 0;

	if (i < s->n && s->area[i].at < at + bytes)
		return -EEXIST;
	if (s->n == FAB_REGISTERED_MAX)
		return -ENOSPC;
	memmove(&s->area[i + 1], &s->area[i],
		(s->n++ - i) * sizeof(s->area[0]));
	s->area[i] = (struct fab_area){.at = at, .bytes = bytes};
	if (net->ops->area_add != NULL)
		rc = net->ops->area_add(net, &s->area[i]);
	if (rc != 0)
		take_out(s, i);
	return rc;
}

int fab_net_register(struct fab_net *net, void *at, size_t bytes)
{
	int rc;

	if (at == NULL || bytes == 0 || bytes > UINTPTR_MAX - (uintptr_t)at)
		return -EINVAL;
	pthread_mutex_lock(&net->areas.lock);
	rc = add(net, at, bytes);
	pthread_mutex_unlock(&net->areas.lock);
	return rc;
}

void fab_net_deregister(struct fab_net *net, void *at)
{
	struct fab_areas *s = &net->areas;
	unsigned i;

	pthread_mutex_lock(&s->lock);
	i = first_behind(s, at);
	if (i < s->n && s->area[i].at == at) {
		if (net->ops->area_drop != NULL)
			net->ops->area_drop(net, &s->area[i]);
		take_out(s, i);
	}
	pthread_mutex_unlock(&s->lock);
}
