/* rdma/tcp_serve_impl.h - private to rdma/tcp_serve.c, tcp_conn.c, tcp_exec.c:
 * the node's side of the TCP transport.
 *
 * A peer is one process's net. It has one primary connection, whose end is the
 * peer's end, and any number of others that carry operations.
 *
 * One thread does everything on the connections. Other threads only put
 * answers into a connection's outgoing bytes and wake it. References: a
 * connection is held by the server's list and by each request that came over
 * it; a peer by each of its connections. */
#ifndef ACESO_RDMA_TCP_SERVE_IMPL_H
#define ACESO_RDMA_TCP_SERVE_IMPL_H
#include "rdma/tcp_impl.h"

#define TCP_CONNS_MAX 4096u
#define TCP_OUT_HIGH  (8u << 20)  /* no more is read from who takes nothing */
#define TCP_OUT_MAX   (72u << 20) /* then it is hung up on */

struct tcp_server;

struct tcp_peer {
	struct fab_peer peer;
	struct tcp_server *server;
	uint8_t token[TCP_TOKEN_BYTES];
	_Atomic(unsigned) refs;
	_Atomic(bool) gone; /* nothing it sends counts any more */
	_Atomic(bool) cut;  /* to be hung up on */
};

struct tcp_conn {
	_Atomic(unsigned) refs;
	struct tcp_server *server;
	/* the server's thread only */
	struct tcp_link *link; /* NULL: ended */
	struct tcp_peer *peer; /* NULL until it has said hello */
	bool primary, shaken;
	bool more;	 /* there may be input that epoll does not see */
	uint64_t born;	 /* when it was accepted */
	uint32_t events; /* that epoll looks for */
	bool failing;	 /* what follows in @failed is not done */
	uint32_t failed;
	struct tcp_frame in; /* on its way in */
	size_t in_done;	     /* bytes of it and its payload */
	uint8_t *payload;    /* room for one: */
	size_t payload_cap;
	size_t at, end; /* of @ahead: read and not looked at */
	TAILQ_ENTRY(tcp_conn) link_all;
	/* anyone, under @lock */
	pthread_mutex_t lock;
	bool ended;
	uint8_t *out; /* bytes [out_at, out_end) are to be sent */
	size_t out_at, out_end, out_cap;
	/* under the server's lock */
	bool ready; /* in its list: there is something to be sent */
	TAILQ_ENTRY(tcp_conn) link_ready;
	uint8_t ahead[TCP_AHEAD_BYTES];
};

TAILQ_HEAD(tcp_conns, tcp_conn);

struct tcp_request {
	struct fab_request rq;
	struct tcp_conn *conn;
	uint32_t batch, op;
};

struct tcp_server {
	struct fab_server server;
	struct fab_server_opts opts;
	struct tcp_tls *tls;
	int listener, epfd, wakefd;
	bool accepting;
	pthread_t thread;
	struct tcp_conns conns, dead; /* dead: until no event can name them */
	unsigned n_conns, strangers;  /* strangers: have not said hello */
	_Atomic(bool) stop;
	_Atomic(uint64_t) malformed;
	pthread_mutex_t lock;
	struct tcp_conns ready;
};

extern const struct fab_server_ops tcp_server_ops;

/* --- tcp_conn.c ------------------------------------------------------------
 */

/* Takes over @sock on success. NULL: no memory. */
struct tcp_conn *tcp_conn_open(struct tcp_server *s, int sock);
void tcp_conn_put(struct tcp_conn *c);
/* Close it; requests that came over it stay legal. */
void tcp_conn_shut(struct tcp_conn *c);

/* Append a frame and @len bytes to what goes out; where the bytes belong is
 * returned for READs to be copied to directly (@data NULL), else not NULL.
 * NULL: no memory, or it takes nothing: hang up on it. Locked. */
uint8_t *tcp_conn_put_frame(struct tcp_conn *c, const struct tcp_frame *fr,
			    const void *data);
/* Send what the connection takes: 0 all, -EAGAIN, -errno. */
int tcp_conn_flush(struct tcp_conn *c);
size_t tcp_conn_waiting(struct tcp_conn *c);
/* Give it a turn soon. Any thread; not after it has ended. */
void tcp_conn_ready(struct tcp_conn *c);

/* Read and hand each whole frame to @frame; 0 (c->more: another turn is due),
 * -EAGAIN nothing more now, -EPROTO it breaks the rules, -errno. @frame returns
 * 0 or -errno. */
int tcp_conn_receive(struct tcp_conn *c,
		     int (*frame)(struct tcp_conn *c, const void *payload));

void tcp_peer_put(struct tcp_peer *p);
void tcp_peer_cut(struct fab_peer *peer);
void tcp_reply(struct fab_request *rq, int status, const void *data,
	       size_t len);
void tcp_server_wake(struct tcp_server *s);

/* --- tcp_exec.c ------------------------------------------------------------
 */

/* Do the one-sided operation or CALL in c->in, answer what is to be answered.
 * Errors: -EPROTO it breaks the rules; -ENOMEM, -ENOBUFS: hang up. */
int tcp_exec(struct tcp_conn *c, const void *payload);

#endif
