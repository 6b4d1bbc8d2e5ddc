/* tests/lib/cluster_impl.h - private to tests/lib/cluster*.c. */
#ifndef ACESO_TESTS_LIB_CLUSTER_IMPL_H
#define ACESO_TESTS_LIB_CLUSTER_IMPL_H
#include <pthread.h>

#include "tests/lib/cluster.h"
#include "tests/lib/sim.h"

#define CLUSTER_CLIENTS_MAX 64u
#define CLUSTER_ACTORS_MAX  64u
#define CLUSTER_SETTLE_NS   UINT64_C(30000000000)
#define CLUSTER_TICK_NS	    UINT64_C(1000000)

struct cluster_node {
	struct cluster *c;
	uint32_t id;
	struct node *node;
	struct fab_net *net; /* the node's, to its peers */
	char address[PROTO_ADDRESS_BYTES];
	void *region;
	struct former *former;	 /* what that had when it was given up */
	bool returning;		 /* SIM: its fiber is to end */
	const struct disk *disk; /* NULL: none; then the region is ours */
	int fd;
	bool killed;
	int ended;     /* SIM: its fiber has */
	uint32_t life; /* how many were before it */
};

struct cluster_kv {
	struct cluster *c;
	struct kv *kv;
	struct fab_net *net;
	bool leaving; /* SIM: its fiber is to end */
	bool killed;
	int ended, lease_ended;
};

struct cluster_actor {
	struct cluster *c;
	void (*fn)(void *arg);
	void *arg;
	pthread_t thread;
	int ended;
};

struct cluster {
	struct cluster_opts o;
	struct layout_super super;
	struct sim *sim;
	char dir[64];
	char address[PROTO_ADDRESS_BYTES]; /* of the coordinator */
	struct coord *coord;		   /* NULL: killed */
	struct fab_net *coord_net;
	struct viewstore *store; /* the coordinator's */
	bool coord_stop;
	int link_ended;
	struct fab_net *probe_net; /* the cluster's own clock */
	struct fab *probe;
	bool stopping;
	int coord_ended, respawn_ended;
	struct cluster_node node[FAB_NODES_MAX];
	struct cluster_kv kv[CLUSTER_CLIENTS_MAX];
	uint32_t kvs;
	struct cluster_actor actor[CLUSTER_ACTORS_MAX];
	uint32_t actors, joined;
	void (*body)(struct cluster *c, void *arg);
	void *body_arg;
};

/* The cluster itself does not work as it should: fail the test. */
#define CLUSTER_OK(rc) cluster_ok((rc), __FILE__, __LINE__)
void cluster_ok(int rc, const char *file, int line);

/* Start a fiber that works for others (SIM). */
void cluster_daemon(struct cluster *c, const char *name, void (*fn)(void *),
		    void *arg);
/* Wait in SIM until *word, whether in a fiber or not. */
void cluster_await(struct cluster *c, const int *word);

void cluster_clients_close(struct cluster *c);

/* Print the records that living members keep of the blocks of stripe @s; of
 * all stripes (the first few) on whose blocks they disagree, or are at work. */
void cluster_show_stripe(struct cluster *c, uint64_t s);
void cluster_show_moving(struct cluster *c);
/* Wait, not for ever, until no block is FREE at some members only, nor opened
 * again at some and closed since. */
void cluster_await_rest(struct cluster *c);

#endif
