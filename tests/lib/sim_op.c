/* tests/lib/sim_op.c - simulated operations: each is on its way, takes effect
 * at the node at a moment of its own, and is on its way back.
 *
 *	post --> arrive (effect) --> return (ended)
 *	            \ the deadline, a death or a cut may end it at any time;
 *	              after a deadline it may still take effect, after a cut not
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sim_impl.h"

/* --- ends ----------------------------------------------------------------- */

void sim_batch_put(struct sim_batch *sb)
{
	if (--sb->refs > 0)
		return;
	TAILQ_REMOVE(&sb->net->sim->batches, sb, link);
	sim_cancel(sb->net->sim, sb->deadline);
	for (uint32_t i = 0; i < sb->n; i++) {
		free(sb->op[i].data);
		free(sb->op[i].answer);
	}
	free(sb);
}

static void batch_complete(struct sim_batch *sb)
{
	struct fab_batch *b = sb->batch;
	struct sim *s = sb->net->sim;

	sb->batch = NULL;
	b->priv = NULL;
	sim_cancel(sb->net->sim, sb->deadline);
	sb->deadline = NULL;
	fab_done(&sb->fab->fab, b);
	sim_poke(s);
	sim_batch_put(sb);
}

void sim_op_end(struct sim_op *o, int status)
{
	struct sim_batch *sb = o->batch;

	assert(!o->ended);
	o->ended = true;
	o->op->old = o->copy.old;
	o->op->status = status;
	if (status < 0)
		sb->fab->fab.count.failed++;
	if (--sb->batch->left == 0)
		batch_complete(sb);
}

void sim_ops_end(struct sim_net *net, struct sim_server *server, int status,
		 bool void_)
{
	struct sim_batch *sb, *next;

	for (sb = TAILQ_FIRST(&net->sim->batches); sb != NULL; sb = next) {
		sb->refs++;
		for (uint32_t i = 0; i < sb->n && sb->net == net; i++) {
			struct sim_op *o = &sb->op[i];

			if (server != NULL && o->server != server)
				continue;
			o->voided |= void_;
			if (!o->ended && status < 0)
				sim_op_end(o, status);
		}
		next = TAILQ_NEXT(sb, link);
		sim_batch_put(sb);
	}
}

static void batch_deadline(struct sim *s, void *arg)
{
	struct sim_batch *sb = arg;

	sb->deadline = NULL;
	sb->refs++;
	for (uint32_t i = 0; i < sb->n; i++)
		if (!sb->op[i].ended)
			sim_op_end(&sb->op[i], -ETIMEDOUT);
	sim_batch_put(sb);
}

/* --- the way back --------------------------------------------------------- */

static void op_return(struct sim *s, void *arg)
{
	struct sim_op *o = arg;

	if (!o->ended && sim_passes(o->batch->net, o->server))
		sim_op_end(o, o->status);
	sim_batch_put(o->batch);
}

static void send_back(struct sim *s, struct sim_op *o, int status)
{
	o->status = status;
	if (status < 0)
		o->batch->failed |= UINT64_C(1) << o->copy.node;
	sim_schedule(s, sim_latency(s), op_return, o);
}

/* --- effects ------------------------------------------------------------- */

static void move(struct sim_op *o, uint64_t from, uint64_t to)
{
	uint8_t *at = (uint8_t *)o->server->o.region + o->copy.offset;

	if (o->copy.opcode == FAB_WRITE && to > from)
		memcpy(at + from, o->data + from, to - from);
	else if (o->copy.opcode == FAB_READ && !o->ended && to > from)
		memcpy((uint8_t *)o->copy.buf + from, at + from, to - from);
}

static void first_half(struct sim_op *o)
{
	if (o->tail_first)
		move(o, o->cut, o->copy.len);
	else
		move(o, 0, o->cut);
}

static void the_rest(struct sim_op *o)
{
	if (!o->half_done)
		move(o, 0, o->copy.len);
	else if (o->tail_first)
		move(o, 0, o->cut);
	else
		move(o, o->cut, o->copy.len);
}

