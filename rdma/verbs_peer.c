/* rdma/verbs_peer.c - who asks a node, over which connections, and how the
 * answers get there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "rdma/verbs_serve_impl.h"

/* --- connections ---------------------------------------------------------- */

static int open_qp(struct verbs_server *s, struct verbs_conn *c)
{
	struct ibv_qp_init_attr qa = {.qp_type = IBV_QPT_RC,
				      .cap = {.max_send_wr = VERBS_RECVS,
					      .max_recv_wr = VERBS_RECVS,
					      .max_send_sge = 1,
					      .max_recv_sge = 1}};
	struct ibv_pd *pd = c->said.reader ? s->reader_pd : s->pd;
	int rc;

	c->cq = ibv_create_cq(c->id->verbs, 2 * VERBS_RECVS, c, s->comp, 0);
	if (c->cq == NULL)
		return -ENOMEM;
	qa.send_cq = qa.recv_cq = c->cq;
	if (rdma_create_qp(c->id, pd, &qa) != 0)
		return -errno;
	rc = verbs_mem_open(&c->mem, pd, VERBS_RECVS);
	for (unsigned i = 0; rc == 0 && i < VERBS_RECVS; i++)
		rc = verbs_post_recv(c->id->qp, &c->mem, i);
	return rc == 0 ? -ibv_req_notify_cq(c->cq, 0) : rc;
}

struct verbs_conn *verbs_conn_open(struct verbs_server *s,
				   struct rdma_cm_id *id,
				   const struct verbs_connect *said)
{
	struct verbs_conn *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->id = id;
	c->said = *said;
	c->c.reader = said->reader != 0;
	pthread_mutex_init(&c->lock, NULL);
	STAILQ_INIT(&c->unsent);
	if (open_qp(s, c) != 0 ||
	    getrandom(c->nonce, sizeof(c->nonce), 0) != sizeof(c->nonce)) {
		c->id = NULL; /* stays the caller's */
		if (id->qp != NULL)
			rdma_destroy_qp(id);
		verbs_conn_shut(&c->c);
		verbs_conn_free(&c->c);
		return NULL;
	}
	return c;
}

static void drop_unsent(struct verbs_conn *c)
{
	struct verbs_unsent *u;

	while ((u = STAILQ_FIRST(&c->unsent)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->unsent, link);
		free(u);
	}
	c->unsent_bytes = 0;
}

void verbs_conn_free(struct server_conn *conn)
{
	struct verbs_conn *c = (struct verbs_conn *)conn;

	drop_unsent(c);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Its memory's keys die with the queue pair: nothing it sent takes effect. */
void verbs_conn_shut(struct server_conn *conn)
{
	struct verbs_conn *c = (struct verbs_conn *)conn;

	pthread_mutex_lock(&c->lock);
	c->ended = true;
	drop_unsent(c);
	pthread_mutex_unlock(&c->lock);
	if (c->id != NULL) {
		rdma_disconnect(c->id);
		rdma_destroy_qp(c->id);
	}
	verbs_mem_close(&c->mem);
	if (c->cq != NULL)
		ibv_destroy_cq(c->cq);
	c->cq = NULL;
	if (c->id != NULL)
		rdma_destroy_id(c->id);
	c->id = NULL;
}

/* --- messages ------------------------------------------------------------- */

int verbs_conn_send(struct verbs_conn *c, const struct verbs_msg *m,
		    const void *data)
{
	struct verbs_unsent *u;
	int rc = 0;

	u = malloc(sizeof(*u) + sizeof(*m) + m->len);
	if (u == NULL)
		return -ENOMEM;
	u->len = (uint32_t)sizeof(*m) + m->len;
	memcpy(u->bytes, m, sizeof(*m));
	if (m->len > 0)
		memcpy(u->bytes + sizeof(*m), data, m->len);
	pthread_mutex_lock(&c->lock);
	if (c->ended || c->unsent_bytes + u->len > VERBS_UNSENT_MAX) {
		rc = c->ended ? 0 : -ENOBUFS;
		free(u);
	} else {
		STAILQ_INSERT_TAIL(&c->unsent, u, link);
		c->unsent_bytes += u->len;
	}
	pthread_mutex_unlock(&c->lock);
	return rc;
}

static struct verbs_unsent *next_unsent(struct verbs_conn *c, uint8_t **to,
					uint64_t *end)
{
	struct verbs_unsent *u;

	pthread_mutex_lock(&c->lock);
	u = STAILQ_FIRST(&c->unsent);
	if (u != NULL) {
		*to = verbs_ring_take(&c->mem, u->len, end);
		if (*to == NULL) {
			u = NULL;
		} else {
			STAILQ_REMOVE_HEAD(&c->unsent, link);
			c->unsent_bytes -= u->len;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return u;
}

int verbs_conn_flush(struct verbs_conn *c)
{
	struct verbs_unsent *u;
	uint64_t end;
	uint8_t *to;
	int rc = 0;

	while (rc == 0 && c->sends_n < VERBS_RECVS &&
	       (u = next_unsent(c, &to, &end)) != NULL) {
		memcpy(to, u->bytes, u->len);
		c->sends[(c->sends_at + c->sends_n++) % VERBS_RECVS] = end;
		rc = verbs_post_send(c->id->qp, &c->mem, to, u->len, 0);
		free(u);
	}
	return rc;
}

void verbs_conn_sent(struct verbs_conn *c)
{
	if (c->sends_n == 0)
		return;
	verbs_ring_free(&c->mem, c->sends[c->sends_at]);
	c->sends_at = (c->sends_at + 1) % VERBS_RECVS;
	c->sends_n--;
}

void verbs_reply(struct fab_request *rq, int status, const void *data,
		 size_t len)
{
	struct server_request *r = (struct server_request *)rq;
	struct verbs_msg m = {.type = VERBS_ANSWER,
			      .status = status,
			      .len = (uint32_t)len,
			      .id = r->id};
	struct verbs_conn *c = (struct verbs_conn *)r->conn;

	if (verbs_conn_send(c, &m, data) != 0)
		atomic_store(&c->c.peer->cut, true); /* it must learn of it */
	pthread_mutex_lock(&c->lock);
	if (!c->ended) /* so the server is still there */
		server_wake(c->c.server);
	pthread_mutex_unlock(&c->lock);
	server_conn_put(&c->c);
	free(r);
}
