/* rdma/verbs_conn.h - private to rdma/verbs*.c: one reliable connection, a
 * queue pair, and the memory that its messages pass through; and what adapters
 * bear (verbs_device.c).
 * Threads: one at a time, but verbs_conn_break(): any. */
#ifndef ACESO_RDMA_VERBS_CONN_H
#define ACESO_RDMA_VERBS_CONN_H
#include <rdma/rdma_cma.h>
#include <stdbool.h>

#include "rdma/verbs_msg.h"

#define VERBS_SENDS	   256u /* work requests under way; or less */
#define VERBS_SENDS_MIN	   32u	/* a doorbell's */
#define VERBS_SPARE	   8u	/* besides: proofs, life signs */
#define VERBS_RECVS	   16u	/* messages that may come unasked */
#define VERBS_CQ_SPARE	   (VERBS_RECVS + 16u) /* completions of no sends */
#define VERBS_INLINE	   128u /* WRITEs up to here carry their bytes; or less */
#define VERBS_RING	   (1u << 20)
#define VERBS_PIECE	   (256u << 10)	       /* of a longer operation */
#define VERBS_DIRECT_PIECE (1u << 20)	       /* of one that needs no ring */
#define VERBS_READS	   16u		       /* READs and atomics under way */
#define VERBS_RECV_ID	   (UINT64_C(1) << 63) /* in a wr_id: a receive */

/* A connection's own memory, registered: @recvs messages, then a ring that
 * bytes pass through on their way out and in. */
struct verbs_mem {
	uint8_t *base;
	struct ibv_mr *mr;
	uint64_t ring_at, ring_free; /* rise for ever; used: at - free */
	size_t recv_bytes;
};

int verbs_mem_open(struct verbs_mem *m, struct ibv_pd *pd, unsigned recvs);
void verbs_mem_close(struct verbs_mem *m);
uint8_t *verbs_mem_recv(struct verbs_mem *m, unsigned i);
/* @len (<= VERBS_PIECE) bytes of the ring, in one piece; *end: to be given to
 * verbs_ring_free(), in the order taken. NULL: not now. */
uint8_t *verbs_ring_take(struct verbs_mem *m, uint32_t len, uint64_t *end);
void verbs_ring_free(struct verbs_mem *m, uint64_t end);

/* What a connection through an adapter may have of what we would like. */
struct verbs_bounds {
	uint32_t sends; /* VERBS_SENDS_MIN to VERBS_SENDS */
	uint32_t piece; /* bytes of one READ or WRITE, whole pages */
};

/* @id leads through the adapter. Errors: -ENODEV; -ENOBUFS it bears less than
 * we can do with. */
int verbs_bounds(const struct rdma_cm_id *id, struct verbs_bounds *out);
/* 0, or -EOPNOTSUPP; -ENODEV. */
int verbs_has_atomics(struct ibv_context *device);
/* READs and atomics that may be under way, each way: no more than VERBS_READS,
 * than @cp says, and than @device bears (rdma_connect() would refuse it).
 * Errors: -ENODEV. */
int verbs_depths(struct ibv_context *device, struct rdma_conn_param *cp);

/* "verbs:HOST:PORT". Errors: -EINVAL; -ENOENT. */
int verbs_resolve(const char *address, bool passive,
		  struct rdma_addrinfo **out);

/* Wait for @want; others end it. Errors: -ETIMEDOUT, -ECONNREFUSED (refused,
 * unreachable), -EHOSTUNREACH. *@private gets the peer's private data. */
int verbs_wait_event(struct rdma_cm_id *id, enum rdma_cm_event_type want,
		     uint64_t deadline, void *private, size_t len);

/* Post a receive of slot @i; send @len bytes at @buf, which are @m's. */
int verbs_post_recv(struct ibv_qp *qp, struct verbs_mem *m, unsigned i);
int verbs_post_send(struct ibv_qp *qp, struct verbs_mem *m, const void *buf,
		    uint32_t len, uint64_t wr_id);

/* No operation of this queue pair takes effect any more that has not left. */
void verbs_conn_break(struct ibv_qp *qp);

#endif
