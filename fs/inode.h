/* fs/inode.h - the record of one inode: load, change if unchanged, store.
 * The truth is in the store; a struct fs_inode is a copy with the version it
 * was read at. Threads: the caller owns the copy. */
#ifndef ACESO_FS_INODE_H
#define ACESO_FS_INODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct fs;

#define FS_ROOT_INO	    1u
#define FS_INLINE_BYTES_MAX 3072u /* a small file lies in its inode */
#define FS_XATTR_INLINE_MAX 4096u /* packed xattrs, see xattr.h */
#define FS_BODY_BYTES_MAX   8192u /* inline data or symlink + packed xattrs */

struct fs_inode {
	uint64_t ino;
	uint64_t version; /* of the key; 0: not stored yet */
	uint32_t mode;	  /* as st_mode */
	uint32_t uid, gid;
	uint32_t nlink;
	uint64_t size;
	uint64_t pages; /* 4 KiB pages held: st_blocks / 8 */
	uint64_t rdev;
	uint64_t parent;     /* directories: where ".." leads */
	uint64_t generation; /* random, made with the inode */
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
	bool is_inline;	    /* the file's bytes are the body, not chunks */
	uint16_t data_len;  /* body[0 .. data_len-1]: inline bytes or symlink */
	uint16_t xattr_len; /* body[data_len .. +xattr_len-1]: packed xattrs */
	uint32_t pending_seq; /* not stored: which pending times are in here */
	uint8_t body[FS_BODY_BYTES_MAX];
};

#define FS_INODE_HEAD_BYTES 96u
#define FS_INODE_BYTES_MAX  (FS_INODE_HEAD_BYTES + FS_BODY_BYTES_MAX)

/* The record as bytes, and back: for those who put it in a batch of their own.
 * encode returns the length, at most FS_INODE_BYTES_MAX. decode leaves ino and
 * version to the caller. Errors: -EBADMSG. */
size_t fs_inode_encode(const struct fs_inode *in, void *buf);
int fs_inode_decode(const void *buf, size_t len, struct fs_inode *out);

/* Finish what fs_inode_load() and _store() do around the bytes, for the same:
 * take in what is pending; note that @in is now stored at @version. */
void fs_inode_loaded(struct fs *fs, struct fs_inode *in, uint64_t ino,
		     uint64_t version);
void fs_inode_stored(struct fs *fs, struct fs_inode *in, uint64_t version);

/* Errors: -ENOENT (also for an inode whose last link and user are gone);
 * -EBADMSG if the record does not parse. */
int fs_inode_load(struct fs *fs, uint64_t ino, struct fs_inode *out);

/* Store @in if nobody changed it since it was loaded; its version moves on.
 * A version of 0 inserts it (-EEXIST if it is there).
 * Errors: -ESTALE if it was changed: load again; -ENOENT; -ENOSPC. */
int fs_inode_store(struct fs *fs, struct fs_inode *in);

/* Load, let @change edit the copy, store; again if another was faster. @change
 * returns 0 to store, 1 to leave it as it is (success), -errno to stop.
 * @out (may be NULL) gets what was stored. Takes no lock. */
int fs_inode_update(struct fs *fs, uint64_t ino,
		    int (*change)(struct fs_inode *in, void *arg), void *arg,
		    struct fs_inode *out);

/* A number no inode of this pool ever had (client id and a counter). */
uint64_t fs_inode_number(struct fs *fs);

/* Fill @st, as stat(2) shows it. */
void fs_inode_stat(const struct fs_inode *in, struct stat *st);

/* Clear the set-id bits that a write, a truncate or a chown clears. */
void fs_inode_kill_priv(struct fs_inode *in);

/* Leave @in's last look with the itable, just before the inode goes. */
void fs_inode_ghost(struct fs *fs, const struct fs_inode *in, int64_t now);

/* Remove the inode and all that hangs on it (chunks, pages, xattrs); its last
 * look stays with the itable. Lock: exclusive. */
int fs_inode_destroy(struct fs *fs, struct fs_inode *in);

/* In-process order among requests on one inode: shared for reads and for writes
 * that leave the size alone, exclusive for changes of size or links. Striped:
 * never hold two but by fs_inode_lock2(), which orders them. Other mounts are
 * kept out by versions, not by locks: every change is still a conditional one.
 */
void fs_inode_lock(struct fs *fs, uint64_t ino, bool exclusive);
void fs_inode_unlock(struct fs *fs, uint64_t ino);
/* Shared, and only if that needs no waiting: so one thread may have several,
 * if it waits for no lock while it has them. */
bool fs_inode_trylock(struct fs *fs, uint64_t ino);
void fs_inode_lock2(struct fs *fs, uint64_t a, uint64_t b); /* exclusive */
void fs_inode_unlock2(struct fs *fs, uint64_t a, uint64_t b);

/* Under an inode's shared lock: order among those who read (shared) and write
 * (exclusive) the bytes [@off, @off + @size), @size > 0. By chunks, striped:
 * one range at a time. */
void fs_range_lock(struct fs *fs, uint64_t ino, uint64_t off, uint64_t size,
		   bool exclusive);
/* Exclusive, of bytes in one chunk, and only if that needs no waiting: so one
 * thread may have several, as above. */
bool fs_range_trylock(struct fs *fs, uint64_t ino, uint64_t off);
void fs_range_unlock(struct fs *fs, uint64_t ino, uint64_t off, uint64_t size);

/* Under an inode's shared lock: one of those who change its record at a time.
 * Nothing of these is locked under it. */
void fs_record_lock(struct fs *fs, uint64_t ino);
void fs_record_unlock(struct fs *fs, uint64_t ino);

#endif
