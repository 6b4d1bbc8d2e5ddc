/* mount-helper/cmd_usage.c - how the subcommands of aceso(1) are called. */
#include <stdio.h>
#include <string.h>

#include "mount-helper/cmd.h"

#define NEXT "\n       aceso "

static const struct form {
	const char *command; /* of two words: one command of a group */
	const char *how;     /* for each form a line */
} forms[] = {
	{"status", "status [--json] [--watch [SECONDS]]"},
	{"df", "df"},
	{"stats", "stats [--json]"},
	{"ls",
	 "ls [-l] [/PATH]" NEXT "ls [-l] --keys [PREFIX]" NEXT "ls [-l] --all"},
	{"get", "get KEY|/PATH"},
	{"put", "put KEY|/PATH [VALUE|-]"},
	{"rm", "rm KEY|/PATH"},
	{"explain", "explain KEY|/PATH"},
	{"fsck", "fsck [--repair] [--json]"},
	{"scrub", "scrub start [--wait] [--rate=SIZE]" NEXT
		  "scrub status|pause|resume|stop"},
	{"debug", "debug corrupt --yes-destroy-data [--part=page|record] "
		  "[--offset=N]\n"
		  "             [--copy=data|0|1|hint] [--bits=N] [--seed=N] "
		  "KEY|/PATH|NODE:OFFSET"},
	{"pool", "pool create NAME ..." NEXT "pool serve NAME ..." NEXT
		 "pool key NAME ..."},
	{"pool create", "pool create NAME --nodes HOST[:PORT],...\n"
			"             [--code K+M] [--node-size SIZE] "
			"[--transport auto|tcp|verbs]\n"
			"             [--coordinators HOST[:PORT],...] "
			"[--zookeeper HOST:PORT,...]\n"
			"             [--lease-ms MS]"},
	{"pool serve", "pool serve NAME [--only node:N,coordinator:N,...]"},
	{"pool key", "pool key NAME --read-only > NAME.key"},
	{"pools", "pools"},
	{"stop", "stop [--force] [POOL]"},
	{"mount", "mount [-o OPTIONS] [--update-fstab] [--fstab FILE] "
		  "[--no-mount] POOL DIR"},
	{"umount", "umount [--lazy] [--update-fstab] [--fstab FILE] DIR"},
	{"config", "config show [--json] [-o OPTION,...]"},
	{"doctor", "doctor [--json] [--pool NAME]"},
	{"version", "version"},
};

#define FORMS (sizeof(forms) / sizeof(forms[0]))

static const struct form *find(const char *command)
{
	for (size_t i = 0; i < FORMS; i++)
		if (strcmp(forms[i].command, command) == 0)
			return &forms[i];
	return NULL;
}

int cmd_usage(const char *command)
{
	const struct form *f = find(command);

	fprintf(stderr, "usage: aceso %s\n", f != NULL ? f->how : command);
	return CMD_USAGE;
}

static bool asks(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* The words that may name a command of a group: those whose first argument is
 * one of a few. Behind others a second "--help" may be meant as it stands. */
static bool is_group(const char *command)
{
	return strcmp(command, "pool") == 0 || strcmp(command, "scrub") == 0 ||
	       strcmp(command, "debug") == 0 || strcmp(command, "config") == 0;
}

bool cmd_help(int argc, char **argv)
{
	const struct form *f = find(argv[0]), *of_two;
	char two[32];

	if (argc > 2 && is_group(argv[0]) && asks(argv[2])) {
		snprintf(two, sizeof(two), "%s %s", argv[0], argv[1]);
		of_two = find(two);
		f = of_two != NULL ? of_two : f;
	} else if (argc < 2 || !asks(argv[1])) {
		return false;
	}
	printf("usage: aceso %s\n", f != NULL ? f->how : argv[0]);
	return true;
}
