/* rdma/net.h - private to the transports: what their nets, their nodes and
 * their queues have in common.
 *
 * A net knows its nodes, and its queues so that it can wake them; its monitor
 * thread sleeps until something happens on a node's primary connection, which
 * is that node's end. */
#ifndef ACESO_RDMA_NET_H
#define ACESO_RDMA_NET_H
#include <pthread.h>
#include <stdatomic.h>

#include "rdma/fabric_impl.h"

#define NET_TOKEN_BYTES 16u

struct pollfd;

/* A node's life as its client sees it. Moves only under its lock. */
enum net_state {
	NET_ABSENT, /* never attached, or cut */
	NET_UP,
	NET_DOWN, /* found dead */
};

/* The first member of a transport's own, or somewhere in it. */
struct net_node {
	_Atomic(int) state;
	_Atomic(uint32_t) generation; /* counts attachments */
	uint64_t size;		      /* of its region; under @lock */
	char *address;		      /* under @lock */
	pthread_mutex_t lock;
};

struct net;

/* What a transport does with a node, its lock held. */
struct net_how {
	/* Connect, shake hands, set the node's size. On failure forget() is
	 * called. Errors: as fab_net_attach(). */
	int (*attach)(struct net *net, uint8_t id, const void *hello,
		      size_t len);
	/* Have its end watched: see net_watch(). */
	int (*watch)(struct net *net, uint8_t id);
	/* No queue begins anything more there, by its state: see to what they
	 * have begun, without waiting for the node. NULL: nothing to do. */
	void (*stop)(struct net *net, uint8_t id);
	/* Have the node drop what it has of ours; NULL: it has nothing. */
	void (*fence)(struct net *net, uint8_t id);
	void (*forget)(struct net *net, uint8_t id); /* nobody uses it */
	/* Something has happened where it is watched. True: it is dead, and is
	 * watched no longer. */
	bool (*lost)(struct net *net, uint8_t id);
};

struct net {
	struct fab_net net;
	const struct net_how *how;
	uint8_t token[NET_TOKEN_BYTES]; /* which net: drawn */
	int epfd, stopfd;
	pthread_t monitor;
	pthread_mutex_t lock; /* of what follows */
	void (*down)(void *arg, uint8_t id);
	void *down_arg;
	TAILQ_HEAD(queue_list, queue) queues;
	struct net_node *node[FAB_NODE_COORD + 1];
};

/* @net is the first member of a transport's own, zeroed but for its node[],
 * which point to zeroed ones. Starts the monitor. Errors (nothing is left):
 * -EIO, -EMFILE, -EAGAIN. */
int net_start(struct net *net, const struct fab_net_ops *ops,
	      const struct net_how *how);
/* Ends the monitor, forgets all nodes; the memory is the transport's. */
void net_end(struct net *net);

/* For a transport's fab_net_ops. */
int net_attach(struct fab_net *net, uint8_t id, const char *address,
	       const void *hello, size_t len);
void net_cut(struct fab_net *net, uint8_t id);
bool net_up(struct fab_net *net, uint8_t id);
uint64_t net_size(struct fab_net *net, uint8_t id);
void net_on_down(struct fab_net *net, void (*down)(void *arg, uint8_t id),
		 void *arg);

/* lost() is called when @fd, of node @id, has something to read. */
int net_watch(struct net *net, uint8_t id, int fd);
/* Before the connection @fd is closed: a child of this process may have a copy
 * of it, and then close(2) ends neither the watching nor the connection. */
void net_hang_up(struct net *net, int fd);

/* --- queues: queue.c ----------------------------------------------------- */

struct queue_how;

/* The first member of a transport's own. */
struct queue {
	struct fab fab;
	struct net *net;
	const struct queue_how *how;
	uint64_t dice;
	int wakefd;		/* some node's state has changed */
	uint64_t lanes;		/* bit: connected to that node... */
	uint64_t next_deadline; /* nothing is due before */
	uint32_t generation[FAB_NODE_COORD + 1]; /* ...as attached then */
	TAILQ_ENTRY(queue) link;
};

/* What a transport does with a lane, a queue's way to one node. */
struct queue_how {
	/* What was under way there has met its end: close it. */
	void (*fail)(struct queue *q, uint8_t id);
	/* End what is due at @now; lower q->next_deadline to what is next. */
	void (*expire)(struct queue *q, uint64_t now);
	/* Of those that use queue_progress(): what to poll for; it came. */
	void (*want)(struct queue *q, uint8_t id, struct pollfd *p);
	void (*ready)(struct queue *q, uint8_t id, short events);
};

/* @q is zeroed. Errors: -EIO, -EMFILE. */
int queue_open(struct queue *q, struct net *net, const struct fab_ops *ops,
	       const struct queue_how *how);
void queue_close(struct queue *q);

/* For a transport's fab_ops: lanes are sockets. */
void queue_progress(struct fab *f, uint64_t until);
uint64_t queue_random(struct fab *f);

/* A lane has connected to the node as it was at @generation; has ended. */
void queue_lane_on(struct queue *q, uint8_t id, uint32_t generation);
void queue_lane_off(struct queue *q, uint8_t id);
/* It leads to the node as it is now. */
bool queue_lane_is_current(const struct queue *q, uint8_t id);

/* End what is due. */
void queue_expire(struct queue *q);
/* Some node's state has changed: fail what waits for one that is not up. */
void queue_look(struct queue *q);
/* Make every queue look. */
void queues_wake(struct net *net);

#endif
