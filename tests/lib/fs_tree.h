/* tests/lib/fs_tree.h - is what a store holds a sound file system? Walks every
 * name from the root, and every key; knows the formats, not the code that
 * changes them. Nothing may change meanwhile. */
#ifndef ACESO_TESTS_LIB_FS_TREE_H
#define ACESO_TESTS_LIB_FS_TREE_H
#include <stdint.h>

struct fs;

struct fs_tree {
	uint64_t names, dirs, files; /* reachable; inodes counted once */
	uint64_t orphans;	     /* nlink 0, in the hidden directory */
	uint64_t lost_inodes;	     /* no name leads there: leaked space */
	uint64_t lost_nodes;	     /* of directories, likewise */
	uint64_t high_links;	     /* nlink greater than there are names */
	char fault[200];	     /* what is unsound, "" if nothing */
};

/* Leaks are counted, they are allowed; what no crash may leave is a fault: a
 * name without an inode, fewer links than names, a directory with two names
 * or a wrong parent, an entry in the wrong leaf, a missing node.
 * Returns 0 if sound, -EBADMSG with @out->fault, or -errno of the store. */
int fs_tree_check(struct fs *fs, struct fs_tree *out);

#endif
