/* mount-helper/cmd_mount.c - aceso mount, umount: as mount(8) does it, and the
 * line of fstab that does it at the next boot. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount-helper/cmd.h"
#include "mount-helper/conf.h"
#include "mount-helper/fstab.h"
#include "mount-helper/mnt.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"
#include "mount-helper/spec.h"

extern char **environ;

struct wish {
	const char *options; /* as after -o; "" none */
	const char *fstab;   /* the file; NULL: leave it */
	bool lazy, no_mount;
	const char *spec;
	char dir[PATH_MAX];
};

static const struct option longs[] = {
	{"update-fstab", no_argument, NULL, 'u'},
	{"fstab", required_argument, NULL, 'T'},
	{"options", required_argument, NULL, 'o'},
	{"no-mount", no_argument, NULL, 'n'},
	{"lazy", no_argument, NULL, 'l'},
	{NULL, 0, NULL, 0},
};

/* The options whose letters are in @allowed. Errors: -EINVAL. */
static int parse(struct wish *w, const char *allowed, int argc, char **argv)
{
	const char *file = FSTAB_FILE;
	bool update = false;
	int letter;

	w->options = "";
	while ((letter = getopt_long(argc, argv, "o:T:l", longs, NULL)) != -1) {
		if (strchr(allowed, letter) == NULL)
			return -EINVAL;
		if (letter == 'o')
			w->options = optarg;
		if (letter == 'T')
			file = optarg;
		update = update || letter == 'u' || letter == 'T';
		w->lazy = w->lazy || letter == 'l';
		w->no_mount = w->no_mount || letter == 'n';
	}
	w->fstab = update ? file : NULL;
	return 0;
}

/* An absolute path that is mounted but dead has no realpath(). */
static void take_dir(struct wish *w, const char *dir)
{
	char real[PATH_MAX];

	snprintf(w->dir, sizeof(w->dir), "%s",
		 realpath(dir, real) != NULL ? real : dir);
}

/* --- mount ---------------------------------------------------------- */

static int run(char *const argv[])
{
	char program[PATH_MAX];
	int status, rc;
	pid_t pid;

	if (program_find("aceso-fuse", program) < 0) {
		say_err("aceso-fuse is not installed beside aceso: run make "
			"install");
		return CMD_FAIL;
	}
	rc = posix_spawn(&pid, program, NULL, NULL, argv, environ);
	if (rc != 0) {
		say_err("%s cannot be run: %s", program, strerror(rc));
		return CMD_FAIL;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return CMD_FAIL;
	return WIFEXITED(status) ? WEXITSTATUS(status) : CMD_FAIL;
}

/* aceso-fuse says what is wrong, and comes back when the mount answers. */
static int mount_it(const struct wish *w)
{
	char *options, *argv[6];
	int code;

	if (spec_options(w->spec, w->options, false, &options) < 0) {
		free(options);
		return CMD_USAGE;
	}
	argv[0] = "aceso-fuse";
	argv[1] = "-o";
	argv[2] = options;
	argv[3] = "--";
	argv[4] = (char *)w->dir;
	argv[5] = NULL;
	code = run(argv);
	free(options);
	return code;
}

/* A pool that has a file is one of several hosts. */
static bool is_remote(const char *pool)
{
	const char *dir = getenv("ACESO_CONF_DIR");
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s.conf",
		 dir != NULL && *dir != '\0' ? dir : "/etc/aceso", pool);
	return !spec_is_embedded(pool) && access(path, F_OK) == 0;
}

/* A boot waits for the network, but not for a pool that does not come. */
static int boot_options(const struct wish *w, char *out, size_t cap)
{
	bool net = is_remote(w->spec) && !spec_has(w->options, "_netdev");
	bool nofail = !spec_has(w->options, "nofail") &&
		      !spec_has(w->options, "fail");
	int n = snprintf(out, cap, "%s%s%s",
			 *w->options != '\0' ? w->options : "defaults",
			 net ? ",_netdev" : "", nofail ? ",nofail" : "");

	return n < (int)cap ? 0 : -EINVAL;
}

static int update_fstab(const struct wish *w)
{
	char options[CONF_MOUNT_BYTES_MAX], error[CONF_ERROR_BYTES_MAX];
	int rc = boot_options(w, options, sizeof(options));

	if (rc < 0)
		snprintf(error, sizeof(error), "too many options for a line");
	else
		rc = fstab_put(w->fstab, w->spec, w->dir, options, error,
			       sizeof(error));
	if (rc < 0) {
		say_err("%s", error);
		return CMD_FAIL;
	}
	say_info(rc == 1 ? "%s: has a line for %s now"
			 : "%s: has that line for %s already",
		 w->fstab, w->dir);
	return CMD_OK;
}

/* Refuse what would only show at the next boot. */
static int check(const struct wish *w)
{
	char *argv[] = {"aceso", "-o", (char *)w->options, NULL};
	static struct conf c;
	int rc = conf_gather(&c, *w->options != '\0' ? 3 : 1, argv);

	if (rc < 0)
		say_err("%s", c.error);
	conf_free(&c);
	if (rc == 0 && !spec_is_embedded(w->spec) &&
	    conf_check_name(w->spec) < 0) {
		say_err("'%s' is no name for a pool", w->spec);
		rc = -EINVAL;
	}
	return rc < 0 ? CMD_USAGE : CMD_OK;
}

int cmd_mount(const char *pool, int argc, char **argv)
{
	struct wish w = {.spec = pool};
	int code;

	if (parse(&w, "ouTn", argc, argv) < 0 || argc - optind < 1 ||
	    argc - optind > 2)
		return cmd_usage("mount");
	if (argc - optind == 2)
		w.spec = argv[optind++];
	if (w.spec == NULL)
		return cmd_usage("mount");
	take_dir(&w, argv[optind]);
	if (w.dir[0] != '/') {
		say_err("%s: no such directory: mkdir -p %s first", w.dir,
			w.dir);
		return CMD_FAIL;
	}
	code = check(&w);
	if (code == CMD_OK && !w.no_mount &&
	    !(w.fstab != NULL && mnt_is_ours(w.dir)))
		code = mount_it(&w);
	if (code == CMD_OK && w.fstab != NULL)
		code = update_fstab(&w);
	return code;
}

/* --- umount --------------------------------------------------------- */

static int drop_line(const struct wish *w)
{
	char error[CONF_ERROR_BYTES_MAX];
	int rc = fstab_drop(w->fstab, w->dir, error, sizeof(error));

	if (rc < 0)
		say_err("%s", error);
	else
		say_info(rc == 1 ? "%s: the line for %s is gone"
				 : "%s: had no line for %s",
			 w->fstab, w->dir);
	return rc < 0 ? CMD_FAIL : CMD_OK;
}

int cmd_umount(const char *pool, int argc, char **argv)
{
	struct wish w = {0};
	int code = CMD_OK;

	if (parse(&w, "luT", argc, argv) < 0 || argc - optind != 1)
		return cmd_usage("umount");
	take_dir(&w, argv[optind]);
	if (mnt_is_ours(w.dir)) {
		code = cmd_unmount(w.dir, w.lazy);
	} else if (w.fstab == NULL) {
		say_err("%s: no aceso file system is mounted here", w.dir);
		return CMD_FAIL;
	}
	return code == CMD_OK && w.fstab != NULL ? drop_line(&w) : code;
}
