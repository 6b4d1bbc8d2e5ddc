/* kv/client/persist.c - asking the coordinator for durable checkpoints. */
#include "kv/client/persist.h"

#include <errno.h>

#include "kv/client/client.h"
#include "kv/proto.h"

#define TELL_NS	 UINT64_C(200000000)
#define AGAIN_NS UINT64_C(20000000)

void persist_tell(struct kv *kv, struct kv_thread *t)
{
	if (!persist_untold(kv))
		return;
	/* First, so that a cut in between is followed by another message. */
	atomic_store(&kv->changed_told, true);
	if (fab_call_run(t->fab, FAB_NODE_COORD, PROTO_CHANGED, NULL, 0, NULL,
			 0, NULL, TELL_NS) != 0)
		atomic_store(&kv->changed_told, false);
}

void persist_cut(struct kv *kv)
{
	atomic_store(&kv->changed, false);
	atomic_store(&kv->changed_told, false);
}

static int ask(struct kv *kv, struct kv_thread *t, bool wait, uint64_t ns)
{
	struct proto_persist msg = {.wait = wait};

	return fab_call_run(t->fab, FAB_NODE_COORD, PROTO_PERSIST, &msg,
			    sizeof(msg), NULL, 0, NULL, ns);
}

void persist_hurry(struct kv *kv, struct kv_thread *t)
{
	ask(kv, t, false, TELL_NS);
}

bool kv_is_read_only(const struct kv *kv)
{
	return kv->opts.read_only;
}

bool kv_is_persistent(const struct kv *kv)
{
	return kv->persistent;
}

/* Not inside member_enter(): the freeze waits for those that are. */
int kv_persist(struct kv *kv)
{
	struct kv_thread *t = kv_thread(kv);
	uint64_t end, now;
	int rc;

	if (t == NULL)
		return -ENOMEM;
	if (kv->opts.read_only)
		return 0; /* nothing of ours is to be made durable */
	if (!kv->persistent)
		return -EOPNOTSUPP;
	now = fab_now(t->fab);
	end = now + kv_timeout_ns(kv);
	for (; now < end; now = fab_now(t->fab)) {
		rc = ask(kv, t, true, end - now);
		if (rc == 0 || rc == -EOPNOTSUPP)
			return rc;
		fab_sleep(t->fab, AGAIN_NS); /* the coordinator is away */
	}
	return -ETIMEDOUT;
}
