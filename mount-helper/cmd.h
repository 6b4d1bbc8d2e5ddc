/* mount-helper/cmd.h - the subcommands of aceso(1). Each takes the options
 * that are its own from argv[1..] and returns an exit code; errors are said. */
#ifndef ACESO_MOUNT_HELPER_CMD_H
#define ACESO_MOUNT_HELPER_CMD_H
#include <jansson.h>
#include <stdint.h>

#include "mount-helper/pool.h"

struct kv;

/* What status ends with: the pool's redundancy. */
#define CMD_FULL     0
#define CMD_DEGRADED 1
#define CMD_LOST     2
/* What the others end with. */
#define CMD_OK	    0
#define CMD_FAIL    1  /* not there, not possible */
#define CMD_USAGE   64 /* the command line makes no sense */
#define CMD_NO_POOL 69 /* no such pool, or it does not answer */

int cmd_status(const char *pool, int argc, char **argv);
int cmd_df(const char *pool, int argc, char **argv);
int cmd_stats(const char *pool, int argc, char **argv);
int cmd_ls(const char *pool, int argc, char **argv);
int cmd_get(const char *pool, int argc, char **argv);
int cmd_put(const char *pool, int argc, char **argv);
int cmd_rm(const char *pool, int argc, char **argv);
int cmd_explain(const char *pool, int argc, char **argv);
int cmd_fsck(const char *pool, int argc, char **argv);
int cmd_scrub(const char *pool, int argc, char **argv);
int cmd_debug(const char *pool, int argc, char **argv);
int cmd_pool(const char *pool, int argc, char **argv);
int cmd_pools(const char *pool, int argc, char **argv);
int cmd_stop(const char *pool, int argc, char **argv);
int cmd_mount(const char *pool, int argc, char **argv);
int cmd_umount(const char *pool, int argc, char **argv);
int cmd_config(const char *pool, int argc, char **argv);
int cmd_doctor(const char *pool, int argc, char **argv);
int cmd_pool_key(int argc, char **argv); /* of aceso pool */

/* --- aceso pool: cmd_create.c, cmd_serve.c --------------------------- */

int cmd_pool_create(int argc, char **argv);
int cmd_pool_serve(int argc, char **argv);

/* --- what they share: cmd_pool.c ------------------------------------ */

/* The pool that @name means: that one, or the only one running if NULL. Says
 * why not. 0 or CMD_NO_POOL. cmd_find() wants it to be this user's;
 * cmd_find_any() also finds root's, of which only cmd_ask() may be asked. */
int cmd_find(const char *name, struct pool_place *out);
int cmd_find_any(const char *name, struct pool_place *out);

/* Its status, 0 or CMD_NO_POOL. json_decref() it. */
int cmd_ask(const struct pool_place *p, json_t **out);

/* Open its store, 0 or CMD_NO_POOL. kv_close() it. */
int cmd_open(const struct pool_place *p, struct kv **out);

/* The mount point of a living mount of @p into @out (PATH_MAX): 0 or -ENOENT.
 */
int cmd_mountpoint(const struct pool_place *p, char *out);

/* @path as the root of the file system has it: without the mount point before
 * it, of whichever mount of @p it goes through. Part of @path, or "/". */
const char *cmd_within(const struct pool_place *p, const char *path);

/* Unmount @dir, or say who is in the way. CMD_OK or CMD_FAIL. */
int cmd_unmount(const char *dir, bool lazy);

/* Numbers and text out of JSON; 0 and "?" if they are not there. */
uint64_t cmd_number(const json_t *o, const char *name);
const char *cmd_text(const json_t *o, const char *name);

/* Text that may be anything as a JSON string: what is not printable ASCII is
 * shown as ?. */
json_t *cmd_json_text(const char *text);

/* A key for people, at most CMD_KEY_WORDS bytes with the 0. */
#define CMD_KEY_WORDS 520u
const char *cmd_key_words(const void *key, size_t klen,
			  char out[CMD_KEY_WORDS]);

/* --- how each is called: cmd_usage.c --------------------------------- */

/* A usage error: says on stderr how @command ("ls", "pool create") is called;
 * CMD_USAGE. */
int cmd_usage(const char *command);

/* Do the words of a command, argv[0] its name, ask how it is called ("ls
 * --help", "pool create -h")? Then that has been said on stdout. */
bool cmd_help(int argc, char **argv);

#endif
