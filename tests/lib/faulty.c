/* tests/lib/faulty.c - see faulty.h. A batch that no rule touches is handed on
 * as it is; one that a rule bites is done piece by piece, waiting for each. */
#include "tests/lib/faulty.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "rdma/fabric_impl.h"

enum rule_kind { FAIL, DROP, DROP_ANSWER, DELAY, KILL_NODE };

struct rule {
	enum rule_kind kind;
	uint64_t n;  /* of operations */
	int status;  /* FAIL */
	uint64_t ns; /* DELAY */
	uint8_t id;  /* KILL_NODE */
	void (*kill)(void *arg, uint8_t id);
	void *arg;
	TAILQ_ENTRY(rule) link;
};

struct faulty {
	struct fab_net net; /* the wrapper */
	struct fab_net *inner;
	pthread_mutex_t lock;
	uint64_t dice;
	bool trace, dead, lethal, torn;
	uint64_t writes, ops, bites;
	uint64_t die_at; /* if lethal: after, or at (torn), this write */
	uint32_t torn_bytes;
	unsigned lossy; /* permille */
	void (*on_death)(void *arg);
	void *on_death_arg;
	void (*on_answer)(void *arg, struct fab_op *op);
	void *on_answer_arg;
	TAILQ_HEAD(rule_list, rule) rules;
};

struct faulty_fab {
	struct fab fab;
	struct fab *inner;
	struct faulty *ctl;
};

/* A batch handed on whole. */
struct pass {
	struct fab_batch inner;
	struct fab_batch *outer;
};

static uint64_t roll(struct faulty *c)
{
	uint64_t z = c->dice += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* --- what to do with an operation ----------------------------------------- */

/* The fate of one operation, decided when it is handed on. */
struct fate {
	bool bites;
	bool dead;	 /* the client is: not done, -ECANCELED */
	bool dies_after; /* the client */
	uint32_t only;	 /* WRITE: bytes that arrive; UINT32_MAX: all */
	int status;	 /* < 0: how it ends */
	bool skip;	 /* is not done */
	uint64_t delay;
	struct rule *kill; /* a node, afterwards */
};

static bool is_write(const struct fab_op *op)
{
	return op->opcode != FAB_READ;
}

static void apply(struct faulty *c, struct rule *r, struct fate *fate)
{
	fate->bites = true;
	c->bites++;
	TAILQ_REMOVE(&c->rules, r, link);
	if (r->kind == FAIL || r->kind == DROP || r->kind == DROP_ANSWER)
		fate->status = r->status;
	if (r->kind == FAIL || r->kind == DROP)
		fate->skip = true;
	if (r->kind == DELAY)
		fate->delay += r->ns;
	if (r->kind == KILL_NODE)
		fate->kill = r;
	else
		free(r);
}

static void apply_lossy(struct faulty *c, struct fate *fate)
{
	if (c->lossy == 0 || roll(c) % 1000 >= c->lossy)
		return;
	fate->bites = true;
	c->bites++;
	fate->status = -ETIMEDOUT;
	fate->skip = roll(c) % 2 == 0;
}

/* How many of @len bytes arrive before the client dies. */
static uint32_t torn_at(struct faulty *c, uint32_t len)
{
	uint32_t pieces = (len + 63) / 64, bytes = c->torn_bytes;

	if (bytes == UINT32_MAX)
		bytes = pieces > 0 ? (uint32_t)(roll(c) % pieces) * 64 : 0;
	bytes -= bytes % 64;
	return bytes < len ? bytes : len;
}

static void apply_death(struct faulty *c, const struct fab_op *op,
			struct fate *fate)
{
	if (!is_write(op) || !c->lethal || c->writes < c->die_at)
		return;
	fate->bites = true;
	c->bites++;
	fate->dies_after = true;
	if (!c->torn)
		return;
	fate->status = -ECANCELED;
	if (op->opcode == FAB_WRITE)
		fate->only = torn_at(c, op->len);
	else
		fate->skip = true;
}

/* Under the lock. Counts @op as handed on. */
static struct fate decide(struct faulty *c, const struct fab_op *op)
{
	struct fate fate = {.only = UINT32_MAX};
	struct rule *r, *next;

	if (c->dead) {
		fate.bites = fate.dead = true;
		return fate;
	}
	c->ops++;
	c->writes += is_write(op);
	for (r = TAILQ_FIRST(&c->rules); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->n == c->ops)
			apply(c, r, &fate);
	}
	apply_lossy(c, &fate);
	apply_death(c, op, &fate);
	if (c->trace)
		fprintf(stderr,
			"faulty: op %" PRIu64 " write %" PRIu64 " code %u node"
			" %u offset %" PRIx64 " len %u%s\n",
			c->ops, c->writes, op->opcode, op->node, op->offset,
			op->len, fate.bites ? " BITTEN" : "");
	return fate;
}

