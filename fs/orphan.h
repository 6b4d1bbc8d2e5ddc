/* fs/orphan.h - inodes without a name that may still be in use.
 * They are entries of a hidden directory (FS_ORPHANS_INO), put there in one
 * transaction with the inode's nlink going to 0. Who destroys them, and when:
 *
 * - One mount only: at the last release.
 * - Several mounts: who removed the last name, or closed the last handle of
 *   such a file, asks all others at once whether they have it open (board.h).
 *   If none has, it is destroyed: some ten milliseconds after the unlink. Else
 *   they are asked again after FS_ORPHAN_AGAIN_MS, then less often. So an open
 *   file stays whole though another mount unlinks it, as long as the mount that
 *   has it open answers within FS_BOARD_SILENT_MS.
 *   A reader's mount (read_only in kv.h) is not asked: it could not answer.
 *   (A mount that joins and opens the file just while another, still alone,
 *   unlinks it may come too late, as if it had come after the unlink.)
 * - Orphans of a mount that died: the others look for those when they see a
 *   death, and now and then, and do what the dead one would have done. Or the
 *   next one that opens the pool alone does.
 *
 * Several may watch one orphan: before it is destroyed it is claimed, by
 * inserting the key 'O' ino with the mount's id, and the claim of a mount that
 * is not on the board any more is taken over.
 *
 * Threads: any; tick one at a time. */
#ifndef ACESO_FS_ORPHAN_H
#define ACESO_FS_ORPHAN_H
#include <stdbool.h>
#include <stdint.h>

struct fs;
struct fs_inode;
struct fs_orphans;

#define FS_ORPHANS_INO	       2u
#define FS_ORPHAN_AGAIN_MS     1000u  /* held elsewhere: asked again after */
#define FS_ORPHAN_AGAIN_MAX_MS 16000u /* this, twice that, up to this */
#define FS_ORPHAN_LOOK_MS      30000u

int fs_orphans_new(struct fs_orphans **out);	  /* -ENOMEM */
void fs_orphans_free(struct fs_orphans *orphans); /* NULL is fine */

/* Store @in with nlink 0 as an orphan, atomically, and remember it here.
 * Errors: -ESTALE if @in was changed; -ENOSPC. Lock: exclusive. */
int fs_orphan_make(struct fs *fs, struct fs_inode *in);

/* The last handle here is closed: destroy @ino if it is an orphan and nobody
 * else can use it. Lock: exclusive. */
int fs_orphan_release(struct fs *fs, uint64_t ino);

/* Answer other mounts, ask them, destroy what nobody has open. Returns after
 * how many ms it must be called again; UINT32_MAX: when it is woken. */
uint32_t fs_orphan_tick(struct fs *fs);

/* Orphans that were destroyed here since the start; and those that wait for
 * an answer, or to be asked for now. */
uint64_t fs_orphan_count(struct fs *fs);
bool fs_orphan_waits(struct fs *fs);

/* Destroy what a dead mount left; only if this one is alone. */
int fs_orphan_reap(struct fs *fs);

#endif
