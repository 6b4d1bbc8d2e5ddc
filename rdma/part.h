/* rdma/part.h - private to the transports that need a network: a *part* is a
 * batch's operations to one node. It is gone when all of them have ended.
 * Threads: the queue's own. */
#ifndef ACESO_RDMA_PART_H
#define ACESO_RDMA_PART_H
#include "rdma/net.h"

struct part {
	struct fab_batch *batch;
	uint8_t node;
	uint32_t number; /* in its lane, rising */
	uint32_t next;	 /* operation to be sent next */
	uint32_t left;	 /* not ended */
	uint32_t ack;	 /* the last one-sided operation; UINT32_MAX: none */
	uint64_t deadline;
	TAILQ_ENTRY(part) link;
};

TAILQ_HEAD(part_list, part);

/* A queue's lane to one node: the parts on it, in the order posted. @drop is
 * called before a part goes: its batch's memory may be the poster's again. */
struct part_lane {
	struct fab *fab;
	struct part_list parts;
	struct part *sending; /* first of them not sent whole */
	uint32_t number;      /* the last one's */
	void (*drop)(struct part_lane *l, struct part *part);
};

/* Begin @b: all its operations are under way, each in a part of @out. Errors:
 * -ENOMEM, no part is left. */
int parts_make(struct fab *f, struct fab_batch *b, struct part_list *out);

/* There is no way to its node: the first operation says so, the others were
 * not tried. @part is gone. */
void part_refuse(struct fab *f, struct part *part);

void part_add(struct part_lane *l, struct part *part);

/* The first operation from @from on that is under way; n: none. */
uint32_t part_next(const struct part *part, uint32_t from);

/* Operation @i has ended. True: it was the last, @part is gone. */
bool part_end(struct part_lane *l, struct part *part, uint32_t i, int status);
/* All operations from @from on end. True: @part is gone. */
bool part_end_all(struct part_lane *l, struct part *part, uint32_t from,
		  int status);
/* All operations of all parts. */
void parts_end(struct part_lane *l, int status);

/* --- a queue whose batches travel in parts ------------------------------- */

struct part_queue {
	struct queue q;
	/* The lane to @part's node, ready or on its way to be; that takes no
	 * longer than until @part is due. Errors: -EHOSTDOWN; -ENOMEM. */
	int (*lane_get)(struct part_queue *q, const struct part *part,
			struct part_lane **out);
	/* Send what it takes now. */
	void (*lane_send)(struct part_queue *q, struct part_lane *l);
	struct part_lane *lane[FAB_NODE_COORD + 1]; /* made when needed */
};

/* For its fab_ops and queue_how. */
int part_post(struct fab *f, struct fab_batch *b);
void parts_expire(struct queue *q, uint64_t now);

#endif
