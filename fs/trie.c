#include "fs/trie.h"

#include <assert.h>
#include <errno.h>

#include "fs/fs_impl.h"

/* --- finding ------------------------------------------------------------- */

static uint64_t prefix_of(uint64_t hash, uint8_t depth)
{
	return depth == 0 ? 0 : hash >> (64 - FS_TRIE_BITS * depth);
}

static void place(struct fs_spot *s, uint64_t dir, uint64_t gen, uint8_t depth,
		  uint64_t prefix)
{
	s->dir = dir;
	s->gen = gen;
	s->depth = depth;
	s->prefix = prefix;
	s->key = fs_key_dir(dir, gen, depth, prefix);
}

/* Read the node at the spot's place. */
static int read_node(struct fs *fs, struct fs_spot *s)
{
	size_t len;
	int err = kv_get(fs->kv, s->key.byte, s->key.len, s->node.bytes,
			 sizeof(s->node.bytes), &len, &s->version);

	if (err == -ERANGE)
		return -EBADMSG;
	if (err != 0)
		return err;
	s->node.len = len;
	err = fs_node_check(&s->node);
	if (err == 0 && fs_node_kind(&s->node) == FS_NODE_INNER &&
	    s->depth == FS_TRIE_DEPTH_MAX)
		return -EBADMSG;
	return err;
}

/* From an INNER to its child for @hash. */
static void descend(struct fs_spot *s, uint64_t hash)
{
	s->parent = s->key;
	s->parent_version = s->version;
	place(s, s->dir, fs_node_gen(&s->node), s->depth + 1,
	      prefix_of(hash, s->depth + 1));
}

/* One way down. -EAGAIN if a node on it had gone: an outdated parent (T1). */
static int walk(struct fs *fs, uint64_t dir, uint64_t hash, struct fs_spot *s)
{
	int err;

	place(s, dir, 0, 0, 0);
	for (;;) {
		err = read_node(fs, s);
		if (err == -ENOENT && s->depth > 0)
			return -EAGAIN;
		if (err != 0)
			return err;
		if (fs_node_kind(&s->node) != FS_NODE_INNER)
			return 0;
		descend(s, hash);
	}
}

