/* kv/client/degraded.c - bytes from where they are, or from their stripe. */
#include "kv/client/degraded.h"

#include <errno.h>

#include "ec/stripe.h"
#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/proto.h"

#define AGAIN_NS   UINT64_C(200000)
#define WANT_NS	   UINT64_C(2000000) /* between two wishes of a client */
#define WANT_TO_NS UINT64_C(1000000) /* the answer means nothing */

static int read_plain(struct kv_thread *t, fab_addr addr, uint32_t len,
		      void *buf, uint64_t deadline_ns)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1, .deadline_ns = deadline_ns};
	int rc;

	fab_read(&op, fab_addr_node(addr), fab_addr_offset(addr), buf, len);
	rc = fab_run(t->fab, &b);
	return rc != 0 ? rc : op.status;
}

/* A node in the way failed: report it; a new view will tell. */
static int wait_view(struct kv *kv, struct kv_thread *t, uint64_t epoch,
		     uint64_t deadline_ns)
{
	uint64_t now = fab_now(t->fab);

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	if (member_epoch(kv->member) == epoch)
		fab_sleep(t->fab, AGAIN_NS);
	return 0;
}

static void suspect_down(struct kv *kv, struct kv_thread *t, uint64_t up)
{
	for (uint32_t i = 0; i < kv->layout.group.nodes; i++)
		if (up >> i & 1 && !fab_net_up(kv->net, (uint8_t)i))
			member_suspect(kv->member, t, i);
}

/* What may be asked: up in the view, connected, and not the node itself. */
static uint64_t askable(struct kv *kv, uint8_t except)
{
	uint64_t up = member_up(kv->member) & ~(UINT64_C(1) << except);

	for (uint32_t i = 0; i < kv->layout.group.nodes; i++)
		if (!fab_net_up(kv->net, (uint8_t)i))
			up &= ~(UINT64_C(1) << i);
	return up;
}

/* Its node is coming: what is read is to be brought back first. A hint: it is
 * not repeated, few are sent, and nobody waits long for one. */
static void want(struct kv *kv, struct kv_thread *t, fab_addr addr)
{
	uint8_t node = fab_addr_node(addr);
	_Atomic uint64_t *at = &client_of(kv)->wanted_at;
	uint64_t now, was;
	struct proto_want rq = {.pad = 0};
	uint32_t byte;

	if (!(member_all(kv->member) >> node & 1))
		return;
	now = fab_now(t->fab);
	was = atomic_load_explicit(at, memory_order_relaxed);
	if (now - was < WANT_NS ||
	    !atomic_compare_exchange_strong(at, &was, now))
		return;
	if (group_locate(&kv->layout.group, addr, &rq.stripe, &rq.role,
			 &byte) != 0)
		return;
	fab_call_run(t->fab, node, PROTO_WANT, &rq, sizeof(rq), NULL, 0, NULL,
		     WANT_TO_NS);
}

int degraded_read(struct kv *kv, struct kv_thread *t, fab_addr addr,
		  uint32_t len, void *buf, bool force, uint64_t deadline_ns)
{
	uint8_t node = fab_addr_node(addr);
	uint64_t epoch, up;
	int rc;

	if (!(member_up(kv->member) >> node & 1))
		want(kv, t, addr);
	for (;;) {
		epoch = member_epoch(kv->member);
		up = member_up(kv->member);
		if (!force && (up >> node & 1)) {
			rc = read_plain(t, addr, len, buf, deadline_ns);
			if (rc == 0)
				return 0;
		}
		suspect_down(kv, t, up);
		rc = stripe_read_run(t->fab, &kv->layout.group, kv->code, addr,
				     len, askable(kv, node), buf, deadline_ns);
		if (rc == -EBADMSG)
			return -EIO; /* no record that makes sense */
		if (rc != -EHOSTDOWN && rc != -EAGAIN)
			return rc;
		rc = wait_view(kv, t, epoch, deadline_ns);
		if (rc != 0)
			return rc;
	}
}
