/* mount-helper/holders.c - who keeps a mount busy: mnt_holders() of mnt.h.
 * Only links are read, never files behind them, so that a dead mount cannot
 * make us wait. */
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/mnt.h"

struct search {
	const char *dir;
	size_t len;
	int (*each)(void *arg, pid_t pid, const char *name, const char *what);
	void *arg;
	int rc;
};

/* The file that link @path names lies under our directory. */
static bool is_under(const struct search *s, const char *path, char *target)
{
	ssize_t n = readlink(path, target, PATH_MAX - 1);

	if (n < 0)
		return false;
	target[n] = '\0';
	return strncmp(target, s->dir, s->len) == 0 &&
	       (target[s->len] == '\0' || target[s->len] == '/');
}

static void name_of(const char *pid, char name[32])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	name[0] = '\0';
	f = fopen(path, "re");
	if (f == NULL)
		return;
	if (fgets(name, 32, f) == NULL)
		name[0] = '\0';
	name[strcspn(name, "\n")] = '\0';
	fclose(f);
}

/* Returns true if it holds it: one line a process is enough. */
static bool look(struct search *s, const char *pid, const char *link)
{
	char path[PATH_MAX], target[PATH_MAX], name[32];

	snprintf(path, sizeof(path), "/proc/%.20s/%.32s", pid, link);
	if (!is_under(s, path, target))
		return false;
	name_of(pid, name);
	s->rc = s->each(s->arg, atoi(pid), name, target);
	return true;
}

static bool look_at_files(struct search *s, const char *pid, const char *dir)
{
	char path[64], link[64];
	struct dirent *e;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, dir);
	d = opendir(path);
	if (d == NULL)
		return false;
	while (!found && (e = readdir(d)) != NULL) {
		snprintf(link, sizeof(link), "%s/%.40s", dir, e->d_name);
		found = look(s, pid, link);
	}
	closedir(d);
	return found;
}

static void look_at(struct search *s, const char *pid)
{
	if (look(s, pid, "cwd") || look(s, pid, "root") || look(s, pid, "exe"))
		return;
	if (look_at_files(s, pid, "fd"))
		return;
	look_at_files(s, pid, "map_files");
}

int mnt_holders(const char *dir,
		int (*each)(void *arg, pid_t pid, const char *name,
			    const char *what),
		void *arg)
{
	struct search s = {
		.dir = dir, .len = strlen(dir), .each = each, .arg = arg};
	DIR *d = opendir("/proc");
	struct dirent *e;

	if (d == NULL)
		return 0;
	while (s.rc == 0 && (e = readdir(d)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]))
			look_at(&s, e->d_name);
	closedir(d);
	return s.rc;
}
