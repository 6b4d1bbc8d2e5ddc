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

/* A connected, proven client's end. */
struct verbs_link {
	/* Of its node, if it need not be waited for when not up; or NULL. */
	const _Atomic(int) *state;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *comp;
	struct ibv_cq *cq;
	struct verbs_mem mem;
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
	struct verbs_node node[FAB_NODE_COORD + 1];
};

/* --- verbs_link.c ---------------------------------------------------------
 */

/* Connect and prove; the node's @status of @hello. Errors: as fab_net_attach().
 */
int verbs_link_open(struct verbs_net *net, const char *address,
		    enum verbs_kind kind, const void *hello, size_t len,
		    const _Atomic(int) *state, struct verbs_welcome *w,
		    struct verbs_link **out);
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

/* --- verbs.c, verbs_node.c --------------------------------------------------
 */

extern const struct net_how verbs_how;
/* A lane to @id has failed: see whether the node is alive. */
void verbs_suspect(struct net *net, uint8_t id);

/* --- a queue: verbs_fab.c, verbs_lane.c, verbs_send.c -----------------------
 */

/* One work request under way, in the order posted. */
struct verbs_work {
	struct part *part; /* NULL: nobody's any more */
	uint32_t op;
	uint32_t len;	/* bytes of this piece */
	uint64_t skip;	/* of the operation before this piece */
	uint8_t *bytes; /* in the ring; NULL: inline */
	uint64_t ring;	/* to be freed up to */
	bool last;	/* piece of its operation */
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
	uint64_t piece_at; /* of the operation being sent */
	bool fence;	   /* it has READs or atomics that must not be passed */
	/* work[i % VERBS_SENDS], i in [done, posted) */
	uint64_t done, posted;
	struct verbs_work work[VERBS_SENDS];
	struct verbs_call call[VERBS_RECVS];
	unsigned calls; /* used */
	uint32_t serial;
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
int verbs_lane_get(struct part_queue *q, uint8_t id, struct part_lane **out);
void verbs_lane_send(struct part_queue *q, struct part_lane *l);
void verbs_lane_free(struct verbs_lane *l);
void verbs_lane_fail(struct queue *q, uint8_t id);
/* Take what has completed and come; true: something had. */
bool verbs_lane_poll(struct queue *q, struct verbs_lane *l);

#endif
