/* mount-helper/cmd_key.c - aceso pool key: the key for hosts that may only
 * look, made of the pool's own. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/cmd.h"
#include "mount-helper/conf.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/poolkey.h"
#include "mount-helper/say.h"

static int print_reader(const char *pool)
{
	char error[CONF_ERROR_BYTES_MAX], line[POOLKEY_READER_BYTES];
	static struct poolconf c;
	int rc = poolconf_load(pool, &c, error);

	if (rc < 0) {
		say_err("%s", error);
		return CMD_FAIL;
	}
	rc = poolkey_reader_line(&c.key, line);
	explicit_bzero(&c.key, sizeof(c.key));
	if (rc < 0) {
		say_err("this host has a reader's key itself: ask one that "
			"has the pool's own");
		return CMD_FAIL;
	}
	if (isatty(1))
		say_info("who has this may read all of pool %s: keep it in a "
			 "file with mode 600",
			 pool);
	rc = printf("%s\n", line) > 0 && fflush(stdout) == 0 ? CMD_OK
							     : CMD_FAIL;
	explicit_bzero(line, sizeof(line));
	return rc;
}

int cmd_pool_key(int argc, char **argv)
{
	static const struct option longs[] = {
		{"read-only", no_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	bool reader = false;
	int letter;

	while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (letter == '?')
			return cmd_usage("pool key");
		reader = true;
	}
	/* The pool's own is the file: there is nothing to print. */
	if (!reader || argc - optind != 1)
		return cmd_usage("pool key");
	return print_reader(argv[optind]);
}
