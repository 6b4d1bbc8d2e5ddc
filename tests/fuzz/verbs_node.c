/* tests/fuzz/verbs_node.c - what a peer says to a node over RDMA: the private
 * data that it connects with, then messages. The adapter is played here; the
 * node's side is the real one. Whatever comes, the node hangs up or answers by
 * the rules, and where there is a key nobody is let in without it.
 *
 * Input: as whom (1), then (STRANGER, KEYED) the private data, then messages,
 * each with its length (2) before it. */
#include "rdma/verbs_serve.c"

#include <malloc.h>

#include "tests/fuzz/wire.h"
#include "tests/lib/fuzz.h"

enum { STRANGER, KEYED, PRIMARY, QUEUE, KINDS };

#define QUEUED 64u

static bool keyed;	 /* in this input */
static size_t said_last; /* bytes of a message */

/* --- an adapter ----------------------------------------------------------- */

static struct ibv_context adapter;
static int reads = 128;			/* it bears under way */
static int work = 16384;		/* requests at a time */
static struct rdma_conn_param accepted; /* the last one, with what */

/* A connection's own; its completions wait in wc[]. */
struct pair {
	struct rdma_cm_id id;
	struct ibv_qp qp;
	struct ibv_cq cq;
	struct ibv_wc wc[QUEUED];
	unsigned first, n;
	unsigned slot; /* posted last: where the next message goes */
};

static struct pair *of_cq(struct ibv_cq *cq)
{
	return (struct pair *)((char *)cq - offsetof(struct pair, cq));
}

static void complete(struct pair *p, uint64_t id, uint32_t len)
{
	must(p->n < QUEUED);
	p->wc[(p->first + p->n++) % QUEUED] = (struct ibv_wc){
		.wr_id = id, .status = IBV_WC_SUCCESS, .byte_len = len};
}

static int poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
	struct pair *p = of_cq(cq);

	if (p->n == 0)
		return 0;
	*wc = p->wc[p->first++ % QUEUED];
	p->n--;
	return 1;
}

static int req_notify_cq(struct ibv_cq *cq, int solicited)
{
	return 0;
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr,
		     struct ibv_recv_wr **bad)
{
	struct pair *p = of_cq(qp->recv_cq);

	p->slot = (unsigned)(wr->wr_id & ~VERBS_RECV_ID);
	return 0;
}

/* What the node says keeps to the rules. */
static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad)
{
	const struct verbs_msg *m = (void *)(uintptr_t)wr->sg_list->addr;

	must(wr->sg_list->length == sizeof(*m) + m->len);
	must(m->type == VERBS_WELCOME || m->type == VERBS_ANSWER ||
	     m->type == VERBS_FENCED);
	must(!keyed || (m->type == VERBS_WELCOME && m->status != 0));
	complete(of_cq(qp->send_cq), wr->wr_id, 0);
	return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *c, int n, void *arg,
			     struct ibv_comp_channel *channel, int vector)
{
	struct pair *p = (struct pair *)c;

	return &p->cq;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
	return 0;
}

int ibv_query_device(struct ibv_context *c, struct ibv_device_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->max_qp_rd_atom = attr->max_qp_init_rd_atom = reads;
	attr->atomic_cap = IBV_ATOMIC_NONE;
	attr->max_qp_wr = attr->max_cqe = work;
	attr->max_sge = 1;
	return 0;
}

#undef ibv_query_port
int ibv_query_port(struct ibv_context *c, uint8_t port,
		   struct _compat_ibv_port_attr *attr)
{
	((struct ibv_port_attr *)attr)->max_msg_sz = 1u << 30;
	return 0;
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *at, size_t len, int access)
{
	return calloc(1, sizeof(struct ibv_mr));
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	free(mr);
	return 0;
}

int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd,
		   struct ibv_qp_init_attr *attr)
{
	id->qp = &((struct pair *)id)->qp;
	id->qp->send_cq = attr->send_cq;
	id->qp->recv_cq = attr->recv_cq;
	return 0;
}

void rdma_destroy_qp(struct rdma_cm_id *id)
{
	id->qp = NULL;
}

int rdma_accept(struct rdma_cm_id *id, struct rdma_conn_param *p)
{
	if (p->initiator_depth > reads || p->responder_resources > reads) {
		errno = EINVAL;
		return -1;
	}
	accepted = *p;
	return 0;
}

int rdma_disconnect(struct rdma_cm_id *id)
{
	return 0;
}

int rdma_destroy_id(struct rdma_cm_id *id)
{
	return 0; /* lies in its pair */
}

/* --- a node and who comes ------------------------------------------------- */

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	must(!keyed && len == said_last - sizeof(struct verbs_msg));
	wire_on_call(arg, rq, type, req, len);
}

static struct verbs_server *node_open(void)
{
	const struct fab_server_opts o = {.on_call = on_call};
	struct verbs_server *s = calloc(1, sizeof(*s));

	must(s != NULL);
	if (keyed) {
		s->key.len = 32;
		memset(s->key.bytes, 'k', 32);
		must(fab_key_reader(&s->key, &s->reader) == 0);
	}
	must(server_open(&s->s, &o, &verbs_server_ops, &conn_how) == 0);
	return s;
}

