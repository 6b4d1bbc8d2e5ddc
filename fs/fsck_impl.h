/* fs/fsck_impl.h - private to fs/fsck*.c: all keys in memory, and the faults.
 *
 *   fsck_take.c   every key of the store into the tables, values parsed
 *   fsck_names.c  tables -> faults: tries, names, links
 *   fsck_bytes.c  tables -> faults: chunks, pages, attributes
 *   fsck_mend.c   one fault -> conditional changes
 *   fsck.c        looks, rounds of mending, what is told */
#ifndef ACESO_FS_FSCK_IMPL_H
#define ACESO_FS_FSCK_IMPL_H
#include "fs/cnode.h"
#include "fs/fs_impl.h"
#include "fs/fsck.h"
#include "fs/inode.h"
#include "fs/key.h"
#include "fs/leaf.h"

#define CK_FAULTS_MAX 100000u /* in one look; the next round finds the rest */

/* A growing table; elements move until it is complete. */
struct ck_table {
	char *at;
	size_t n, cap, size;
};

struct ck_inode {
	uint64_t ino, version;
	uint64_t size, pages, parent;
	uint32_t mode, nlink;
	bool bad, is_inline;
	bool xattr_bad;
	/* what was found out: */
	bool reached; /* from the root */
	bool orphan;  /* listed as one */
	bool is_dir;  /* as far as can be told */
	uint32_t stamp;
	uint32_t names, subdirs;
	uint64_t found_pages;
	uint64_t in_dir; /* of the first name */
	const char *name;
	uint8_t nlen;
};

struct ck_node { /* of a directory's trie */
	uint64_t ino, gen, prefix, version;
	uint8_t depth;
	bool bad, reached;
	struct fs_node *node; /* only its used bytes are allocated */
};

struct ck_chunk {
	uint64_t ino, n, version;
	bool bad;
	struct kv_page page[FS_CHUNK_PAGES];
};

struct ck_map {
	uint64_t ino, n, version;
	uint8_t level;
	bool bad;
};

struct ck_value { /* of a large attribute: there, or named by its inode */
	uint64_t ino, number, version;
};

struct ck_name { /* of a directory */
	uint64_t ino, dir, hash, version;
	struct fs_key leaf;
	const char *name;
	uint8_t nlen;
};

struct ck_sign {
	uint64_t ino, version;
};

struct ck_page {
	uint64_t addr;
	uint32_t chunk, i; /* in the table of chunks */
};

/* A fault, and what mending it needs. */
struct ck_fault {
	struct fs_fault f;
	struct fs_key key;
	uint64_t version; /* of the key when it was seen */
	uint64_t ino, value;
	uint8_t nlen;
	char name[FS_NAME_BYTES_MAX + 1];
};

struct ck {
	struct fs *fs;
	const struct fs_fsck_opts *opts;
	struct fs_fsck_sum *sum;
	bool quiet; /* paths are being learnt: faults come later */
	bool alone; /* nobody else is mounted */
	uint64_t total;
	int err; /* the first failure of this look, not of the store's */
	bool super, super_bad, moves;
	struct ck_table inodes, nodes, chunks, maps, values, named, signs;
	struct ck_table dirs;	/* struct ck_name */
	struct ck_table faults; /* struct ck_fault */
	uint64_t lost_found;	/* the directory; 0: not known yet */
};

/* --- fsck_take.c ---------------------------------------------------------- */

void *ck_push(struct ck_table *t); /* a zeroed element; NULL: no memory */
void ck_drop(struct ck *ck);	   /* everything that a look took */
int ck_take(struct ck *ck);

struct ck_inode *ck_inode_find(struct ck *ck, uint64_t ino);
struct ck_node *ck_node_find(struct ck *ck, uint64_t ino, uint64_t gen,
			     uint8_t depth, uint64_t prefix);
bool ck_value_has(const struct ck_table *t, uint64_t ino, uint64_t number);

/* Note a fault of @key (its words follow); NULL: no room, and ck->err is set
 * if that is for want of memory. */
struct ck_fault *ck_fault(struct ck *ck, enum fs_fault_kind kind,
			  struct fs_key key, uint64_t version, const char *fmt,
			  ...) __attribute__((format(printf, 5, 6)));

/* Where @ino is, for people: "/a/b", or "inode 7" if no name leads there. */
#define CK_PATH_MAX 300u
const char *ck_path(struct ck *ck, uint64_t ino, char out[CK_PATH_MAX]);

/* --- the others ----------------------------------------------------------- */

int ck_names(struct ck *ck);
int ck_bytes(struct ck *ck);
/* Errors: -ESTALE or so if it is another by now; -EOPNOTSUPP it cannot be. */
int ck_mend(struct ck *ck, const struct ck_fault *f);

static inline struct ck_inode *ck_inode_at(struct ck *ck, size_t i)
{
	return (struct ck_inode *)ck->inodes.at + i;
}

#endif
