/* mount-helper/conf_table.c - the options that there are, and taking one. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "mount-helper/conf_impl.h"

#define VALUE(n, setter, d)                                                    \
	{                                                                      \
		.name = n, .set = setter, .dflt = d                            \
	}
#define LINE(n, setter, d)                                                     \
	{                                                                      \
		.name = n, .set = setter, .dflt = d, .line_only = true         \
	}
#define SWITCH(n, field, value, contrary, d)                                   \
	{                                                                      \
		.name = n, .what = CONF_SWITCH,                                \
		.flag = offsetof(struct conf, field), .on = value,             \
		.of = contrary, .dflt = d                                      \
	}
#define FORWARD(n, contrary, d)                                                \
	{                                                                      \
		.name = n, .what = CONF_FORWARD, .of = contrary, .dflt = d     \
	}
#define IGNORE(n)                                                              \
	{                                                                      \
		.name = n, .what = CONF_IGNORE, .line_only = true              \
	}
/* mount(8)'s own, from which we learn something */
#define HEED(n, setter)                                                        \
	{                                                                      \
		.name = n, .what = CONF_IGNORE, .set = setter,                 \
		.line_only = true                                              \
	}

const struct conf_option conf_options[] = {
	/* of a new pool */
	VALUE("size", conf_set_size, "50%"),
	VALUE("code", conf_set_code, "3+2"),
	VALUE("nodes", conf_set_nodes, "as many as the code has blocks"),
	VALUE("ckpt_ms", conf_set_ckpt_ms, "500"),
	VALUE("respawn", conf_set_respawn, "yes"),
	VALUE("rebuild_rate", conf_set_rebuild_rate, "0"),
	VALUE("readers", conf_set_readers, "none"),
	VALUE("durable_ms", conf_set_durable_ms, "5000"),
	VALUE("uid", conf_set_uid, "of who mounts"),
	VALUE("gid", conf_set_gid, "of who mounts"),
	VALUE("mode", conf_set_mode, "1777"),
	/* of any */
	LINE("pool", conf_set_pool, "made of the directory's path"),
	LINE("pool-dir", conf_set_pool_dir, "none"),
	LINE("backing", conf_set_backing, "file with pool-dir, else memory"),
	VALUE("cache", conf_set_cache, "auto"),
	VALUE("attr_timeout", conf_set_attr_timeout, "by cache"),
	VALUE("entry_timeout", conf_set_entry_timeout, "by cache"),
	VALUE("negative_timeout", conf_set_negative_timeout, "0"),
	VALUE("op_timeout", conf_set_op_timeout, "30"),
	VALUE("lanes", conf_set_lanes, "one for each cpu, at most 8"),
	VALUE("cache_size", conf_set_cache_size, "64m"),
	VALUE("max_threads", conf_set_max_threads,
	      "4 for each cpu, at least 32"),
	LINE("fsname", conf_set_fsname, "the pool's name"),
	LINE("subtype", conf_set_subtype, "aceso"),
	SWITCH("clone_fd", clone_fd, true, NULL, "yes"),
	SWITCH("noclone_fd", clone_fd, false, "clone_fd", NULL),
	SWITCH("io_uring", io_uring, true, NULL, "yes"),
	SWITCH("noio_uring", io_uring, false, "io_uring", NULL),
	SWITCH("allow_other", allow_other, true, NULL, NULL),
	SWITCH("noallow_other", allow_other, false, "allow_other", NULL),
	{.name = "debug",
	 .what = CONF_SWITCH,
	 .flag = offsetof(struct conf, debug),
	 .on = true,
	 .line_only = true,
	 .dflt = "no"},
	{.name = "sloppy",
	 .what = CONF_SWITCH,
	 .flag = offsetof(struct conf, sloppy),
	 .on = true,
	 .line_only = true,
	 .dflt = "no"},
	FORWARD("ro", NULL, "no"),
	FORWARD("rw", "ro", NULL),
	FORWARD("suid", NULL, "no"),
	FORWARD("nosuid", "suid", NULL),
	FORWARD("dev", NULL, "no"),
	FORWARD("nodev", "dev", NULL),
	FORWARD("exec", NULL, "yes"),
	FORWARD("noexec", "exec", NULL),
	FORWARD("atime", NULL, "yes"),
	FORWARD("noatime", "atime", NULL),
	/* with a value it is ours */
	{.name = "sync",
	 .what = CONF_FORWARD,
	 .set = conf_set_sync,
	 .dflt = "memory"},
	FORWARD("async", "sync", NULL),
	FORWARD("dirsync", NULL, "no"),
	IGNORE("default_permissions"), /* always on */
	IGNORE("defaults"),
	IGNORE("auto"),
	IGNORE("noauto"),
	IGNORE("user"),
	IGNORE("nouser"),
	IGNORE("users"),
	IGNORE("nousers"),
	IGNORE("group"),
	IGNORE("owner"),
	HEED("_netdev", conf_set_netdev),
	IGNORE("nofail"),
	IGNORE("fail"),
	IGNORE("silent"),
	IGNORE("loud"),
	IGNORE("relatime"), /* the kernel's default */
	IGNORE("comment"),
};

const size_t conf_options_n = sizeof(conf_options) / sizeof(conf_options[0]);
_Static_assert(sizeof(conf_options) / sizeof(conf_options[0]) <=
		       CONF_OPTIONS_MAX,
	       "struct conf has room for where each comes from");

static const struct conf_option *find(const char *name, size_t len)
{
	for (size_t i = 0; i < conf_options_n; i++)
		if (strlen(conf_options[i].name) == len &&
		    memcmp(conf_options[i].name, name, len) == 0)
			return &conf_options[i];
	return NULL;
}

