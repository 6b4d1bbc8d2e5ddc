/* mount-helper/mount.aceso.c - what mount(8) and fstab call: turns
 *	mount.aceso SPEC DIR [-sfnv] [-N NS] [-t TYPE] [-o OPTIONS]
 * into	aceso-fuse -o OPTIONS,fsname=SPEC[,pool=SPEC] DIR. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_opt.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/conf.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/mnt.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"
#include "mount-helper/spec.h"

struct args {
	char *spec, *dir;
	char *options; /* as they come, "" at least */
	bool sloppy, fake, verbose;
};

static void usage(FILE *f)
{
	fputs("usage: mount.aceso SPEC DIR [-sfnv] [-o OPTIONS]\n"
	      "SPEC is the name of a pool; \"none\" or \"aceso\" makes an "
	      "embedded one.\n"
	      "Called by mount -t aceso SPEC DIR, and by fstab lines:\n"
	      "  none  /mnt/aceso  aceso  size=4g,nofail  0 0\n"
	      "  work  /srv/work   aceso  _netdev,nofail  0 0\n",
	      f);
}

/* Options may be split over several -o. */
static int add_options(struct args *a, const char *more)
{
	return fuse_opt_add_opt(&a->options, more) == 0 ? 0 : -ENOMEM;
}

static int parse(struct args *a, int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int letter, rc = 0;

	while (rc == 0 && (letter = getopt_long(argc, argv, "sfnvhVN:t:o:",
						longs, NULL)) != -1) {
		a->sloppy = a->sloppy || letter == 's';
		a->fake = a->fake || letter == 'f';
		a->verbose = a->verbose || letter == 'v';
		if (letter == 'o')
			rc = add_options(a, optarg);
		if (letter == 'N') {
			say_err("-N: mount in another name space with "
				"nsenter -m, not here");
			rc = -EINVAL;
		}
		if (letter == '?')
			rc = -EINVAL;
		if (letter == 'h' || letter == 'V') {
			letter == 'h' ? usage(stdout)
				      : (void)printf("mount.aceso %s\n",
						     ACESO_VERSION);
			exit(EXIT_OK);
		}
	}
	if (rc < 0 || argc - optind != 2)
		return -EINVAL;
	a->spec = argv[optind];
	a->dir = argv[optind + 1];
	return 0;
}

/* What the spec stands for goes before the options that were given. */
static int add_spec(struct args *a)
{
	char *given = a->options;
	int rc;

	a->options = NULL;
	rc = spec_options(a->spec, given, a->sloppy, &a->options);
	free(given);
	return rc;
}

/* mount -f: everything but the mount itself. */
static int check_only(struct args *a)
{
	char *argv[] = {"aceso-fuse", "-o", a->options, a->dir, NULL};
	struct conf c;
	int rc = conf_read(&c, 4, argv);

	if (rc < 0)
		say_err("%s", c.error);
	conf_free(&c);
	return rc < 0 ? EXIT_USAGE : EXIT_OK;
}

/* mount -o remount: the server goes on as it is. */
static int change(const struct args *a)
{
	if (a->fake)
		return EXIT_OK;
	if (!mnt_is_ours(a->dir)) {
		say_err("%s: no aceso file system is mounted here", a->dir);
		return EXIT_MOUNT;
	}
	switch (spec_remount(a->dir, a->options)) {
	case 0:
		return EXIT_OK;
	case -EPERM:
		return EXIT_USAGE;
	default:
		return EXIT_MOUNT;
	}
}

/* Become aceso-fuse; comes back only if that is not possible. */
static int become(const struct args *a)
{
	char program[PATH_MAX];

	if (program_find("aceso-fuse", program) < 0) {
		say_err("aceso-fuse is not installed: run make install");
		return EXIT_SYS;
	}
	if (a->verbose)
		printf("%s -o %s %s\n", program, a->options, a->dir);
	fflush(stdout);
	execl(program, "aceso-fuse", "-o", a->options, "--", a->dir, NULL);
	say_err("%s cannot be run: %s", program, strerror(errno));
	return EXIT_SYS;
}

int main(int argc, char **argv)
{
	struct args a = {0};
	int code = EXIT_USAGE;

	say_init("mount.aceso");
	if (parse(&a, argc, argv) < 0)
		usage(stderr);
	else if (spec_has(a.options, "remount"))
		code = change(&a);
	else if (add_spec(&a) == 0)
		code = a.fake ? check_only(&a) : become(&a);
	free(a.options);
	return code;
}
