/* rdma/serve.h - private to the transports: what their servers have in common.
 *
 * A peer is one process's net. It has one primary connection, whose end is the
 * peer's end, and any number of others that carry operations and CALLs.
 *
 * One thread does everything on the connections; other threads answer, and cut
 * peers. References: a connection is held by the server's list and by each
 * request that came over it; a peer by each of its connections. So a request
 * may be answered after everything else has gone. */
#ifndef ACESO_RDMA_SERVE_H
#define ACESO_RDMA_SERVE_H
#include <sys/socket.h>

#include "rdma/net.h"

struct server;
struct server_conn;

#define SERVER_ADDRESS_BYTES 64u /* for people */

struct server_peer {
	struct fab_peer peer;
	uint8_t token[NET_TOKEN_BYTES];
	_Atomic(unsigned) refs;
	_Atomic(bool) gone; /* nothing it sends counts any more */
	_Atomic(bool) cut;  /* to be hung up on */
	pthread_mutex_t lock;
	struct server *server; /* to be woken; NULL: the peer is gone */
};

/* The first member of a transport's own. */
struct server_conn {
	_Atomic(unsigned) refs;
	const struct server_how *how;
	struct server *server; /* not once it has ended */
	/* the server's thread only */
	struct server_peer *peer; /* NULL until it has said hello */
	bool primary, over;	  /* over: it has ended */
	bool reader;		  /* by its key, set before hello */
	uint64_t born;		  /* when it was accepted */
	char address[SERVER_ADDRESS_BYTES];
	TAILQ_ENTRY(server_conn) link;
};

TAILQ_HEAD(server_conns, server_conn);

struct server_request {
	struct fab_request rq;
	struct server_conn *conn;
	uint64_t id; /* the transport's: which one is answered */
};

/* What a transport does. */
struct server_how {
	/* Close it; requests that came over it stay legal. */
	void (*shut)(struct server_conn *c);
	void (*free)(struct server_conn *c); /* nobody has it any more */
	/* @c comes from @p's process, as far as the system can tell; NULL: it
	 * cannot, the token tells. */
	bool (*same)(const struct server_peer *p, const struct server_conn *c);
	uint64_t hello_ns; /* so long it may take to say hello */
};

struct server {
	struct fab_server server;
	struct fab_server_opts opts;
	const struct server_how *how;
	int wakefd;
	pthread_t thread;
	struct server_conns conns, dead; /* dead: an event may name them yet */
	unsigned n_conns, strangers;	 /* strangers: have not said hello */
	_Atomic(bool) stop;
	_Atomic(uint64_t) malformed;
};

#define SERVER_LOOK_MS 100 /* at strangers, while there are any */

/* @s is the first member of a transport's own, zeroed. Errors: -EMFILE. */
int server_open(struct server *s, const struct fab_server_opts *opts,
		const struct fab_server_ops *ops, const struct server_how *how);
void server_close(struct server *s); /* its thread has ended */
/* Tell the thread to end, and wait for it. */
void server_stop(struct server *s);

/* Any thread. */
void server_wake(struct server *s);
uint64_t server_malformed(const struct fab_server *s);
void server_peer_cut(struct fab_peer *peer);
void server_conn_put(struct server_conn *c);

/* --- the server's thread only -------------------------------------------- */

/* @c, zeroed, is a new connection: the list's. */
void server_conn_add(struct server *s, struct server_conn *c);
void server_conn_end(struct server_conn *c);
/* The end of a primary one is its peer's: on_gone is called. */
void server_hang_up(struct server_conn *c);
/* All connections of @p but its primary one: nothing of theirs counts. */
void server_fence(struct server *s, struct server_peer *p);

/* Where @c comes from: told when it is refused. */
void server_conn_from(struct server_conn *c, const struct sockaddr *from,
		      socklen_t len);
void server_conn_from_process(struct server_conn *c, int32_t pid, uint32_t uid);
/* Hang up on @c for @why, and say so if that is what it did. */
void server_hang_up_for(struct server_conn *c, int why);
/* One that never became a connection, or is ended elsewhere. */
void server_refused(struct server *s, const char *address, int why);

/* First on a connection. 0: it is @pid's primary one; else what to answer
 * before it is hung up on. */
int server_hello(struct server_conn *c, const uint8_t *token, int32_t pid,
		 uint32_t uid, const void *hello, size_t len);
/* 0: it is one more of the peer that @token names; -ESTALE no such;
 * -EACCES it is one with another key. */
int server_hello_more(struct server_conn *c, const uint8_t *token);
/* Hand a CALL to the node. Errors: -ENOMEM. */
int server_call(struct server_conn *c, uint64_t id, uint16_t type,
		const void *req, size_t len);

/* After waking: who was cut. */
void server_cut_turn(struct server *s);
/* After events were handled: those who never say hello; the dead. */
void server_rest(struct server *s);
void server_end_all(struct server *s);

/* --- over sockets: serve_sock.c ------------------------------------------ */

struct server_sock;

struct server_sock_how {
	unsigned conns_max;
	/* A connection of @sock, in the list, watched by server_sock_watch().
	 * Errors (@sock stays the caller's): -ENOMEM. */
	int (*accepted)(struct server_sock *s, int sock);
	/* EPOLLIN, EPOLLOUT and the like came for @c, which is not over. */
	void (*ready)(struct server_conn *c, uint32_t events);
	void (*woken)(struct server_sock *s); /* NULL: only cuts matter */
};

/* The first member of a transport's own. */
struct server_sock {
	struct server s;
	const struct server_sock_how *sock_how;
	int listener, epfd;
	bool accepting;
};

/* Serve what comes over @listener, which becomes the server's also on
 * failure. Errors: -EMFILE, -ENOMEM, -EAGAIN. */
int server_sock_start(struct server_sock *s, const struct server_sock_how *how,
		      int listener);
void server_sock_stop(struct server_sock *s);

int server_sock_watch(struct server_conn *c, int sock, uint32_t events);
/* Any thread, while @sock is open. */
int server_sock_rewatch(struct server_conn *c, int sock, uint32_t events);
/* Before @sock is closed: a child of this process may have a copy of it, and
 * then close(2) ends neither the watching nor the connection. */
void server_sock_hang_up(struct server_conn *c, int sock);

#endif
