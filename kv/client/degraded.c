/* kv/client/degraded.c - bytes from where they are, or from their stripe. */
#include "kv/client/degraded.h"

#include <errno.h>

#include "ec/stripe.h"
#include "kv/client/member.h"

#define AGAIN_NS UINT64_C(200000)

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

int degraded_read(struct kv *kv, struct kv_thread *t, fab_addr addr,
		  uint32_t len, void *buf, bool force, uint64_t deadline_ns)
{
	uint8_t node = fab_addr_node(addr);
	uint64_t epoch, up;
	int rc;

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
