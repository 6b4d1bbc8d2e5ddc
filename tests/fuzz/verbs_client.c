/* tests/fuzz/verbs_client.c - what a node says to its client over RDMA: the
 * private data that it accepts with, its WELCOME, and answers to CALLs. The
 * adapter is played here; the client's side is the real one. Whatever comes,
 * every operation ends, and nothing is written but where the batch says: each
 * buffer has exactly its size.
 *
 * Input: which of these (1); ACCEPT: the private data, then messages; else
 * messages: each with its length (2) before it. */
#include <malloc.h>
#include <sys/eventfd.h>

#include "rdma/verbs_conn.h"
#include "tests/fuzz/wire.h"
#include "tests/lib/fuzz.h"

enum { ACCEPT, GREETING, ANSWERS, KINDS };

#define REGION 4096u
#define QUEUED (2 * VERBS_SENDS)
#define OTHER  1 /* the node of ACCEPT and GREETING; 0 has been attached */

static struct fab_net *net;

/* What the node says next; the rest of the input. */
static struct {
	const uint8_t *accept; /* NULL: as it should */
	size_t accept_len;
	const uint8_t *data;
	size_t size;
	bool greets; /* its WELCOME is in data, too */
} script;

/* --- an adapter ----------------------------------------------------------- */

static struct ibv_context adapter;
static struct ibv_pd protection;

/* What it bears: READs and atomics under way, bytes in a work request, pieces
 * of memory; work requests, completions, pieces of bytes in a request, bytes of
 * a message. */
static struct {
	int reads;
	unsigned inlined, pieces;
	int wr, cqe, sge;
	unsigned msg;
	enum ibv_atomic_cap atomics;
} bears = {128, 1024, 600, 16384, 65536, 30, 1u << 30, IBV_ATOMIC_HCA};

static uint64_t node_size = REGION; /* as it says */

/* What has been posted to it: doorbells, and on which connections. */
static struct {
	_Atomic unsigned doorbells, requests, signaled;
	_Atomic(const struct ibv_qp *) last;
	_Atomic unsigned connections; /* in turn */
} rung;

/* What comes of looking for the node's address, or of connecting to it, in
 * place of what should. */
static struct {
	bool wanted;
	enum rdma_cm_event_type instead_of, what;
	int status;
	bool silent; /* nothing comes of it at all */
} trouble;

/* Asked for a life sign by its primary connection: how often, and is it dead?
 */
static struct {
	_Atomic unsigned asked;
	bool dead;
} life;

