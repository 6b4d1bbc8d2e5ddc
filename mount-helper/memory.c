/* mount-helper/memory.c - how much memory this host can give to a pool. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/layout.h"
#include "mount-helper/memory.h"
#include "mount-helper/size.h"

int memory_number(const char *path, const char *key, uint64_t *out)
{
	char line[256];
	FILE *f = fopen(path, "re");
	int rc = -ENOENT;

	if (f == NULL)
		return -errno;
	while (rc < 0 && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, key, strlen(key)) == 0 &&
		    sscanf(line + strlen(key), " %" SCNu64, out) == 1)
			rc = 0; /* "max" is no number: no limit */
	fclose(f);
	return rc;
}

/* Control groups, as of version 1 and 2: where, and in which files. */
static const struct cgroups {
	const char *controller; /* its line in /proc/self/cgroup */
	const char *root, *limit, *used, *cache;
} cgroups[] = {
	{"", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"},
	{"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
	 "memory.usage_in_bytes", "total_inactive_file"},
};

/* File @name of the cgroup at @dir. */
static int cgroup_number(const char *dir, const char *name, const char *key,
			 uint64_t *out)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return memory_number(path, key, out);
}

/* What the cgroup at @dir leaves; UINT64_MAX if it has no limit. */
static uint64_t cgroup_room(const struct cgroups *g, const char *dir)
{
	uint64_t max, now, cache = 0;

	if (cgroup_number(dir, g->limit, "", &max) < 0 ||
	    cgroup_number(dir, g->used, "", &now) < 0)
		return UINT64_MAX;
	cgroup_number(dir, "memory.stat", g->cache, &cache);
	now -= cache < now ? cache : now;
	return max > now ? max - now : 0;
}

/* The least room from the cgroup @path up to the root, which in a container
 * has a limit too. */
static uint64_t least_room(const struct cgroups *g, const char *path)
{
	uint64_t least = UINT64_MAX, room;
	char dir[PATH_MAX];

	if (snprintf(dir, sizeof(dir), "%s%s", g->root, path) >= PATH_MAX)
		return least;
	while (strlen(dir) >= strlen(g->root)) {
		room = cgroup_room(g, dir);
		least = room < least ? room : least;
		*strrchr(dir, '/') = '\0';
	}
	return least;
}

/* @line: "<number>:<controller>:<path>\n". */
static uint64_t line_room(char *line)
{
	char *controller = strchr(line, ':'), *path;
	size_t i;

	if (controller == NULL || (path = strchr(++controller, ':')) == NULL)
		return UINT64_MAX;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	for (i = 0; i < sizeof(cgroups) / sizeof(cgroups[0]); i++)
		if (strcmp(controller, cgroups[i].controller) == 0)
			return least_room(&cgroups[i], path);
	return UINT64_MAX;
}

static uint64_t cgroups_room(void)
{
	uint64_t least = UINT64_MAX, room;
	char line[PATH_MAX];
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (f == NULL)
		return least;
	while (fgets(line, sizeof(line), f) != NULL) {
		room = line_room(line);
		least = room < least ? room : least;
	}
	fclose(f);
	return least;
}

int memory_available(uint64_t *bytes)
{
	uint64_t kib, room = cgroups_room();

	if (memory_number("/proc/meminfo", "MemAvailable:", &kib) < 0)
		return -EIO;
	*bytes = kib * 1024 < room ? kib * 1024 : room;
	return 0;
}

int memory_of_pool(const struct conf_pool *pool, uint64_t size, uint64_t *raw)
{
	struct layout_shape shape = {.nodes = pool->nodes,
				     .k = pool->k,
				     .m = pool->m,
				     .usable = size};
	struct layout l;
	int rc = layout_of(&shape, &l);

	if (rc == 0)
		*raw = l.size * pool->nodes;
	return rc;
}

/* The largest size whose pool takes at most @budget, to the MiB; 0: none. */
static uint64_t largest_within(const struct conf_pool *pool, uint64_t budget)
{
	uint64_t low = 0, high = budget >> 20, raw;

	while (low < high) {
		uint64_t mid = low + (high - low + 1) / 2;

		if (memory_of_pool(pool, mid << 20, &raw) == 0 && raw <= budget)
			low = mid;
		else
			high = mid - 1;
	}
	return low << 20;
}

static int too_little(const struct conf_pool *pool, uint64_t raw,
		      uint64_t free_bytes, char *error)
{
	char need[SIZE_TEXT_BYTES], have[SIZE_TEXT_BYTES],
		want[SIZE_TEXT_BYTES], can[SIZE_TEXT_BYTES];
	uint64_t fits = largest_within(pool, free_bytes / 10 * 9);

	size_text(raw, need);
	size_text(free_bytes, have);
	size_text(pool->size, want);
	size_text(fits, can);
	if (fits < MEMORY_POOL_BYTES_MIN)
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "too little memory: only "
			 "%s are free, too few for any pool",
			 have);
	else
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "too little memory: %s "
			 "with code %u+%u on %u nodes take %s or more, %s are "
			 "free: say -o size=%" PRIu64 "m or less (%s)",
			 want, pool->k, pool->m, pool->nodes, need, have,
			 fits >> 20, can);
	return -ENOMEM;
}

int memory_plan(struct conf_pool *pool, char *error)
{
	uint64_t free_bytes, raw = 0;
	int rc = memory_available(&free_bytes);

	if (rc < 0) {
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "/proc/meminfo cannot be "
			 "read: mount /proc first");
		return rc;
	}
	if (pool->size == 0) {
		double percent = pool->percent > 0 ? pool->percent
						   : MEMORY_DEFAULT_PERCENT;

		pool->size = largest_within(
			pool, (uint64_t)((double)free_bytes * percent / 100));
		if (pool->size < MEMORY_POOL_BYTES_MIN)
			return too_little(pool, 0, free_bytes, error);
	}
	if (pool->size < MEMORY_POOL_BYTES_MIN) {
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "size=%" PRIu64 " is too "
			 "small: say at least size=%" PRIu64 "m",
			 pool->size, MEMORY_POOL_BYTES_MIN >> 20);
		return -EINVAL;
	}
	if (pool->size > free_bytes)
		return too_little(pool, pool->size, free_bytes, error);
	rc = memory_of_pool(pool, pool->size, &raw);
	if (rc < 0) {
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "a pool of %" PRIu64
			 " MiB with code %u+%u on %u nodes is too large for "
			 "this version: say a smaller -o size=",
			 pool->size >> 20, pool->k, pool->m, pool->nodes);
		return -EINVAL;
	}
	return raw > free_bytes ? too_little(pool, raw, free_bytes, error) : 0;
}
