/* kv/client/memory.c - memory that pages lie in, as the net knows it. */
#include <errno.h>
#include <string.h>

#include "kv/client/client.h"
#include "kv/log.h"

/* What an adapter says, not we. */
static bool is_refusal(int rc)
{
	return rc != 0 && rc != -EINVAL && rc != -EEXIST && rc != -ENOSPC;
}

int kv_register(struct kv *kv, void *at, size_t bytes)
{
	int rc = fab_net_register(kv->net, at, bytes);

	if (is_refusal(rc) &&
	    !atomic_exchange(&client_of(kv)->refusal_said, true))
		LOG(LOG_WARN,
		    "the RDMA adapter takes no more memory (%s): some bytes "
		    "are copied once more on their way. See `ulimit -l`",
		    strerror(-rc));
	return rc;
}

void kv_deregister(struct kv *kv, void *at)
{
	fab_net_deregister(kv->net, at);
}
