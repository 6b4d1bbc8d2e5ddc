/* kv/client/space.h - where to write: lanes of open blocks, spots in them.
 *
 * A lane (one per cpu or so; threads share them) holds open blocks for each
 * class; a spot is some units of one and the places to write them: the data
 * block and the delta block on every parity node that is up. While a block is
 * open, units that this very client supersedes in it are used again.
 * Blocks are opened ahead in the background, sealed when full and quiet. A
 * block of records is also sealed once the index version has passed the one it
 * was opened at, so that a sweep need not fear open blocks of older versions.
 *
 * Threads: any, for all functions. */
#ifndef ACESO_KV_CLIENT_SPACE_H
#define ACESO_KV_CLIENT_SPACE_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/client/client_impl.h"
#include "rdma/addr.h"

enum space_class { SPACE_COLD, SPACE_HOT, SPACE_PAGES, SPACE_CLASSES };

#define SPACE_COPIES_MAX 5u /* the data block and m delta blocks */

struct space_block;

struct space_spot {
	struct space_block *block;
	fab_addr addr; /* of the data: node, offset; multiple of a unit */
	uint32_t units;
	uint32_t life;	/* of the block */
	uint64_t epoch; /* of the view in which that was opened */
	uint8_t copies; /* how many of the below count; [0] is the data */
	struct {
		uint8_t node;
		uint64_t offset;
	} copy[SPACE_COPIES_MAX];
};

int space_open(struct kv *kv, struct space **out);
/* Seals all, waiting at most a few seconds for nodes that do not answer; for
 * kv_close(). Views may still be adopted meanwhile, and after. */
void space_leave(struct space *sp, struct kv_thread *t);
/* Frees; nobody uses it any more. NULL is fine. */
void space_close(struct space *sp);

/* Take @units for a write that begins now, from the calling thread's lane.
 * Mostly without any remote operation; else opens a block (blocking CALLs, up
 * to @deadline_ns, with back-pressure while delta blocks are folded).
 * Errors: -ENOSPC; -ETIMEDOUT; -EINVAL more units than a block has; -EAGAIN
 * the nodes have a newer view than this client: member_leave(), wait for it,
 * member_enter() and ask again (waiting in here would hold up that view);
 * -ENOBUFS room is being made (clean.h): likewise, ask again in a moment. */
int space_take(struct space *sp, struct kv_thread *t, enum space_class class,
	       uint32_t units, bool urgent, uint64_t deadline_ns,
	       struct space_spot *out);

/* Forget those copies of @spot that are gone with their node: what is written
 * there now is another's. Inside member_enter(), before every write to it.
 *
 * False: the node that the spot's address names is gone. Then nothing new may
 * be named there: others, who have not heard of its death yet, may still read
 * that node's memory (it is shared), and would meet what lay there before. */
bool space_trim(struct space *sp, struct space_spot *spot);

/* The write to @spot is complete in all copies (its fate too, if a record). */
void space_settle(struct space *sp, const struct space_spot *spot);

/* It was given up: the spot's bytes mean nothing, and may differ from copy to
 * copy (they are made equal before the block is sealed). If a record was
 * written there, it was KILLED before. No write to it is under way. */
void space_abandon(struct space *sp, const struct space_spot *spot);

/* [@addr, + @units) holds nothing live any more: used again if its block is
 * open in this client, else marked obsolete in the background. @life 0: the
 * caller held the only name of it. What makes no sense (no such block, given
 * back before) is passed over. Never fails; may send some marks inline when
 * too many wait. */
void space_obsolete(struct space *sp, struct kv_thread *t, fab_addr addr,
		    uint32_t units, uint32_t life);

/* A view was adopted: drop or seal the blocks that lost a member. */
void space_new_view(struct space *sp, struct kv_thread *t);

/* All operations hold still while a cut is made, which may need what is in use
 * now; and: the last cut is durable. For member_adopt(). */
void space_cut(struct space *sp);
void space_cut_durable(struct space *sp);

/* One round in the background: open ahead, seal, send marks (all of them if
 * @flush). Returns 1 if it did something, 0, or -errno. */
int space_background(struct space *sp, struct kv_thread *t, bool flush);

/* True while space_background() should be called again within 50 ms or so; when
 * false it need not be called before @wake is. */
bool space_pending(struct space *sp);

/* Call @wake(arg), from any thread and quickly, when there is work for the
 * background. Set it before the first space_take(). */
void space_on_work(struct space *sp, void (*wake)(void *arg), void *arg);
/* There is something for space_background(). Any thread, any lock. */
void space_wake(struct space *sp);

#endif
