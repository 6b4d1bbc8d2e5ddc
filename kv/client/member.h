/* kv/client/member.h - this client as a member of the pool: which view holds,
 * and what it takes to move to the next.
 *
 * Every operation runs inside member_enter() .. member_leave(); adopting a view
 * cuts the nodes that died, waits until every operation begun under an older
 * epoch that was in the middle of a change has settled (written its fate, or
 * parked itself waiting for the new view), and only then tells the
 * coordinator that this client is in the new epoch. */
#ifndef ACESO_KV_CLIENT_MEMBER_H
#define ACESO_KV_CLIENT_MEMBER_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/client/client_impl.h"
#include "kv/proto.h"

/* @address: where the nodes of @first are, one for each of 64; NULL: what is
 * not attached to stays so before the next view. */
int member_open(struct kv *kv, const struct view *first,
		const char (*address)[PROTO_ADDRESS_BYTES],
		struct member **out);
void member_close(struct member *m);

/* The view as it is now. The data path takes the parts below instead. */
void member_view(struct member *m, struct view *out);
uint64_t member_epoch(struct member *m); /* one relaxed load */
uint64_t member_up(struct member *m);	 /* bits of nodes that are UP */
uint64_t member_all(struct member *m);	 /* those and the ones COMING */

/* True if @node is UP or COMING, and has been the same process since the view
 * of @epoch: what was opened there then is there. */
bool member_holds(struct member *m, uint32_t node, uint64_t epoch);
uint64_t member_index_version(struct member *m);
/* How many views were adopted in which a shard was elsewhere, or otherwise,
 * than in the one before: while that stays, so do the slots of keys. */
uint64_t member_moves(struct member *m);
/* Nothing is to be waited for: it is shut out, or was to be gone by now and
 * what it needs is out of reach (kv_leaving()). */
bool member_gives_up(struct member *m, uint64_t now);

/* The serving host of @shard, -EAGAIN while it is being rebuilt, -EIO lost. */
int member_host(struct member *m, uint32_t shard);
/* The same for a change that was interrupted: also while it is SETTLING. */
int member_host_settling(struct member *m, uint32_t shard);

/* A change of @shard leaves the view in its middle (waits), its record written
 * and its outcome open; and is decided. While one is open and the shard is
 * SETTLING, the coordinator is not told that this client is in the view. */
void member_hold(struct member *m, uint32_t shard);
void member_release(struct member *m, uint32_t shard);

/* An operation that changes things is under way in this thread. enter returns
 * the epoch it runs in. An operation that must wait for another view calls
 * member_leave(), member_wait(), member_enter() again. */
uint64_t member_enter(struct member *m, struct kv_thread *t);
void member_leave(struct member *m, struct kv_thread *t);

/* A node failed us (-EHOSTDOWN, -ETIMEDOUT): tell the coordinator. */
void member_suspect(struct member *m, struct kv_thread *t, uint32_t node);

/* Wait until the epoch is beyond @epoch or @deadline_ns. 0 or -ETIMEDOUT. */
int member_wait(struct member *m, struct kv_thread *t, uint64_t epoch,
		uint64_t deadline_ns);

#endif
