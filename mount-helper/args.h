/* mount-helper/args.h - the words that our daemons are started with.
 * Threads: none but main's. */
#ifndef ACESO_MOUNT_HELPER_ARGS_H
#define ACESO_MOUNT_HELPER_ARGS_H
#include <getopt.h>
#include <stdio.h>

struct args_form {
	const char *program;
	const struct option *longs; /* with "version" 'V' and "help" 'h' */
	void (*usage)(FILE *f);
	/* One option: 0, or negative for a value that makes no sense. */
	int (*take)(void *arg, int letter, const char *value);
};

/* Give every option to take() with @arg; --version and --help are answered
 * here, and end the program. Errors (said on stderr): -EINVAL, also if a word
 * is left that is no option. */
int args_parse(const struct args_form *form, void *arg, int argc, char **argv);

#endif
