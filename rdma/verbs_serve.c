/* rdma/verbs_serve.c - a node's server: connections, hellos, CALLs. What a peer
 * sends is input: what breaks the rules ends the connection. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rdma/verbs_serve_impl.h"

/* --- hello ---------------------------------------------------------------- */

static const struct fab_key *key_of(struct verbs_conn *c)
{
	struct verbs_server *s = verbs_server(c);

	return c->said.reader ? &s->reader : &s->key;
}

/* The memory as @c may reach it, once it has proved its key. */
static struct ibv_mr *region_of(struct verbs_conn *c)
{
	struct verbs_server *s = verbs_server(c);

	if (!c->said.reader || s->region == NULL)
		return s->region;
	if (s->reader_region == NULL)
		s->reader_region =
			ibv_reg_mr(s->reader_pd, s->s.opts.region,
				   s->s.opts.size, IBV_ACCESS_REMOTE_READ);
	return s->reader_region;
}

static int welcome(struct verbs_conn *c, const struct verbs_auth *au,
		   int status)
{
	struct verbs_server *s = verbs_server(c);
	struct verbs_welcome w = {.size = s->s.opts.size};
	struct verbs_msg m = {.type = VERBS_WELCOME, .status = status};
	struct ibv_mr *region = status == 0 ? region_of(c) : NULL;

	if (status == 0 && s->region != NULL && region == NULL)
		return -ENOMEM; /* no more memory can be registered */
	if (status == 0) {
		m.len = sizeof(w);
		w.addr = (uintptr_t)s->s.opts.region;
		w.rkey = region != NULL ? region->rkey : 0;
		verbs_prove(key_of(c), "node", &c->said, c->nonce, au->nonce,
			    w.proof);
	}
	return verbs_conn_send(c, &m, &w);
}

static int hello(struct verbs_conn *c, const struct verbs_auth *au, size_t len)
{
	/* nobody this host knows */
	return welcome(
		c, au,
		server_hello(&c->c, c->said.token, 0, UINT32_MAX, au + 1, len));
}

static int hello_queue(struct verbs_conn *c, const struct verbs_auth *au)
{
	int rc = server_hello_more(&c->c, c->said.token);

	return rc == 0 ? welcome(c, au, 0) : rc;
}

static int stranger(struct verbs_conn *c, const struct verbs_msg *m)
{
	const struct verbs_auth *au = (const void *)(m + 1);

	if (m->type != VERBS_AUTH || m->len < sizeof(*au))
		return -EPROTO;
	if (!verbs_proven(key_of(c), "client", &c->said, c->nonce, au->nonce,
			  au->proof)) {
		server_refused(c->c.server, c->c.address, -EACCES);
		return welcome(c, au, -EACCES);
	}
	if (c->said.kind == VERBS_PRIMARY)
		return hello(c, au, m->len - sizeof(*au));
	return m->len == sizeof(*au) ? hello_queue(c, au) : -EPROTO;
}

/* --- messages ------------------------------------------------------------- */

static int call(struct verbs_conn *c, const struct verbs_msg *m)
{
	if (m->type != VERBS_CALL || m->len > FAB_CALL_BYTES_MAX)
		return -EPROTO;
	return server_call(&c->c, m->id, m->call, m + 1, m->len);
}

static int fence(struct verbs_conn *c)
{
	struct verbs_msg m = {.type = VERBS_FENCED};

	server_fence(c->c.server, c->c.peer);
	return verbs_conn_send(c, &m, NULL);
}

static int came(struct verbs_conn *c, const struct ibv_wc *wc)
{
	unsigned slot = (unsigned)(wc->wr_id & ~VERBS_RECV_ID);
	const struct verbs_msg *m = (void *)verbs_mem_recv(&c->mem, slot);
	int rc;

	if (wc->byte_len < sizeof(*m) || m->len != wc->byte_len - sizeof(*m))
		rc = -EPROTO;
	else if (c->c.peer == NULL)
		rc = stranger(c, m);
	else if (!c->c.primary)
		rc = call(c, m);
	else
		rc = m->type == VERBS_FENCE ? fence(c) : -EPROTO;
	return rc == 0 ? verbs_post_recv(c->id->qp, &c->mem, slot) : rc;
}

static int conn_poll(struct verbs_conn *c)
{
	struct ibv_wc wc;
	int rc = 0;

	while (rc == 0 && ibv_poll_cq(c->cq, 1, &wc) > 0) {
		if (wc.status != IBV_WC_SUCCESS)
			rc = -ECONNRESET;
		else if ((wc.wr_id & VERBS_RECV_ID) != 0)
			rc = came(c, &wc);
		else
			verbs_conn_sent(c);
	}
	return rc;
}

