/* fs/trie.h - a directory: nodes in the store, found by the bits of a hash.
 *
 *	depth 0		  INNER g		each level takes two bits
 *			 /  |  |  \		of the hash, from the top
 *	depth 1	     LEAF LEAF | LEAF
 *			     INNER h		keys of h's children carry h
 *			    /  |  |  \
 *	depth 2		  LEAF ... DEAD
 *
 * T1. Every node that a present INNER names is present. So whoever meets an
 *     absent child has read an outdated parent, and starts over. The root is
 *     absent only if the directory is gone.
 * T2. A leaf changes by a conditional put alone. A DEAD leaf becomes a LEAF
 *     only after its parent was written anew (same bytes, next version); a
 *     parent becomes a leaf only if it has the version it had before all its
 *     children were written DEAD. So no entry is put into a leaf that is on
 *     its way out, though nothing is locked.
 * T3. gen is random: of two who split one leaf each writes children of his
 *     own, and the put of the parent decides; the loser removes his.
 *
 * Threads: any; a spot belongs to its caller. */
#ifndef ACESO_FS_TRIE_H
#define ACESO_FS_TRIE_H
#include "fs/key.h"
#include "fs/leaf.h"
#include "kv/kv.h"

struct fs;

#define FS_TRIE_BITS	  2u /* of the hash, per level */
#define FS_TRIE_CHILDREN  4u
#define FS_TRIE_DEPTH_MAX 32u /* then the hash is used up */

/* A leaf with the place where it was found. */
struct fs_spot {
	struct fs_key key;
	uint64_t version;
	uint64_t dir, gen, prefix;
	uint8_t depth;
	struct fs_key parent; /* of depth > 0: the INNER above */
	uint64_t parent_version;
	struct fs_node node; /* LEAF or DEAD */
};

/* Find the leaf for @hash. Errors: -ENOENT if the directory is gone. */
int fs_trie_find(struct fs *fs, uint64_t dir, uint64_t hash,
		 struct fs_spot *out);

/* For one who wants to add @need bytes to the leaf that find gave: it stays as
 * it is if it has room; else it is made a live one and split until it has, and
 * @spot is what was found then. Errors: as find; -ENOSPC. */
int fs_trie_room(struct fs *fs, uint64_t hash, uint32_t need,
		 struct fs_spot *spot);

/* Store the edited leaf if nobody changed it. @flags: 0 or KV_URGENT.
 * Errors: -ESTALE: find it again. */
int fs_trie_commit(struct fs *fs, struct fs_spot *spot, uint8_t flags);

/* The same as a request for kv_txn() or kv_run(); it points into @spot. */
struct kv_req fs_trie_request(const struct fs_spot *spot, uint8_t flags);

/* The first hash behind the leaf's share; false if it is the last leaf. */
bool fs_trie_after(const struct fs_spot *spot, uint64_t *hash);

/* A request that makes the directory @dir: inserts its root, an empty leaf.
 * @key and @node are room for it, and live as long as the request. */
struct kv_req fs_trie_create(uint64_t dir, struct fs_key *key,
			     struct fs_node *node);

/* Make of an empty directory one empty root leaf, in @root, so that deleting
 * it at its version removes the directory if it is empty still.
 * Errors: -ENOTEMPTY; -ENOENT if it is gone; -ESTALE if it is busy: again. */
int fs_trie_prune(struct fs *fs, uint64_t dir, struct fs_spot *root);

/* Call @each for every node of the trie on the way to @hash, root first:
 * for explain. Stops when @each returns non-zero, which is returned. */
int fs_trie_path(struct fs *fs, uint64_t dir, uint64_t hash,
		 int (*each)(void *arg, const struct fs_key *key,
			     const struct fs_node *node),
		 void *arg);

#endif