/* --- piece by piece ------------------------------------------------------- */

static void run_one(struct faulty_fab *f, struct fab_op *op, uint64_t deadline)
{
	struct fab_batch b = {.ops = op, .n = 1, .deadline_ns = deadline};

	if (fab_run(f->inner, &b) != 0)
		op->status = -EHOSTDOWN; /* out of memory, below */
}

static void die(struct faulty *c)
{
	void (*fn)(void *arg);

	pthread_mutex_lock(&c->lock);
	fn = c->dead ? NULL : c->on_death;
	c->dead = true;
	pthread_mutex_unlock(&c->lock);
	if (fn != NULL)
		fn(c->on_death_arg);
}

static void kill_node(struct faulty *c, struct rule *r)
{
	if (r->kill != NULL)
		r->kill(r->arg, r->id);
	fab_net_cut(c->inner, r->id);
	free(r);
}

static void suffer(struct faulty_fab *f, struct fab_op *op, uint64_t deadline,
		   const struct fate *fate)
{
	uint32_t len = op->len;

	if (fate->dead) {
		op->status = -ECANCELED;
		return;
	}
	if (fate->delay > 0)
		fab_sleep(f->inner, fate->delay);
	op->status = 0;
	if (!fate->skip) {
		if (fate->only < len)
			op->len = fate->only;
		run_one(f, op, deadline);
		op->len = len;
	}
	if (fate->status < 0)
		op->status = fate->status;
	if (fate->kill != NULL)
		kill_node(f->ctl, fate->kill);
	if (fate->dies_after)
		die(f->ctl);
}

static void answered(struct faulty *c, struct fab_op *op)
{
	if (op->opcode == FAB_CALL && c->on_answer != NULL)
		c->on_answer(c->on_answer_arg, op);
}

static void finish(struct faulty_fab *f, struct fab_batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		answered(f->ctl, &b->ops[i]);
	for (uint32_t i = 0; i < b->n; i++)
		f->fab.count.failed += b->ops[i].status < 0;
	b->left = 0;
	fab_done(&f->fab, b);
}

/* @fate of the first of @b is known, the others' are decided in turn: a death
 * in between changes them. */
static void run_bitten(struct faulty_fab *f, struct fab_batch *b, uint32_t at,
		       struct fate fate)
{
	struct fab_batch head = {.ops = b->ops, .n = at};
	uint64_t deadline = fab_deadline(&f->fab, b), failed = 0, bit;
	struct fab_op *op;

	head.deadline_ns = deadline;
	if (fab_run(f->inner, &head) != 0)
		for (uint32_t i = 0; i < at; i++)
			b->ops[i].status = -EHOSTDOWN;
	for (uint32_t i = 0; i < at; i++)
		if (b->ops[i].status < 0 && b->ops[i].opcode != FAB_CALL)
			failed |= UINT64_C(1) << b->ops[i].node;
	for (uint32_t i = at; i < b->n; i++) {
		op = &b->ops[i];
		bit = UINT64_C(1) << op->node;
		if (i > at) {
			pthread_mutex_lock(&f->ctl->lock);
			fate = decide(f->ctl, op);
			pthread_mutex_unlock(&f->ctl->lock);
		}
		if ((failed & bit) != 0 && !fate.dead)
			fate.skip = true, fate.status = -ECANCELED;
		suffer(f, op, deadline, &fate);
		if (op->status < 0)
			failed |= bit;
	}
	finish(f, b);
}

/* --- handing on ----------------------------------------------------------- */

static int hand_on(struct faulty_fab *f, struct fab_batch *b)
{
	struct pass *p = calloc(1, sizeof(*p));
	int rc;

	if (p == NULL)
		return -ENOMEM;
	p->outer = b;
	p->inner.ops = b->ops;
	p->inner.n = b->n;
	p->inner.deadline_ns = b->deadline_ns;
	p->inner.user = p;
	rc = fab_post(f->inner, &p->inner);
	if (rc != 0)
		free(p);
	return rc;
}