/* The pieces of memory that it knows, by their key. */
static struct {
	pthread_mutex_t lock;
	unsigned n;
	struct ibv_mr *mr[600];
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A READ that it is long at; it goes on with it in read_late(). */
static struct {
	bool wanted;
	struct ibv_sge to; /* length 0: none */
} late;

/* A connection's own. What is posted has completed; what completes waits in
 * wc[], room for what comes in at[]. */
struct pair {
	struct rdma_cm_id id;
	struct ibv_qp qp;
	struct ibv_cq cq;
	struct ibv_comp_channel comp;
	struct rdma_cm_event event;
	struct verbs_accept accept;
	struct ibv_wc wc[QUEUED];
	unsigned first, n;
	uint64_t recv[VERBS_RECVS]; /* posted, oldest first */
	uint8_t *at[VERBS_RECVS];
	unsigned recvs;
	unsigned sends, sends_max; /* that have not been told as done */
	unsigned silent;	   /* of them: to be told by the next one */
};

static struct pair *of_cq(struct ibv_cq *cq)
{
	return (struct pair *)((char *)cq - offsetof(struct pair, cq));
}

static void complete(struct pair *p, struct ibv_wc wc)
{
	must(p->n < QUEUED);
	p->wc[(p->first + p->n++) % QUEUED] = wc;
}

static int poll_cq(struct ibv_cq *cq, int n, struct ibv_wc *wc)
{
	struct pair *p = of_cq(cq);

	if (p->n == 0 || n < 1)
		return 0;
	*wc = p->wc[p->first++ % QUEUED];
	p->n--;
	p->sends -= wc->vendor_err; /* how many it stands for */
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

	must(p->recvs < VERBS_RECVS && wr->sg_list->length == VERBS_MSG_MAX);
	p->recv[p->recvs] = wr->wr_id;
	p->at[p->recvs++] = (uint8_t *)(uintptr_t)wr->sg_list->addr;
	return 0;
}

_Static_assert(UINT16_MAX <= VERBS_MSG_MAX, "any message has room");

/* The node says these bytes. */
static void say(struct pair *p, const void *bytes, size_t len)
{
	memcpy(p->at[0], bytes, len);
	complete(p, (struct ibv_wc){.wr_id = p->recv[0],
				    .opcode = IBV_WC_RECV,
				    .byte_len = (uint32_t)len});
	p->recvs--;
	memmove(p->recv, p->recv + 1, p->recvs * sizeof(p->recv[0]));
	memmove(p->at, p->at + 1, p->recvs * sizeof(p->at[0]));
}

/* The next message of the input. False: that was all, or more than is asked
 * for; then the connection breaks. */
static bool say_next(struct pair *p)
{
	const uint8_t *message;
	uint16_t len;

	if (p->recvs > 0 &&
	    wire_next(&script.data, &script.size, &message, &len)) {
		say(p, message, len);
		return true;
	}
	complete(p, (struct ibv_wc){.status = IBV_WC_WR_FLUSH_ERR});
	return false;
}

static void welcome(struct pair *p)
{
	struct {
		struct verbs_msg m;
		struct verbs_welcome w;
	} x = {.m = {.type = VERBS_WELCOME, .len = sizeof(x.w)},
	       .w = {.addr = 4096, .size = node_size, .rkey = 7}};

	say(p, &x, sizeof(x));
}

static void hear(struct pair *p, const struct ibv_send_wr *wr)
{
	const struct verbs_msg *m = (void *)(uintptr_t)wr->sg_list->addr;

	if (m->type == VERBS_AUTH && !script.greets)
		welcome(p);
	else if (m->type != VERBS_CALL)
		say_next(p);
}

/* Only memory that it was told of. */
static void check_place(const struct ibv_sge *at)
{
	const struct ibv_mr *mr;

	pthread_mutex_lock(&known.lock);
	must(at->lkey < bears.pieces);
	mr = known.mr[at->lkey];
	must(mr != NULL && at->addr >= (uintptr_t)mr->addr &&
	     at->addr + at->length <= (uintptr_t)mr->addr + mr->length);
	pthread_mutex_unlock(&known.lock);
}

static void read_some(const struct ibv_sge *to)
{
	memset((void *)(uintptr_t)to->addr, 7, to->length);
}

/* There is room for it; it is told as done if it is to be. */
static void take_send(struct pair *p, const struct ibv_send_wr *wr)
{
	bool signaled = (wr->send_flags & IBV_SEND_SIGNALED) != 0;

	must(++p->sends <= p->sends_max);
	must(wr->num_sge <= bears.sge);
	must(wr->num_sge == 0 || wr->sg_list->length <= bears.msg);
	p->silent++;
	rung.requests++;
	if (!signaled)
		return;
	rung.signaled++;
	complete(p, (struct ibv_wc){.wr_id = wr->wr_id,
				    .opcode = IBV_WC_SEND,
				    .vendor_err = p->silent});
	p->silent = 0;
}

/* No bytes: a life sign is wanted. */
static bool is_ping(const struct ibv_send_wr *wr)
{
	return wr->opcode == IBV_WR_RDMA_WRITE && wr->num_sge == 0 &&
	       wr->wr_id == UINT64_MAX;
}

static void ping(struct pair *p)
{
	life.asked++;
	if (!life.dead)
		return; /* it is not told */
	complete(p, (struct ibv_wc){.status = IBV_WC_RETRY_EXC_ERR});
	must(eventfd_write(p->comp.fd, 1) == 0);
}

static void ring(const struct ibv_qp *qp)
{
	rung.doorbells++;
	rung.connections += rung.last != qp;
	rung.last = qp;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad)
{
	struct pair *p = of_cq(qp->send_cq);

	if (is_ping(wr)) {
		ping(p);
		return 0;
	}
	ring(qp);
	for (; wr != NULL; wr = wr->next) {
		must(!(wr->send_flags & IBV_SEND_INLINE) ||
		     wr->sg_list->length <= bears.inlined);
		if (wr->num_sge > 0 && !(wr->send_flags & IBV_SEND_INLINE))
			check_place(wr->sg_list);
		if (late.wanted && wr->opcode == IBV_WR_RDMA_READ) {
			late.to = *wr->sg_list;
			continue;
		}
		if (wr->opcode == IBV_WR_RDMA_READ)
			read_some(wr->sg_list);
		take_send(p, wr);
		if (wr->opcode == IBV_WR_SEND)
			hear(p, wr);
	}
	return 0;
}

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *c)
{
	struct pair *p = (struct pair *)c;

	p->comp.fd = eventfd(0, EFD_CLOEXEC);
	return &p->comp;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *comp)
{
	return close(comp->fd);
}