/* What came before the CQ was armed rings no bell: so poll once more. */
static void conn_turn(struct verbs_conn *c)
{
	int rc;

	rc = conn_poll(c);
	if (rc == 0)
		rc = -ibv_req_notify_cq(c->cq, 0);
	if (rc == 0)
		rc = conn_poll(c);
	if (rc == 0)
		rc = verbs_conn_flush(c);
	if (rc != 0)
		server_hang_up_for(&c->c, rc);
}

/* --- connecting ----------------------------------------------------------- */

static void from(struct rdma_cm_id *id, struct server_conn *c)
{
	const struct sockaddr *sa = rdma_get_peer_addr(id);

	server_conn_from(c, sa,
			 sa->sa_family == AF_INET6
				 ? sizeof(struct sockaddr_in6)
				 : sizeof(struct sockaddr_in));
}

static int let_in(struct verbs_server *s, struct rdma_cm_id *id,
		  const struct rdma_conn_param *p)
{
	struct rdma_conn_param cp = {.responder_resources =
					     p->responder_resources,
				     .initiator_depth = p->initiator_depth,
				     .rnr_retry_count = 7};
	struct verbs_accept a = {.magic = VERBS_MAGIC,
				 .version = VERBS_VERSION};
	const struct verbs_connect *said = p->private_data;
	struct verbs_conn *c;

	if (p->private_data_len < sizeof(*said) || said->magic != VERBS_MAGIC ||
	    said->version != VERBS_VERSION || said->kind < VERBS_PRIMARY ||
	    said->kind > VERBS_QUEUE ||
	    said->reader > (s->key.len > 0 ? 1u : 0u))
		return -EPROTO;
	if (s->s.n_conns >= VERBS_CONNS_MAX)
		return -EMFILE;
	if (verbs_depths(id->verbs, &cp) != 0)
		return -ENODEV;
	c = verbs_conn_open(s, id, said);
	if (c == NULL)
		return -ENOMEM;
	id->context = c;
	from(id, &c->c);
	server_conn_add(&s->s, &c->c);
	memcpy(a.nonce, c->nonce, sizeof(a.nonce));
	cp.private_data = &a;
	cp.private_data_len = sizeof(a);
	if (rdma_accept(id, &cp) != 0)
		server_conn_end(&c->c); /* and with it @id */
	return 0;
}

static void refused(struct verbs_server *s, struct rdma_cm_id *id, int why)
{
	struct server_conn c;

	if (why != -EPROTO)
		return;
	from(id, &c);
	server_refused(&s->s, c.address, why);
}

static void on_event(struct verbs_server *s, struct rdma_cm_event *ev)
{
	struct rdma_cm_id *id = ev->id, *ended = NULL;
	struct verbs_conn *c;
	int rc;

	if (ev->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
		rc = let_in(s, id, &ev->param.conn);
		if (rc != 0) {
			refused(s, id, rc);
			rdma_reject(id, NULL, 0);
			ended = id;
		}
		rdma_ack_cm_event(ev);
		if (ended != NULL)
			rdma_destroy_id(ended);
		return;
	}
	c = id != s->listener ? id->context : NULL;
	if (ev->event == RDMA_CM_EVENT_ESTABLISHED)
		c = NULL;
	rdma_ack_cm_event(ev); /* before its connection can be destroyed */
	if (c != NULL)
		server_hang_up(&c->c);
}

static void events_turn(struct verbs_server *s)
{
	struct rdma_cm_event *ev;

	while (rdma_get_cm_event(s->channel, &ev) == 0)
		on_event(s, ev);
}

static void comp_turn(struct verbs_server *s)
{
	struct ibv_cq *cq;
	void *ctx;

	while (ibv_get_cq_event(s->comp, &cq, &ctx) == 0)
		ibv_ack_cq_events(cq, 1);
}

/* --- the thread ----------------------------------------------------------- */

static void conns_turn(struct server *s)
{
	struct server_conn *c, *next;

	for (c = TAILQ_FIRST(&s->conns); c != NULL; c = next) {
		conn_turn((struct verbs_conn *)c);
		/* the end of one may be the end of several */
		next = c->over ? TAILQ_FIRST(&s->conns) : TAILQ_NEXT(c, link);
	}
}

static void *serve(void *arg)
{
	struct verbs_server *s = arg;
	struct pollfd p[3] = {{.fd = s->channel->fd, .events = POLLIN},
			      {.fd = s->s.wakefd, .events = POLLIN},
			      {.fd = s->comp->fd, .events = POLLIN}};
	uint64_t n;
	ssize_t rc;

	while (!atomic_load(&s->s.stop)) {
		poll(p, 3, s->s.strangers > 0 ? SERVER_LOOK_MS : -1);
		if (p[1].revents != 0)
			rc = read(s->s.wakefd, &n, sizeof(n));
		(void)rc; /* woken is woken */
		if (p[0].revents != 0)
			events_turn(s);
		if (p[2].revents != 0)
			comp_turn(s);
		server_cut_turn(&s->s);
		conns_turn(&s->s);
		server_rest(&s->s);
	}
	server_end_all(&s->s);
	return NULL;
}

