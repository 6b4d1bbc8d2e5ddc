/* mount-helper/aceso-node.c - one memory node, or the supervisor of a pool of
 * them. People do not start it by hand: aceso-fuse does, or aceso pool serve.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/args.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/memnode.h"
#include "mount-helper/pooldir.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"
#include "mount-helper/size.h"
#include "mount-helper/supervise.h"
#include "rdma/fabric.h"

struct args {
	bool supervise;
	bool has_id;
	struct supervise_opts super;
	struct memnode_opts node;
};

static const struct option longs[] = {
	{"supervise", no_argument, NULL, 'S'},
	{"pool", required_argument, NULL, 'p'},
	{"id", required_argument, NULL, 'i'},
	{"size", required_argument, NULL, 's'},
	{"code", required_argument, NULL, 'c'},
	{"nodes", required_argument, NULL, 'n'},
	{"pool-dir", required_argument, NULL, 'd'},
	{"durable-ms", required_argument, NULL, 'D'},
	{"dir", required_argument, NULL, 'P'},
	{"region", required_argument, NULL, 'R'},
	{"keep", no_argument, NULL, 'k'},
	{"hosts", no_argument, NULL, 'H'},
	{"grace-ms", required_argument, NULL, 'g'},
	{"respawn", no_argument, NULL, 'r'},
	{"readers", required_argument, NULL, 'G'},
	{"life", required_argument, NULL, 'l'},
	{"ckpt-ms", required_argument, NULL, 'C'},
	{"rebuild-rate", required_argument, NULL, 'b'},
	{"foreground", no_argument, NULL, 'f'},
	{"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static void usage(FILE *f)
{
	fputs("usage: aceso-node --pool NAME --id N [--life L] "
	      "[--dir DIR --region FILE [--keep]]\n"
	      "                  [--hosts] "
	      "[--ckpt-ms MS] [--rebuild-rate SIZE] [--foreground]\n"
	      "       aceso-node --supervise --pool NAME --size BYTES "
	      "--code K+M --nodes N\n"
	      "                  [--pool-dir DIR [--durable-ms MS]] "
	      "[--grace-ms MS]\n"
	      "                  [--respawn] [--readers GID] [--ckpt-ms MS] "
	      "[--rebuild-rate SIZE] [--foreground]\n"
	      "One memory node, or the supervisor of a pool of them. Both are "
	      "started by\naceso-fuse(1), which gives them file 3 to talk "
	      "over; see aceso-node(8). Without that it is a node\n"
	      "of a pool over several hosts, as its file says: "
	      "pool.conf(5).\n",
	      f);
}

static int set_pool(struct args *a, const char *name)
{
	if (conf_check_name(name) < 0)
		return -1;
	strcpy(a->super.pool.name, name);
	a->node.pool = a->super.pool.name;
	return 0;
}

static int set_id(struct args *a, const char *text)
{
	a->has_id = true;
	return size_parse_count(text, 0, FAB_NODES_MAX - 1, &a->node.id);
}

/* Returns 0 to go on, -1 for a bad value. */
static int take(void *arg, int letter, const char *value)
{
	struct args *a = arg;
	struct conf_pool *p = &a->super.pool;

	switch (letter) {
	case 'S':
		a->supervise = true;
		return 0;
	case 'p':
		return set_pool(a, value);
	case 'i':
		return set_id(a, value);
	case 's':
		return size_parse(value, &p->size);
	case 'c':
		return size_parse_code(value, &p->k, &p->m);
	case 'n':
		return size_parse_count(value, 2, FAB_NODES_MAX, &p->nodes);
	case 'g':
		return size_parse_count(value, 0, 3600000, &a->super.grace_ms);
	case 'r':
		p->respawn = true;
		return 0;
	case 'G':
		if (size_parse_count(value, 1, UINT32_MAX - 1, &p->readers) < 0)
			return -1;
		a->node.readers = p->readers;
		return 0;
	case 'l':
		return size_parse_count(value, 0, UINT32_MAX, &a->node.life);
	case 'd':
		if (strlen(value) >= sizeof(p->dir))
			return -1;
		strcpy(p->dir, value);
		return 0;
	case 'D':
		return size_parse_count(value, 1, UINT32_MAX, &p->durable_ms);
	case 'P':
		a->node.dir = value;
		return 0;
	case 'R':
		a->node.region = value;
		return 0;
	case 'H':
		a->node.hosts = true;
		return 0;
	case 'k':
		a->node.keep = true;
		return 0;
	case 'C':
		if (size_parse_count(value, 0, 3600000, &p->ckpt_ms) < 0)
			return -1;
		a->node.ckpt_ms = p->ckpt_ms;
		return 0;
	case 'b':
		if (size_parse(value, &p->rebuild_rate) < 0)
			return -1;
		a->node.rebuild_rate = p->rebuild_rate;
		return 0;
	case 'f':
		a->super.foreground = a->node.foreground = true;
		return 0;
	}
	return -1;
}

static const struct args_form form = {
	.program = "aceso-node", .longs = longs, .usage = usage, .take = take};

static bool complete(const struct args *a)
{
	const struct conf_pool *p = &a->super.pool;

	if (p->name[0] == '\0')
		return false;
	if (!a->supervise)
		return a->has_id &&
		       (a->node.dir == NULL) == (a->node.region == NULL);
	if (p->dir[0] != '\0' && pooldir_is_one(p->dir))
		return true; /* it has its own */
	return p->size != 0 && p->k != 0 && p->nodes >= p->k + p->m;
}

int main(int argc, char **argv)
{
	struct args a = {0};

	program_open_std();
	say_init("aceso-node");
	if (args_parse(&form, &a, argc, argv) < 0 || !complete(&a)) {
		usage(stderr);
		return EXIT_USAGE;
	}
	a.node.linked = program_is_linked();
	if (!a.node.linked && a.supervise) {
		say_err("nobody to talk to: it is aceso-fuse that starts this");
		return EXIT_USAGE;
	}
	if (!a.node.linked) /* by hand, of a pool over several hosts */
		a.node.hosts = true;
	program_raise_files();
	if (!a.super.foreground)
		say_to_syslog();
	return a.supervise ? supervise(&a.super) : memnode(&a.node);
}