struct ibv_cq *ibv_create_cq(struct ibv_context *c, int n, void *arg,
			     struct ibv_comp_channel *channel, int vector)
{
	if (n > bears.cqe) {
		errno = EINVAL;
		return NULL;
	}
	return &((struct pair *)c)->cq;
}

int ibv_destroy_cq(struct ibv_cq *cq)
{
	return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq,
		     void **ctx)
{
	return -1; /* nobody has to be woken */
}

int ibv_query_device(struct ibv_context *c, struct ibv_device_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->max_qp_rd_atom = attr->max_qp_init_rd_atom = bears.reads;
	attr->atomic_cap = bears.atomics;
	attr->max_qp_wr = bears.wr;
	attr->max_cqe = bears.cqe;
	attr->max_sge = bears.sge;
	return 0;
}

#undef ibv_query_port
int ibv_query_port(struct ibv_context *c, uint8_t port,
		   struct _compat_ibv_port_attr *attr)
{
	((struct ibv_port_attr *)attr)->max_msg_sz = bears.msg;
	return 0;
}

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *at, size_t len, int access)
{
	struct ibv_mr *mr = calloc(1, sizeof(*mr));

	must(mr != NULL && access == IBV_ACCESS_LOCAL_WRITE);
	mr->addr = at;
	mr->length = len;
	pthread_mutex_lock(&known.lock);
	while (mr->lkey < bears.pieces && known.mr[mr->lkey] != NULL)
		mr->lkey++;
	if (mr->lkey < bears.pieces) {
		known.mr[mr->lkey] = mr;
		known.n++;
	} else {
		free(mr);
		mr = NULL;
		errno = ENOMEM;
	}
	pthread_mutex_unlock(&known.lock);
	return mr;
}

int ibv_dereg_mr(struct ibv_mr *mr)
{
	pthread_mutex_lock(&known.lock);
	must(known.mr[mr->lkey] == mr);
	known.mr[mr->lkey] = NULL;
	known.n--;
	pthread_mutex_unlock(&known.lock);
	free(mr);
	return 0;
}

int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	return 0;
}

/* --- its connections ------------------------------------------------------ */

struct rdma_event_channel *rdma_create_event_channel(void)
{
	struct rdma_event_channel *c = calloc(1, sizeof(*c));

	must(c != NULL);
	c->fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	return c;
}

void rdma_destroy_event_channel(struct rdma_event_channel *c)
{
	close(c->fd);
	free(c);
}

int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id,
		   void *context, enum rdma_port_space ps)
{
	struct pair *p = calloc(1, sizeof(*p));

	must(p != NULL);
	p->id.verbs = (struct ibv_context *)p;
	p->id.channel = channel;
	p->id.pd = &protection;
	p->cq.context = p->qp.context = &adapter;
	*id = &p->id;
	return 0;
}

