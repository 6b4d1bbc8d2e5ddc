/* mount-helper/spec.c - what mount(8) calls a mount. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_opt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "mount-helper/conf.h"
#include "mount-helper/say.h"
#include "mount-helper/spec.h"

bool spec_is_embedded(const char *spec)
{
	return strcmp(spec, "none") == 0 || strcmp(spec, "aceso") == 0;
}

/* mount(8) makes a path of a word if there is a file of that name where it
 * runs: at a boot of pool data, if there is /data. No pool's name has a slash.
 */
static const char *name_of(const char *spec)
{
	const char *slash = spec[0] == '/' ? strrchr(spec, '/') : NULL;

	return slash != NULL && slash[1] != '\0' ? slash + 1 : spec;
}

int spec_options(const char *spec, const char *given, bool sloppy, char **out)
{
	char source[PATH_MAX + 16], pool[CONF_POOL_BYTES_MAX + 16];
	const char *name = name_of(spec);
	int rc;

	*out = NULL;
	if (!spec_is_embedded(name) && conf_check_name(name) < 0) {
		say_err("'%s' is no name for a pool: say none for an embedded "
			"one",
			spec);
		return -EINVAL;
	}
	/* By the source mount(8) and systemd tell our mounts: it is theirs. */
	snprintf(source, sizeof(source), "fsname=%s",
		 strpbrk(spec, ",\\") == NULL ? spec : name);
	snprintf(pool, sizeof(pool), "pool=%s", name);
	rc = sloppy ? fuse_opt_add_opt(out, "sloppy") : 0;
	rc |= fuse_opt_add_opt(out, source);
	if (!spec_is_embedded(name))
		rc |= fuse_opt_add_opt(out, pool);
	/* The line's own words come last, so that they win. */
	if (given != NULL && *given != '\0')
		rc |= fuse_opt_add_opt(out, given);
	return rc == 0 ? 0 : -ENOMEM;
}

/* The next word of a list; moves *@list on. Returns its length. */
static size_t next(const char **list, const char **word)
{
	size_t len = strcspn(*list, ",");

	*word = *list;
	*list += len + ((*list)[len] == ',');
	return len;
}

bool spec_has(const char *options, const char *name)
{
	const char *word;

	while (options != NULL && *options != '\0') {
		size_t len = next(&options, &word);
		size_t head = strcspn(word, "=,");

		head = head < len ? head : len;
		if (head == strlen(name) && strncmp(word, name, head) == 0)
			return true;
	}
	return false;
}

static const struct {
	const char *name;
	unsigned long clear, set;
} flags[] = {
	{"ro", 0, MS_RDONLY},
	{"rw", MS_RDONLY, 0},
	{"nosuid", 0, MS_NOSUID},
	{"suid", MS_NOSUID, 0},
	{"nodev", 0, MS_NODEV},
	{"dev", MS_NODEV, 0},
	{"noexec", 0, MS_NOEXEC},
	{"exec", MS_NOEXEC, 0},
	{"noatime", MS_RELATIME, MS_NOATIME},
	{"atime", MS_NOATIME, 0},
	{"relatime", MS_NOATIME, MS_RELATIME},
	{"sync", 0, MS_SYNCHRONOUS},
	{"async", MS_SYNCHRONOUS, 0},
	{"dirsync", 0, MS_DIRSYNC},
};

static unsigned long flags_now(const struct statvfs *st)
{
	return (st->f_flag & ST_RDONLY ? MS_RDONLY : 0) |
	       (st->f_flag & ST_NOSUID ? MS_NOSUID : 0) |
	       (st->f_flag & ST_NODEV ? MS_NODEV : 0) |
	       (st->f_flag & ST_NOEXEC ? MS_NOEXEC : 0) |
	       (st->f_flag & ST_NOATIME ? MS_NOATIME : 0) |
	       (st->f_flag & ST_RELATIME ? MS_RELATIME : 0) |
	       (st->f_flag & ST_SYNCHRONOUS ? MS_SYNCHRONOUS : 0);
}

int spec_remount(const char *dir, const char *options)
{
	struct statvfs st;
	unsigned long now;
	const char *word;

	if (statvfs(dir, &st) < 0)
		goto err;
	now = flags_now(&st);
	while (*options != '\0') {
		size_t len = next(&options, &word);

		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			if (strlen(flags[i].name) == len &&
			    strncmp(flags[i].name, word, len) == 0)
				now = (now & ~flags[i].clear) | flags[i].set;
	}
	if (mount("none", dir, NULL, MS_REMOUNT | now, "") == 0)
		return 0;
err:
	say_err("%s: cannot be mounted otherwise: %s", dir, strerror(errno));
	return -errno;
}
