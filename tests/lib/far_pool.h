/* tests/lib/far_pool.h - a pool over several hosts as a test plays it: alone,
 * on loopback. */
#ifndef ACESO_TESTS_LIB_FAR_POOL_H
#define ACESO_TESTS_LIB_FAR_POOL_H
#include <stdbool.h>

#include "kv/layout.h"
#include "kv/proto.h"

/* The superblock of a small one with code @k+1, and in @at addresses for @nodes
 * of them and a coordinator behind. Errors: as of layout_of(). */
int far_pool(uint32_t nodes, uint32_t k, struct layout_super *super,
	     char at[][PROTO_ADDRESS_BYTES]);

/* No device of this host leads to who listens by RDMA. */
bool far_without_rdma(void);

#endif
