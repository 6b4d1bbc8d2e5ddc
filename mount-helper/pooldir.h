/* mount-helper/pooldir.h - the directory of a pool that outlives its processes.
 *
 *	<dir>/lock              held (flock) by the supervisor; who it is
 *	<dir>/pool              kv/node/poolfile.h
 *	<dir>/node-<N>/region.<G>   node N's memory; <G> counts replacements
 *	<dir>/node-<N>/meta-0, meta-1   its last two cuts: kv/node/cut.h
 *
 * All of it is one user's (mode 0700), on one host. Threads: one at a time, but
 * pooldir_cut() and pooldir_commit(), which may come from others. */
#ifndef ACESO_MOUNT_HELPER_POOLDIR_H
#define ACESO_MOUNT_HELPER_POOLDIR_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/node/poolfile.h"
#include "mount-helper/conf.h"

struct pooldir;

/* Take @pool->dir (made if it is not there) for pool @pool->name. Errors, with
 * a line for people in @error (CONF_ERROR_BYTES_MAX): -EBUSY another pool uses
 * it (waits for one that is ending: pooldir_lock.h); -EINVAL it holds a pool of
 * another shape than was asked for; -EPROTO of another version; -EBADMSG
 * damaged; -ENOTEMPTY something else is in it; those of open(2). */
int pooldir_open(const struct conf_pool *pool, struct pooldir **out,
		 char *error);
void pooldir_close(struct pooldir *d); /* NULL is fine */

/* Let others who want it know that the pool is about to end, or is not. */
void pooldir_ending(const struct pooldir *d, bool ending);

/* There is a pool in it to go on from. */
bool pooldir_has_pool(const struct pooldir *d);

/* What the pool is; its uuid and secret too, if there is one. */
const struct poolfile *pooldir_file(const struct pooldir *d);

/* Make the files of a new pool of this shape; it is there for others to see
 * when its first cut is committed. Errors: -ENOSPC; likewise. */
int pooldir_create(struct pooldir *d, const struct layout_super *super,
		   char *error);

/* Bring the regions to the last durable cut: kv/node/restart.h. What it did is
 * said to people. Errors: likewise. */
int pooldir_restart(struct pooldir *d, char *error);

/* The names that node @id is started with: directory, region file in it. */
#define POOLDIR_PATH_BYTES (CONF_DIR_BYTES_MAX + 64)
void pooldir_node(const struct pooldir *d, uint32_t id, char *dir,
		  char region[32]);

/* A new, empty region for node @id, whose process has died. The old one stays
 * until a cut is durable without it. */
int pooldir_renew(struct pooldir *d, uint32_t id);

/* As coord_opts.on_cut and .commit; @arg: the struct pooldir. */
void pooldir_cut(void *arg);
int pooldir_commit(void *arg, const struct coord_counters *at);

/* Is there a pool in @dir? For who only wants to know. */
bool pooldir_is_one(const char *dir);

#endif
