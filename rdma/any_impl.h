/* rdma/any_impl.h - private to rdma/any*.c: a net of nets.
 *
 * Each transport's own net and queues do the work; here is only which node is
 * reached over which of them. A batch whose nodes share one goes there as it
 * is; one that does not is split, and is complete when its pieces are. */
#ifndef ACESO_RDMA_ANY_IMPL_H
#define ACESO_RDMA_ANY_IMPL_H
#include <pthread.h>
#include <stdatomic.h>

#include "rdma/fabric_impl.h"

enum any_way { ANY_TCP, ANY_VERBS, ANY_WAYS };

struct any_net {
	struct fab_net net;
	struct fab_key key;
	bool has_key;
	pthread_mutex_t lock;			 /* opening one of: */
	_Atomic(struct fab_net *) way[ANY_WAYS]; /* TCP's is always there */
	void (*down)(void *arg, uint8_t id);
	void *down_arg;
	_Atomic uint8_t by[FAB_NODE_COORD + 1]; /* enum any_way */
};

static inline struct any_net *any_net(struct fab_net *n)
{
	return (struct any_net *)n;
}

static inline struct fab_net *any_way_of(struct any_net *net, uint8_t id)
{
	return atomic_load(&net->way[atomic_load(&net->by[id])]);
}

int any_fab_open(struct fab_net *n, struct fab **out);

#endif
