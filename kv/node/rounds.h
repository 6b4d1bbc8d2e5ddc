/* kv/node/rounds.h - checkpoints of index shards: when a round is due
 * (checkpoint/round.h), with what note, and why a replay may then pass over
 * most blocks.
 *
 *   REST --due--> TICK --all nodes are at our clock--> ROUND, ROUND, ... -->
 * REST | one is not, or in a later view      (a shard each)
 *                   +-------------------------------> REST, soon again
 *
 * The clock. Each node has one, that only grows: the epoch of its view in the
 * high half, so that a new view is ahead of all that was before; ticks in the
 * low one. Whoever hears of a later clock goes on from that. A block is stamped
 * with its keeper's clock when it is sealed (block_rec.sealed). Before a round
 * the shard's host moves its own clock on and has every node that is up follow;
 * that clock is the round's note.
 *
 * K1. Let an image have note c, and its round have begun at T. A slot that was
 *     changed after T names a record in a block that is OPEN, or whose stamp,
 *     at every node, is >= c.
 *     For a block is sealed when no operation that has a record in it is under
 *     way (client/block_seal.c; of a dead client: after it was cut off), so
 *     after the change; and all clocks were at c by T. A node that was not
 *     there at T came in a later view, so its clock is ahead from its start.
 *     However long ago the record was written, or the block was opened; however
 *     late a node hears of the seal: that only makes stamps higher.
 * K2. A round begins only in the epoch of its note, at the host of the shard in
 *     that view. So nobody uses another host's copy of the shard at T: before
 *     a shard serves elsewhere all nodes are in a later view, and answer a tick
 *     with its clock.
 * K3. Images from before a tombstone was dropped, from before the shard was
 *     last replayed, or from before the pool was restarted, are not used: the
 *     coordinator gives the least note. (They might bring a deleted key back;
 *     or not know of a PENDING record that the replay has rolled forward, out
 *     of a block that they pass over; or know what the restart forgot.)
 * What follows for a replay is in merge.h.
 *
 * Nothing is looked at while nothing can have changed: without clients after
 * one round that found nothing; with clients the time between rounds doubles,
 * up to ROUNDS_REST_MAX times ckpt_ms, while rounds find nothing and no block
 * of this node is opened, sealed or marked. */
#ifndef ACESO_KV_NODE_ROUNDS_H
#define ACESO_KV_NODE_ROUNDS_H

#define ROUNDS_EPOCH_SHIFT 32u
#define ROUNDS_REST_MAX	   16u
#define ROUNDS_MS	   500u /* ckpt_ms, where nobody says otherwise */

#endif
