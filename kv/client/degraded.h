/* kv/client/degraded.h - read bytes wherever they are: from their node, or
 * decoded from the rest of their stripe when it is away. Blocks. */
#ifndef ACESO_KV_CLIENT_DEGRADED_H
#define ACESO_KV_CLIENT_DEGRADED_H
#include "kv/client/client_impl.h"
#include "rdma/addr.h"

/* Read @len bytes at @addr (within one block) into @buf, decoding if the node
 * is DOWN in the current view, or at first when @force (it has just failed to
 * answer). Nothing is verified here. What is not to be reached from here, but
 * UP in the view, is waited for. Errors: -EIO lost: more nodes of the stripe
 * are gone by the view than the code bears; -ETIMEDOUT; -ENODATA nothing lies
 * there any more (the block was freed): read the index again. */
int degraded_read(struct kv *kv, struct kv_thread *t, fab_addr addr,
		  uint32_t len, void *buf, bool force, uint64_t deadline_ns);

/* The bytes at @addr were found wrong: have right ones, as @right(arg, buf)
 * says, from the rest of the stripe; without each of its members in turn, too,
 * and without several of them, as far as the code can bear it: any of them may
 * be as wrong. Errors: -ETIMEDOUT, -ENODATA as above; -EBADMSG: no choice of
 * members gives them, and each that is UP was asked. */
int degraded_mend(struct kv *kv, struct kv_thread *t, fab_addr addr,
		  uint32_t len, void *buf,
		  bool (*right)(void *arg, const void *buf), void *arg,
		  uint64_t deadline_ns);

/* The same for the record that the slot word @word names, into @buf (@cap
 * bytes: OBJECT_BYTES_MAX are enough). Errors: likewise. */
struct object;
int degraded_record(struct kv *kv, struct kv_thread *t, uint64_t word,
		    void *buf, size_t cap, struct object *out,
		    uint64_t deadline_ns);

#endif
