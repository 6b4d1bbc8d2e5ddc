/* rdma/verbs_serve_impl.h - private to rdma/verbs_serve.c, verbs_peer.c: the
 * node's side of the RDMA transport. Its memory is served by the adapter; one
 * thread answers connections and messages. Answers of other threads are queued
 * and that thread woken. */
#ifndef ACESO_RDMA_VERBS_SERVE_IMPL_H
#define ACESO_RDMA_VERBS_SERVE_IMPL_H
#include "rdma/serve.h"
#include "rdma/verbs_impl.h"

#define VERBS_CONNS_MAX	 1024u
#define VERBS_UNSENT_MAX (64u << 20) /* bytes of answers waiting, per conn */

struct verbs_unsent {
	STAILQ_ENTRY(verbs_unsent) link;
	uint32_t len;
	uint8_t bytes[];
};

struct verbs_conn {
	struct server_conn c;
	/* the server's thread only */
	struct rdma_cm_id *id; /* NULL: ended */
	struct ibv_cq *cq;
	struct verbs_mem mem;
	struct verbs_connect said;
	uint8_t nonce[VERBS_NONCE_BYTES];
	uint64_t sends[VERBS_RECVS]; /* ring ends of messages under way */
	unsigned sends_at, sends_n;
	/* anyone, under @lock */
	pthread_mutex_t lock;
	bool ended;
	STAILQ_HEAD(verbs_unsent_list, verbs_unsent) unsent;
	size_t unsent_bytes;
};

struct verbs_server {
	struct server s;
	struct fab_key key, reader; /* len 0: none */
	struct rdma_event_channel *channel;
	struct rdma_cm_id *listener;
	struct ibv_comp_channel *comp;
	struct ibv_pd *pd, *reader_pd;
	struct ibv_mr *region;
	struct ibv_mr *reader_region; /* made when the first one comes */
};

static inline struct verbs_server *verbs_server(const struct verbs_conn *c)
{
	return (struct verbs_server *)c->c.server;
}

/* --- verbs_peer.c -------------------------------------------------------- */

struct verbs_conn *verbs_conn_open(struct verbs_server *s,
				   struct rdma_cm_id *id,
				   const struct verbs_connect *said);
void verbs_conn_free(struct server_conn *c);
void verbs_conn_shut(struct server_conn *c);
/* Queue a message; any thread. -ENOMEM, -ENOBUFS: hang up. */
int verbs_conn_send(struct verbs_conn *c, const struct verbs_msg *m,
		    const void *data);
/* Post what there is room for. */
int verbs_conn_flush(struct verbs_conn *c);
/* A message that was posted has gone. */
void verbs_conn_sent(struct verbs_conn *c);
void verbs_reply(struct fab_request *rq, int status, const void *data,
		 size_t len);

#endif
