/* fs/ring_abi.h - FUSE over io_uring as Linux speaks it since 6.14; the headers
 * of Debian 12 are of 6.1. Documented in the kernel's
 * Documentation/filesystems/fuse/fuse-io-uring.rst. */
#ifndef ACESO_FS_RING_ABI_H
#define ACESO_FS_RING_ABI_H
#include <assert.h>
#include <stdint.h>

/* In INIT's flags, both ways. */
#ifndef FUSE_OVER_IO_URING
#define FUSE_OVER_IO_URING (1ull << 41)
#endif

#define RING_PART_BYTES 128u

/* What the kernel and we leave for each other beside a request's bytes. */
struct ring_head {
	char in_out[RING_PART_BYTES]; /* fuse_in_header; fuse_out_header */
	char op_in[RING_PART_BYTES];  /* the request's first argument */
	uint64_t flags;
	uint64_t commit_id; /* names the request in RING_COMMIT_AND_FETCH */
	uint32_t payload_bytes;
	uint32_t pad;
	uint64_t reserved;
};
static_assert(sizeof(struct ring_head) == 288, "as the kernel has it");

/* Of IORING_OP_URING_CMD: cmd_op, and the bytes behind. */
enum ring_cmd_op { RING_REGISTER = 1, RING_COMMIT_AND_FETCH };

struct ring_cmd {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t queue;
	uint8_t pad[6];
};
static_assert(sizeof(struct ring_cmd) <= 80, "what an SQE of 128 bytes has");

#endif
