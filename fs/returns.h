/* fs/returns.h - space that mounts leave behind when they do not end well:
 * pages that they had written, or given back, and that nobody names, and what
 * they had half written of the store's records. One of
 * the others looks for them some time after each death, in a thread of its own
 * and slowly; likewise the first mount of a pool that was started again as of
 * some checkpoint (who was mounted then has died, as far as the board knows).
 *
 *   taken off the board as dead -> swept, in the store (kv_client_swept())
 *     -> every chunk's pages are noted -> what is left over is marked
 *
 * Left to fsck: pages of the dead in blocks that others had written to as well.
 * Threads: note, tick: the timer's; the others: any. */
#ifndef ACESO_FS_RETURNS_H
#define ACESO_FS_RETURNS_H
#include <stdint.h>

struct fs;
struct fs_returns;

/* Who are waited for; more are looked after with later ones. */
#define FS_RETURNS_DEAD_MAX 64u
#define FS_RETURNS_ASK_MS   1000u
#define FS_RETURNS_RATE	    (64u << 20) /* bytes of names a second */

int fs_returns_new(struct fs_returns **out); /* -ENOMEM */
void fs_returns_free(struct fs_returns *r);  /* NULL is fine */
void fs_returns_stop(struct fs_returns *r);  /* waits; NULL is fine */

/* @mount has been taken off the board, for it is dead. */
void fs_returns_note(struct fs *fs, uint32_t mount);

/* Look whether somebody has died, and begin when it is time to. */
void fs_returns_tick(struct fs *fs);

/* Do it now, in this thread. Errors: -EAGAIN the index is on the move: later;
 * -ECANCELED stopped; -EBADMSG a chunk that cannot be read; those of kv.h. */
int fs_returns_pass(struct fs *fs);

#endif
