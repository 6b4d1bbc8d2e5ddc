/* kv/node/coord_call.c - CALLs to nodes that nobody waits for. */
#include <errno.h>
#include <stdlib.h>

#include "kv/node/coord_impl.h"

static const uint32_t reply_bytes[] = {
	[PROTO_STATS] = sizeof(struct proto_stats),
	[PROTO_REBUILD] = sizeof(struct proto_rebuilt),
	[PROTO_SWEEP] = sizeof(struct proto_swept),
	[PROTO_RESTORE] = sizeof(struct proto_restored),
};

static uint32_t reply_of(uint16_t type)
{
	return type < sizeof(reply_bytes) / sizeof(reply_bytes[0])
		       ? reply_bytes[type]
		       : 0;
}

static void set_request(struct coord_call *call, uint16_t type)
{
	switch (type) {
	case PROTO_VIEW:
		call->op.buf = call->req.view;
		call->op.len = sizeof(*call->req.view);
		break;
	case PROTO_REBUILD:
		call->op.len = sizeof(call->req.rebuild);
		break;
	case PROTO_ORPHANS:
		call->op.len = sizeof(call->req.orphans);
		break;
	case PROTO_SWEEP:
		call->op.len = sizeof(call->req.sweep);
		break;
	case PROTO_RESTORE:
		call->op.len = sizeof(call->req.restore);
		break;
	case PROTO_FENCE:
		call->op.len = sizeof(call->req.fence);
		break;
	case PROTO_CUT:
	case PROTO_STORE:
		call->op.len = sizeof(call->req.cut);
		break;
	default: /* STATS, STOP: nothing */
		call->op.len = 0;
		break;
	}
}

struct coord_call *coord_call_new(struct coord *c, uint32_t node, uint16_t type,
				  void (*end)(struct coord *,
					      struct coord_call *, int))
{
	struct coord_call *call = calloc(1, sizeof(*call));

	if (call == NULL)
		return NULL;
	if (type == PROTO_VIEW) {
		call->req.view = calloc(1, sizeof(*call->req.view));
		if (call->req.view == NULL) {
			free(call);
			return NULL;
		}
	}
	fab_call(&call->op, (uint8_t)node, type, &call->req, 0, &call->reply,
		 reply_of(type));
	set_request(call, type);
	call->batch =
		(struct fab_batch){.ops = &call->op, .n = 1, .user = call};
	call->node = node;
	call->life = c->node[node].life;
	call->timeout_ns = c->opts.lease_ms * COORD_MS;
	call->end = end;
	TAILQ_INSERT_TAIL(&c->outbox, call, link);
	return call;
}

static void call_free(struct coord_call *call)
{
	if (call->op.call == PROTO_VIEW)
		free(call->req.view);
	free(call);
}

static int call_status(const struct coord_call *call)
{
	if (call->op.status == 0 &&
	    call->op.reply_len != reply_of(call->op.call))
		return -EPROTO;
	return call->op.status;
}

/* What an earlier process of this id said is nobody's word now. */
static void call_end(struct coord *c, struct coord_call *call, int status)
{
	pthread_mutex_lock(&c->lock);
	if (call->life != c->node[call->node].life)
		status = -EHOSTDOWN;
	call->end(c, call, status);
	pthread_mutex_unlock(&c->lock);
	call_free(call);
}

static struct coord_call *outbox_take(struct coord *c)
{
	struct coord_call *call;

	pthread_mutex_lock(&c->lock);
	call = TAILQ_FIRST(&c->outbox);
	if (call != NULL)
		TAILQ_REMOVE(&c->outbox, call, link);
	pthread_mutex_unlock(&c->lock);
	return call;
}

static int outbox_post(struct coord *c)
{
	struct coord_call *call;
	int rc, did = 0;

	while ((call = outbox_take(c)) != NULL) {
		call->batch.deadline_ns = fab_now(c->fab) + call->timeout_ns;
		rc = fab_post(c->fab, &call->batch);
		if (rc != 0)
			call_end(c, call, rc);
		else
			c->calls_out++;
		did = 1;
	}
	return did;
}

int coord_calls_run(struct coord *c, uint64_t wait_ns)
{
	struct fab_batch *done;
	int did = outbox_post(c);

	if (did)
		wait_ns = 0;
	while (c->calls_out > 0 && fab_poll(c->fab, &done, 1, wait_ns) == 1) {
		struct coord_call *call = done->user;

		c->calls_out--;
		call_end(c, call, call_status(call));
		wait_ns = 0;
		did = 1;
	}
	return did;
}

void coord_calls_drop(struct coord *c)
{
	struct fab_batch *done;
	struct coord_call *call;

	while ((call = outbox_take(c)) != NULL)
		call_free(call);
	while (c->calls_out > 0)
		if (fab_poll(c->fab, &done, 1, COORD_LONG_NS) == 1) {
			c->calls_out--;
			call_free(done->user);
		}
}
