/* mount-helper/cmd_debug.c - aceso debug corrupt: flips bits, so that it can be
 * shown that reads, scrub and fsck bear it. Never by accident: a word on the
 * command line must say that data may go. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs.h"
#include "kv/check.h"
#include "kv/kv.h"
#include "mount-helper/cmd.h"
#include "mount-helper/say.h"

struct corrupt {
	struct kv *kv;
	struct kv_harm h;
	bool sure, record;
	uint64_t offset; /* in the file */
	/* met on the way: */
	struct kv_page page;
	bool found;
	uint8_t klen, key[KV_KEY_BYTES_MAX]; /* the last key: the inode's */
};

/* --- a path -------------------------------------------------------------- */

/* Keys come root first; the last inode's is the file's. */
static int each_key(void *arg, const char *what, const void *key, unsigned klen)
{
	struct corrupt *c = arg;

	if (strncmp(what, "inode", 5) == 0 && klen <= sizeof(c->key)) {
		memcpy(c->key, key, klen);
		c->klen = (uint8_t)klen;
	}
	return 0;
}

static int each_page(void *arg, uint64_t offset, struct kv_page page)
{
	struct corrupt *c = arg;

	if (c->offset / KV_PAGE_BYTES == offset / KV_PAGE_BYTES) {
		c->page = page;
		c->found = true;
	}
	return 0;
}

static int at_path(struct corrupt *c, const char *path)
{
	struct fs_opts o = {.attr_timeout = -1,
			    .entry_timeout = -1,
			    .negative_timeout = -1,
			    .check = true};
	struct fs *fs;
	int rc = fs_open(c->kv, &o, &fs);

	if (rc < 0)
		return rc;
	rc = fs_explain(fs, path, each_key, each_page, c);
	fs_close(fs);
	if (rc < 0)
		return rc;
	if (c->record || c->h.hint)
		return kv_harm_key(c->kv, c->key, c->klen, &c->h);
	return c->found ? kv_harm_page(c->kv, c->page, &c->h) : -ENXIO;
}

/* --- the others ---------------------------------------------------------- */

static bool is_place(const char *s, uint64_t *node, uint64_t *off)
{
	char *end;

	*node = strtoull(s, &end, 10);
	if (end == s || *end != ':')
		return false;
	s = end + 1;
	*off = strtoull(s, &end, 0);
	return end != s && *end == '\0';
}

static int at_key(struct corrupt *c, const char *name)
{
	char key[KV_KEY_BYTES_MAX + 1];
	int n = snprintf(key, sizeof(key), "u%s", name);

	if (n >= (int)sizeof(key))
		return -ENAMETOOLONG;
	return kv_harm_key(c->kv, key, (size_t)n, &c->h);
}

static int harm(struct corrupt *c, const struct pool_place *p, const char *what)
{
	uint64_t node, off;

	if (is_place(what, &node, &off))
		return node > UINT8_MAX ? -EINVAL
					: kv_harm_at(c->kv, (uint8_t)node, off,
						     1, &c->h);
	if (what[0] != '/')
		return at_key(c, what);
	return at_path(c, cmd_within(p, what));
}

/* --- options ------------------------------------------------------------- */

static int set_copy(struct corrupt *c, const char *word)
{
	char *end;
	unsigned long j = strtoul(word, &end, 10);

	if (strcmp(word, "data") == 0)
		return 0;
	if (strcmp(word, "hint") == 0) {
		c->h.hint = true;
		return 0;
	}
	if (end == word || *end != '\0' || j >= KV_PARITIES_MAX)
		return -EINVAL;
	c->h.copy = (uint32_t)j + 1;
	return 0;
}

static int set_option(struct corrupt *c, int letter)
{
	switch (letter) {
	case 'y':
		c->sure = true;
		return 0;
	case 'p':
		c->record = strcmp(optarg, "record") == 0;
		return c->record || strcmp(optarg, "page") == 0 ? 0 : -EINVAL;
	case 'o':
		c->offset = strtoull(optarg, NULL, 0);
		return 0;
	case 'c':
		return set_copy(c, optarg);
	case 'b':
		c->h.bits = (uint32_t)strtoul(optarg, NULL, 0);
		return c->h.bits > 0 && c->h.bits <= 32768 ? 0 : -EINVAL;
	case 's':
		c->h.seed = strtoull(optarg, NULL, 0);
		return 0;
	default:
		return -EINVAL;
	}
}

static int options(struct corrupt *c, int argc, char **argv)
{
	static const struct option longs[] = {
		{"yes-destroy-data", no_argument, NULL, 'y'},
		{"part", required_argument, NULL, 'p'},
		{"offset", required_argument, NULL, 'o'},
		{"copy", required_argument, NULL, 'c'},
		{"bits", required_argument, NULL, 'b'},
		{"seed", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (set_option(c, letter) != 0)
			return -EINVAL;
	if (argc - optind != 2 || strcmp(argv[optind], "corrupt") != 0)
		return -EINVAL;
	return 0;
}

int cmd_debug(const char *pool, int argc, char **argv)
{
	struct corrupt c = {.h = {.seed = 1, .bits = 1}};
	struct pool_place p;
	const char *what;
	int rc;

	if (options(&c, argc, argv) != 0)
		return cmd_usage("debug");
	what = argv[optind + 1];
	if (!c.sure) {
		say_err("this harms the pool, to show that it bears it: say "
			"--yes-destroy-data");
		return CMD_USAGE;
	}
	rc = cmd_find(pool, &p);
	if (rc == 0)
		rc = cmd_open(&p, &c.kv);
	if (rc != 0)
		return rc;
	rc = harm(&c, &p, what);
	kv_close(c.kv);
	if (rc < 0) {
		say_err("%s: %s", what,
			rc == -ENXIO ? "no page there (a small file lies in "
				       "its inode: --part=record)"
				     : strerror(-rc));
		return CMD_FAIL;
	}
	printf("%u bits flipped on node %u, the first at 0x%" PRIx64 "\n",
	       c.h.bits, c.h.node, c.h.offset);
	return CMD_OK;
}