static void atomic(struct sim_op *o)
{
	uint64_t *w =
		(uint64_t *)((uint8_t *)o->server->o.region + o->copy.offset);

	o->copy.old = *w;
	if (o->copy.opcode == FAB_FAA)
		*w += o->copy.arg;
	else if (*w == o->copy.expect)
		*w = o->copy.arg;
}

static bool legal(const struct sim_op *o)
{
	uint64_t size = o->server->o.size, len = o->copy.len;

	if (o->copy.opcode == FAB_CAS || o->copy.opcode == FAB_FAA) {
		if (o->copy.offset % 8 != 0)
			return false;
		len = 8;
	}
	return o->copy.offset <= size && len <= size - o->copy.offset;
}

bool sim_loses(const struct sim_net *net)
{
	struct sim *s = net->sim;

	return strncmp(net->name, s->drop_of, strlen(s->drop_of)) == 0 &&
	       sim_dice(s, 1000) < s->o.drop_permille;
}

/* A CALL is on its way to the server's fiber; fab_reply() will send back. */
static void deliver(struct sim *s, struct sim_op *o)
{
	struct sim_peer *p = o->batch->net->node[o->copy.node].peer;
	struct sim_msg *m;

	if (sim_loses(o->batch->net)) {
		sim_note(s, "lost", o->server->address, o->copy.call, 0, 0);
		sim_batch_put(o->batch);
		return;
	}
	m = sim_msg_new(SIM_CALL, p, o->data, o->copy.len);
	m->op = o;
	m->call = o->copy.call;
	sim_server_send(o->server, m);
}

static bool takes_effect(const struct sim_op *o)
{
	bool there = !o->server->dead ||
		     (o->server->sim->o.mapped && o->copy.opcode != FAB_CALL);

	return there && !o->voided && sim_passes(o->batch->net, o->server);
}

static void effect(struct sim *s, void *arg)
{
	struct sim_op *o = arg;
	int rc = 0;

	if (takes_effect(o) && s->on_effect != NULL)
		s->on_effect(s->on_effect_arg, &o->batch->net->net);
	if (!takes_effect(o) || (o->copy.opcode == FAB_CALL && o->ended)) {
		sim_batch_put(o->batch); /* not ended: waits for its end */
		return;
	}
	if ((o->batch->failed >> o->copy.node & 1) != 0)
		rc = -ECANCELED;
	else if (o->copy.opcode != FAB_CALL && !legal(o))
		rc = -EREMOTEIO;
	sim_note(s, "effect", o->batch->net->name,
		 (uint64_t)o->copy.opcode << 8 | o->copy.node, o->copy.offset,
		 rc);
	if (rc == 0 && o->copy.opcode == FAB_CALL) {
		deliver(s, o);
		return;
	}
	if (rc == 0 && (o->copy.opcode == FAB_CAS || o->copy.opcode == FAB_FAA))
		atomic(o);
	else if (rc == 0)
		the_rest(o);
	send_back(s, o, rc);
}

void sim_drop(struct sim *s, uint32_t permille, const char *whose)
{
	s->o.drop_permille = permille;
	snprintf(s->drop_of, sizeof(s->drop_of), "%s", whose);
}

bool sim_passes(const struct sim_net *net, const struct sim_server *v)
{
	const struct sim *s = net->sim;

	return s->on_link == NULL ||
	       s->on_link(s->on_link_arg, net->name, v->address);
}

void sim_on_link(struct sim *s,
		 bool (*fn)(void *arg, const char *net, const char *server),
		 void *arg)
{
	s->on_link = fn;
	s->on_link_arg = arg;
}

void sim_on_effect(struct sim *s, void (*fn)(void *arg, struct fab_net *net),
		   void *arg)
{
	s->on_effect = fn;
	s->on_effect_arg = arg;
}

