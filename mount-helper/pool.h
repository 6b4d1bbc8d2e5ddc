/* mount-helper/pool.h - a pool's place on this host: one directory that
 * lives as long as the pool. Everybody may pass through, but only public.sock
 * is for others than the owner.
 *
 *	<base>/<name>/lock          held (flock) by the supervisor; its pid
 *	<base>/<name>/pool.sock     the coordinator
 *	<base>/<name>/pool.key, readers.key   what lets in: pool_key.h
 *	<base>/<name>/public.sock   tells everybody its status: public.h
 *	<base>/<name>/node<N>.sock  memory node N; node<N>.<L>.sock: the L-th
 *				    process that took its place
 *	<base>/<name>/mount.<pid>.sock  a mount tells about itself: tell.h
 *
 * <base> is $ACESO_RUNTIME_DIR, else /run/aceso (root), else
 * $XDG_RUNTIME_DIR/aceso, else /tmp/aceso-<uid>. Without $ACESO_RUNTIME_DIR,
 * root's pools are looked at after one's own.
 * Threads: any; a struct pool_place is plain data. */
#ifndef ACESO_MOUNT_HELPER_POOL_H
#define ACESO_MOUNT_HELPER_POOL_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "mount-helper/conf.h"
#include "mount-helper/poolconf.h"

#define POOL_PATH_BYTES 108 /* a socket's name is no longer */

struct pool_place {
	char name[CONF_POOL_BYTES_MAX + 1];
	char dir[POOL_PATH_BYTES];
	char sock[POOL_PATH_BYTES]; /* the coordinator's */
	/* Root's, which we are a reader of: sock is there, dir is ours. */
	bool looked_at;
	/* Of a pool over several hosts instead: pool_hosts.h. */
	bool hosts;
	char coords[POOLCONF_LIST_BYTES];
	struct fab_key key;
};

/* Where pool @name is, or would be; makes nothing.
 * Errors: -EINVAL, -ENAMETOOLONG. */
int pool_place(const char *name, struct pool_place *out);

/* Where the running pool @name is: here, or else among root's. If none runs,
 * as pool_place(). */
int pool_find(const char *name, struct pool_place *out);

/* We are its owner, or root: may do more than look at it. */
bool pool_is_ours(const struct pool_place *p);

/* Or its owner lets us look: we are of the group that readers= names. */
bool pool_may_look(const struct pool_place *p);

/* No pool of that name runs at @p, our place for it, but root has one and lets
 * us look: then @p leads there. */
void pool_look(struct pool_place *p);

void pool_public_sock(const struct pool_place *p, char out[POOL_PATH_BYTES]);

/* The path of node @id's socket in its life @life (0, 1, ...): whoever knows an
 * earlier one does not meet a later process by it. Of process @pid's mount. */
void pool_node_sock(const struct pool_place *p, uint32_t id, uint32_t life,
		    char out[POOL_PATH_BYTES]);
void pool_mount_sock(const struct pool_place *p, pid_t pid,
		     char out[POOL_PATH_BYTES]);

/* Take the place for a new pool: make the directory, hold its lock through
 * *@lock, clear away what a dead pool left. Whoever holds it ends with
 * pool_remove(). Errors: -EBUSY a supervisor has it; -EADDRINUSE it has none,
 * but nodes of it live; -EPERM the base is not safely ours; others of mkdir. */
int pool_take(const struct pool_place *p, int *lock);
void pool_remove(const struct pool_place *p, int lock);

/* What the last process of a pool does whose supervisor was killed: as
 * pool_take() and pool_remove(), if nobody else is there. */
void pool_sweep(const struct pool_place *p);

/* Somebody listens at its socket. */
bool pool_listens(const struct pool_place *p);

/* The supervisor's pid, 0 if there is none. */
pid_t pool_supervisor(const struct pool_place *p);

/* Does any memory node of it answer? */
bool pool_has_nodes(const struct pool_place *p);

/* Call @each for every directory under the base, then for root's, until it
 * returns non-zero (which is returned). 0 also if there is no base. */
int pool_each(int (*each)(void *arg, const struct pool_place *p), void *arg);

/* Call @each with the socket of every mount of @p, living or not; those of our
 * own if it is another user's. */
int pool_each_mount(const struct pool_place *p,
		    int (*each)(void *arg, pid_t pid, const char *sock),
		    void *arg);

#endif
