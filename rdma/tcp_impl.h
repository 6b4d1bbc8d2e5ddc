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

#define TCP_SECRET_BYTES 32u /* as SHA-256 makes them */

/* A socket's bytes. Who got less than he had room for has emptied it: the next
 * read says so without asking, once; poll() tells what has come since. */
struct tcp_wire {
	int sock;
	bool dry;
	bool more; /* what is sent is followed by more at once */
	/* While hands are shaken: the client's and the server's. */
	bool noted[2];
	uint8_t secret[2][TCP_SECRET_BYTES];
};

/* tcp_link.c: as recv() and send(), -errno. */
ssize_t tcp_wire_recv(struct tcp_wire *w, void *buf, size_t cap);
ssize_t tcp_wire_send(const struct tcp_wire *w, const void *buf, size_t len);

/* tcp_bio.c: let @ssl speak over @w, which stays the caller's. -ENOMEM. */
int tcp_bio_set(SSL *ssl, struct tcp_wire *w);

/* tcp_ktls.c: note a secret of the handshake in the tcp_wire that @ssl speaks
 * over (the key log of its context). */
void tcp_ktls_note(const SSL *ssl, const char *line);
/* @ssl has shaken hands and read not a byte more: from here on the kernel does
 * the records, both ways. The secrets are forgotten in any case. Errors:
 * -EOPNOTSUPP it does not, and all is as before; -ECONNABORTED it does one way
 * only: the connection is of no use any more. */
int tcp_ktls_begin(struct tcp_wire *w, const SSL *ssl);

/* --- the client: tcp.c, tcp_node.c --------------------------------------- */

struct tcp_node {
	struct net_node n;
	struct tcp_link *link;	   /* primary */
	struct tcp_peer_addr addr; /* where that leads */
};

struct tcp_net {
	struct net net;
	struct tcp_tls *tls;
	struct tcp_node node[FAB_NODE_COORD + 1];
};

extern const struct net_how tcp_how;

/* Begin a queue's connection to @id, as attached in *@generation; nobody is
 * waited for. Errors: -EHOSTDOWN, -ENOMEM, as of connect(). */
int tcp_queue_begin(struct net *net, uint8_t id, uint32_t *generation,
		    struct tcp_link **out);
/* It has shaken hands: say who we are. */
int tcp_queue_greet(struct net *net, uint32_t generation, struct tcp_link *l);

/* --- a queue: tcp_fab.c, tcp_lane.c, tcp_answer.c ------------------------ */

#define TCP_AHEAD_BYTES (64u << 10)

/* A queue's stream to one node. */
struct tcp_lane {
	struct part_lane lane;
	struct tcp_link *link; /* NULL: not connected */
	bool ready;	       /* we have said who we are */
	uint64_t ready_by;     /* or it fails */
	uint8_t id;	       /* the node */
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

static inline struct tcp_net *tcp_net(struct net *n)
{
	return (struct tcp_net *)n;
}

static inline struct tcp_lane *tcp_lane(struct queue *q, uint8_t id)
{
	return (struct tcp_lane *)((struct part_queue *)q)->lane[id];
}

int tcp_fab_open(struct fab_net *net, struct fab **out);

/* For a part_queue. */
int tcp_lane_get(struct part_queue *q, const struct part *part,
		 struct part_lane **out);
/* Go on connecting; send what the connection takes. */
void tcp_lane_send(struct part_queue *q, struct part_lane *l);
void tcp_lane_free(struct tcp_lane *l);
/* What was under way there has met its end. */
void tcp_lane_fail(struct queue *q, uint8_t id);
/* Read and handle answers, as many as there are. */
void tcp_lane_receive(struct queue *q, struct tcp_lane *l);

#endif
