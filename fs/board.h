/* fs/board.h - the mounts of a pool, and what they ask each other: "have you
 * one of these files open?"
 *
 * Three kinds of keys, written by conditional changes or by one mount alone:
 *
 *   B                  the board: who is there, and the number of the last
 *                      question of each
 *   Q asker            its last question: number, inodes
 *   R asker, answerer  the last answer: number, those that are open there
 *
 * Every mount that may open files is on the board before it opens the first,
 * and reads it every FS_BOARD_LOOK_MS while there are others (one READ of 8
 * bytes as long as nobody asks). So, for inodes that were without a name before
 * the question was written:
 *
 * B1. Who has one open is on the board that the question is written to.
 * B2. Who has it open when he answers, says so: a handle is counted before the
 *     inode is looked at (fs_open_file()), and one without a name is opened by
 *     nobody who has not got it open already.
 * B3. So when all on the board have answered, what nobody named is open nowhere
 *     and never will be.
 *
 * A mount that does not answer is asked for at the coordinator; if it is dead
 * (fenced: it cannot come back) it is taken off the board, and counts as having
 * answered. One that lives and is silent for FS_BOARD_SILENT_MS counts as
 * having said no: that is how long a mount may be held up and keep its open
 * files when others unlink them.
 *
 * Threads: one at a time (the timer's); has() and those of the ends likewise.
 */
#ifndef ACESO_FS_BOARD_H
#define ACESO_FS_BOARD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;
struct fs_board;

#define FS_BOARD_MOUNTS_MAX 1024u
#define FS_BOARD_INOS_MAX   1000u /* in one question */
#define FS_BOARD_LOOK_MS    100u
#define FS_BOARD_SILENT_MS  60000u
#define FS_BOARD_DOUBT_MS   500u /* then the coordinator is asked */

int fs_board_new(struct fs_board **out);    /* -ENOMEM */
void fs_board_free(struct fs_board *board); /* NULL is fine */

/* Be on it, and take off who died. Errors: -ENOSPC; -EUSERS it is full;
 * -EBADMSG. */
int fs_board_join(struct fs *fs);
void fs_board_leave(struct fs *fs);

/* Answer what was asked since. Sets *@asked if there was something. Errors are
 * made up for by the next call. */
int fs_board_answer(struct fs *fs, bool *asked);

/* Ask for @ino[0..n-1], 0 < n <= FS_BOARD_INOS_MAX. One question at a time; the
 * next one takes its place. */
int fs_board_ask(struct fs *fs, const uint64_t *ino, size_t n);

/* All answers are there: 0, and @open[i] says whether ino[i] is open somewhere
 * else. -EAGAIN: not yet. */
int fs_board_heard(struct fs *fs, bool *open);

/* Is @mount on the board? Errors as of kv_get(). */
int fs_board_has(struct fs *fs, uint32_t mount, bool *has);

/* Take off who died, if this mount is the first of those that live: it is one's
 * to do. Those are told to returns.h. Errors as of join; -EAGAIN not known. */
int fs_board_bury(struct fs *fs);

/* How many mounts were taken off it here as they are dead. */
uint64_t fs_board_deaths(const struct fs_board *board);

#endif
