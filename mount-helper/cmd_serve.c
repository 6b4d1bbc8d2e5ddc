/* mount-helper/cmd_serve.c - aceso pool: create, and serve, which gives this
 * host's part to a pool over several. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "mount-helper/cmd.h"
#include "mount-helper/host.h"
#include "mount-helper/say.h"
#include "mount-helper/size.h"

int cmd_pool(const char *pool, int argc, char **argv)
{
	optind = 0; /* getopt begins again */
	if (argc > 1 && strcmp(argv[1], "create") == 0)
		return cmd_pool_create(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "serve") == 0)
		return cmd_pool_serve(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "key") == 0)
		return cmd_pool_key(argc - 1, argv + 1);
	return cmd_usage("pool");
}

/* One of "node:3", "coordinator:0", "coordinator". */
static int take_one(struct host_opts *o, const char *word)
{
	const char *colon = strchr(word, ':');
	bool node = strncmp(word, "node:", 5) == 0;
	uint32_t id = 0;

	if (!node && strncmp(word, "coordinator", 11) != 0)
		return -EINVAL;
	if (!node && word[11] != ':' && word[11] != '\0')
		return -EINVAL;
	if (colon != NULL &&
	    size_parse_count(colon + 1, 0,
			     node ? FAB_NODES_MAX - 1 : POOLCONF_COORDS_MAX - 1,
			     &id) != 0)
		return -EINVAL;
	if (node)
		o->nodes |= UINT64_C(1) << id;
	else
		o->coords |= UINT64_C(1) << id;
	return 0;
}

static int take_only(struct host_opts *o, const char *list)
{
	char word[32];
	int rc = list[0] != '\0' ? 0 : -EINVAL;

	o->only = true;
	for (; rc == 0 && *list != '\0'; list += *list == ',') {
		size_t len = strcspn(list, ",");

		if (len >= sizeof(word))
			return -EINVAL;
		snprintf(word, sizeof(word), "%.*s", (int)len, list);
		rc = take_one(o, word);
		list += len;
	}
	return rc;
}

int cmd_pool_serve(int argc, char **argv)
{
	static const struct option longs[] = {
		{"only", required_argument, NULL, 'o'},
		{NULL, 0, NULL, 0},
	};
	struct host_opts o = {0};
	int letter;

	while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (letter == '?')
			return cmd_usage("pool serve");
		if (take_only(&o, optarg) != 0) {
			say_err("--only %s makes no sense: say --only "
				"node:0,coordinator:0",
				optarg);
			return CMD_USAGE;
		}
	}
	if (argc - optind != 1)
		return cmd_usage("pool serve");
	o.pool = argv[optind];
	return host_serve(&o);
}
