/* rdma/verbs_device.c - what an adapter bears: asked for before it is asked for
 * more. */
#include <errno.h>
#include <string.h>

#include "rdma/fabric_impl.h"
#include "rdma/verbs_conn.h"

#define ALIGNED 4096u /* pieces: no word lies in two of them */

/* --- a connection --------------------------------------------------------- */

static uint32_t at_least_0(int n, unsigned taken)
{
	return n > (int)taken ? (uint32_t)n - taken : 0;
}

static uint32_t lower(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The MTU does not matter: the adapters of a reliable connection agree on it by
 * themselves, and cut messages into packets and put them together again. */
int verbs_bounds(const struct rdma_cm_id *id, struct verbs_bounds *out)
{
	struct ibv_device_attr da;
	struct ibv_port_attr pa;

	if (ibv_query_device(id->verbs, &da) != 0 ||
	    ibv_query_port(id->verbs, id->port_num, &pa) != 0)
		return -ENODEV;
	if (pa.max_msg_sz == 0)
		pa.max_msg_sz = UINT32_MAX; /* not said */
	out->sends = lower(at_least_0(da.max_qp_wr, VERBS_SPARE),
			   at_least_0(da.max_cqe, VERBS_CQ_SPARE));
	out->sends = lower(out->sends, VERBS_SENDS);
	out->piece = pa.max_msg_sz & ~(ALIGNED - 1);
	if (da.max_sge < 1 || out->sends < VERBS_SENDS_MIN ||
	    pa.max_msg_sz < VERBS_MSG_MAX)
		return -ENOBUFS;
	return 0;
}

static uint8_t at_most(uint8_t n, int limit)
{
	if (limit > (int)VERBS_READS)
		limit = VERBS_READS;
	return n <= limit ? n : (uint8_t)limit;
}

int verbs_depths(struct ibv_context *device, struct rdma_conn_param *cp)
{
	struct ibv_device_attr da;

	if (ibv_query_device(device, &da) != 0)
		return -ENODEV;
	cp->initiator_depth =
		at_most(cp->initiator_depth, da.max_qp_init_rd_atom);
	cp->responder_resources =
		at_most(cp->responder_resources, da.max_qp_rd_atom);
	return 0;
}

/* --- is there a device? --------------------------------------------------- */

int verbs_has_atomics(struct ibv_context *device)
{
	struct ibv_device_attr da;

	if (ibv_query_device(device, &da) != 0)
		return -ENODEV;
	return da.atomic_cap != IBV_ATOMIC_NONE ? 0 : -EOPNOTSUPP;
}

/* A node has clients, and is one of others. */
static int probe_device(const struct rdma_cm_id *id)
{
	struct verbs_bounds bounds;
	int rc;

	if (id->verbs == NULL)
		return -ENODEV;
	rc = verbs_has_atomics(id->verbs);
	return rc == 0 ? verbs_bounds(id, &bounds) : rc;
}

int fab_verbs_probe(const char *address)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct rdma_cm_id *id = NULL;
	struct rdma_addrinfo *ai;
	int rc;

	if (channel == NULL)
		return errno == EMFILE || errno == ENFILE ? -errno : -ENODEV;
	rc = verbs_resolve(address, true, &ai);
	if (rc != 0)
		goto out_channel;
	if (rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) != 0)
		rc = -ENODEV;
	else if (rdma_bind_addr(id, ai->ai_src_addr) != 0)
		rc = errno == EADDRINUSE ? -EADDRINUSE : -ENODEV;
	else
		rc = probe_device(id);
	if (id != NULL)
		rdma_destroy_id(id);
	rdma_freeaddrinfo(ai);
out_channel:
	rdma_destroy_event_channel(channel);
	return rc;
}