int rdma_destroy_id(struct rdma_cm_id *id)
{
	free(id);
	return 0;
}

int rdma_bind_addr(struct rdma_cm_id *id, struct sockaddr *addr)
{
	return 0;
}

int rdma_getaddrinfo(const char *node, const char *service,
		     const struct rdma_addrinfo *hints,
		     struct rdma_addrinfo **res)
{
	*res = calloc(1, sizeof(**res));
	return 0;
}

void rdma_freeaddrinfo(struct rdma_addrinfo *res)
{
	free(res);
}

/* One connection at a time is made. */
static struct pair *connecting;

static int happen(struct rdma_cm_id *id, enum rdma_cm_event_type what)
{
	connecting = (struct pair *)id;
	connecting->event.event = what;
	connecting->event.status = 0;
	if (trouble.wanted && trouble.instead_of == what) {
		if (trouble.silent)
			return 0;
		connecting->event.event = trouble.what;
		connecting->event.status = trouble.status;
	}
	return eventfd_write(id->channel->fd, 1);
}

int rdma_resolve_addr(struct rdma_cm_id *id, struct sockaddr *src,
		      struct sockaddr *dst, int ms)
{
	return happen(id, RDMA_CM_EVENT_ADDR_RESOLVED);
}

int rdma_resolve_route(struct rdma_cm_id *id, int ms)
{
	return happen(id, RDMA_CM_EVENT_ROUTE_RESOLVED);
}

int rdma_set_option(struct rdma_cm_id *id, int level, int name, void *val,
		    size_t len)
{
	return 0;
}

int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *cp)
{
	struct pair *p = (struct pair *)id;
	struct rdma_conn_param *got = &p->event.param.conn;

	if (cp->initiator_depth > bears.reads ||
	    cp->responder_resources > bears.reads) {
		errno = EINVAL;
		return -1;
	}
	p->accept = (struct verbs_accept){.magic = VERBS_MAGIC,
					  .version = VERBS_VERSION};
	got->private_data = &p->accept;
	got->private_data_len = sizeof(p->accept);
	if (script.accept != NULL) {
		got->private_data = script.accept;
		got->private_data_len = (uint8_t)script.accept_len;
	}
	return happen(id, RDMA_CM_EVENT_ESTABLISHED);
}

int rdma_get_cm_event(struct rdma_event_channel *channel,
		      struct rdma_cm_event **event)
{
	eventfd_t n;

	must(eventfd_read(channel->fd, &n) == 0);
	must(channel == connecting->id.channel);
	*event = &connecting->event;
	return 0;
}

int rdma_ack_cm_event(struct rdma_cm_event *event)
{
	return 0;
}

int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd,
		   struct ibv_qp_init_attr *attr)
{
	if (attr->cap.max_inline_data > bears.inlined ||
	    attr->cap.max_send_wr > (unsigned)bears.wr ||
	    attr->cap.max_recv_wr > (unsigned)bears.wr) {
		errno = EINVAL;
		return -1;
	}
	((struct pair *)id)->sends_max = attr->cap.max_send_wr;
	id->qp = &((struct pair *)id)->qp;
	id->qp->send_cq = attr->send_cq;
	id->qp->recv_cq = attr->recv_cq;
	return 0;
}

void rdma_destroy_qp(struct rdma_cm_id *id)
{
	id->qp = NULL;
	late.to.length = 0; /* of no other is there one */
}

int rdma_disconnect(struct rdma_cm_id *id)
{
	return 0;
}

/* --- a client ------------------------------------------------------------- */

static void set_up(void)
{
	mallopt(M_MMAP_THRESHOLD, 32 << 20); /* or each ring is new memory */
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
	adapter.ops.poll_cq = poll_cq;
	adapter.ops.req_notify_cq = req_notify_cq;
	adapter.ops.post_recv = post_recv;
	adapter.ops.post_send = post_send;
	must(fab_verbs_open(NULL, &net) == 0);
	must(fab_net_attach(net, 0, "verbs:127.0.0.1:1", "", 0) == 0);
}