static int faulty_post(struct fab *fab, struct fab_batch *b)
{
	struct faulty_fab *f = (struct faulty_fab *)fab;
	struct fate fate = {.bites = false};
	uint32_t at = 0;

	pthread_mutex_lock(&f->ctl->lock);
	for (; at < b->n && !fate.bites; at++)
		fate = decide(f->ctl, &b->ops[at]);
	pthread_mutex_unlock(&f->ctl->lock);
	if (!fate.bites)
		return hand_on(f, b);
	run_bitten(f, b, at - 1, fate);
	return 0;
}

/* A dead client learns nothing any more. */
static void hand_back(struct faulty_fab *f, struct pass *p)
{
	if (faulty_client_dead(f->ctl))
		for (uint32_t i = 0; i < p->outer->n; i++)
			p->outer->ops[i].status = -ECANCELED;
	finish(f, p->outer);
	free(p);
}

static void faulty_progress(struct fab *fab, uint64_t until)
{
	struct faulty_fab *f = (struct faulty_fab *)fab;
	struct fab_batch *done[16];
	uint64_t now = until != 0 ? fab_now(f->inner) : 0;
	size_t n;

	n = fab_poll(f->inner, done, 16, until > now ? until - now : 0);
	for (size_t i = 0; i < n; i++)
		hand_back(f, done[i]->user);
}

static uint64_t faulty_now(struct fab *f)
{
	return fab_now(((struct faulty_fab *)f)->inner);
}

static uint64_t faulty_wall(struct fab *f)
{
	return fab_wall(((struct faulty_fab *)f)->inner);
}

static uint64_t faulty_random(struct fab *f)
{
	return fab_random(((struct faulty_fab *)f)->inner);
}

static void faulty_sleep(struct fab *f, uint64_t ns)
{
	fab_sleep(((struct faulty_fab *)f)->inner, ns);
}

static void faulty_fab_close(struct fab *fab)
{
	fab_close(((struct faulty_fab *)fab)->inner);
	free(fab);
}

static const struct fab_ops faulty_fab_ops = {
	.close = faulty_fab_close,
	.post = faulty_post,
	.progress = faulty_progress,
	.now = faulty_now,
	.wall = faulty_wall,
	.random = faulty_random,
	.sleep = faulty_sleep,
};

/* --- the net -------------------------------------------------------------- */

static struct faulty *ctl(struct fab_net *net)
{
	return (struct faulty *)net;
}

static int net_open(struct fab_net *net, struct fab **out)
{
	struct faulty_fab *f = calloc(1, sizeof(*f));
	int rc;

	if (f == NULL)
		return -ENOMEM;
	fab_init(&f->fab, &faulty_fab_ops);
	f->ctl = ctl(net);
	rc = fab_open(f->ctl->inner, &f->inner);
	if (rc != 0) {
		free(f);
		return rc;
	}
	*out = &f->fab;
	return 0;
}

static int net_attach(struct fab_net *net, uint8_t id, const char *address,
		      const void *hello, size_t len)
{
	if (faulty_client_dead(ctl(net)))
		return -ECANCELED;
	return fab_net_attach(ctl(net)->inner, id, address, hello, len);
}

static void net_cut(struct fab_net *net, uint8_t id)
{
	fab_net_cut(ctl(net)->inner, id);
}

static bool net_up(struct fab_net *net, uint8_t id)
{
	return fab_net_up(ctl(net)->inner, id);
}

static uint64_t net_size(struct fab_net *net, uint8_t id)
{
	return fab_net_size(ctl(net)->inner, id);
}

static void net_on_down(struct fab_net *net,
			void (*down)(void *arg, uint8_t id), void *arg)
{
	fab_net_on_down(ctl(net)->inner, down, arg);
}

static void net_prepare(struct fab_net *net, uint8_t id, uint64_t offset,
			uint64_t len, bool map)
{
	fab_net_prepare(ctl(net)->inner, id, offset, len, map);
}

static void net_close(struct fab_net *net)
{
	fab_net_close(ctl(net)->inner);
	ctl(net)->inner = NULL;
}

static const struct fab_net_ops faulty_net_ops = {
	.open = net_open,
	.attach = net_attach,
	.cut = net_cut,
	.up = net_up,
	.size = net_size,
	.on_down = net_on_down,
	.prepare = net_prepare,
	.close = net_close,
};