static void pair_set_up(struct pair *p)
{
	adapter.ops.poll_cq = poll_cq;
	adapter.ops.req_notify_cq = req_notify_cq;
	adapter.ops.post_recv = post_recv;
	adapter.ops.post_send = post_send;
	memset(p, 0, sizeof(*p));
	p->id.verbs = (struct ibv_context *)p;
	p->cq.context = &adapter;
	p->qp.context = &adapter;
}

static uint8_t asks = VERBS_READS; /* who comes: under way at the node */

static bool come(struct verbs_server *s, struct pair *p, const void *said,
		 size_t len)
{
	struct rdma_conn_param cp = {.private_data = said,
				     .private_data_len = (uint8_t)len,
				     .initiator_depth = VERBS_READS,
				     .responder_resources = asks};
	int rc;

	pair_set_up(p);
	rc = let_in(s, &p->id, &cp);
	if (rc != 0)
		refused(s, &p->id, rc);
	return rc == 0;
}

static void say(struct verbs_server *s, struct pair *p, const void *bytes,
		size_t len)
{
	struct verbs_conn *c = p->id.context;

	if (c->c.over)
		return;
	memcpy(verbs_mem_recv(&c->mem, p->slot), bytes, len);
	said_last = len;
	complete(p, VERBS_RECV_ID | p->slot, (uint32_t)len);
	conn_turn(c);
	if (!c->c.over)
		conn_turn(c); /* what it sent has gone */
}

struct intro {
	struct verbs_msg m;
	struct verbs_auth au;
};

static struct intro intro(void)
{
	return (struct intro){
		.m = {.type = VERBS_AUTH, .len = sizeof(struct verbs_auth)}};
}

static struct verbs_connect connect_as(enum verbs_kind kind)
{
	struct verbs_connect said = {
		.magic = VERBS_MAGIC, .version = VERBS_VERSION, .kind = kind};

	memset(said.token, 1, sizeof(said.token));
	return said;
}

static void greet(struct verbs_server *s, struct pair *p, enum verbs_kind kind)
{
	struct verbs_connect said = connect_as(kind);
	struct intro hello = intro();

	must(come(s, p, &said, sizeof(said)));
	say(s, p, &hello, sizeof(hello));
	must(((struct verbs_conn *)p->id.context)->c.peer != NULL);
}

static void talk(struct verbs_server *s, struct pair *p, const uint8_t *data,
		 size_t size)
{
	const uint8_t *message;
	uint16_t len;

	while (wire_next(&data, &size, &message, &len))
		say(s, p, message, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verbs_connect said;
	const size_t head = sizeof(said);
	static struct pair first, second;
	struct verbs_server *s;
	struct pair *p = &first;
	uint8_t kind;

	if (size < 1 + head)
		return 0;
	mallopt(M_MMAP_THRESHOLD, 32 << 20); /* or each ring is new memory */
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
	memcpy(&said, data + 1, head);
	kind = data[0] % KINDS;
	keyed = kind == KEYED;
	s = node_open();
	if (kind == PRIMARY || kind == QUEUE)
		greet(s, &first, VERBS_PRIMARY);
	if (kind == QUEUE)
		greet(s, p = &second, VERBS_QUEUE);
	if (kind == PRIMARY || kind == QUEUE)
		talk(s, p, data + 1, size - 1);
	else if (come(s, p, &said, head))
		talk(s, p, data + 1 + head, size - 1 - head);
	server_end_all(&s->s);
	server_free(s);
	return 0;
}

/* --- right ones ----------------------------------------------------------- */

static size_t put(uint8_t *at, const void *m, uint16_t len)
{
	memcpy(at, &len, sizeof(len));
	memcpy(at + sizeof(len), m, len);
	return sizeof(len) + len;
}

static void seed_stranger(uint8_t who, enum verbs_kind kind)
{
	struct verbs_connect said = connect_as(kind);
	struct intro hello = intro();
	uint8_t all[512] = {who};
	size_t n = 1 + sizeof(said);

	memcpy(all + 1, &said, sizeof(said));
	n += put(all + n, &hello, sizeof(hello));
	fuzz_seed(all, n);
}

static void seed_message(uint8_t who, uint8_t type, uint32_t len)
{
	struct {
		struct verbs_msg m;
		uint8_t bytes[64];
	} x = {.m = {.type = type, .call = 3, .len = len, .id = 17}};
	uint8_t all[512] = {who};
	size_t n = 1;

	for (int i = 0; i < 3; i++)
		n += put(all + n, &x, (uint16_t)(sizeof(x.m) + len));
	fuzz_seed(all, n);
}

void fuzz_seeds(void)
{
	seed_stranger(STRANGER, VERBS_PRIMARY);
	seed_stranger(STRANGER, VERBS_QUEUE);
	seed_stranger(KEYED, VERBS_PRIMARY);
	seed_stranger(KEYED, VERBS_QUEUE);
	seed_message(PRIMARY, VERBS_FENCE, 0);
	seed_message(QUEUE, VERBS_CALL, 64);
	seed_message(QUEUE, VERBS_CALL, 0);
}
