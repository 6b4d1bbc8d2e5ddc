/* mount-helper/pool_hosts.c - see pool_hosts.h. */
#include "mount-helper/pool_hosts.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

int pool_hosts(struct pool_place *p, char *error)
{
	struct poolconf c;
	int rc = poolconf_load(p->name, &c, error);

	if (rc == 0) {
		poolconf_coords(&c, p->coords);
		p->key = c.key;
		p->hosts = true;
	}
	explicit_bzero(&c.key, sizeof(c.key));
	return rc;
}

int pool_hosts_each(int (*each)(void *arg, const char *name), void *arg)
{
	DIR *d = opendir(poolconf_dir());
	struct dirent *e;
	int rc = 0;

	if (d == NULL)
		return 0;
	while (rc == 0 && (e = readdir(d)) != NULL) {
		char *dot = strrchr(e->d_name, '.');

		if (dot == NULL || strcmp(dot, ".conf") != 0)
			continue;
		*dot = '\0';
		if (poolconf_exists(e->d_name))
			rc = each(arg, e->d_name);
	}
	closedir(d);
	return rc;
}

const char *pool_coords(const struct pool_place *p)
{
	return p->hosts ? p->coords : p->sock;
}
