/* rdma/verbs_impl.h - private to rdma/verbs*.c: the RDMA transport.
 *
 *	client process                                   node process
 *	verbs_net --- primary queue pair per node ------ peer  (hello, fence)
 *	verbs_fab --- a queue pair per queue and node -- conn  (CALLs, answers)
 *	         \___ READ, WRITE, CAS, FAA: the node's adapter alone
 *
 * The other side (verbs_serve.c) takes part in CALLs only. */
#ifndef ACESO_RDMA_VERBS_IMPL_H
#define ACESO_RDMA_VERBS_IMPL_H
#include <pthread.h>
#include <stdatomic.h>

#include "rdma/part.h"
#include "rdma/verbs_conn.h"

#define VERBS_HELLO_NS UINT64_C(5000000000)
#define VERBS_SLOW_NS  UINT64_C(100000000) /* to connect: is it alive? */
#define VERBS_ADAPTERS 4u /* that areas are registered with; others copy */

struct verbs_net;

/* A connected, proven client's end. */
struct verbs_link {
	struct verbs_net *net;
	int node;	     /* as its verbs_to says */
	uint64_t suspect_at; /* it is slow then */
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *comp;
	struct ibv_cq *cq;
	struct verbs_mem mem;
	struct verbs_bounds bounds;
	int adapter;	     /* as verbs_adapter_hold() says; or -1 */
	uint32_t inline_max; /* bytes that a work request may carry */
	struct verbs_connect said;
};

struct verbs_node {
	struct net_node n;
	struct verbs_link *link; /* primary */
	uint64_t addr;		 /* of its region */
	uint32_t rkey;
	bool pinging;
	pthread_mutex_t lanes_lock; /* of what follows; the last to be taken */
	TAILQ_HEAD(verbs_lanes, verbs_lane) lanes;
};

struct verbs_net {
	struct net net;
	struct fab_key key; /* len 0: none */
	/* verbs_reg.c's, under the lock of the net's areas */
	struct {
		struct ibv_pd *pd; /* NULL: none */
		unsigned links;
	} adapter[VERBS_ADAPTERS];
	_Atomic uint64_t changes; /* of what is registered; not 0 */
	struct verbs_node node[FAB_NODE_COORD + 1];
};

/* --- verbs_reg.c --------------------------------------------------------- */

struct verbs_area {
	const uint8_t *at;
	size_t bytes;
	uint32_t lkey;
};

/* What is registered with one adapter, by address, as a lane knows it. */
struct verbs_reach {
	uint64_t changes; /* as of then; 0: unknown */
	unsigned n;
	struct verbs_area area[FAB_REGISTERED_MAX];
};

/* For fab_net_ops. */
int verbs_area_add(struct fab_net *n, struct fab_area *a);
void verbs_area_drop(struct fab_net *n, struct fab_area *a);
/* A link's adapter, to be released before its rdma_cm_id is destroyed. -1:
 * there are too many. */
int verbs_adapter_hold(struct verbs_net *net, struct ibv_pd *pd);
void verbs_adapter_release(struct verbs_net *net, int adapter);
/* Is [@buf, +@len) registered with @adapter? By which key. */
bool verbs_reach_find(struct verbs_net *net, int adapter, struct verbs_reach *r,
		      const void *buf, size_t len, uint32_t *lkey);

/* --- verbs_link.c -------------------------------------------------------- */

/* Where a link is to lead. */
struct verbs_to {
	const char *address;
	enum verbs_kind kind;
	const void *hello; /* of a primary one */
	size_t len;
	/* Of a queue's, which has been attached: when it is slow it is asked
	 * for a life sign, and no longer waited for when it is not up. Or -1.
	 */
	int node;
	uint64_t deadline;
};

/* Connect and prove; the node's @status of its hello. Errors: as
 * fab_net_attach(). */
int verbs_link_open(struct verbs_net *net, const struct verbs_to *to,
		    struct verbs_welcome *w, struct verbs_link **out);
void verbs_link_close(struct verbs_link *l); /* NULL is fine */
/* Send what lies at the ring's start and wait for a message of @type; the
 * message stays in slot *@slot. Errors: -ETIMEDOUT, -ECONNREFUSED, -EPROTO. */
int verbs_link_ask(struct verbs_link *l, const void *msg, uint32_t len,
		   uint8_t type, uint64_t deadline, unsigned *slot);
/* Watching a primary connection: its end, and the answers to pings, show on
 * these two descriptors. */
void verbs_link_fds(const struct verbs_link *l, int fds[2]);
/* Ask the other adapter for a life sign; it comes or fails in a second. */
int verbs_link_ping(struct verbs_link *l);
/* What shows: 0 nothing or a life sign (*pong), -errno it is dead. */
int verbs_link_check(struct verbs_link *l, bool *pong);

/* --- verbs.c, verbs_node.c ----------------------------------------------- */

extern const struct net_how verbs_how;
/* A lane to @id has failed: see whether the node is alive. */
void verbs_suspect(struct net *net, uint8_t id);

/* --- a queue: verbs_fab.c, verbs_lane.c, verbs_send.c -------------------- */

/* One work request under way, in the order posted. */
struct verbs_work {
	struct part *part; /* NULL: nobody's any more */
	uint32_t op;
	uint32_t len;	/* bytes of this piece */
	uint64_t skip;	/* of the operation before this piece */
	uint8_t *bytes; /* in the ring; NULL: inline, or direct */
	uint64_t ring;	/* to be freed up to */
	bool last;	/* piece of its operation */
	bool direct;	/* the adapter uses the poster's memory itself */
};

struct verbs_call {
	struct part *part; /* NULL: free, or nobody's any more */
	uint32_t op;
	uint32_t serial;
	bool used;
};

struct verbs_lane {
	struct part_lane lane;
	struct verbs_link *link; /* NULL: not connected */
	struct net *net;
	uint8_t id;
	uint64_t addr, size;
	uint32_t rkey;
	uint64_t patience; /* at least, with connecting; ns */
	uint64_t piece_at; /* of the operation being sent */
	bool fence;	   /* it has READs or atomics that must not be passed */
	/* work[i % VERBS_SENDS], i in [done, posted) */
	uint64_t done, posted;
	struct verbs_work work[VERBS_SENDS];
	struct verbs_call call[VERBS_RECVS];
	unsigned calls; /* used */
	uint32_t serial;
	struct verbs_reach reach;
	TAILQ_ENTRY(verbs_lane) on; /* its node's lanes, while connected */
};

static inline struct verbs_net *verbs_net(struct net *n)
{
	return (struct verbs_net *)n;
}

static inline struct verbs_lane *verbs_lane(struct queue *q, uint8_t id)
{
	return (struct verbs_lane *)((struct part_queue *)q)->lane[id];
}

int verbs_fab_open(struct fab_net *net, struct fab **out);
/* For a part_queue: post what there is room for; one doorbell. */
int verbs_lane_get(struct part_queue *q, const struct part *part,
		   struct part_lane **out);
void verbs_lane_send(struct part_queue *q, struct part_lane *l);
void verbs_lane_free(struct verbs_lane *l);
void verbs_lane_fail(struct queue *q, uint8_t id);
/* If something that is due at @now is under way in its poster's own memory:
 * ends the connection, so that nobody touches that any more. True: it did; the
 * lane is to fail. */
bool verbs_lane_let_go(struct queue *q, struct verbs_lane *l, uint64_t now);
/* Take what has completed and come; true: something had. */
bool verbs_lane_poll(struct queue *q, struct verbs_lane *l);

#endif
