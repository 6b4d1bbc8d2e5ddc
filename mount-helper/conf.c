/* mount-helper/conf.c - the one reader of options: the file, the environment,
 * the command line. What options there are says conf_table.c; splitting argv
 * and -o lists is libfuse's. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_opt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/node/rounds.h"
#include "mount-helper/conf_impl.h"
#include "mount-helper/pooldir.h"

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
		return conf_fail(c, "one mount point, please: '%s' is too many",
				 word);
	if (c->dir != NULL) {
		rc = conf_set_pool(c, c->dir);
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
		conf_fail(c, "unknown option '%s': see aceso-fuse --help", arg);
		return -1;
	}
	return arg[0] == '\0' || conf_take(c, arg) == 0 ? 0 : -1;
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
		conf_fail(c,
			  "the options cannot be read: see aceso-fuse --help");
	return -EINVAL;
}

static int parse_env(struct conf *c)
{
	char *text = getenv("ACESO_OPTIONS");
	char *argv[] = {"ACESO_OPTIONS", "-o", text, NULL};

	return text == NULL || *text == '\0' ? 0 : parse(c, 3, argv);
}

/* Does what was said of the blocks fit what was said of the directory? */
static int check_backing(struct conf *c)
{
	bool dir = c->pool.dir[0] != '\0';

	if (c->pool.backing == CONF_BACKING_FILE && !dir)
		return conf_fail(c, "backing=file needs a directory for the "
				    "files: say pool-dir=DIR");
	if (c->pool.backing == CONF_BACKING_MEMORY && dir)
		return conf_fail(c, "backing=memory has nothing in pool-dir: "
				    "say backing=file, or no pool-dir");
	return 0;
}

/* What only shows when all was read. */
static int settle(struct conf *c)
{
	struct conf_pool *p = &c->pool;

	if (c->version || c->help)
		return 0;
	if (c->dir == NULL)
		return conf_fail(c,
				 "no mount point: say aceso-fuse [-o OPTIONS] "
				 "DIR");
	if (c->debug)
		c->foreground = true;
	c->fs.debug = c->debug;
	if (check_backing(c) != 0)
		return -EINVAL;
	/* Without all its nodes nothing of it becomes durable. */
	if (p->dir[0] != '\0' && !p->has_respawn)
		p->respawn = true;
	/* A pool that is there already keeps its shape, which is not what the
	 * file says of new ones. */
	if (p->dir[0] != '\0' && pooldir_is_one(p->dir)) {
		if (!p->shaped) {
			p->size = p->k = p->m = p->nodes = 0;
			p->percent = 0;
		}
		return 0;
	}
	if (p->k == 0) {
		p->k = 3;
		p->m = 2;
	}
	if (p->nodes == 0)
		p->nodes = p->k + p->m;
	if (p->k + p->m > 32 || p->m > KV_PARITIES_MAX)
		return conf_fail(
			c,
			"code=%u+%u does not exist: at most %u parities "
			"and 32 in all",
			p->k, p->m, KV_PARITIES_MAX);
	if (p->k + p->m > p->nodes)
		return conf_fail(c,
				 "code=%u+%u needs %u nodes, nodes=%u is too "
				 "few",
				 p->k, p->m, p->k + p->m, p->nodes);
	return 0;
}

static void set_defaults(struct conf *c)
{
	*c = (struct conf){.allow_other = geteuid() == 0,
			   .clone_fd = true,
			   .io_uring = true};
	c->pool.ckpt_ms = ROUNDS_MS;
	c->pool.respawn = true;
	c->fs.cache = FS_CACHE_AUTO;
	c->fs.attr_timeout = -1;
	c->fs.entry_timeout = -1;
	c->fs.negative_timeout = -1;
}

int conf_gather(struct conf *c, int argc, char **argv)
{
	int rc;

	set_defaults(c);
	c->source = CONF_FILE_LINE;
	rc = conf_file_read(c);
	c->pool.shaped = false; /* nobody asked this pool to be so */
	c->source = CONF_ENV;
	if (rc == 0)
		rc = parse_env(c);
	c->source = CONF_FLAG;
	if (rc == 0)
		rc = parse(c, argc, argv);
	return rc;
}

int conf_read(struct conf *c, int argc, char **argv)
{
	int rc = conf_gather(c, argc, argv);

	return rc == 0 ? settle(c) : rc;
}

void conf_free(struct conf *c)
{
	free(c->dir);
	c->dir = NULL;
}
