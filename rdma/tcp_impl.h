/* rdma/tcp_impl.h - private to rdma/tcp*.c: the TCP transport.
 *
 *	client process                              node process
 *	tcp_net --- primary connection per node --- peer   (hello; its end =
 *dead) tcp_fab --- a connection per queue and node --- conn    (frames,
 *answers)
 *
 * A batch's operations to one node are a *part*: frames in the queue's stream
 * to that node, done there in order, answered in the same stream. */
#ifndef ACESO_RDMA_TCP_IMPL_H
#define ACESO_RDMA_TCP_IMPL_H
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "rdma/part.h"
#include "rdma/tcp_frame.h"
#include "rdma/tcp_link.h"

struct tcp_tls {
	SSL_CTX *ctx;
	bool server;
	struct fab_key key;
	struct fab_key reader; /* a server's: of those who may only look */
};

/* tcp_tls.c: did the other end of this server's connection prove the reader's
 * key, not the pool's own? After the handshake. */
bool tcp_tls_reader(const SSL *ssl);

/* tcp_bio.c: let @ssl speak over @sock, which stays the caller's. -ENOMEM. */
int tcp_bio_set(SSL *ssl, int sock);

/* --- the client: tcp.c, tcp_node.c ------------------------------------------
 */

enum tcp_state {
	TCP_ABSENT, /* never attached, or cut */
	TCP_UP,
	TCP_DOWN, /* found dead */
};

struct tcp_node {
	_Atomic(int) state;
	_Atomic(uint32_t) generation; /* counts attachments */
	pthread_mutex_t lock;	      /* of what follows */
	struct tcp_link *link;	      /* primary */
	char *address;
	uint64_t size;
};

struct tcp_net {
	struct fab_net net;
	struct tcp_tls *tls;
	uint8_t token[TCP_TOKEN_BYTES];
	int epfd, stopfd;
	pthread_t monitor;
	pthread_mutex_t lock; /* of what follows */
	void (*down)(void *arg, uint8_t id);
	void *down_arg;
	TAILQ_HEAD(tcp_fab_list, tcp_fab) fabs;
	struct tcp_node node[FAB_NODE_COORD + 1];
};

void tcp_nodes_init(struct tcp_net *net);
void tcp_nodes_close(struct tcp_net *net); /* the monitor has ended */
int tcp_attach(struct fab_net *net, uint8_t id, const char *address,
	       const void *hello, size_t len);
void tcp_cut(struct fab_net *net, uint8_t id);
void *tcp_monitor(void *arg); /* the monitor thread */
/* A new connection of a queue to @id, and the generation it belongs to. */
int tcp_queue_link(struct tcp_net *net, uint8_t id, uint32_t *generation,
		   struct tcp_link **out);
void tcp_wake_all(struct tcp_net *net);

/* --- a queue: tcp_fab.c, tcp_lane.c, tcp_answer.c --------------------------
 */

#define TCP_AHEAD_BYTES (64u << 10)

/* A queue's stream to one node. */
struct tcp_lane {
	struct part_lane lane;
	struct tcp_link *link; /* NULL: not connected */
	uint32_t generation, number;
	uint8_t id; /* the node */
	/* The frame on its way out, if @out_of or @kept. */
	struct tcp_frame out;
	struct part *out_part; /* whose; NULL: nobody's any more */
	const uint8_t *payload;
	uint8_t *kept; /* a copy of it, once its batch has ended */
	bool out_busy;
	size_t out_done; /* bytes of frame and payload that were taken */
	/* The frame on its way in. */
	struct tcp_frame in;
	struct part *in_part; /* whose; NULL: nobody's (any more) */
	uint8_t *in_to;	      /* for its payload; NULL: dropped */
	size_t in_done;	      /* bytes of frame and payload */
	/* Bytes read and not looked at. */
	size_t at, end;
	uint8_t ahead[TCP_AHEAD_BYTES];
};

struct tcp_fab {
	struct fab fab;
	struct tcp_net *net;
	uint64_t dice;
	int wakefd;
	struct tcp_lane *lane[FAB_NODE_COORD + 1]; /* made when needed */
	uint64_t lanes;				   /* bit: connected */
	uint64_t next_deadline;
	TAILQ_ENTRY(tcp_fab) link; /* in the net's fabs */
};

static inline struct tcp_fab *tcp_fab(struct fab *f)
{
	return (struct tcp_fab *)f;
}

static inline struct tcp_net *tcp_net(struct fab_net *n)
{
	return (struct tcp_net *)n;
}

int tcp_fab_open(struct fab_net *net, struct fab **out);

/* The lane to node @id, connected. Errors: -EHOSTDOWN; -ENOMEM. */
int tcp_lane_get(struct tcp_fab *f, uint8_t id, struct tcp_lane **out);
void tcp_lane_free(struct tcp_lane *l);
/* Its connection belongs to the node as it is now. */
bool tcp_lane_is_current(struct tcp_fab *f, struct tcp_lane *l);
/* Queue @part. */
void tcp_lane_add(struct tcp_lane *l, struct part *part);
/* Send what the connection takes. */
void tcp_lane_send(struct tcp_fab *f, struct tcp_lane *l);
/* What was under way there has met its end. */
void tcp_lane_fail(struct tcp_fab *f, struct tcp_lane *l);
/* Read and handle answers, as many as there are. */
void tcp_lane_receive(struct tcp_fab *f, struct tcp_lane *l);

#endif