int faulty_open(struct fab_net *inner, uint64_t seed, struct fab_net **net,
		struct faulty **out)
{
	struct faulty *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	c->net.ops = &faulty_net_ops;
	c->inner = inner;
	c->dice = seed;
	pthread_mutex_init(&c->lock, NULL);
	TAILQ_INIT(&c->rules);
	*net = &c->net;
	*out = c;
	return 0;
}

void faulty_close(struct faulty *c)
{
	struct rule *r;

	if (c == NULL)
		return;
	assert(c->inner == NULL); /* fab_net_close() comes first */
	while ((r = TAILQ_FIRST(&c->rules)) != NULL) {
		TAILQ_REMOVE(&c->rules, r, link);
		free(r);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void faulty_on_answer(struct faulty *c, void (*fn)(void *arg, struct fab_op *),
		      void *arg)
{
	c->on_answer = fn;
	c->on_answer_arg = arg;
}

/* --- counters and rules --------------------------------------------------- */

static uint64_t locked(struct faulty *c, const uint64_t *word)
{
	uint64_t v;

	pthread_mutex_lock(&c->lock);
	v = *word;
	pthread_mutex_unlock(&c->lock);
	return v;
}

uint64_t faulty_writes(struct faulty *c)
{
	return locked(c, &c->writes);
}

uint64_t faulty_ops(struct faulty *c)
{
	return locked(c, &c->ops);
}

uint64_t faulty_bites(struct faulty *c)
{
	return locked(c, &c->bites);
}

void faulty_trace(struct faulty *c, bool on)
{
	pthread_mutex_lock(&c->lock);
	c->trace = on;
	pthread_mutex_unlock(&c->lock);
}

static void add(struct faulty *c, const struct rule *r)
{
	struct rule *copy = malloc(sizeof(*copy));

	if (copy == NULL)
		abort(); /* a test's own tool */
	*copy = *r;
	pthread_mutex_lock(&c->lock);
	TAILQ_INSERT_TAIL(&c->rules, copy, link);
	pthread_mutex_unlock(&c->lock);
}

void faulty_fail(struct faulty *c, uint64_t n, int status)
{
	add(c, &(struct rule){.kind = FAIL, .n = n, .status = status});
}

void faulty_drop(struct faulty *c, uint64_t n)
{
	add(c, &(struct rule){.kind = DROP, .n = n, .status = -ETIMEDOUT});
}

void faulty_drop_answer(struct faulty *c, uint64_t n)
{
	add(c,
	    &(struct rule){.kind = DROP_ANSWER, .n = n, .status = -ETIMEDOUT});
}

void faulty_delay(struct faulty *c, uint64_t n, uint64_t ns)
{
	add(c, &(struct rule){.kind = DELAY, .n = n, .ns = ns});
}

void faulty_kill_node(struct faulty *c, uint8_t id, uint64_t n,
		      void (*kill)(void *arg, uint8_t id), void *arg)
{
	add(c, &(struct rule){.kind = KILL_NODE,
			      .n = n,
			      .id = id,
			      .kill = kill,
			      .arg = arg});
}

void faulty_lossy(struct faulty *c, unsigned permille)
{
	pthread_mutex_lock(&c->lock);
	c->lossy = permille;
	pthread_mutex_unlock(&c->lock);
}

static void set_death(struct faulty *c, uint64_t n, bool torn, uint32_t bytes)
{
	bool now;

	pthread_mutex_lock(&c->lock);
	c->lethal = true;
	c->die_at = n;
	c->torn = torn;
	c->torn_bytes = bytes;
	now = torn ? c->writes > n : c->writes >= n;
	pthread_mutex_unlock(&c->lock);
	if (now)
		die(c);
}

void faulty_kill_client(struct faulty *c, uint64_t n)
{
	set_death(c, n, false, 0);
}

void faulty_tear_client(struct faulty *c, uint64_t n, uint32_t bytes)
{
	set_death(c, n, true, bytes);
}

bool faulty_client_dead(struct faulty *c)
{
	bool dead;

	pthread_mutex_lock(&c->lock);
	dead = c->dead;
	pthread_mutex_unlock(&c->lock);
	return dead;
}

void faulty_on_death(struct faulty *c, void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&c->lock);
	c->on_death = fn;
	c->on_death_arg = arg;
	pthread_mutex_unlock(&c->lock);
}
