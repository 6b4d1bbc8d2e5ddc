/* mount-helper/aceso.c - the command line of a pool. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/cmd.h"
#include "mount-helper/conf.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"

static int cmd_version(const char *pool, int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(const char *pool, int argc, char **argv);
	const char *help;
} commands[] = {
	{"status", cmd_status, "how the pool and its nodes are"},
	{"df", cmd_df, "how much room there is"},
	{"stats", cmd_stats, "what nodes and mounts have counted"},
	{"ls", cmd_ls, "list a directory, or keys (--keys)"},
	{"get", cmd_get, "print a key's value, or a file (/...)"},
	{"put", cmd_put, "set a key, or write a file"},
	{"rm", cmd_rm, "remove a key, or a file"},
	{"explain", cmd_explain, "where a path or a key lies, down to nodes"},
	{"fsck", cmd_fsck, "is the pool sound, and if not: mend it (--repair)"},
	{"scrub", cmd_scrub, "verify every byte of a pool in use, and mend it"},
	{"debug", cmd_debug, "harm the pool, to show that it bears it"},
	{"pool", cmd_pool, "a pool over several hosts: create, serve"},
	{"pools", cmd_pools, "list the pools of this host"},
	{"stop", cmd_stop, "unmount a pool everywhere and end it"},
	{"mount", cmd_mount, "mount a pool, and at each boot (--update-fstab)"},
	{"umount", cmd_umount, "unmount, or say who keeps it busy"},
	{"config", cmd_config, "what options hold, and where they come from"},
	{"doctor", cmd_doctor, "what this host lacks, and how to mend it"},
	{"version", cmd_version, "print the version"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int cmd_version(const char *pool, int argc, char **argv)
{
	printf("aceso %s\n", ACESO_VERSION);
	return CMD_OK;
}

static void usage(FILE *f)
{
	fputs("usage: aceso [-p POOL] COMMAND [ARGUMENT...]\n", f);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("POOL may be left out if only one is running "
	      "(or say $ACESO_POOL). More: aceso COMMAND --help; man "
	      "aceso\n",
	      f);
}

static int unknown(const char *word)
{
	const char *names[COMMANDS + 1], *near;

	for (size_t i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	names[COMMANDS] = NULL;
	near = conf_nearest(word, names);
	if (near != NULL)
		say_err("unknown command '%s': did you mean '%s'?", word, near);
	else
		say_err("unknown command '%s': see aceso --help", word);
	return CMD_USAGE;
}

static int run(const char *pool, int argc, char **argv)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		if (cmd_help(argc, argv))
			return CMD_OK;
		optind = 0; /* getopt begins again, with the command's own */
		return commands[i].run(pool, argc, argv);
	}
	return unknown(argv[0]);
}

/* -p may also stand behind the command: take it out. "--" ends the search. */
static int take_pool(int argc, char **argv, const char **pool)
{
	int kept = 1;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (i < argc)
				argv[kept++] = argv[i++];
		} else if ((strcmp(argv[i], "-p") == 0 ||
			    strcmp(argv[i], "--pool") == 0) &&
			   i + 1 < argc) {
			*pool = argv[++i];
		} else if (strncmp(argv[i], "--pool=", 7) == 0) {
			*pool = argv[i] + 7;
		} else {
			argv[kept++] = argv[i];
		}
	}
	argv[kept] = NULL;
	return kept;
}

/* The file of options must be right, but for who tells what is wrong in it. */
static bool may_be_wrong(const char *command)
{
	return strcmp(command, "config") == 0 ||
	       strcmp(command, "doctor") == 0 ||
	       strcmp(command, "version") == 0;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"pool", required_argument, NULL, 'p'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	char error[CONF_ERROR_BYTES_MAX];
	const char *pool = NULL;
	int letter, rc;

	program_open_std();
	say_init("aceso");
	rc = conf_apply_vars(error);
	while ((letter = getopt_long(argc, argv, "+p:Vh", longs, NULL)) != -1) {
		switch (letter) {
		case 'p':
			pool = optarg;
			break;
		case 'V':
			return cmd_version(NULL, 0, NULL);
		case 'h':
			usage(stdout);
			return CMD_OK;
		default:
			usage(stderr);
			return CMD_USAGE;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return CMD_USAGE;
	}
	if (rc < 0 && !may_be_wrong(argv[optind])) {
		say_err("%s", error);
		return CMD_USAGE;
	}
	if (pool == NULL)
		pool = getenv("ACESO_POOL");
	argc = take_pool(argc - optind, argv + optind, &pool);
	return run(pool, argc, argv + optind);
}
