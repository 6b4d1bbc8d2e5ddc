/* rdma/tcp_serve_impl.h - private to rdma/tcp_serve.c, tcp_conn.c, tcp_out.c,
 * tcp_exec.c: the node's side of the TCP transport. Connections beside the
 * primary one carry operations. Other threads than the server's only put
 * answers into a connection's outgoing bytes and wake it. */
#ifndef ACESO_RDMA_TCP_SERVE_IMPL_H
#define ACESO_RDMA_TCP_SERVE_IMPL_H
#include "rdma/serve.h"
#include "rdma/tcp_impl.h"

#define TCP_CONNS_MAX 4096u
#define TCP_OUT_HIGH  (8u << 20)  /* no more is read from who takes nothing */
#define TCP_OUT_MAX   (72u << 20) /* then it is hung up on */

struct tcp_conn {
	struct server_conn c;
	/* the server's thread only */
	struct tcp_link *link; /* NULL: ended */
	bool shaken;
	bool more;	 /* there may be input that epoll does not see */
	uint32_t events; /* that epoll looks for */
	bool failing;	 /* what follows in @failed is not done */
	uint32_t failed;
	struct tcp_frame in; /* on its way in */
	size_t in_done;	     /* bytes of it and its payload */
	bool admitted;	     /* a WRITE: its bytes go into the region */
	uint8_t *payload;    /* room for one, but for a WRITE's: */
	size_t payload_cap;
	size_t at, end; /* of @ahead: read and not looked at */
	bool held;	/* frames there wait for @lent to be sent */
	/* anyone, under @lock */
	pthread_mutex_t lock;
	bool ended;
	uint8_t *out; /* bytes [out_at, out_end) are to be sent */
	size_t out_at, out_end, out_cap;
	const uint8_t *lent; /* bytes of the region that go out before them */
	size_t lent_len;
	/* under the server's lock */
	bool ready; /* in its list: there is something to be sent */
	TAILQ_ENTRY(tcp_conn) link_ready;
	uint8_t ahead[TCP_AHEAD_BYTES];
};

TAILQ_HEAD(tcp_conns, tcp_conn);

struct tcp_server {
	struct server_sock sock;
	struct tcp_tls *tls;
	pthread_mutex_t lock;
	struct tcp_conns ready;
};

static inline struct tcp_server *tcp_server(const struct tcp_conn *c)
{
	return (struct tcp_server *)c->c.server;
}

/* --- tcp_conn.c ---------------------------------------------------------- */

/* Takes over @sock on success. NULL: no memory. */
struct tcp_conn *tcp_conn_open(struct tcp_server *s, int sock);
void tcp_conn_free(struct server_conn *c);
/* Close it; requests that came over it stay legal. */
void tcp_conn_shut(struct server_conn *c);

/* Read and hand each whole frame to @frame; 0 (c->more: another turn is due),
 * -EAGAIN nothing more now, -EPROTO it breaks the rules, -errno. @frame returns
 * 0 or -errno. */
int tcp_conn_receive(struct tcp_conn *c,
		     int (*frame)(struct tcp_conn *c, const void *payload));

/* --- tcp_out.c ----------------------------------------------------------- */

/* Room for @len more bytes that go out; they are for the caller to fill in.
 * NULL: no memory, or it takes nothing: hang up on it. Locked. */
uint8_t *tcp_conn_put(struct tcp_conn *c, size_t len);
/* A frame with its payload; without @data that follows by tcp_conn_put().
 * Errors: -ENOBUFS, as there. Locked. */
int tcp_conn_put_frame(struct tcp_conn *c, const struct tcp_frame *fr,
		       const void *data);
/* Send @len bytes from where they lie, after all that was put; they stay there
 * until the connection ends. While some are left nothing more of what the peer
 * asks is done, so that they are those of now to him. -EAGAIN: not now, too
 * much waits already; -errno: it is over. Locked; the server's thread only. */
int tcp_conn_lend(struct tcp_conn *c, const void *from, size_t len);
/* How many of @len bytes to put next: pieces of this size stay in the cache
 * from where they are put together to where they are sent. Locked. */
size_t tcp_conn_piece(const struct tcp_conn *c, size_t len);
/* A piece that waits is sent, if the connection takes it; @more: another one
 * follows. -errno: it is over. Locked. */
int tcp_conn_spill(struct tcp_conn *c, bool more);
/* Send what the connection takes: 0 all, -EAGAIN, -errno. */
int tcp_conn_flush(struct tcp_conn *c);
/* Not too much waits to go out: what comes in may be done. */
bool tcp_conn_takes(struct tcp_conn *c);
/* Give it a turn soon. Any thread; not after it has ended. */
void tcp_conn_ready(struct tcp_conn *c);

void tcp_reply(struct fab_request *rq, int status, const void *data,
	       size_t len);

/* --- tcp_exec.c ---------------------------------------------------------- */

/* The head of a WRITE is in c->in: see whether it is c->admitted. If so, the
 * bytes are handed on as they come, in order. -EPROTO: it breaks the rules. */
int tcp_exec_begin(struct tcp_conn *c);
/* @len more bytes of it, those from @at on. */
void tcp_exec_write(struct tcp_conn *c, size_t at, const void *bytes,
		    size_t len);

/* Do the one-sided operation or CALL in c->in, answer what is to be answered;
 * of a WRITE the bytes are there by now.
 * Errors: -EPROTO it breaks the rules; -ENOMEM, -ENOBUFS: hang up. */
int tcp_exec(struct tcp_conn *c, const void *payload);

#endif
