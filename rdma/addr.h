/* rdma/addr.h - a remote address in 8 bytes: node and byte offset.
 * 0 is no address: offset 0 of a node's region is its superblock. */
#ifndef ACESO_RDMA_ADDR_H
#define ACESO_RDMA_ADDR_H
#include <stdint.h>

typedef uint64_t fab_addr;

#define FAB_ADDR_OFFSET_BITS 56
#define FAB_ADDR_OFFSET_MAX  ((UINT64_C(1) << FAB_ADDR_OFFSET_BITS) - 1)

static inline fab_addr fab_addr_make(uint8_t node, uint64_t offset)
{
	return (uint64_t)node << FAB_ADDR_OFFSET_BITS | offset;
}

static inline uint8_t fab_addr_node(fab_addr a)
{
	return (uint8_t)(a >> FAB_ADDR_OFFSET_BITS);
}

static inline uint64_t fab_addr_offset(fab_addr a)
{
	return a & FAB_ADDR_OFFSET_MAX;
}
#endif
