/* rdma/verbs_link.c - a client's connection: made, proven, watched. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "rdma/verbs_impl.h"

#define PING_ID UINT64_MAX

/* --- waiting -------------------------------------------------------------- */

#define SLICE_NS UINT64_C(50000000)

/* A node that was cut meanwhile, or is found dead, is waited for no longer. */
static int look_at_node(struct verbs_link *l, uint64_t now)
{
	if (l->node < 0)
		return 0;
	if (atomic_load(&l->net->node[l->node].n.state) != NET_UP)
		return -EHOSTDOWN;
	if (now >= l->suspect_at) {
		verbs_suspect(&l->net->net, (uint8_t)l->node);
		l->suspect_at = now + VERBS_SLOW_NS;
	}
	return 0;
}

static int wait_event(struct verbs_link *l, enum rdma_cm_event_type want,
		      uint64_t deadline, void *private, size_t len)
{
	uint64_t now, slice;
	int rc;

	do {
		now = fab_clock_now(NULL);
		slice = now + SLICE_NS < deadline ? now + SLICE_NS : deadline;
		rc = look_at_node(l, now);
		if (rc != 0)
			return rc;
		rc = verbs_wait_event(l->id, want, slice, private, len);
	} while (rc == -ETIMEDOUT && slice < deadline);
	return rc;
}

/* --- connecting ----------------------------------------------------------- */

/* An adapter may have less room in a work request than we would like, which no
 * query tells. */
static int create_qp(struct verbs_link *l, struct ibv_qp_init_attr *qa)
{
	uint32_t want = VERBS_INLINE;

	qa->cap.max_inline_data = want;
	while (rdma_create_qp(l->id, NULL, qa) != 0) {
		if (want == 0)
			return -errno;
		want /= 2;
		qa->cap.max_inline_data = want;
	}
	l->inline_max = want;
	return 0;
}

static int open_qp(struct verbs_link *l)
{
	struct ibv_qp_init_attr qa = {.qp_type = IBV_QPT_RC,
				      .cap = {.max_recv_wr = VERBS_RECVS,
					      .max_send_sge = 1,
					      .max_recv_sge = 1}};
	int rc = verbs_bounds(l->id, &l->bounds);

	if (rc != 0)
		return -ENODEV; /* none that is of use */
	l->comp = ibv_create_comp_channel(l->id->verbs);
	if (l->comp == NULL)
		return -ENOMEM;
	l->cq = ibv_create_cq(l->id->verbs,
			      (int)(l->bounds.sends + VERBS_CQ_SPARE), NULL,
			      l->comp, 0);
	if (l->cq == NULL)
		return -ENOMEM;
	qa.send_cq = qa.recv_cq = l->cq;
	qa.cap.max_send_wr = l->bounds.sends + VERBS_SPARE;
	rc = create_qp(l, &qa);
	if (rc != 0)
		return rc;
	rc = verbs_mem_open(&l->mem, l->id->pd, VERBS_RECVS);
	if (rc == 0) /* what it cannot do without comes first */
		l->adapter = verbs_adapter_hold(l->net, l->id->pd);
	for (unsigned i = 0; rc == 0 && i < VERBS_RECVS; i++)
		rc = verbs_post_recv(l->id->qp, &l->mem, i);
	return rc;
}

static int find_way(struct verbs_link *l, const char *address,
		    uint64_t deadline)
{
	int ms = (int)(VERBS_HELLO_NS / 2000000), rc;
	struct rdma_addrinfo *ai;

	rc = verbs_resolve(address, false, &ai);
	if (rc != 0)
		return rc;
	if (rdma_resolve_addr(l->id, ai->ai_src_addr, ai->ai_dst_addr, ms) != 0)
		rc = -errno;
	rdma_freeaddrinfo(ai);
	if (rc == 0)
		rc = wait_event(l, RDMA_CM_EVENT_ADDR_RESOLVED, deadline, NULL,
				0);
	if (rc == 0 && rdma_resolve_route(l->id, ms) != 0)
		rc = -errno;
	if (rc == 0)
		rc = wait_event(l, RDMA_CM_EVENT_ROUTE_RESOLVED, deadline, NULL,
				0);
	return rc;
}

