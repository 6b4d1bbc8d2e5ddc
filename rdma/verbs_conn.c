/* rdma/verbs_conn.c - what both ends of a connection do alike. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/fabric_impl.h"
#include "rdma/host_port.h"
#include "rdma/loopback.h"
#include "rdma/verbs_conn.h"

#define SCHEME "verbs:"

/* --- memory --------------------------------------------------------------- */

int verbs_mem_open(struct verbs_mem *m, struct ibv_pd *pd, unsigned recvs)
{
	size_t size;

	memset(m, 0, sizeof(*m));
	m->recv_bytes = (size_t)recvs * VERBS_MSG_MAX;
	m->recv_bytes = (m->recv_bytes + 4095) & ~(size_t)4095;
	size = m->recv_bytes + VERBS_RING;
	m->base = aligned_alloc(4096, size);
	if (m->base == NULL)
		return -ENOMEM;
	memset(m->base, 0, size);
	m->mr = ibv_reg_mr(pd, m->base, size, IBV_ACCESS_LOCAL_WRITE);
	if (m->mr == NULL) {
		free(m->base);
		m->base = NULL;
		return errno == ENOMEM ? -ENOMEM : -errno;
	}
	return 0;
}

void verbs_mem_close(struct verbs_mem *m)
{
	if (m->mr != NULL)
		ibv_dereg_mr(m->mr);
	free(m->base);
	memset(m, 0, sizeof(*m));
}

uint8_t *verbs_mem_recv(struct verbs_mem *m, unsigned i)
{
	return m->base + i * VERBS_MSG_MAX;
}

/* 64-byte steps; a piece that would cross the end begins at the start. */
uint8_t *verbs_ring_take(struct verbs_mem *m, uint32_t len, uint64_t *end)
{
	uint64_t at = m->ring_at, want = ((uint64_t)len + 63) & ~UINT64_C(63);

	if (at % VERBS_RING + want > VERBS_RING)
		at += VERBS_RING - at % VERBS_RING;
	if (at + want - m->ring_free > VERBS_RING)
		return NULL;
	m->ring_at = *end = at + want;
	return m->base + m->recv_bytes + at % VERBS_RING;
}

void verbs_ring_free(struct verbs_mem *m, uint64_t end)
{
	m->ring_free = end;
}

/* --- addresses ------------------------------------------------------------ */

/* rdma_getaddrinfo() takes the first address of a name, loopback or not. What
 * the resolver does not know is left to it as it is. */
static void to_number(char *host, size_t cap)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
	const struct addrinfo *met;

	if (getaddrinfo(host, NULL, &hints, &all) != 0)
		return;
	met = fab_meet(all, all);
	getnameinfo(met->ai_addr, met->ai_addrlen, host, (socklen_t)cap, NULL,
		    0, NI_NUMERICHOST);
	freeaddrinfo(all);
}

int verbs_resolve(const char *address, bool passive, struct rdma_addrinfo **out)
{
	struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP};
	const char *port;
	char host[256];
	int rc = fab_host_port(address, SCHEME, host, sizeof(host), &port);

	if (rc != 0)
		return rc;
	if (host[0] != '\0')
		to_number(host, sizeof(host));
	hints.ai_flags = passive ? RAI_PASSIVE : 0;
	rc = rdma_getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, out);
	return rc == 0 ? 0 : -ENOENT;
}

/* --- events --------------------------------------------------------------- */

static int wait_readable(int fd, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = fab_clock_now(NULL);
	struct timespec ts;
	int rc;

	if (now >= deadline)
		return -ETIMEDOUT;
	ts.tv_sec = (time_t)((deadline - now) / 1000000000u);
	ts.tv_nsec = (long)((deadline - now) % 1000000000u);
	rc = ppoll(&p, 1, &ts, NULL);
	if (rc == 0)
		return -ETIMEDOUT;
	return rc > 0 || errno == EINTR ? 0 : -errno;
}

/* An address to which no device of ours leads is known as such at once. */
static int event_status(const struct rdma_cm_event *ev,
			enum rdma_cm_event_type want)
{
	if (ev->event == want)
		return 0;
	switch (ev->event) {
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
		return ev->status == -ENODEV ? -ENODEV : -EHOSTUNREACH;
	case RDMA_CM_EVENT_UNREACHABLE:
		return -EHOSTUNREACH;
	default:
		return -ECONNREFUSED;
	}
}

int verbs_wait_event(struct rdma_cm_id *id, enum rdma_cm_event_type want,
		     uint64_t deadline, void *private, size_t len)
{
	struct rdma_cm_event *ev;
	int rc;

	rc = wait_readable(id->channel->fd, deadline);
	if (rc != 0)
		return rc;
	if (rdma_get_cm_event(id->channel, &ev) != 0)
		return -errno;
	rc = event_status(ev, want);
	if (rc == 0 && private != NULL) {
		if (ev->param.conn.private_data_len < len)
			rc = -EPROTO;
		else
			memcpy(private, ev->param.conn.private_data, len);
	}
	rdma_ack_cm_event(ev);
	return rc;
}

/* --- messages ------------------------------------------------------------- */

int verbs_post_recv(struct ibv_qp *qp, struct verbs_mem *m, unsigned i)
{
	struct ibv_sge sge = {.addr = (uintptr_t)verbs_mem_recv(m, i),
			      .length = (uint32_t)VERBS_MSG_MAX,
			      .lkey = m->mr->lkey};
	struct ibv_recv_wr wr = {
		.wr_id = VERBS_RECV_ID | i, .sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad;

	return -ibv_post_recv(qp, &wr, &bad);
}

int verbs_post_send(struct ibv_qp *qp, struct verbs_mem *m, const void *buf,
		    uint32_t len, uint64_t wr_id)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)buf, .length = len, .lkey = m->mr->lkey};
	struct ibv_send_wr wr = {.wr_id = wr_id,
				 .sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags = IBV_SEND_SIGNALED};
	struct ibv_send_wr *bad;

	return -ibv_post_send(qp, &wr, &bad);
}

void verbs_conn_break(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

	ibv_modify_qp(qp, &attr, IBV_QP_STATE);
}
