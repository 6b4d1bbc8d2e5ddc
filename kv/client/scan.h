/* kv/client/scan.h - reading the index piece by piece. */
#ifndef ACESO_KV_CLIENT_SCAN_H
#define ACESO_KV_CLIENT_SCAN_H
#include <stdint.h>

#include "kv/client/client_impl.h"
#include "kv/slot.h"

/* Read @n slots of @shard from @first on, from whoever serves it now; waits
 * for that until @deadline. Errors: -EIO the shard is lost; -ETIMEDOUT. */
int scan_slots(struct kv *kv, struct kv_thread *t, uint32_t shard,
	       uint64_t first, uint32_t n, struct slot *out, uint64_t deadline);

#endif