static int connect_to(struct verbs_link *l, struct verbs_accept *a,
		      uint64_t deadline)
{
	/* Sent again for half a second or so, for less by who is asked when
	 * that was in vain: a second for both (7 means for ever to some). */
	bool primary = l->said.kind == VERBS_PRIMARY;
	struct rdma_conn_param cp = {.private_data = &l->said,
				     .private_data_len = sizeof(l->said),
				     .responder_resources = VERBS_READS,
				     .initiator_depth = VERBS_READS,
				     .retry_count = primary ? 4 : 6,
				     .rnr_retry_count = 7};
	uint8_t timeout = 14; /* 4 us * 2^14: 67 ms */
	int rc;

	rdma_set_option(l->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT,
			&timeout, sizeof(timeout));
	rc = verbs_depths(l->id->verbs, &cp);
	if (rc != 0)
		return rc;
	if (rdma_connect(l->id, &cp) != 0)
		return -errno;
	rc = wait_event(l, RDMA_CM_EVENT_ESTABLISHED, deadline, a, sizeof(*a));
	if (rc == 0 && (a->magic != VERBS_MAGIC || a->version != VERBS_VERSION))
		rc = -EPROTO;
	return rc;
}

/* --- messages, one at a time ---------------------------------------------- */

static int wait_comp(struct verbs_link *l, uint64_t deadline)
{
	struct pollfd p[2] = {{.fd = l->comp->fd, .events = POLLIN},
			      {.fd = l->channel->fd, .events = POLLIN}};
	uint64_t now = fab_clock_now(NULL);
	struct ibv_cq *cq;
	void *ctx;
	int rc = look_at_node(l, now);

	if (rc != 0)
		return rc;
	if (now >= deadline)
		return -ETIMEDOUT;
	if (deadline - now > SLICE_NS)
		deadline = now + SLICE_NS;
	poll(p, 2, (int)((deadline - now) / 1000000u) + 1);
	if (p[0].revents != 0 && ibv_get_cq_event(l->comp, &cq, &ctx) == 0)
		ibv_ack_cq_events(cq, 1);
	return p[1].revents != 0 && p[0].revents == 0 ? -ECONNREFUSED : 0;
}

int verbs_link_ask(struct verbs_link *l, const void *msg, uint32_t len,
		   uint8_t type, uint64_t deadline, unsigned *slot)
{
	struct verbs_msg *m;
	struct ibv_wc wc;
	int rc;

	rc = verbs_post_send(l->id->qp, &l->mem, msg, len, 0);
	while (rc == 0) {
		ibv_req_notify_cq(l->cq, 0);
		rc = ibv_poll_cq(l->cq, 1, &wc);
		if (rc == 0) {
			rc = wait_comp(l, deadline);
			continue;
		}
		if (rc < 0 || wc.status != IBV_WC_SUCCESS)
			return -ECONNREFUSED;
		rc = 0;
		if (wc.opcode != IBV_WC_RECV)
			continue;
		*slot = (unsigned)(wc.wr_id & ~VERBS_RECV_ID);
		m = (struct verbs_msg *)verbs_mem_recv(&l->mem, *slot);
		if (wc.byte_len < sizeof(*m) || m->type != type ||
		    m->len != wc.byte_len - sizeof(*m))
			return -EPROTO;
		return 0;
	}
	return rc;
}

/* --- proving -------------------------------------------------------------- */

static int prove(struct verbs_link *l, const struct verbs_to *to,
		 const struct verbs_accept *a, struct verbs_welcome *w)
{
	struct verbs_net *net = l->net;
	struct verbs_msg *m = (void *)(l->mem.base + l->mem.recv_bytes);
	struct verbs_auth *au = (struct verbs_auth *)(m + 1);
	struct verbs_msg *got;
	unsigned slot;
	int rc;

	memset(m, 0, sizeof(*m));
	m->type = VERBS_AUTH;
	m->len = (uint32_t)(sizeof(*au) + to->len);
	if (getrandom(au->nonce, sizeof(au->nonce), 0) != sizeof(au->nonce))
		return -EIO;
	verbs_prove(&net->key, "client", &l->said, a->nonce, au->nonce,
		    au->proof);
	if (to->len > 0)
		memcpy(au + 1, to->hello, to->len);
	rc = verbs_link_ask(l, m, (uint32_t)sizeof(*m) + m->len, VERBS_WELCOME,
			    to->deadline, &slot);
	if (rc != 0)
		return rc;
	got = (struct verbs_msg *)verbs_mem_recv(&l->mem, slot);
	if (got->status != 0)
		return got->status < 0 ? got->status : -EPROTO;
	if (got->len != sizeof(*w))
		return -EPROTO;
	memcpy(w, got + 1, sizeof(*w));
	if (!verbs_proven(&net->key, "node", &l->said, a->nonce, au->nonce,
			  w->proof))
		return -EACCES;
	return verbs_post_recv(l->id->qp, &l->mem, slot);
}