static void half_effect(struct sim *s, void *arg)
{
	struct sim_op *o = arg;

	if (takes_effect(o) && legal(o) &&
	    (o->batch->failed >> o->copy.node & 1) == 0) {
		first_half(o);
		o->half_done = true;
	}
	sim_batch_put(o->batch);
}

static void arrive(struct sim *s, void *arg)
{
	struct sim_op *o = arg;

	sim_arrive(o->server, effect, o);
}

static void half_arrive(struct sim *s, void *arg)
{
	struct sim_op *o = arg;

	sim_arrive(o->server, half_effect, o);
}

/* --- the way there -------------------------------------------------------- */

/* Some long operations are seen half done, split between two words. */
static bool split(struct sim *s, struct sim_op *o)
{
	uint64_t skew = o->copy.offset % 8;

	if (s->o.whole || o->copy.len < 24 || sim_dice(s, 3) != 0 ||
	    (o->copy.opcode != FAB_WRITE && o->copy.opcode != FAB_READ))
		return false;
	o->cut = (uint32_t)((1 + sim_dice(s, o->copy.len / 8 - 2)) * 8 - skew);
	o->tail_first = sim_dice(s, 2) != 0;
	return true;
}

/* @when: of the last operation of this batch to this node; updated. */
static void send_op(struct sim *s, struct sim_op *o, uint64_t *when)
{
	if (*when == 0)
		*when = sim_latency(s);
	else
		*when += 1 + sim_dice(s, s->o.jitter_ns / 4 + 1);
	if (split(s, o)) {
		o->batch->refs++;
		sim_schedule(s, *when, half_arrive, o);
		*when += 1 + sim_dice(s, s->o.jitter_ns);
	}
	o->batch->refs++;
	sim_schedule(s, *when, arrive, o);
}

static void op_init(struct sim_batch *sb, struct sim_op *o, struct fab_op *op)
{
	struct sim_node *node = &sb->net->node[op->node];

	o->batch = sb;
	o->op = op;
	o->copy = *op;
	o->server = node->up ? node->server : NULL;
	op->status = -EINPROGRESS;
	op->reply_len = 0;
	if ((op->opcode == FAB_WRITE || op->opcode == FAB_CALL) &&
	    op->len > 0) {
		o->data = sim_alloc(op->len);
		memcpy(o->data, op->buf, op->len);
	}
}

static struct sim_batch *batch_new(struct sim_fab *f, struct fab_batch *b)
{
	struct sim_batch *sb =
		sim_alloc(sizeof(*sb) + b->n * sizeof(sb->op[0]));

	sb->batch = b;
	sb->fab = f;
	sb->net = f->net;
	sb->refs = 2; /* one until complete, one while posting */
	sb->n = b->n;
	for (uint32_t i = 0; i < b->n; i++)
		op_init(sb, &sb->op[i], &b->ops[i]);
	TAILQ_INSERT_TAIL(&f->net->sim->batches, sb, link);
	b->priv = sb;
	return sb;
}

static int dead_node_status(struct sim_batch *sb, uint8_t node)
{
	uint64_t bit = UINT64_C(1) << node;

	if (sb->net->killed || (sb->failed & bit) != 0)
		return -ECANCELED;
	sb->failed |= bit;
	return -EHOSTDOWN;
}

int sim_post(struct fab *fab, struct fab_batch *b)
{
	struct sim_fab *f = (struct sim_fab *)fab;
	struct sim *s = f->net->sim;
	struct sim_batch *sb = batch_new(f, b);
	uint64_t when[FAB_NODE_COORD + 1] = {0};
	uint64_t deadline = fab_deadline(fab, b);

	sb->deadline =
		sim_schedule(s, deadline > s->now ? deadline - s->now : 0,
			     batch_deadline, sb);
	for (uint32_t i = 0; i < sb->n; i++) {
		struct sim_op *o = &sb->op[i];

		if (o->server != NULL && !f->net->killed)
			send_op(s, o, &when[o->copy.node]);
		else
			sim_op_end(o, dead_node_status(sb, o->copy.node));
	}
	sim_batch_put(sb);
	return 0;
}
