/* mount-helper/cmd_explain.c - aceso explain: from a path or a key down to the
 * nodes that hold it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/fs.h"
#include "kv/kv.h"
#include "mount-helper/cmd.h"
#include "mount-helper/say.h"
#include "mount-helper/size.h"

#define PAGES_SHOWN_MAX 64u /* of one file; the rest is counted */

struct explain {
	struct kv *kv;
	uint64_t pages; /* met so far */
	int failed;	/* the first error, when asking where something is */
};

static void print_hex(const void *data, size_t len)
{
	const unsigned char *b = data;

	for (size_t i = 0; i < len; i++)
		printf("%02x", b[i]);
}

static void print_parities(const struct kv_where *w)
{
	printf(", parity on");
	for (uint32_t j = 0; j < w->parities && j < KV_PARITIES_MAX; j++)
		printf("%s node %u", j > 0 ? "," : "", w->parity_node[j]);
	putchar('\n');
}

static void print_block(const struct kv_where *w)
{
	printf("    stripe   %" PRIu64 " role %u (%s)", w->stripe, w->role,
	       w->state);
	print_parities(w);
}

static void print_where(const struct kv_where *w)
{
	printf("    hash     %016" PRIx64 " -> shard %u, served by node %u\n",
	       w->hash, w->shard, w->host);
	printf("    slot     node %u + 0x%" PRIx64 ", version %" PRIu64
	       ", %u bytes\n",
	       w->host, w->slot, w->version, w->length);
	printf("    record   node %u + 0x%" PRIx64 "\n", w->node, w->offset);
	print_block(w);
}

static void explain_key(struct explain *x, const void *key, size_t klen)
{
	struct kv_where w;
	int rc = kv_where(x->kv, key, klen, &w);

	if (rc == 0)
		print_where(&w);
	else if (rc == -ENOENT)
		printf("    absent\n");
	else
		printf("    cannot be found now: %s\n", strerror(-rc));
	if (rc < 0 && rc != -ENOENT && x->failed == 0)
		x->failed = rc;
}

static int each_key(void *arg, const char *what, const void *key, unsigned klen)
{
	printf("%s\n    key      ", what);
	print_hex(key, klen);
	putchar('\n');
	explain_key(arg, key, klen);
	return 0;
}

static int each_page(void *arg, uint64_t offset, struct kv_page page)
{
	struct explain *x = arg;
	struct kv_where w;
	int rc;

	if (x->pages++ >= PAGES_SHOWN_MAX)
		return 0;
	rc = kv_where_page(x->kv, page, &w);
	if (rc < 0) {
		x->failed = x->failed == 0 ? rc : x->failed;
		printf("page at %-10" PRIu64 " cannot be found now: %s\n",
		       offset, strerror(-rc));
		return 0;
	}
	printf("page at %-10" PRIu64 " node %u + 0x%" PRIx64 ", crc %08x, "
	       "stripe %" PRIu64 " role %u (%s)",
	       offset, w.node, w.offset, page.crc, w.stripe, w.role, w.state);
	print_parities(&w);
	return 0;
}

static int explain_path(struct explain *x, const char *path)
{
	struct fs_opts o = {.attr_timeout = -1,
			    .entry_timeout = -1,
			    .negative_timeout = -1};
	struct fs *fs;
	int rc = fs_open(x->kv, &o, &fs);

	if (rc < 0)
		return rc;
	printf("path %s\n", path);
	rc = fs_explain(fs, path, each_key, each_page, x);
	fs_close(fs);
	if (x->pages > PAGES_SHOWN_MAX)
		printf("... and %" PRIu64 " pages more\n",
		       x->pages - PAGES_SHOWN_MAX);
	return rc;
}

static int explain_user_key(struct explain *x, const char *name)
{
	char key[KV_KEY_BYTES_MAX + 1];
	int n = snprintf(key, sizeof(key), "u%s", name);
	struct kv_where w;

	if (n >= (int)sizeof(key))
		return -ENAMETOOLONG;
	if (kv_where(x->kv, key, (size_t)n, &w) == -ENOENT)
		return -ENOENT;
	printf("key %s\n", name);
	explain_key(x, key, (size_t)n);
	return 0;
}

int cmd_explain(const char *pool, int argc, char **argv)
{
	struct explain x = {0};
	struct pool_place p;
	const char *name = argc == 2 ? argv[1] : "";
	int rc;

	if (argc != 2)
		return cmd_usage("explain");
	rc = cmd_find(pool, &p);
	if (rc == 0)
		rc = cmd_open(&p, &x.kv);
	if (rc != 0)
		return rc;
	if (name[0] == '/')
		name = cmd_within(&p, name);
	rc = name[0] == '/' ? explain_path(&x, name)
			    : explain_user_key(&x, name);
	kv_close(x.kv);
	if (rc == 0)
		rc = x.failed;
	if (rc == -ENOENT && name[0] != '/')
		say_err("%s: no such key (a path begins with a slash)", name);
	else if (rc < 0)
		say_err("%s: %s", name, strerror(-rc));
	return rc < 0 ? CMD_FAIL : CMD_OK;
}
