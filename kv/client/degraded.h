/* kv/client/degraded.h - read bytes wherever they are: from their node, or
 * decoded from the rest of their stripe when it is away. Blocks. */
#ifndef ACESO_KV_CLIENT_DEGRADED_H
#define ACESO_KV_CLIENT_DEGRADED_H
#include "kv/client/client_impl.h"
#include "rdma/addr.h"

/* Read @len bytes at @addr (within one block) into @buf, decoding if the node
 * is DOWN in the current view, or when @force (its bytes were found wrong).
 * Nothing is verified here. Errors: -EIO lost; -ETIMEDOUT; -ENODATA nothing
 * lies there any more (the block was freed): read the index again. */
int degraded_read(struct kv *kv, struct kv_thread *t, fab_addr addr,
		  uint32_t len, void *buf, bool force, uint64_t deadline_ns);

#endif
