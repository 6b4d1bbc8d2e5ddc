/* rdma/tcp_frame.h - private to rdma/tcp*.c: what travels in the stream.
 * Little-endian; both ends check magic and version once, in the hello. */
#ifndef ACESO_RDMA_TCP_FRAME_H
#define ACESO_RDMA_TCP_FRAME_H
#include <stdint.h>

#include "rdma/net.h"

#define TCP_MAGIC   0x54435841u /* "AXCT" */
#define TCP_VERSION 1u

enum tcp_type {
	/* to the node */
	TCP_HELLO = 1,	 /* first on a net's primary connection: tcp_hello */
	TCP_HELLO_QUEUE, /* first on a queue's connection: tcp_hello alone */
	TCP_READ,	 /* @want bytes at @offset */
	TCP_WRITE,	 /* the payload to @offset */
	TCP_CAS,	 /* at @offset: @expect -> @arg */
	TCP_FAA,	 /* at @offset: + @arg */
	TCP_CALL,	 /* message @call; the payload is the request */
	TCP_FENCE,	 /* primary: end all of this net's connections */
	/* from the node */
	TCP_WELCOME, /* @status; @arg: region's size */
	TCP_DONE,    /* operation @op and all one-sided ones before it in its
		      * batch that were not answered have ended, those with 0;
		      * it with @status. @arg: what was there (CAS, FAA); the
		      * payload: what was read */
	TCP_ANSWER,  /* CALL @op of @batch: @status; the payload: the answer */
	TCP_FENCED,  /* nothing that came before FENCE will take effect */
	TCP_TYPES
};

enum {
	TCP_F_ACK = 1,	 /* answer it even if it is a WRITE that went well */
	TCP_F_LOOSE = 2, /* of a READ: words need not be kept whole. A node
			  * that does not know it keeps them */
};

struct tcp_frame {
	uint32_t len; /* of the payload that follows */
	uint8_t type; /* enum tcp_type */
	uint8_t flags;
	uint16_t call;
	uint32_t batch; /* the asker's number for it, rising in one stream */
	uint32_t op;	/* in its batch */
	int32_t status;
	uint32_t want;
	uint64_t offset, expect, arg;
};
_Static_assert(sizeof(struct tcp_frame) == 48, "no holes");

/* The payload of a hello; the node's on_hello gets what follows it. */
struct tcp_hello {
	uint32_t magic, version;
	uint8_t token[NET_TOKEN_BYTES]; /* which net, as of which attaching */
};
_Static_assert(sizeof(struct tcp_hello) == 24, "no holes");

/* The longest payload of each type. */
static inline uint32_t tcp_len_max(uint8_t type)
{
	switch (type) {
	case TCP_HELLO:
		return (uint32_t)sizeof(struct tcp_hello) + FAB_CALL_BYTES_MAX;
	case TCP_HELLO_QUEUE:
		return (uint32_t)sizeof(struct tcp_hello);
	case TCP_WRITE:
	case TCP_DONE:
		return FAB_OP_BYTES_MAX;
	case TCP_CALL:
	case TCP_ANSWER:
		return FAB_CALL_BYTES_MAX;
	default:
		return 0;
	}
}

#endif
