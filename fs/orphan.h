/* fs/orphan.h - inodes without a name that may still be in use.
 * They are entries of a hidden directory (FS_ORPHANS_INO), put there in one
 * transaction with the inode's nlink going to 0. Who destroys them, and when:
 *
 * - One mount only: at the last release.
 * - Several mounts: a mount that has the file open signs for it every
 *   FS_ORPHAN_SIGN_MS by writing the key 'O' ino. The mount that removed the
 *   last name destroys it once it has not been signed for FS_ORPHAN_GRACE_MS
 *   by its own clock. So what is promised is: an open file stays whole though
 *   another mount unlinks it, as long as this mount lives and is not held up
 *   for longer than the grace.
 *   (A mount that joins and opens the file just while another, still alone,
 *   unlinks it may come too late, as if it had come after the unlink.)
 * - Orphans of a mount that died: every other looks for those now and then, and
 *   does what the dead one would have done; which of them does is settled by
 *   who writes the next sign. Or the next one that opens the pool alone does.
 *
 * Threads: any. */
#ifndef ACESO_FS_ORPHAN_H
#define ACESO_FS_ORPHAN_H
#include <stdbool.h>
#include <stdint.h>

struct fs;
struct fs_inode;
struct fs_orphans;

#define FS_ORPHANS_INO	   2u
#define FS_ORPHAN_SIGN_MS  10000u
#define FS_ORPHAN_GRACE_MS 60000u
#define FS_ORPHAN_LOOK_MS  30000u

int fs_orphans_new(struct fs_orphans **out);	  /* -ENOMEM */
void fs_orphans_free(struct fs_orphans *orphans); /* NULL is fine */

/* Store @in with nlink 0 as an orphan, atomically, and remember it here.
 * Errors: -ESTALE if @in was changed; -ENOSPC. Lock: exclusive. */
int fs_orphan_make(struct fs *fs, struct fs_inode *in);

/* The last handle here is closed: destroy @ino if it is an orphan and nobody
 * else can use it. Lock: exclusive. */
int fs_orphan_release(struct fs *fs, uint64_t ino);

/* Sign for open orphans, destroy those that were left alone. Returns true if
 * it must be called again. */
bool fs_orphan_tick(struct fs *fs);

/* Destroy what a dead mount left; only if this one is alone. */
int fs_orphan_reap(struct fs *fs);

#endif
