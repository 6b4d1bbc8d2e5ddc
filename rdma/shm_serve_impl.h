/* rdma/shm_serve_impl.h - private to rdma/shm_serve.c and rdma/shm_peer.c: the
 * node's side of the shared-memory transport. Connections beside the primary
 * one carry CALLs. */
#ifndef ACESO_RDMA_SHM_SERVE_IMPL_H
#define ACESO_RDMA_SHM_SERVE_IMPL_H
#include <sys/socket.h>

#include "rdma/serve.h"
#include "rdma/shm_impl.h"

/* An answer that the socket did not take at once. */
struct shm_unsent {
	STAILQ_ENTRY(shm_unsent) link;
	size_t len;
	struct shm_frame fr;
	uint8_t data[];
};

/* How far a connection is, where the node has a key; else it is PROVED. */
enum shm_proof { SHM_STRANGER, SHM_CHALLENGED, SHM_PROVED };

struct shm_conn {
	struct server_conn c;
	/* the server's thread only */
	enum shm_proof proof;
	struct shm_auth auth; /* from CHALLENGED on */
	pthread_mutex_t lock; /* of what follows: anyone may answer */
	int sock;	      /* -1: closed */
	STAILQ_HEAD(shm_unsent_list, shm_unsent) unsent;
	size_t unsent_bytes;
};

/* --- shm_peer.c ----------------------------------------------------------- */

/* Takes over @sock. NULL: no memory; @sock is still the caller's. */
struct shm_conn *shm_conn_open(int sock);
void shm_conn_free(struct server_conn *c);
/* Close its socket; requests that came over it stay legal. */
void shm_conn_shut(struct server_conn *c);
/* The socket takes more again. */
void shm_conn_flush(struct shm_conn *c);

/* Who is at the other end of @sock, by what the system says; false: nothing. */
bool shm_who(int sock, struct ucred *cred);
/* @c belongs to the same process. */
bool shm_peer_is(const struct server_peer *p, const struct server_conn *c);

void shm_reply(struct fab_request *rq, int status, const void *data,
	       size_t len);

#endif
