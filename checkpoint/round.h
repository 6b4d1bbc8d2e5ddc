/* checkpoint/round.h - one round: what changed in a region since the last one
 * goes to the peers that keep images of it.
 *
 *      live region          peer's area
 *     +-----------+        +---------+  CALL   +-------+
 *     | snapshot  |-WRITE->| landing |-------->| image |   for each message,
 *     +-----------+  diff  +---------+  fold   +-------+   to all peers at once
 *
 *                          round begins
 *      UNKNOWN --- asked: it has our version ------> EVEN <---+
 *        ^  |                                         |  |    | full image
 *        |  +----- asked: it has another --> BEHIND --|--+    | folded
 *        |                                     |      |       |
 *        +--- did not answer, or refused ------+------+-------+
 *
 * R1. A round ends with the snapshot at a new version, whoever has it: it does
 *     not wait for the dead, and what was taken in is never taken back. Each
 *     peer either has exactly that version (EVEN), or is sent all of it.
 * R2. What was in the region when the round began is in that version.
 *
 * Threads: one at a time per struct. It yields batches: post, wait, step again.
 */
#ifndef ACESO_CHECKPOINT_ROUND_H
#define ACESO_CHECKPOINT_ROUND_H
#include <stdbool.h>
#include <stdint.h>

#include "rdma/fabric.h"

#define CKPT_PEERS_MAX	 8u
#define CKPT_ROUND_NS	 UINT64_C(1000000000) /* a message, if not given */
#define CKPT_ROUND_TRIES 3u		      /* for a message to a peer */
#define CKPT_SCAN_PIECES 1024u		      /* looked at in one step: 4 MiB */

struct ckpt_round;

/* Who keeps an image of the region. */
struct ckpt_peer {
	uint8_t node;
	uint64_t area; /* offset of it in that node's region: image.h */
};

struct ckpt_round_opts {
	const void *live; /* the region; others may CAS it */
	uint64_t size;	  /* of it */
	uint32_t region;  /* its number, as the peers know it */
	uint16_t call;	  /* type of the CALLs: struct ckpt_req, ckpt_ack */
	uint32_t n_peers; /* <= CKPT_PEERS_MAX */
	struct ckpt_peer peer[CKPT_PEERS_MAX];
	uint64_t timeout_ns; /* for a message; 0: CKPT_ROUND_NS */
	struct fab *fab;     /* for the clock alone */
};

/* For one round, or all of them; counted since the opening. */
struct ckpt_cost {
	uint64_t rounds;
	uint64_t skipped;  /* of them: nothing was to be done */
	uint64_t scanned;  /* bytes of the region looked at */
	uint64_t changed;  /* bytes of pieces found changed */
	uint64_t packed;   /* bytes of messages made of them */
	uint64_t full;	   /* bytes of messages of full images */
	uint64_t sent;	   /* bytes written to peers, all together */
	uint64_t messages; /* made */
	uint64_t again;	   /* sent again to a peer */
	uint64_t failed;   /* peers given up in a round */
	uint64_t work_ns;  /* spent in steps, without waiting */
};

struct ckpt_outcome {
	uint64_t version; /* of the snapshot; 0: nothing ever was in it */
	uint64_t note;	  /* that goes with it */
	uint64_t has;	  /* bit i: peer i has this version */
};

/* Errors: -EINVAL bad size, too many peers; -ENOMEM. */
int ckpt_round_open(const struct ckpt_round_opts *opts,
		    struct ckpt_round **out);
void ckpt_round_close(struct ckpt_round *r); /* no batch under way */

struct ckpt_plan {
	uint64_t alive; /* bit i: peer i takes part */
	uint64_t note;	/* comes back with the image */
	uint64_t word;	/* goes with each CALL: struct ckpt_req */
	bool changed;	/* false: no byte of the region has changed since the
			 * last round began; then it is not looked at */
};

/* Begin a round. One that is under way is given up; no batch of it may be. */
void ckpt_round_begin(struct ckpt_round *r, const struct ckpt_plan *plan);

enum ckpt_step {
	CKPT_DONE, /* look at ckpt_round_outcome() */
	CKPT_POST, /* post *next; step again when it is complete */
	CKPT_MORE, /* step again, soon; nothing to wait for */
};

enum ckpt_step ckpt_round_step(struct ckpt_round *r, struct fab_batch **next);

/* Step to the end of the round, waiting on @f. */
void ckpt_round_run(struct ckpt_round *r, struct fab *f);

void ckpt_round_outcome(const struct ckpt_round *r, struct ckpt_outcome *out);
void ckpt_round_cost(const struct ckpt_round *r, struct ckpt_cost *last,
		     struct ckpt_cost *all); /* either may be NULL */

#endif
