/* fs/timer.h - the one thread of a mount that works without being asked: it
 * settles pending times, answers other mounts, looks after orphans, begins to
 * look for what the dead left (returns.h), and has the kernel forget. With
 * nothing to do it looks round twice a second: another mount may have joined.
 * Threads: any. */
#ifndef ACESO_FS_TIMER_H
#define ACESO_FS_TIMER_H
#include <stdbool.h>

struct fs;
struct fs_timer;

int fs_timer_new(struct fs_timer **out);    /* -ENOMEM; no thread yet */
void fs_timer_free(struct fs_timer *timer); /* stopped; NULL is fine */

/* Start after the process has forked for the last time. Without a thread
 * nothing is lost: times are settled by flush, fsync and fs_close().
 * Errors: -EAGAIN, as of pthread_create(). */
int fs_timer_start(struct fs *fs);
void fs_timer_stop(struct fs_timer *timer); /* waits; not started is fine */

/* Times wait to be settled: within about FS_SETTLE_MS. */
void fs_timer_wake(struct fs_timer *timer);

/* The store has shut us out: drop what the kernel keeps of open files, soon.
 * What is not open is not read without asking us. */
void fs_timer_forget(struct fs_timer *timer);

/* Orphans wait: look now. */
void fs_timer_hurry(struct fs_timer *timer);
bool fs_timer_runs(struct fs_timer *timer);

#endif
