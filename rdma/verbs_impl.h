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

enum verbs_state { VERBS_ABSENT, VERBS_UP, VERBS_DOWN };

/* A connected, proven client's end. */
struct verbs_link {
	/* Of its node, if it need not be waited for when not up; or NULL. */
	const _Atomic(int) *state;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *comp;
	struct ibv_cq *cq;
	struct verbs_mem mem;
	struct verbs_connect said;
};

struct verbs_node {
	_Atomic(int) state;
	_Atomic(uint32_t) generation;
	pthread_mutex_t lock; /* of what follows */
	struct verbs_link *link;
	char *address;
	uint64_t size, addr; /* of its region */
	uint32_t rkey;
	bool pinging;
	uint64_t pinged;	    /* when */
	pthread_mutex_t lanes_lock; /* of what follows; the last to be taken */
	TAILQ_HEAD(verbs_lanes, verbs_lane) lanes;
};

struct verbs_net {
	struct fab_net net;
	struct fab_key key; /* len 0: none */
	uint8_t token[VERBS_TOKEN_BYTES];
	int wakefd; /* of the monitor */
	_Atomic(bool) stop;
	pthread_t monitor;
	pthread_mutex_t lock; /* of what follows */
	void (*down)(void *arg, uint8_t id);
	void *down_arg;
	TAILQ_HEAD(verbs_fab_list, verbs_fab) fabs;
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
/* As seen by the monitor: 0 well, -errno it is dead. Posts a ping if @ping. */
int verbs_link_check(struct verbs_link *l, bool ping, bool *pong);

/* --- verbs.c, verbs_node.c --------------------------------------------------
 */

void verbs_nodes_init(struct verbs_net *net);
void verbs_nodes_close(struct verbs_net *net);
int verbs_attach(struct fab_net *net, uint8_t id, const char *address,
		 const void *hello, size_t len);
void verbs_cut(struct fab_net *net, uint8_t id);
void *verbs_monitor(void *arg);
void verbs_wake_all(struct verbs_net *net);

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
	struct verbs_net *net;
	uint32_t generation;
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

struct verbs_fab {
	struct fab fab;
	struct verbs_net *net;
	uint64_t dice;
	int wakefd;
	struct verbs_lane *lane[FAB_NODE_COORD + 1];
	uint64_t lanes; /* bit: connected */
	uint64_t next_deadline;
	TAILQ_ENTRY(verbs_fab) link;
};

static inline struct verbs_fab *verbs_fab(struct fab *f)
{
	return (struct verbs_fab *)f;
}

static inline struct verbs_net *verbs_net(struct fab_net *n)
{
	return (struct verbs_net *)n;
}

int verbs_fab_open(struct fab_net *net, struct fab **out);
int verbs_lane_get(struct verbs_fab *f, uint8_t id, struct verbs_lane **out);
void verbs_lane_free(struct verbs_lane *l);
bool verbs_lane_is_current(struct verbs_lane *l);
void verbs_lane_fail(struct verbs_fab *f, struct verbs_lane *l);
/* Post what there is room for; one doorbell. */
void verbs_lane_send(struct verbs_fab *f, struct verbs_lane *l);
/* Take what has completed and come; true: something had. */
bool verbs_lane_poll(struct verbs_fab *f, struct verbs_lane *l);

#endif