/* --- its life ------------------------------------------------------------- */

static void server_free(struct verbs_server *s)
{
	if (s->reader_region != NULL)
		ibv_dereg_mr(s->reader_region);
	if (s->reader_pd != NULL)
		ibv_dealloc_pd(s->reader_pd);
	if (s->region != NULL)
		ibv_dereg_mr(s->region);
	if (s->pd != NULL)
		ibv_dealloc_pd(s->pd);
	if (s->comp != NULL)
		ibv_destroy_comp_channel(s->comp);
	if (s->listener != NULL)
		rdma_destroy_id(s->listener);
	if (s->channel != NULL)
		rdma_destroy_event_channel(s->channel);
	server_close(&s->s);
	OPENSSL_cleanse(&s->key, sizeof(s->key));
	OPENSSL_cleanse(&s->reader, sizeof(s->reader));
	free(s);
}

static void verbs_server_close(struct fab_server *server)
{
	struct verbs_server *s = (struct verbs_server *)server;

	server_stop(&s->s);
	server_free(s);
}

static const struct server_how conn_how = {
	.shut = verbs_conn_shut,
	.free = verbs_conn_free,
	.hello_ns = VERBS_HELLO_NS,
};

static const struct fab_server_ops verbs_server_ops = {
	.close = verbs_server_close,
	.reply = verbs_reply,
	.peer_cut = server_peer_cut,
	.malformed = server_malformed,
};

static int listen_at(struct verbs_server *s)
{
	struct rdma_addrinfo *ai;
	int rc;

	rc = verbs_resolve(s->s.opts.address, true, &ai);
	if (rc != 0)
		return rc;
	if (rdma_create_id(s->channel, &s->listener, NULL, RDMA_PS_TCP) != 0 ||
	    rdma_bind_addr(s->listener, ai->ai_src_addr) != 0)
		rc = -errno;
	rdma_freeaddrinfo(ai);
	if (rc == 0 && s->listener->verbs == NULL)
		rc = -EADDRNOTAVAIL; /* not the address of one device */
	return rc;
}

static int open_device(struct verbs_server *s)
{
	const int all = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
			IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
	struct verbs_bounds bounds;
	int rc = verbs_bounds(s->listener, &bounds);

	if (rc == 0 && s->s.opts.region != NULL)
		rc = verbs_has_atomics(s->listener->verbs);
	if (rc != 0)
		return rc;
	s->pd = ibv_alloc_pd(s->listener->verbs);
	s->comp = ibv_create_comp_channel(s->listener->verbs);
	s->reader_pd = ibv_alloc_pd(s->listener->verbs);
	if (s->pd == NULL || s->comp == NULL || s->reader_pd == NULL)
		return -ENOMEM;
	if (s->s.opts.region == NULL)
		return 0;
	s->region = ibv_reg_mr(s->pd, s->s.opts.region, s->s.opts.size, all);
	return s->region != NULL ? 0 : -errno;
}

static int start(struct verbs_server *s)
{
	int rc;

	s->channel = rdma_create_event_channel();
	if (s->channel == NULL)
		return errno == ENOENT ? -ENODEV : -errno;
	rc = listen_at(s);
	if (rc == 0)
		rc = open_device(s);
	if (rc != 0)
		return rc;
	fcntl(s->channel->fd, F_SETFL, O_NONBLOCK);
	fcntl(s->comp->fd, F_SETFL, O_NONBLOCK);
	if (rdma_listen(s->listener, 64) != 0)
		return -errno;
	return fab_thread_start(&s->s.thread, serve, s);
}

int verbs_server_open(const struct fab_server_opts *opts,
		      struct fab_server **out)
{
	struct verbs_server *s = calloc(1, sizeof(*s));
	int rc;

	if (s == NULL)
		return -ENOMEM;
	if (opts->key != NULL)
		s->key = *opts->key;
	rc = s->key.len > 0 ? fab_key_reader(&s->key, &s->reader) : 0;
	if (rc != 0) {
		free(s);
		return rc;
	}
	rc = server_open(&s->s, opts, &verbs_server_ops, &conn_how);
	if (rc == 0)
		rc = start(s);
	if (rc != 0) {
		server_free(s);
		return rc;
	}
	*out = &s->s.server;
	return 0;
}
