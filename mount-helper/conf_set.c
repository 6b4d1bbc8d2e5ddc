/* mount-helper/conf_set.c - what each option that takes a value may say. */
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/conf_impl.h"
#include "mount-helper/size.h"
#include "rdma/fabric.h"

#define SECONDS_MAX	 1e6
#define OP_TIMEOUT_S_MAX 3600.0
#define LANES_MAX	 64u
#define DURABLE_MS_MIN	 10u
#define DURABLE_MS_MAX	 86400000u
#define CKPT_MS_MAX	 3600000u

int conf_fail(struct conf *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
	va_end(ap);
	/* One line, whatever the words were that it repeats. */
	for (char *p = c->error; *p != '\0'; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	return -EINVAL;
}

/* --- setters: one for each option that takes a value ---------------- */

int conf_set_size(struct conf *c, const char *v)
{
	int rc = size_parse_share(v, &c->pool.size, &c->pool.percent);

	c->pool.shaped = true;
	if (rc == -ERANGE)
		return conf_fail(c,
				 "size=%s is out of range: say size=4g, or "
				 "size=1%% to size=100%% of free memory",
				 v);
	if (rc < 0 || (c->pool.size == 0 && c->pool.percent == 0))
		return conf_fail(
			c,
			"size=%s is no size: say size=512m, size=4g or "
			"size=50%%",
			v);
	return 0;
}

int conf_set_code(struct conf *c, const char *v)
{
	c->pool.shaped = true;
	if (size_parse_code(v, &c->pool.k, &c->pool.m) < 0)
		return conf_fail(
			c, "code=%s is no code: say code=3+2 (data+parity)", v);
	return 0;
}

int conf_set_nodes(struct conf *c, const char *v)
{
	c->pool.shaped = true;
	if (size_parse_count(v, 2, FAB_NODES_MAX, &c->pool.nodes) < 0)
		return conf_fail(c, "nodes=%s is not a number from 2 to %u", v,
				 FAB_NODES_MAX);
	return 0;
}

int conf_set_respawn(struct conf *c, const char *v)
{
	c->pool.has_respawn = true;
	c->pool.respawn = strcmp(v, "yes") == 0;
	if (!c->pool.respawn && strcmp(v, "no") != 0)
		return conf_fail(c,
				 "respawn=%s is unknown: say respawn=yes or "
				 "respawn=no",
				 v);
	return 0;
}

int conf_set_ckpt_ms(struct conf *c, const char *v)
{
	if (size_parse_count(v, 0, CKPT_MS_MAX, &c->pool.ckpt_ms) < 0)
		return conf_fail(
			c,
			"ckpt_ms=%s is not a number of milliseconds from "
			"0 (never) to %u",
			v, CKPT_MS_MAX);
	return 0;
}

int conf_set_rebuild_rate(struct conf *c, const char *v)
{
	if (size_parse(v, &c->pool.rebuild_rate) < 0)
		return conf_fail(c,
				 "rebuild_rate=%s is no number of bytes a "
				 "second: say rebuild_rate=200m, or 0 for no "
				 "limit",
				 v);
	return 0;
}

int conf_set_pool(struct conf *c, const char *v)
{
	if (conf_check_name(v) < 0)
		return conf_fail(
			c,
			"pool=%s is no name for a pool: use at most %u "
			"letters, digits, '.', '_' and '-'",
			v, CONF_POOL_BYTES_MAX);
	strcpy(c->pool.name, v);
	return 0;
}

/* Who makes the pool works in another directory. */
int conf_set_pool_dir(struct conf *c, const char *v)
{
	char *cwd = v[0] == '/' ? strdup("") : getcwd(NULL, 0);
	int n;

	if (cwd == NULL)
		return conf_fail(
			c, "pool-dir=%s: say a path that begins with /", v);
	n = snprintf(c->pool.dir, sizeof(c->pool.dir), "%s%s%s", cwd,
		     v[0] == '/' ? "" : "/", v);
	free(cwd);
	if (n >= (int)sizeof(c->pool.dir))
		return conf_fail(c, "pool-dir= is too long: at most %u bytes",
				 CONF_DIR_BYTES_MAX - 1);
	return 0;
}

int conf_set_backing(struct conf *c, const char *v)
{
	if (strcmp(v, "file") == 0)
		c->pool.backing = CONF_BACKING_FILE;
	else if (strcmp(v, "memory") == 0)
		c->pool.backing = CONF_BACKING_MEMORY;
	else
		return conf_fail(c,
				 "backing=%s is unknown: say backing=file or "
				 "backing=memory",
				 v);
	return 0;
}

int conf_set_durable_ms(struct conf *c, const char *v)
{
	if (size_parse_count(v, DURABLE_MS_MIN, DURABLE_MS_MAX,
			     &c->pool.durable_ms) < 0)
		return conf_fail(
			c,
			"durable_ms=%s is not a number of milliseconds "
			"from %u to %u",
			v, DURABLE_MS_MIN, DURABLE_MS_MAX);
	return 0;
}

int conf_set_sync(struct conf *c, const char *v)
{
	if (strcmp(v, "memory") == 0)
		c->fs.persist = false;
	else if (strcmp(v, "persist") == 0)
		c->fs.persist = true;
	else
		return conf_fail(c,
				 "sync=%s is unknown: say sync=memory or "
				 "sync=persist",
				 v);
	return 0;
}

int conf_set_cache(struct conf *c, const char *v)
{
	if (strcmp(v, "auto") == 0)
		c->fs.cache = FS_CACHE_AUTO;
	else if (strcmp(v, "none") == 0)
		c->fs.cache = FS_CACHE_NONE;
	else if (strcmp(v, "writeback") == 0)
		c->fs.cache = FS_CACHE_WRITEBACK;
	else
		return conf_fail(c,
				 "cache=%s is unknown: say cache=auto, "
				 "cache=none or cache=writeback",
				 v);
	return 0;
}

static int seconds(struct conf *c, const char *name, const char *v, double max,
		   double *out)
{
	if (size_parse_seconds(v, max, out) < 0)
		return conf_fail(
			c, "%s=%s is not a number of seconds from 0 to %g",
			name, v, max);
	return 0;
}

int conf_set_attr_timeout(struct conf *c, const char *v)
{
	return seconds(c, "attr_timeout", v, SECONDS_MAX, &c->fs.attr_timeout);
}

int conf_set_entry_timeout(struct conf *c, const char *v)
{
	return seconds(c, "entry_timeout", v, SECONDS_MAX,
		       &c->fs.entry_timeout);
}

int conf_set_negative_timeout(struct conf *c, const char *v)
{
	return seconds(c, "negative_timeout", v, SECONDS_MAX,
		       &c->fs.negative_timeout);
}

int conf_set_op_timeout(struct conf *c, const char *v)
{
	double s;

	if (seconds(c, "op_timeout", v, OP_TIMEOUT_S_MAX, &s) < 0)
		return -EINVAL;
	if (s < 0.001)
		return conf_fail(c,
				 "op_timeout=%s is too short: say at least "
				 "op_timeout=0.001 (seconds)",
				 v);
	c->kv.op_timeout_ms = (uint32_t)(s * 1000);
	return 0;
}

int conf_set_lanes(struct conf *c, const char *v)
{
	if (size_parse_count(v, 1, LANES_MAX, &c->kv.lanes) < 0)
		return conf_fail(c, "lanes=%s is not a number from 1 to %u", v,
				 LANES_MAX);
	return 0;
}

int conf_set_cache_size(struct conf *c, const char *v)
{
	if (size_parse(v, &c->kv.cache_bytes) < 0 || c->kv.cache_bytes == 0)
		return conf_fail(
			c, "cache_size=%s is no size: say cache_size=64m", v);
	return 0;
}

int conf_set_max_threads(struct conf *c, const char *v)
{
	if (size_parse_count(v, 1, CONF_THREADS_MAX, &c->max_threads) < 0)
		return conf_fail(c,
				 "max_threads=%s is not a number from 1 to %u",
				 v, CONF_THREADS_MAX);
	return 0;
}

/* --- the root directory of a new file system ------------------------- */

/* A number, or a name that @look finds. */
static int id_of(struct conf *c, const char *what, const char *v,
		 int (*look)(const char *name, uint32_t *id), uint32_t *out)
{
	if (size_parse_count(v, 0, UINT32_MAX - 1, out) == 0 ||
	    look(v, out) == 0)
		return 0;
	return conf_fail(c, "%s=%s is neither a number nor a name known here",
			 what, v);
}

static int uid_of_name(const char *name, uint32_t *id)
{
	struct passwd *p = getpwnam(name);

	if (p == NULL)
		return -ENOENT;
	*id = p->pw_uid;
	return 0;
}

static int gid_of_name(const char *name, uint32_t *id)
{
	struct group *g = getgrnam(name);

	if (g == NULL)
		return -ENOENT;
	*id = g->gr_gid;
	return 0;
}

int conf_set_uid(struct conf *c, const char *v)
{
	c->fs.has_root_uid = true;
	return id_of(c, "uid", v, uid_of_name, &c->fs.root_uid);
}

int conf_set_gid(struct conf *c, const char *v)
{
	c->fs.has_root_gid = true;
	return id_of(c, "gid", v, gid_of_name, &c->fs.root_gid);
}

int conf_set_readers(struct conf *c, const char *v)
{
	c->pool.readers = 0;
	return strcmp(v, "none") == 0
		       ? 0
		       : id_of(c, "readers", v, gid_of_name, &c->pool.readers);
}

int conf_set_mode(struct conf *c, const char *v)
{
	char *end;
	unsigned long mode = strtoul(v, &end, 8);

	if (v[0] < '0' || v[0] > '7' || *end != '\0' || mode > 07777)
		return conf_fail(c, "mode=%s is no mode: say mode=0755", v);
	c->fs.has_root_mode = true;
	c->fs.root_mode = (uint32_t)mode;
	return 0;
}

/* --- what goes on to libfuse ---------------------------------------- */

/* Append @opt to the list for libfuse; its commas are escaped. */
int conf_forward(struct conf *c, const char *opt)
{
	size_t at = strlen(c->mount);

	if (at + 2 * strlen(opt) + 2 > sizeof(c->mount))
		return conf_fail(c, "too many mount options");
	if (at > 0)
		c->mount[at++] = ',';
	for (; *opt != '\0'; opt++) {
		if (*opt == ',' || *opt == '\\')
			c->mount[at++] = '\\';
		c->mount[at++] = *opt;
	}
	c->mount[at] = '\0';
	return 0;
}

static int forward_value(struct conf *c, const char *name, const char *v)
{
	char text[CONF_MOUNT_BYTES_MAX / 4];

	if (snprintf(text, sizeof(text), "%s=%s", name, v) >= (int)sizeof(text))
		return conf_fail(c, "%s= is too long", name);
	return conf_forward(c, text);
}

int conf_set_netdev(struct conf *c, const char *v)
{
	(void)v;
	c->netdev = true;
	return 0;
}

int conf_set_fsname(struct conf *c, const char *v)
{
	c->has_fsname = true;
	return forward_value(c, "fsname", v);
}

int conf_set_subtype(struct conf *c, const char *v)
{
	c->has_subtype = true;
	return forward_value(c, "subtype", v);
}