/* The option that switches @name off; NULL if none does. */
static const struct conf_option *contrary(const char *name)
{
	for (size_t i = 0; i < conf_options_n; i++)
		if (conf_options[i].of != NULL &&
		    strcmp(conf_options[i].of, name) == 0)
			return &conf_options[i];
	return NULL;
}

static const char *nearest(const char *word, bool in_file)
{
	const char *names[CONF_OPTIONS_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < conf_options_n; i++)
		if (!in_file ||
		    (!conf_options[i].line_only && conf_options[i].of == NULL))
			names[n++] = conf_options[i].name;
	names[n] = NULL;
	return conf_nearest(word, names);
}

static int unknown(struct conf *c, const char *text, int len)
{
	const char *near;
	char word[64];

	if (c->sloppy)
		return 0;
	snprintf(word, sizeof(word), "%.*s", len, text);
	if (strcmp(word, "remount") == 0)
		return conf_fail(c, "a mount cannot be changed while it is "
				    "there (remount): unmount it and mount it "
				    "again");
	near = nearest(word, false);
	if (near != NULL)
		return conf_fail(c, "unknown option '%s': did you mean '%s'?",
				 word, near);
	return conf_fail(c, "unknown option '%s': see aceso-fuse --help", word);
}

/* Where @o's value comes from. */
static void note(struct conf *c, const struct conf_option *o, const char *value)
{
	const char *name = o->of != NULL ? o->of : o->name;
	struct conf_origin *from =
		&c->from[find(name, strlen(name)) - conf_options];

	from->source = c->source;
	from->line = c->line;
	if (value == NULL)
		value = o->of != NULL ? "no" : "yes";
	snprintf(from->value, sizeof(from->value), "%s", value);
}

static int apply(struct conf *c, const struct conf_option *o, const char *text,
		 const char *value)
{
	if (o->what == CONF_VALUE || (value != NULL && o->set != NULL))
		return o->set(c, value);
	if (value != NULL)
		return conf_fail(c, "option '%s' takes no value", o->name);
	if (o->what == CONF_FORWARD)
		return conf_forward(c, text);
	*(bool *)((char *)c + o->flag) = o->on;
	return 0;
}

int conf_take(struct conf *c, const char *text)
{
	size_t len = strcspn(text, "=");
	const char *value = text[len] == '=' ? text + len + 1 : NULL;
	const struct conf_option *o = find(text, len);
	int rc;

	if (strncasecmp(text, "x-", 2) == 0)
		return 0; /* for others: systemd, libmount */
	if (o == NULL)
		return unknown(c, text, (int)len);
	if (o->what == CONF_IGNORE)
		return o->set != NULL ? o->set(c, value) : 0;
	if ((o->what == CONF_VALUE && value == NULL) ||
	    (o->set != NULL && value != NULL && *value == '\0'))
		return conf_fail(c, "option '%s' needs a value: %s=...",
				 o->name, o->name);
	rc = apply(c, o, text, value);
	if (rc == 0)
		note(c, o, value);
	return rc;
}

/* A name of the file that switches something on or off. */
static int take_switch(struct conf *c, const struct conf_option *o,
		       const char *value)
{
	const struct conf_option *off = contrary(o->name);
	int rc = 0;

	if (strcmp(value, "yes") == 0)
		rc = apply(c, o, o->name, NULL);
	else if (strcmp(value, "no") != 0)
		return conf_fail(c, "%s = %s: say %s = yes or %s = no", o->name,
				 value, o->name, o->name);
	else if (off != NULL)
		rc = apply(c, off, off->name, NULL);
	if (rc == 0)
		note(c, o, value);
	return rc;
}

int conf_take_entry(struct conf *c, const char *name, const char *value)
{
	const struct conf_option *o = find(name, strlen(name));
	const char *near = o == NULL ? nearest(name, true) : NULL;
	int rc;

	if (o == NULL && near != NULL)
		return conf_fail(c, "unknown name '%s': did you mean '%s'?",
				 name, near);
	if (o == NULL)
		return conf_fail(c,
				 "unknown name '%s' in [mount]: see man "
				 "aceso.conf",
				 name);
	if (o->line_only)
		return conf_fail(c,
				 "'%s' is of one mount: say it on its "
				 "command line or in its line of fstab",
				 name);
	if (o->of != NULL)
		return conf_fail(c, "'%s' is not said here: say %s = no", name,
				 o->of);
	if (o->set == NULL)
		return take_switch(c, o, value);
	if (*value == '\0')
		return conf_fail(c, "'%s' needs a value", name);
	rc = o->set(c, value);
	if (rc == 0)
		note(c, o, value);
	return rc;
}

static const char *value_of(const struct conf_option *o,
			    const struct conf_origin *from)
{
	if (from->source != CONF_DEFAULT)
		return from->value;
	if (o->dflt != NULL)
		return o->dflt;
	return geteuid() == 0 ? "yes" : "no";
}

int conf_each(const struct conf *c,
	      int (*each)(void *arg, const char *name, const char *value,
			  enum conf_source source, unsigned line),
	      void *arg)
{
	int rc = 0;

	for (size_t i = 0; i < conf_options_n && rc == 0; i++) {
		const struct conf_option *o = &conf_options[i];

		if (o->what != CONF_IGNORE && o->of == NULL)
			rc = each(arg, o->name, value_of(o, &c->from[i]),
				  c->from[i].source, c->from[i].line);
	}
	return rc;
}