/* --- its life ------------------------------------------------------------- */

void verbs_link_close(struct verbs_link *l)
{
	if (l == NULL)
		return;
	if (l->id != NULL && l->id->qp != NULL) {
		rdma_disconnect(l->id);
		rdma_destroy_qp(l->id);
	}
	verbs_mem_close(&l->mem);
	verbs_adapter_release(l->net, l->adapter);
	if (l->cq != NULL)
		ibv_destroy_cq(l->cq);
	if (l->comp != NULL)
		ibv_destroy_comp_channel(l->comp);
	if (l->id != NULL)
		rdma_destroy_id(l->id);
	if (l->channel != NULL)
		rdma_destroy_event_channel(l->channel);
	free(l);
}

static int establish(struct verbs_link *l, const struct verbs_to *to,
		     struct verbs_welcome *w)
{
	struct verbs_accept a;
	int rc;

	l->channel = rdma_create_event_channel();
	if (l->channel == NULL)
		return errno == ENOENT || errno == ENODEV ? -ENODEV : -errno;
	if (rdma_create_id(l->channel, &l->id, l, RDMA_PS_TCP) != 0)
		return -errno;
	rc = find_way(l, to->address, to->deadline);
	if (rc == 0)
		rc = open_qp(l);
	if (rc == 0)
		rc = connect_to(l, &a, to->deadline);
	if (rc == 0)
		rc = prove(l, to, &a, w);
	return rc;
}

int verbs_link_open(struct verbs_net *net, const struct verbs_to *to,
		    struct verbs_welcome *w, struct verbs_link **out)
{
	struct verbs_link *l = calloc(1, sizeof(*l));
	int rc;

	if (l == NULL)
		return -ENOMEM;
	l->net = net;
	l->adapter = -1;
	l->node = to->node;
	l->suspect_at = fab_clock_now(NULL) + VERBS_SLOW_NS;
	l->said.magic = VERBS_MAGIC;
	l->said.version = VERBS_VERSION;
	l->said.kind = to->kind;
	l->said.reader = net->key.reader;
	memcpy(l->said.token, net->net.token, sizeof(l->said.token));
	rc = establish(l, to, w);
	if (rc != 0)
		verbs_link_close(l);
	else
		*out = l;
	return rc;
}

/* --- watching a primary connection ---------------------------------------- */

void verbs_link_fds(const struct verbs_link *l, int fds[2])
{
	fds[0] = l->channel->fd;
	fds[1] = l->comp->fd;
}

/* A WRITE of no bytes: the other adapter answers it, whatever its host does. */
int verbs_link_ping(struct verbs_link *l)
{
	struct ibv_send_wr wr = {.wr_id = PING_ID,
				 .opcode = IBV_WR_RDMA_WRITE,
				 .send_flags = IBV_SEND_SIGNALED};
	struct ibv_send_wr *bad;
	int rc;

	rc = -ibv_req_notify_cq(l->cq, 0);
	return rc == 0 ? -ibv_post_send(l->id->qp, &wr, &bad) : rc;
}

/* Once the event is taken, what has not been polled rings no bell. */
int verbs_link_check(struct verbs_link *l, bool *pong)
{
	struct pollfd p[2] = {{.fd = l->channel->fd, .events = POLLIN},
			      {.fd = l->comp->fd, .events = POLLIN}};
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *ctx;

	*pong = false;
	if (poll(p, 2, 0) > 0 && p[0].revents != 0)
		return -ECONNRESET; /* nothing comes but its end */
	if (p[1].revents != 0 && ibv_get_cq_event(l->comp, &cq, &ctx) == 0)
		ibv_ack_cq_events(cq, 1);
	while (ibv_poll_cq(l->cq, 1, &wc) > 0) {
		if (wc.status != IBV_WC_SUCCESS || wc.wr_id != PING_ID)
			return -ECONNRESET;
		*pong = true;
	}
	return 0;
}
