/* mount-helper/doctor_own.c - the nodes of a pool that are this host's, and
 * which of them run: found in /proc, whatever their transport. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/doctor.h"
#include "mount-helper/host_own.h"
#include "mount-helper/memory.h"
#include "mount-helper/poolconf.h"

#define WORDS_MAX 16u

/* What follows @name among these words; "": nothing does. */
static const char *after(char *const *word, unsigned n, const char *name)
{
	for (unsigned i = 0; i + 1 < n; i++)
		if (strcmp(word[i], name) == 0)
			return word[i + 1];
	return "";
}

/* The node of @pool that process @pid is, as host.c starts it; -1: none. */
static int node_of(const struct doctor *d, const char *pid, const char *pool)
{
	char path[DOCTOR_PATH_BYTES], name[64], text[512], *word[WORDS_MAX];
	unsigned n = 0;
	const char *id;
	size_t len;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%.20s/cmdline", pid);
	f = fopen(doctor_path(d, name, path), "re");
	if (f == NULL)
		return -1;
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	for (size_t at = 0; at < len && n < WORDS_MAX;
	     at += strlen(text + at) + 1)
		word[n++] = text + at;
	if (n == 0 || strcmp(word[0], "aceso-node") != 0 ||
	    strcmp(after(word, n, "--pool"), pool) != 0)
		return -1;
	id = after(word, n, "--id");
	return isdigit((unsigned char)*id) ? atoi(id) : -1;
}

/* Bytes of shared memory that process @pid has by now: a node's own are taken
 * as they are written to. */
static uint64_t held_by(const struct doctor *d, const char *pid)
{
	char path[DOCTOR_PATH_BYTES], name[64];
	uint64_t shared = 0, huge = 0;

	snprintf(name, sizeof(name), "/proc/%.20s/status", pid);
	doctor_path(d, name, path);
	memory_number(path, "RssShmem:", &shared);
	memory_number(path, "HugetlbPages:", &huge);
	return (shared + huge) << 10;
}

static void look(const struct doctor *d, const char *pid,
		 struct doctor_own *own)
{
	int id = node_of(d, pid, d->pool->name);
	uint64_t held;

	if (id < 0 || (uint32_t)id >= d->pool->nodes || !(own->nodes >> id & 1))
		return;
	held = held_by(d, pid);
	own->held += held < d->pool->node_size ? held : d->pool->node_size;
	own->running |= UINT64_C(1) << id;
}

void doctor_own(const struct doctor *d, struct doctor_own *own)
{
	char path[DOCTOR_PATH_BYTES];
	struct dirent *e;
	DIR *dir;

	*own = (struct doctor_own){0};
	for (uint32_t i = 0; i < d->pool->nodes; i++)
		if (host_owns(d->pool->node[i].host) == 1)
			own->nodes |= UINT64_C(1) << i;
	dir = opendir(doctor_path(d, "/proc", path));
	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]))
			look(d, e->d_name, own);
	if (dir != NULL)
		closedir(dir);
}