/* A node that is let in is cut off at once: it is asked to fence. */
static void attach(void)
{
	int rc = fab_net_attach(net, OTHER, "verbs:127.0.0.1:2", "", 0);

	must(rc <= 0);
	if (rc == 0)
		fab_net_cut(net, OTHER);
}

/* Posting connects; then all that the node says is there at once. */
static void converse(void)
{
	struct wire_batch x;
	struct fab *f;

	must(fab_open(net, &f) == 0);
	wire_batch_open(&x, f);
	must(fab_post(f, &x.b) == 0);
	while (say_next(connecting))
		;
	wire_batch_close(&x, f);
	fab_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t kind;

	if (net == NULL)
		set_up();
	if (size < 1 + sizeof(struct verbs_accept))
		return 0;
	kind = data[0] % KINDS;
	memset(&script, 0, sizeof(script));
	script.data = data + 1;
	script.size = size - 1;
	if (kind == ACCEPT) {
		script.accept = script.data;
		script.accept_len = sizeof(struct verbs_accept);
		script.data += script.accept_len;
		script.size -= script.accept_len;
	}
	script.greets = kind == GREETING;
	if (kind == ANSWERS)
		converse();
	else
		attach();
	memset(&script, 0, sizeof(script));
	return 0;
}

/* --- right ones ----------------------------------------------------------- */

static size_t put(uint8_t *at, const void *m, uint16_t len)
{
	memcpy(at, &len, sizeof(len));
	memcpy(at + sizeof(len), m, len);
	return sizeof(len) + len;
}

/* @len bytes of a message, of which its head counts @says. */
static size_t put_msg(uint8_t *at, uint8_t type, uint64_t id, int status,
		      uint32_t len, uint32_t says)
{
	struct {
		struct verbs_msg m;
		uint8_t bytes[256];
	} x = {.m = {.type = type, .status = status, .len = says, .id = id}};

	return put(at, &x, (uint16_t)(sizeof(x.m) + len));
}

static void seed_accept(uint32_t version)
{
	struct verbs_accept a = {.magic = VERBS_MAGIC, .version = version};
	uint8_t all[512] = {ACCEPT};
	size_t n = 1 + sizeof(a);

	memcpy(all + 1, &a, sizeof(a));
	n += put_msg(all + n, VERBS_FENCED, 0, 0, 0, 0);
	fuzz_seed(all, n);
}

static void seed_greeting(int status, uint32_t len)
{
	uint8_t all[512] = {GREETING};
	size_t n = 1;

	n += put_msg(all + n, VERBS_WELCOME, 0, status, len, len);
	n += put_msg(all + n, VERBS_FENCED, 0, 0, 0, 0);
	fuzz_seed(all, n);
}

/* The first CALL of a lane has slot 0 and serial 1. */
static void seed_answer(uint64_t id, int status, uint32_t len, uint32_t says)
{
	uint8_t all[512] = {ANSWERS};
	size_t n = 1;

	n += put_msg(all + n, VERBS_ANSWER, id, status, len, says);
	n += put_msg(all + n, VERBS_ANSWER, id, status, len, says);
	fuzz_seed(all, n);
}

void fuzz_seeds(void)
{
	seed_accept(VERBS_VERSION);
	seed_accept(VERBS_VERSION + 1);
	seed_greeting(0, sizeof(struct verbs_welcome));
	seed_greeting(0, 8);
	seed_greeting(-EACCES, 0);
	seed_answer(VERBS_RECVS, 0, WIRE_REPLY, WIRE_REPLY);
	seed_answer(VERBS_RECVS, -ENOENT, 0, 0);
	seed_answer(VERBS_RECVS, 0, WIRE_REPLY + 9, WIRE_REPLY + 9);
	seed_answer(VERBS_RECVS, 0, 8, 200);
	seed_answer(3 * VERBS_RECVS, 0, 8, 8);
}
