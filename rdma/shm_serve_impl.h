/* rdma/shm_serve_impl.h - private to rdma/shm_serve.c and rdma/shm_peer.c: the
 * node's side of the shared-memory transport.
 *
 * A peer is one process's net. It has one primary connection, whose end is the
 * peer's end, and any number of others that carry CALLs.
 *
 * References: a connection is held by the server's list and by each request
 * that came over it; a peer by each of its connections. So a request may be
 * answered after everything else has gone. */
#ifndef ACESO_RDMA_SHM_SERVE_IMPL_H
#define ACESO_RDMA_SHM_SERVE_IMPL_H
#include <sys/types.h>

#include "rdma/shm_impl.h"

struct shm_peer {
	struct fab_peer peer;
	uint8_t token[SHM_TOKEN_BYTES];
	_Atomic(unsigned) refs;
	_Atomic(bool) gone; /* nothing it sends counts any more */
	pthread_mutex_t lock;
	int primary; /* socket; -1 once closed */
};

/* An answer that the socket did not take at once. */
struct shm_unsent {
	STAILQ_ENTRY(shm_unsent) link;
	size_t len;
	struct shm_frame fr;
	uint8_t data[];
};

struct shm_conn {
	_Atomic(unsigned) refs;
	struct shm_peer *peer; /* NULL until it has said hello */
	bool primary;
	pthread_mutex_t lock; /* of what follows: anyone may answer */
	int sock;	      /* -1: closed */
	int epfd;	      /* valid while sock is */
	STAILQ_HEAD(shm_unsent_list, shm_unsent) unsent;
	size_t unsent_bytes;
	TAILQ_ENTRY(shm_conn) link; /* server thread only */
};

TAILQ_HEAD(shm_conns, shm_conn);

struct shm_request {
	struct fab_request rq;
	struct shm_conn *conn;
	uint64_t id;
};

extern const struct fab_server_ops shm_server_ops;

/* --- shm_peer.c ----------------------------------------------------------- */

/* Takes over @sock. NULL: no memory; @sock is still the caller's. */
struct shm_conn *shm_conn_open(int sock, int epfd);
void shm_conn_put(struct shm_conn *c);
/* Close its socket; requests that came over it stay legal. */
void shm_conn_shut(struct shm_conn *c);
/* The socket takes more again. */
void shm_conn_flush(struct shm_conn *c);

/* The peer at the other end of @sock, by what the system says of it; one
 * reference. NULL: no memory, or it does not say. */
struct shm_peer *shm_peer_open(int sock, const uint8_t *token);
void shm_peer_put(struct shm_peer *p);
/* @sock belongs to the same process and @token is the peer's. */
bool shm_peer_is(const struct shm_peer *p, int sock, const uint8_t *token);

void shm_reply(struct fab_request *rq, int status, const void *data,
	       size_t len);
void shm_peer_cut(struct fab_peer *peer);

#endif
