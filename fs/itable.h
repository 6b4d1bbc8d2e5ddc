/* fs/itable.h - what this mount remembers about inodes in memory: how often
 * the kernel holds them, how often they are open here, times not yet stored,
 * and the last look of those that are gone while the kernel still holds them.
 * Never contents: the truth is in the store.
 *
 * Pending times, the whole story: a write that changes nothing else in the
 * inode calls fs_itable_touch(). fs_inode_load() merges what is pending into
 * the copy; a successful fs_inode_store() of that copy settles it. Whoever
 * wants it settled now calls fs_itable_settle(). So nobody else merges.
 *
 * Threads: all functions from any thread. None takes an inode lock; settle
 * and forget may block on the store. */
#ifndef ACESO_FS_ITABLE_H
#define ACESO_FS_ITABLE_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct fs;
struct fs_inode;
struct fs_itable;

#define FS_TOUCH_ATIME 1u
#define FS_TOUCH_MTIME 2u
#define FS_TOUCH_CTIME 4u
#define FS_SETTLE_MS                                                           \
	1000u /* a pending time waits no longer than about this                \
	       */

int fs_itable_new(struct fs_itable **out);    /* -ENOMEM */
void fs_itable_free(struct fs_itable *table); /* NULL is fine */

/* The kernel got @ino in one more reply. Errors: -ENOMEM. */
int fs_itable_hold(struct fs *fs, uint64_t ino);

/* The kernel forgets @n of them. At none left, what is pending is settled. */
void fs_itable_forget(struct fs *fs, uint64_t ino, uint64_t n);

/* Count open handles of @ino on this mount. A file with handles is not
 * destroyed here. Errors of opened: -ENOMEM. released returns how many are
 * left. Lock: the inode's, shared is enough for opened; exclusive for
 * released, if the caller goes on to destroy. */
int fs_itable_opened(struct fs *fs, uint64_t ino);
/* What was counted is a handle, if the inode had a name when it was looked at
 * (@named) after that, or others here are handles already. Else -ESTALE, and
 * the count is taken back: see B2 in board.h. */
int fs_itable_confirm(struct fs *fs, uint64_t ino, bool named);
unsigned fs_itable_released(struct fs *fs, uint64_t ino);
unsigned fs_itable_opens(struct fs *fs, uint64_t ino);

/* Call @each with every inode that is open here, outside all locks. */
void fs_itable_each_open(struct fs *fs,
			 void (*each)(struct fs *, uint64_t ino));

/* Set the times in @what (FS_TOUCH_*) to now, in memory only. If that is not
 * possible for want of memory the time is lost, and nothing else. */
void fs_itable_touch(struct fs *fs, uint64_t ino, unsigned what);

/* For fs_inode_load() and fs_inode_store() alone. merge sets in->pending_seq;
 * settled drops what is pending if it still is what merge saw. */
void fs_itable_merge(struct fs *fs, struct fs_inode *in);
void fs_itable_settled(struct fs *fs, const struct fs_inode *in,
		       uint64_t old_version);

/* Store what is pending for @ino; 0 if nothing is, or the inode is gone. */
int fs_itable_settle(struct fs *fs, uint64_t ino);

/* Settle all that has waited for @older_than_ms. Returns true if some remain.
 */
bool fs_itable_settle_all(struct fs *fs, uint32_t older_than_ms);

/* May the kernel keep the pages it has of @in? Yes if every change of the
 * record since the last such question was made on this mount. */
bool fs_itable_unchanged(struct fs *fs, const struct fs_inode *in);

/* The last look of a destroyed inode that the kernel still holds: set keeps
 * it (if held), get says if there is one. It goes with the last forget. Set it
 * before the inode goes, or who asks at that moment finds neither; while the
 * inode is there nobody looks at it. gone() then drops pending times. */
void fs_itable_ghost_set(struct fs *fs, uint64_t ino, const struct stat *st);
bool fs_itable_ghost_get(struct fs *fs, uint64_t ino, struct stat *st);
void fs_itable_gone(struct fs *fs, uint64_t ino);

#endif