int fs_trie_find(struct fs *fs, uint64_t dir, uint64_t hash,
		 struct fs_spot *out)
{
	for (int i = 0; i < FS_RETRIES_MAX; i++) {
		int err = walk(fs, dir, hash, out);

		if (err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}

bool fs_trie_after(const struct fs_spot *s, uint64_t *hash)
{
	if (s->depth == 0)
		return false;
	*hash = (s->prefix + 1) << (64 - FS_TRIE_BITS * s->depth);
	return *hash != 0;
}

int fs_trie_path(struct fs *fs, uint64_t dir, uint64_t hash,
		 int (*each)(void *arg, const struct fs_key *key,
			     const struct fs_node *node),
		 void *arg)
{
	struct fs_spot s;
	int err;

	place(&s, dir, 0, 0, 0);
	for (;;) {
		err = read_node(fs, &s);
		if (err == 0)
			err = each(arg, &s.key, &s.node);
		if (err != 0 || fs_node_kind(&s.node) != FS_NODE_INNER)
			return err;
		descend(&s, hash);
	}
}

/* --- changing ------------------------------------------------------------ */

struct kv_req fs_trie_request(const struct fs_spot *s, uint8_t flags)
{
	return (struct kv_req){.kind = KV_PUT_IF,
			       .flags = KV_HOT | flags,
			       .key = s->key.byte,
			       .klen = s->key.len,
			       .val = s->node.bytes,
			       .len = s->node.len,
			       .expect = s->version};
}

int fs_trie_commit(struct fs *fs, struct fs_spot *s, uint8_t flags)
{
	struct kv_req req = fs_trie_request(s, flags);
	int err = kv_run(fs->kv, &req, 1);

	if (err == 0)
		s->version = req.version;
	return err == -ENOENT ? -ESTALE : err;
}

struct kv_req fs_trie_create(uint64_t dir, struct fs_key *key,
			     struct fs_node *node)
{
	*key = fs_key_dir(dir, 0, 0, 0);
	fs_node_init(node, FS_NODE_LEAF, 0);
	return (struct kv_req){.kind = KV_INSERT,
			       .flags = KV_HOT,
			       .key = key->byte,
			       .klen = key->len,
			       .val = node->bytes,
			       .len = node->len};
}

/* T2: the parent first, then the child. */
static int revive(struct fs *fs, struct fs_spot *s)
{
	struct fs_spot up = {.key = s->parent, .version = s->parent_version};
	int err;

	assert(s->depth > 0); /* a root is never DEAD: prune makes it a LEAF */
	fs_node_init(&up.node, FS_NODE_INNER, s->gen);
	err = fs_trie_commit(fs, &up, 0);
	if (err != 0)
		return err;
	fs_node_init(&s->node, FS_NODE_LEAF, 0);
	return fs_trie_commit(fs, s, 0);
}

/* --- splitting ----------------------------------------------------------- */

struct split {
	struct fs_key key[FS_TRIE_CHILDREN];
	struct fs_node node[FS_TRIE_CHILDREN];
	struct kv_req req[FS_TRIE_CHILDREN];
};

static void split_deal(const struct fs_spot *s, uint64_t gen, struct split *to)
{
	struct fs_dentry d;
	uint32_t at = 0;

	for (unsigned i = 0; i < FS_TRIE_CHILDREN; i++) {
		fs_node_init(&to->node[i], FS_NODE_LEAF, 0);
		to->key[i] = fs_key_dir(s->dir, gen, s->depth + 1,
					(s->prefix << FS_TRIE_BITS) + i);
	}
	while (fs_leaf_next(&s->node, &at, &d)) {
		unsigned i = prefix_of(d.hash, s->depth + 1) % FS_TRIE_CHILDREN;
		int err = fs_leaf_add(&to->node[i], &d);

		assert(err == 0); /* a part is no larger than the whole */
	}
	for (unsigned i = 0; i < FS_TRIE_CHILDREN; i++)
		to->req[i] = (struct kv_req){.kind = KV_INSERT,
					     .flags = KV_HOT,
					     .key = to->key[i].byte,
					     .klen = to->key[i].len,
					     .val = to->node[i].bytes,
					     .len = to->node[i].len};
}

static void split_undo(struct fs *fs, struct split *sp)
{
	for (unsigned i = 0; i < FS_TRIE_CHILDREN; i++) {
		sp->req[i].kind = KV_DEL;
		sp->req[i].flags = KV_URGENT;
		sp->req[i].expect = 0;
	}
	/* what cannot be removed now is out of reach, and fsck's */
	(void)kv_run(fs->kv, sp->req, FS_TRIE_CHILDREN);
}

/* T3: the children first, then the parent. */
static int split(struct fs *fs, struct fs_spot *s)
{
	uint64_t gen = kv_random(fs->kv) | 1; /* never 0 */
	struct split sp;
	int err;

	split_deal(s, gen, &sp);
	err = kv_run(fs->kv, sp.req, FS_TRIE_CHILDREN);
	if (err != 0)
		goto err_undo;
	fs_node_init(&s->node, FS_NODE_INNER, gen);
	err = fs_trie_commit(fs, s, 0);
	if (err == 0)
		return 0;
	if (err != -ESTALE && err != -ENOSPC)
		return err; /* it may have happened: the children must stay */
err_undo:
	split_undo(fs, &sp);
	return err;
}

/* A leaf at the last level holds names of one hash: it may grow further. */
static bool is_full(const struct fs_spot *s, uint32_t need)
{
	return s->node.len + need > FS_LEAF_BYTES_MAX &&
	       s->depth < FS_TRIE_DEPTH_MAX;
}

int fs_trie_room(struct fs *fs, uint64_t hash, uint32_t need,
		 struct fs_spot *spot)
{
	for (int i = 0; i < FS_RETRIES_MAX; i++) {
		int err;

		if (fs_node_kind(&spot->node) == FS_NODE_DEAD)
			err = revive(fs, spot);
		else if (is_full(spot, need))
			err = split(fs, spot);
		else
			return 0;
		if (err == 0 || err == -ESTALE)
			err = fs_trie_find(fs, spot->dir, hash, spot);
		if (err != 0)
			return err;
	}
	return -EBUSY;
}

/* --- pruning ------------------------------------------------------------- */

static int is_empty(struct fs *fs, uint64_t dir)
{
	struct fs_spot s;
	uint64_t hash = 0;

	do {
		int err = fs_trie_find(fs, dir, hash, &s);

		if (err != 0)
			return err;
		if (fs_node_count(&s.node) > 0)
			return -ENOTEMPTY;
	} while (fs_trie_after(&s, &hash));
	return 0;
}

static void delete_children(struct fs *fs, const struct fs_spot *s,
			    uint64_t gen)
{
	struct fs_key key[FS_TRIE_CHILDREN];
	struct kv_req req[FS_TRIE_CHILDREN];

	for (unsigned i = 0; i < FS_TRIE_CHILDREN; i++) {
		key[i] = fs_key_dir(s->dir, gen, s->depth + 1,
				    (s->prefix << FS_TRIE_BITS) + i);
		req[i] = (struct kv_req){.kind = KV_DEL,
					 .flags = KV_URGENT,
					 .key = key[i].byte,
					 .klen = key[i].len};
	}
	/* out of reach already: what stays is space, and fsck's */
	(void)kv_run(fs->kv, req, FS_TRIE_CHILDREN);
}

/* Write DEAD over everything below and at @s (at the root: an empty LEAF).
 * A DEAD leaf is written again: whoever was about to revive it must see (T2).
 * If this stops halfway, what is DEAD stays so until somebody fills it. */
static int bury(struct fs *fs, struct fs_spot *s)
{
	uint64_t gen = 0;
	int err = read_node(fs, s);

	if (err != 0)
		return err == -ENOENT ? -ESTALE : err;
	if (fs_node_count(&s->node) > 0)
		return -ENOTEMPTY;
	if (fs_node_kind(&s->node) == FS_NODE_INNER)
		gen = fs_node_gen(&s->node);
	for (unsigned i = 0; gen != 0 && i < FS_TRIE_CHILDREN; i++) {
		struct fs_spot child;

		place(&child, s->dir, gen, s->depth + 1,
		      (s->prefix << FS_TRIE_BITS) + i);
		err = bury(fs, &child);
		if (err != 0)
			return err;
	}
	fs_node_init(&s->node, s->depth > 0 ? FS_NODE_DEAD : FS_NODE_LEAF, 0);
	err = fs_trie_commit(fs, s, KV_URGENT);
	if (err == 0 && gen != 0)
		delete_children(fs, s, gen);
	return err;
}

int fs_trie_prune(struct fs *fs, uint64_t dir, struct fs_spot *root)
{
	int err;

	place(root, dir, 0, 0, 0);
	err = read_node(fs, root);
	if (err != 0)
		return err;
	if (fs_node_kind(&root->node) == FS_NODE_LEAF)
		return fs_node_count(&root->node) > 0 ? -ENOTEMPTY : 0;
	err = is_empty(fs, dir); /* look before anything is buried */
	if (err != 0)
		return err;
	return bury(fs, root);
}
