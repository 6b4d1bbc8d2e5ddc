/* mount-helper/conf.c - the one reader of options. The table below is all that
 * we know; splitting argv and -o lists is libfuse's. */
#define FUSE_USE_VERSION 314
#include <ctype.h>
#include <errno.h>
#include <fuse3/fuse_opt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "mount-helper/conf.h"
#include "mount-helper/pooldir.h"
#include "mount-helper/size.h"
#include "rdma/fabric.h"

#define SECONDS_MAX	 1e6
#define OP_TIMEOUT_S_MAX 3600.0
#define LANES_MAX	 64u
#define DURABLE_MS_MIN	 10u
#define DURABLE_MS_MAX	 86400000u
#define CKPT_MS_MAX	 3600000u
#define CKPT_MS_DEFAULT	 500u

static int fail(struct conf *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int fail(struct conf *c, const char *fmt, ...)
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

static int set_size(struct conf *c, const char *v)
{
	int rc = size_parse_share(v, &c->pool.size, &c->pool.percent);

	c->pool.shaped = true;
	if (rc == -ERANGE)
		return fail(c, "size=%s is out of range", v);
	if (rc < 0 || (c->pool.size == 0 && c->pool.percent == 0))
		return fail(c,
			    "size=%s is no size: say size=512m, size=4g or "
			    "size=50%%",
			    v);
	return 0;
}

static int set_code(struct conf *c, const char *v)
{
	c->pool.shaped = true;
	if (size_parse_code(v, &c->pool.k, &c->pool.m) < 0)
		return fail(c, "code=%s is no code: say code=3+2 (data+parity)",
			    v);
	return 0;
}

static int set_nodes(struct conf *c, const char *v)
{
	c->pool.shaped = true;
	if (size_parse_count(v, 2, FAB_NODES_MAX, &c->pool.nodes) < 0)
		return fail(c, "nodes=%s is not a number from 2 to %u", v,
			    FAB_NODES_MAX);
	return 0;
}

static int set_respawn(struct conf *c, const char *v)
{
	c->pool.has_respawn = true;
	c->pool.respawn = strcmp(v, "yes") == 0;
	if (!c->pool.respawn && strcmp(v, "no") != 0)
		return fail(c,
			    "respawn=%s is unknown: say respawn=yes or "
			    "respawn=no",
			    v);
	return 0;
}

static int set_ckpt_ms(struct conf *c, const char *v)
{
	if (size_parse_count(v, 0, CKPT_MS_MAX, &c->pool.ckpt_ms) < 0)
		return fail(c,
			    "ckpt_ms=%s is not a number of milliseconds from "
			    "0 (never) to %u",
			    v, CKPT_MS_MAX);
	return 0;
}

static int set_pool(struct conf *c, const char *v)
{
	if (conf_check_name(v) < 0)
		return fail(c,
			    "pool=%s is no name for a pool: use at most %u "
			    "letters, digits, '.', '_' and '-'",
			    v, CONF_POOL_BYTES_MAX);
	strcpy(c->pool.name, v);
	return 0;
}

/* Who makes the pool works in another directory. */
static int set_pool_dir(struct conf *c, const char *v)
{
	char *cwd = v[0] == '/' ? strdup("") : getcwd(NULL, 0);
	int n;

	if (cwd == NULL)
		return fail(c, "pool-dir=%s: say a path that begins with /", v);
	n = snprintf(c->pool.dir, sizeof(c->pool.dir), "%s%s%s", cwd,
		     v[0] == '/' ? "" : "/", v);
	free(cwd);
	if (n >= (int)sizeof(c->pool.dir))
		return fail(c, "pool-dir= is too long: at most %u bytes",
			    CONF_DIR_BYTES_MAX - 1);
	return 0;
}

static int set_durable_ms(struct conf *c, const char *v)
{
	if (size_parse_count(v, DURABLE_MS_MIN, DURABLE_MS_MAX,
			     &c->pool.durable_ms) < 0)
		return fail(c,
			    "durable_ms=%s is not a number of milliseconds "
			    "from %u to %u",
			    v, DURABLE_MS_MIN, DURABLE_MS_MAX);
	return 0;
}

static int set_sync(struct conf *c, const char *v)
{
	if (strcmp(v, "memory") == 0)
		c->fs.persist = false;
	else if (strcmp(v, "persist") == 0)
		c->fs.persist = true;
	else
		return fail(c,
			    "sync=%s is unknown: say sync=memory or "
			    "sync=persist",
			    v);
	return 0;
}

static int set_cache(struct conf *c, const char *v)
{
	if (strcmp(v, "auto") == 0)
		c->fs.cache = FS_CACHE_AUTO;
	else if (strcmp(v, "none") == 0)
		c->fs.cache = FS_CACHE_NONE;
	else if (strcmp(v, "writeback") == 0)
		c->fs.cache = FS_CACHE_WRITEBACK;
	else
		return fail(c,
			    "cache=%s is unknown: say cache=auto, "
			    "cache=none or cache=writeback",
			    v);
	return 0;
}

static int seconds(struct conf *c, const char *name, const char *v, double max,
		   double *out)
{
	if (size_parse_seconds(v, max, out) < 0)
		return fail(c, "%s=%s is not a number of seconds from 0 to %g",
			    name, v, max);
	return 0;
}

static int set_attr_timeout(struct conf *c, const char *v)
{
	return seconds(c, "attr_timeout", v, SECONDS_MAX, &c->fs.attr_timeout);
}

static int set_entry_timeout(struct conf *c, const char *v)
{
	return seconds(c, "entry_timeout", v, SECONDS_MAX,
		       &c->fs.entry_timeout);
}

static int set_negative_timeout(struct conf *c, const char *v)
{
	return seconds(c, "negative_timeout", v, SECONDS_MAX,
		       &c->fs.negative_timeout);
}

static int set_op_timeout(struct conf *c, const char *v)
{
	double s;

	if (seconds(c, "op_timeout", v, OP_TIMEOUT_S_MAX, &s) < 0)
		return -EINVAL;
	if (s < 0.001)
		return fail(c,
			    "op_timeout=%s is too short: say at least "
			    "op_timeout=0.001 (seconds)",
			    v);
	c->kv.op_timeout_ms = (uint32_t)(s * 1000);
	return 0;
}

static int set_lanes(struct conf *c, const char *v)
{
	if (size_parse_count(v, 1, LANES_MAX, &c->kv.lanes) < 0)
		return fail(c, "lanes=%s is not a number from 1 to %u", v,
			    LANES_MAX);
	return 0;
}

static int set_cache_size(struct conf *c, const char *v)
{
	if (size_parse(v, &c->kv.cache_bytes) < 0 || c->kv.cache_bytes == 0)
		return fail(c, "cache_size=%s is no size: say cache_size=64m",
			    v);
	return 0;
}

static int set_max_threads(struct conf *c, const char *v)
{
	if (size_parse_count(v, 1, CONF_THREADS_MAX, &c->max_threads) < 0)
		return fail(c, "max_threads=%s is not a number from 1 to %u", v,
			    CONF_THREADS_MAX);
	return 0;
}

/* --- what goes on to libfuse ---------------------------------------- */

/* Append @opt to the list for libfuse; its commas are escaped. */
static int forward(struct conf *c, const char *opt)
{
	size_t at = strlen(c->mount);

	if (at + 2 * strlen(opt) + 2 > sizeof(c->mount))
		return fail(c, "too many mount options");
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
		return fail(c, "%s= is too long", name);
	return forward(c, text);
}

static int set_fsname(struct conf *c, const char *v)
{
	c->has_fsname = true;
	return forward_value(c, "fsname", v);
}

static int set_subtype(struct conf *c, const char *v)
{
	c->has_subtype = true;
	return forward_value(c, "subtype", v);
}

/* --- the table ------------------------------------------------------ */

enum what {
	VALUE,	 /* name=value, handed to set() */
	FLAG,	 /* a bool of struct conf becomes @on */
	FORWARD, /* libfuse's or the kernel's */
	IGNORE,	 /* mount(8)'s own */
};

static const struct option {
	const char *name;
	enum what what;
	int (*set)(struct conf *c, const char *value);
	size_t flag; /* offset in struct conf */
	bool on;
} options[] = {
	{"size", VALUE, set_size, 0, 0},
	{"code", VALUE, set_code, 0, 0},
	{"nodes", VALUE, set_nodes, 0, 0},
	{"ckpt_ms", VALUE, set_ckpt_ms, 0, 0},
	{"pool", VALUE, set_pool, 0, 0},
	{"respawn", VALUE, set_respawn, 0, 0},
	{"pool-dir", VALUE, set_pool_dir, 0, 0},
	{"durable_ms", VALUE, set_durable_ms, 0, 0},
	{"cache", VALUE, set_cache, 0, 0},
	{"attr_timeout", VALUE, set_attr_timeout, 0, 0},
	{"entry_timeout", VALUE, set_entry_timeout, 0, 0},
	{"negative_timeout", VALUE, set_negative_timeout, 0, 0},
	{"op_timeout", VALUE, set_op_timeout, 0, 0},
	{"lanes", VALUE, set_lanes, 0, 0},
	{"cache_size", VALUE, set_cache_size, 0, 0},
	{"max_threads", VALUE, set_max_threads, 0, 0},
	{"fsname", VALUE, set_fsname, 0, 0},
	{"subtype", VALUE, set_subtype, 0, 0},
	{"clone_fd", FLAG, NULL, offsetof(struct conf, clone_fd), true},
	{"noclone_fd", FLAG, NULL, offsetof(struct conf, clone_fd), false},
	{"allow_other", FLAG, NULL, offsetof(struct conf, allow_other), true},
	{"noallow_other", FLAG, NULL, offsetof(struct conf, allow_other),
	 false},
	{"debug", FLAG, NULL, offsetof(struct conf, debug), true},
	{"sloppy", FLAG, NULL, offsetof(struct conf, sloppy), true},
	{"ro", FORWARD, NULL, 0, 0},
	{"rw", FORWARD, NULL, 0, 0},
	{"suid", FORWARD, NULL, 0, 0},
	{"nosuid", FORWARD, NULL, 0, 0},
	{"dev", FORWARD, NULL, 0, 0},
	{"nodev", FORWARD, NULL, 0, 0},
	{"exec", FORWARD, NULL, 0, 0},
	{"noexec", FORWARD, NULL, 0, 0},
	{"atime", FORWARD, NULL, 0, 0},
	{"noatime", FORWARD, NULL, 0, 0},
	{"sync", FORWARD, set_sync, 0, 0}, /* with a value it is ours */
	{"async", FORWARD, NULL, 0, 0},
	{"dirsync", FORWARD, NULL, 0, 0},
	{"default_permissions", IGNORE, NULL, 0, 0}, /* always on */
	{"defaults", IGNORE, NULL, 0, 0},
	{"auto", IGNORE, NULL, 0, 0},
	{"noauto", IGNORE, NULL, 0, 0},
	{"user", IGNORE, NULL, 0, 0},
	{"nouser", IGNORE, NULL, 0, 0},
	{"users", IGNORE, NULL, 0, 0},
	{"group", IGNORE, NULL, 0, 0},
	{"owner", IGNORE, NULL, 0, 0},
	{"_netdev", IGNORE, NULL, 0, 0},
	{"nofail", IGNORE, NULL, 0, 0},
	{"silent", IGNORE, NULL, 0, 0},
	{"relatime", IGNORE, NULL, 0, 0}, /* the kernel's default */
	{"comment", IGNORE, NULL, 0, 0},
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

static const struct option *find(const char *name, size_t len)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (strlen(options[i].name) == len &&
		    memcmp(options[i].name, name, len) == 0)
			return &options[i];
	return NULL;
}

static int unknown(struct conf *c, const char *text, int len)
{
	const char *names[OPTIONS + 1], *near;
	char word[64];

	if (c->sloppy)
		return 0;
	for (size_t i = 0; i < OPTIONS; i++)
		names[i] = options[i].name;
	names[OPTIONS] = NULL;
	snprintf(word, sizeof(word), "%.*s", len, text);
	if (strcmp(word, "remount") == 0)
		return fail(c, "a mount cannot be changed while it is there "
			       "(remount): unmount it and mount it again");
	near = conf_nearest(word, names);
	if (near != NULL)
		return fail(c, "unknown option '%s': did you mean '%s'?", word,
			    near);
	return fail(c, "unknown option '%s': see aceso-fuse --help", word);
}

/* One word of an -o list. */
static int take(struct conf *c, const char *text)
{
	size_t len = strcspn(text, "=");
	const char *value = text[len] == '=' ? text + len + 1 : NULL;
	const struct option *o = find(text, len);

	if (strncasecmp(text, "x-", 2) == 0)
		return 0; /* for others: systemd, libmount */
	if (o == NULL)
		return unknown(c, text, (int)len);
	if (o->what == IGNORE)
		return 0;
	if ((o->what == VALUE && value == NULL) ||
	    (o->set != NULL && value != NULL && *value == '\0'))
		return fail(c, "option '%s' needs a value: %s=...", o->name,
			    o->name);
	if (o->what == VALUE || (value != NULL && o->set != NULL))
		return o->set(c, value);
	if (value != NULL)
		return fail(c, "option '%s' takes no value", o->name);
	if (o->what == FORWARD)
		return forward(c, text);
	*(bool *)((char *)c + o->flag) = o->on;
	return 0;
}

/* --- argv ----------------------------------------------------------- */

enum key { KEY_FOREGROUND, KEY_DEBUG, KEY_SINGLE, KEY_VERSION, KEY_HELP };

static const struct fuse_opt templates[] = {
	FUSE_OPT_KEY("-f", KEY_FOREGROUND),	FUSE_OPT_KEY("-d", KEY_DEBUG),
	FUSE_OPT_KEY("-s", KEY_SINGLE),		FUSE_OPT_KEY("-V", KEY_VERSION),
	FUSE_OPT_KEY("--version", KEY_VERSION), FUSE_OPT_KEY("-h", KEY_HELP),
	FUSE_OPT_KEY("--help", KEY_HELP),	FUSE_OPT_END,
};

/* The words that are no options: [pool] DIR. The last one is DIR. */
static int positional(struct conf *c, const char *word)
{
	int rc = 0;

	if (c->dir != NULL && c->pool.name[0] != '\0')
		return fail(c, "one mount point, please: '%s' is too many",
			    word);
	if (c->dir != NULL) {
		rc = set_pool(c, c->dir);
		free(c->dir);
	}
	c->dir = strdup(word);
	return c->dir != NULL ? rc : -ENOMEM;
}

static int on_arg(void *data, const char *arg, int key,
		  struct fuse_args *outargs)
{
	struct conf *c = data;

	switch (key) {
	case KEY_FOREGROUND:
		c->foreground = true;
		return 0;
	case KEY_DEBUG:
		c->debug = true;
		return 0;
	case KEY_SINGLE:
		c->single_threaded = true;
		return 0;
	case KEY_VERSION:
		c->version = true;
		return 0;
	case KEY_HELP:
		c->help = true;
		return 0;
	case FUSE_OPT_KEY_NONOPT:
		return positional(c, arg) < 0 ? -1 : 0;
	}
	if (arg[0] == '-') {
		fail(c, "unknown option '%s': see aceso-fuse --help", arg);
		return -1;
	}
	return arg[0] == '\0' || take(c, arg) == 0 ? 0 : -1;
}

static int parse(struct conf *c, int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	int rc;

	c->error[0] = '\0';
	rc = fuse_opt_parse(&args, c, templates, on_arg);
	fuse_opt_free_args(&args);
	if (rc == 0)
		return 0;
	if (c->error[0] == '\0')
		fail(c, "the options cannot be read: see aceso-fuse --help");
	return -EINVAL;
}

static int parse_env(struct conf *c)
{
	char *text = getenv("ACESO_OPTIONS");
	char *argv[] = {"ACESO_OPTIONS", "-o", text, NULL};

	return text == NULL || *text == '\0' ? 0 : parse(c, 3, argv);
}

/* What only shows when all was read. */
static int settle(struct conf *c)
{
	struct conf_pool *p = &c->pool;

	if (c->version || c->help)
		return 0;
	if (c->dir == NULL)
		return fail(c, "no mount point: say aceso-fuse [-o OPTIONS] "
			       "DIR");
	if (c->debug)
		c->foreground = true;
	c->fs.debug = c->debug;
	/* Without all its nodes nothing of it becomes durable. */
	if (p->dir[0] != '\0' && !p->has_respawn)
		p->respawn = true;
	/* A pool that is there already keeps its shape. */
	if (p->dir[0] != '\0' && pooldir_is_one(p->dir))
		return 0;
	if (p->k == 0) {
		p->k = 3;
		p->m = 2;
	}
	if (p->nodes == 0)
		p->nodes = p->k + p->m;
	if (p->k + p->m > 32 || p->m > KV_PARITIES_MAX)
		return fail(c,
			    "code=%u+%u does not exist: at most %u parities "
			    "and 32 in all",
			    p->k, p->m, KV_PARITIES_MAX);
	if (p->k + p->m > p->nodes)
		return fail(c,
			    "code=%u+%u needs %u nodes, nodes=%u is too "
			    "few",
			    p->k, p->m, p->k + p->m, p->nodes);
	return 0;
}

int conf_read(struct conf *c, int argc, char **argv)
{
	int rc;

	*c = (struct conf){.allow_other = geteuid() == 0, .clone_fd = true};
	c->pool.ckpt_ms = CKPT_MS_DEFAULT;
	c->pool.respawn = true;
	c->fs.cache = FS_CACHE_AUTO;
	c->fs.attr_timeout = -1;
	c->fs.entry_timeout = -1;
	c->fs.negative_timeout = -1;
	rc = parse_env(c);
	if (rc == 0)
		rc = parse(c, argc, argv);
	if (rc == 0)
		rc = settle(c);
	return rc;
}

void conf_free(struct conf *c)
{
	free(c->dir);
	c->dir = NULL;
}
