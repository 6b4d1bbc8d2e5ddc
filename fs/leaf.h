/* fs/leaf.h - one node of a directory's trie, as bytes: build, check, edit.
 * A node is a LEAF (entries in the order of their hashes), an INNER (four
 * children, whose keys carry its random gen) or DEAD (an empty leaf of which
 * a rmdir on the way says: do not fill). Pure: no I/O. The bytes are in
 * FORMAT.md. */
#ifndef ACESO_FS_LEAF_H
#define ACESO_FS_LEAF_H
#include <stdbool.h>
#include <stdint.h>

#define FS_NAME_BYTES_MAX    255u
#define FS_NODE_HEAD_BYTES   16u
#define FS_DENTRY_HEAD_BYTES 18u
#define FS_NODE_BYTES_MAX    (16u * 1024) /* fits a transaction */
#define FS_LEAF_BYTES_MAX    4096u /* a leaf above this splits, if it can */

enum fs_node_kind { FS_NODE_LEAF = 1, FS_NODE_INNER, FS_NODE_DEAD };

struct fs_node {
	uint32_t len;
	uint8_t bytes[FS_NODE_BYTES_MAX];
};

/* @name points into the node (not 0-terminated) or is the caller's. */
struct fs_dentry {
	uint64_t hash, ino;
	const char *name;
	uint8_t nlen;
	uint8_t type; /* as d_type */
};

/* Make an empty LEAF, a DEAD one, an INNER with @gen. */
void fs_node_init(struct fs_node *n, enum fs_node_kind kind, uint64_t gen);

enum fs_node_kind fs_node_kind(const struct fs_node *n);
uint64_t fs_node_gen(const struct fs_node *n);
uint16_t fs_node_count(const struct fs_node *n); /* entries; 0 if no leaf */

/* Is this a node? Errors: -EBADMSG. Everything below needs a checked one. */
int fs_node_check(const struct fs_node *n);

/* Walk the entries: *@at is 0 at first. False at the end. */
bool fs_leaf_next(const struct fs_node *n, uint32_t *at, struct fs_dentry *out);

/* Find by hash and name; @out (may be NULL) gets the entry. */
bool fs_leaf_find(const struct fs_node *n, uint64_t hash, const char *name,
		  uint8_t nlen, struct fs_dentry *out);

/* Put @d in its place. It must not be there. Errors: -ENOSPC if the node would
 * pass FS_NODE_BYTES_MAX. */
int fs_leaf_add(struct fs_node *n, const struct fs_dentry *d);

/* Take an entry out; let an entry name another inode. It must be there. */
void fs_leaf_drop(struct fs_node *n, const struct fs_dentry *d);
void fs_leaf_set(struct fs_node *n, const struct fs_dentry *d, uint64_t ino,
		 uint8_t type);

#endif
