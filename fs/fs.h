/* fs/fs.h - a POSIX file system on a key-value store, for libfuse's low level.
 * Names, inodes and bytes live in the store alone: this room keeps no state
 * that another mount of the same pool would miss.
 * Threads: requests may run in any number of threads at once. */
#ifndef ACESO_FS_FS_H
#define ACESO_FS_FS_H
#include <stdbool.h>
#include <stdint.h>

struct fs;
struct kv;
struct fuse_lowlevel_ops;

enum fs_cache {
	FS_CACHE_AUTO,	    /* kernel caches, revalidated after timeouts */
	FS_CACHE_NONE,	    /* every request comes here */
	FS_CACHE_WRITEBACK, /* kernel gathers writes: one mount only */
};

struct fs_opts {
	enum fs_cache cache;
	double attr_timeout;	 /* seconds; < 0: by cache mode */
	double entry_timeout;	 /* likewise */
	double negative_timeout; /* likewise */
	bool persist; /* fsync waits until a pool with a directory has it */
	bool debug;
	bool far; /* the store is over a network: what asks it sleeps */
	/* Requests by io_uring, if the kernel offers it (ring.h): so many at
	 * once of a CPU; 0: not. */
	uint32_t ring_entries;
	bool check; /* fsck, readers: change nothing by itself */
	/* Of the root directory of a new one, if it is to be another than: */
	bool has_root_uid, has_root_gid; /* of the process */
	bool has_root_mode;		 /* 1777 */
	uint32_t root_uid, root_gid, root_mode;
};

/* Open the file system in @kv; the first one to do so makes the root directory
 * (mode and owner as @opts says). Sets *@out on success only; the caller
 * owns it and closes it before it closes @kv.
 * Errors: those of kv.h; -EPROTO if the pool holds another format version;
 * -EBADMSG if the superblock is wrong; with @opts->check -ENOENT: none. */
int fs_open(struct kv *kv, const struct fs_opts *opts, struct fs **out);

/* Write back what is pending and let go. NULL is fine. -EIO: not all of it
 * could be written (times, sizes). */
int fs_close(struct fs *fs);

/* The table for fuse_session_new(); its userdata must be the struct fs. */
const struct fuse_lowlevel_ops *fs_ops(void);

/* --- looking inside, for tools: no kernel needed -------------------------- */

/* Walk @path ("/a/b") from the root, not following a last symlink.
 * Errors: -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG. */
int fs_resolve(struct fs *fs, const char *path, uint64_t *ino);

/* For every key that @path leans on, in the order a reader meets them: call
 * @each with a line for people about what it is, and the key. The pages of a
 * file are told through @page (may be NULL): file offset, and the page. */
struct kv_page;
int fs_explain(struct fs *fs, const char *path,
	       int (*each)(void *arg, const char *what, const void *key,
			   unsigned klen),
	       int (*page)(void *arg, uint64_t offset, struct kv_page page),
	       void *arg);

#endif
