/* mount-helper/cmd_create.c - aceso pool create: the file and the key of a pool
 * over several hosts. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount-helper/cmd.h"
#include "mount-helper/host_names.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/poolkey.h"
#include "mount-helper/say.h"
#include "mount-helper/size.h"

struct create {
	struct poolconf c;
	const char *nodes, *coords, *code, *size, *transport, *zookeeper;
	const char *lease;
	char key_name[CONF_POOL_BYTES_MAX + 8];
	char error[CONF_ERROR_BYTES_MAX];
};

/* --- what was asked for --------------------------------------------------- */

/* "a,b:7,a": hosts named twice get the next ports, so that a few hosts, or one,
 * can serve many nodes. */
static uint16_t next_port(const struct poolconf_place *p, uint32_t n,
			  const char *host, uint16_t port)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(p[i].host, host) == 0 && p[i].port >= port)
			port = (uint16_t)(p[i].port + 1);
	return port;
}

static int places(const char *list, uint16_t port, struct poolconf_place *out,
		  uint32_t max, uint32_t *n)
{
	char one[POOLCONF_HOST_BYTES + 8];
	int rc = 0;

	for (*n = 0; rc == 0 && *list != '\0'; list += *list == ',') {
		size_t len = strcspn(list, ",");

		if (*n == max || len >= sizeof(one))
			return -E2BIG;
		snprintf(one, sizeof(one), "%.*s", (int)len, list);
		rc = poolconf_parse_place(one, 0, &out[*n]);
		if (rc == 0 && out[*n].port == 0)
			out[*n].port = next_port(out, *n, out[*n].host, port);
		++*n;
		list += len;
	}
	return rc != 0 ? rc : *n > 0 ? 0 : -EINVAL;
}

static int wrong(const char *option, const char *value, const char *like)
{
	say_err("--%s %s makes no sense: say %s", option, value, like);
	return CMD_USAGE;
}

static int transport(struct poolconf *c, const char *word)
{
	static const char *const names[] = {"auto", "tcp", "verbs"};

	for (int i = 0; i < 3; i++)
		if (strcmp(word, names[i]) == 0) {
			c->transport = (enum poolconf_transport)i;
			return 0;
		}
	return -EINVAL;
}

static int take_places(struct create *k)
{
	struct poolconf *c = &k->c;

	if (places(k->nodes, POOLCONF_PORT_NODE, c->node, FAB_NODES_MAX,
		   &c->nodes) != 0)
		return wrong("nodes", k->nodes, "host1,host2,host3:7601");
	if (k->coords == NULL) {
		c->coords = 1;
		c->coord[0] = c->node[0];
		c->coord[0].port = POOLCONF_PORT_COORD;
	} else if (places(k->coords, POOLCONF_PORT_COORD, c->coord,
			  POOLCONF_COORDS_MAX, &c->coords) != 0) {
		return wrong("coordinators", k->coords, "host1,host2:7600");
	}
	if (k->zookeeper == NULL && c->coords > 1) {
		say_err("several coordinators need --zookeeper "
			"HOST:2181,... to agree who leads");
		return CMD_USAGE;
	}
	return 0;
}

/* Without --code: two may be lost of five or more, else one. */
static int take_code(struct create *k)
{
	struct poolconf *c = &k->c;

	if (k->code != NULL) {
		if (size_parse_code(k->code, &c->k, &c->m) != 0)
			return wrong("code", k->code, "--code 3+2");
	} else {
		c->m = c->nodes >= 5 ? 2 : 1;
		c->k = c->nodes >= 5 ? 3 : c->nodes > 2 ? c->nodes - 1 : 1;
	}
	if (c->k < 1 || c->nodes < c->k + c->m) {
		say_err("code %u+%u needs at least %u nodes, and there are %u: "
			"name more with --nodes (a host may stand there twice)",
			c->k, c->m, c->k + c->m, c->nodes);
		return CMD_USAGE;
	}
	return 0;
}

static int take_rest(struct create *k)
{
	struct poolconf *c = &k->c;

	if (size_parse(k->size, &c->node_size) != 0)
		return wrong("node-size", k->size, "--node-size 4G");
	if (transport(c, k->transport) != 0)
		return wrong("transport", k->transport, "auto, tcp or verbs");
	if (k->lease != NULL &&
	    size_parse_count(k->lease, POOLCONF_LEASE_MS_MIN,
			     POOLCONF_LEASE_MS_MAX, &c->lease_ms) != 0)
		return wrong("lease-ms", k->lease, "--lease-ms 2000");
	if (k->zookeeper != NULL)
		snprintf(c->zookeeper, sizeof(c->zookeeper), "%s",
			 k->zookeeper);
	if (getrandom(c->uuid, sizeof(c->uuid), 0) < 0)
		return CMD_FAIL;
	return 0;
}

/* --- writing it ----------------------------------------------------------- */

static void put_places(FILE *f, const char *section,
		       const struct poolconf_place *p, uint32_t n)
{
	char address[POOLCONF_HOST_BYTES + 16];

	fprintf(f, "\n[%s]\n", section);
	for (uint32_t i = 0; i < n; i++) {
		poolconf_address("", &p[i], address, sizeof(address));
		fprintf(f, "%u = %s\n", i, address + 1);
	}
}

static void put_all(FILE *f, const struct create *k)
{
	static const char *const transports[] = {"auto", "tcp", "verbs"};
	const struct poolconf *c = &k->c;

	fprintf(f,
		"# A pool over several hosts: pool.conf(5). The same file, and "
		"the key beside\n# it, lie on all of them.\n[pool]\nname = "
		"%s\nuuid = ",
		c->name);
	for (size_t i = 0; i < sizeof(c->uuid); i++)
		fprintf(f, "%02x", c->uuid[i]);
	fprintf(f, "\ncode = %u+%u\nnode-size = %s\ntransport = %s\nkey = %s\n",
		c->k, c->m, k->size, transports[c->transport], k->key_name);
	if (c->lease_ms != 0)
		fprintf(f, "lease-ms = %u\n", c->lease_ms);
	put_places(f, "nodes", c->node, c->nodes);
	put_places(f, "coordinators", c->coord, c->coords);
	if (c->zookeeper[0] != '\0')
		fprintf(f, "\n[zookeeper]\nservers = %s\n", c->zookeeper);
}

static int write_file(const struct create *k)
{
	int fd = open(k->c.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	int rc;

	if (f == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	put_all(f, k);
	rc = fflush(f) != 0 || fsync(fd) != 0 ? -errno : 0;
	if (fclose(f) != 0 && rc == 0)
		rc = -errno;
	if (rc != 0)
		unlink(k->c.path);
	return rc;
}

static int write_both(struct create *k)
{
	int rc;

	if (mkdir(poolconf_dir(), 0755) < 0 && errno != EEXIST) {
		say_err("%s cannot be made: %s", poolconf_dir(),
			strerror(errno));
		return CMD_FAIL;
	}
	rc = write_file(k);
	if (rc != 0) {
		say_err("%s %s", k->c.path,
			rc == -EEXIST
				? "is there already: another name, or remove "
				  "it and its key"
				: strerror(-rc));
		return CMD_FAIL;
	}
	rc = poolkey_make(k->c.key_path);
	if (rc != 0) {
		say_err("the key %s cannot be made: %s", k->c.key_path,
			strerror(-rc));
		unlink(k->c.path);
		return CMD_FAIL;
	}
	return CMD_OK;
}

/* --- what is to be done next ---------------------------------------------- */

static void say_what(const struct poolconf *c)
{
	struct layout_super super;
	char error[CONF_ERROR_BYTES_MAX], room[SIZE_TEXT_BYTES];

	printf("%s and %s are made.\n", c->path, c->key_path);
	if (poolconf_super(c, &super, error) == 0)
		printf("%u nodes, code %u+%u: %u of them may be lost at a "
		       "time; %s of memory each.\n",
		       c->nodes, c->k, c->m, c->m,
		       size_text(super.layout.size, room));
	fflush(stdout); /* names may take their time */
}

static void say_copy(const struct poolconf *c, const char *host)
{
	printf("  scp -p %s %s root@%s:%s/\n", c->path, c->key_path, host,
	       poolconf_dir());
}

/* This host has them. */
static void say_next(const struct poolconf *c, const struct host_names *names)
{
	printf("Copy both, the key as root only, to every other host that "
	       "serves it, and to each\nHOST that only mounts it:\n");
	for (uint32_t i = 0; i < names->n; i++)
		if (names->host[i].where == HOST_AWAY ||
		    names->host[i].where == HOST_NOWHERE)
			say_copy(c, names->host[i].name);
	say_copy(c, "HOST");
	printf("and where it is served start the host's part, by one of\n"
	       "  aceso pool serve %s\n"
	       "  systemctl enable --now aceso-pool@%s\n"
	       "Then, wherever both files are:\n"
	       "  aceso-fuse -o pool=%s DIR\n",
	       c->name, c->name, c->name);
}

/* It is no fault of the files: others may see it rightly. */
static void warn_names(const struct poolconf *c, const struct host_names *names)
{
	const struct host_name *shut = host_names_shut(names);
	char found[HOST_NAMES_WORDS_MAX], mend[POOLCONF_PATH_BYTES + 160];

	if (shut == NULL)
		return;
	host_names_found(shut, found);
	host_names_mend(names, shut, c->path, mend, sizeof(mend));
	say_err("%s, so aceso pool serve will refuse: %s", found, mend);
}

static void say_all(const struct poolconf *c)
{
	struct host_names names;

	say_what(c);
	host_names_look(c, &names);
	say_next(c, &names);
	fflush(stdout);
	warn_names(c, &names);
}

/* A pool that could not be laid out is not begun. */
static int check(struct create *k)
{
	struct layout_super super;

	if (poolconf_super(&k->c, &super, k->error) == 0)
		return 0;
	say_err("code %u+%u over %u nodes of %s each makes no pool: take "
		"larger ones with --node-size",
		k->c.k, k->c.m, k->c.nodes, k->size);
	return CMD_USAGE;
}

static int name_it(struct create *k, const char *name)
{
	struct poolconf *c = &k->c;

	if (strcmp(name, "aceso") == 0 || poolconf_path(name, c->path) != 0) {
		say_err("'%s' is no name for a pool: use letters, digits, '.', "
			"'_' and '-', at most %u%s",
			name, CONF_POOL_BYTES_MAX,
			strcmp(name, "aceso") == 0
				? " (aceso.conf holds everybody's defaults)"
				: "");
		return CMD_USAGE;
	}
	strcpy(c->name, name);
	snprintf(k->key_name, sizeof(k->key_name), "%s.key", name);
	snprintf(c->key_path, sizeof(c->key_path), "%s/%s", poolconf_dir(),
		 k->key_name);
	return 0;
}

static const struct option longs[] = {
	{"nodes", required_argument, NULL, 'n'},
	{"code", required_argument, NULL, 'c'},
	{"node-size", required_argument, NULL, 's'},
	{"transport", required_argument, NULL, 't'},
	{"coordinators", required_argument, NULL, 'C'},
	{"zookeeper", required_argument, NULL, 'z'},
	{"lease-ms", required_argument, NULL, 'l'},
	{NULL, 0, NULL, 0},
};

static int parse(struct create *k, int argc, char **argv)
{
	int letter;

	while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		const char **to = letter == 'n'	  ? &k->nodes
				  : letter == 'c' ? &k->code
				  : letter == 's' ? &k->size
				  : letter == 't' ? &k->transport
				  : letter == 'C' ? &k->coords
				  : letter == 'z' ? &k->zookeeper
				  : letter == 'l' ? &k->lease
						  : NULL;

		if (to == NULL)
			return -1;
		*to = optarg;
	}
	return argc - optind == 1 && k->nodes != NULL ? 0 : -1;
}

int cmd_pool_create(int argc, char **argv)
{
	static struct create k = {.size = "1G", .transport = "auto"};
	int rc;

	if (parse(&k, argc, argv) < 0)
		return cmd_usage("pool create");
	rc = name_it(&k, argv[optind]);
	if (rc == 0)
		rc = take_places(&k);
	if (rc == 0)
		rc = take_code(&k);
	if (rc == 0)
		rc = take_rest(&k);
	if (rc == 0)
		rc = check(&k);
	if (rc == 0)
		rc = write_both(&k);
	if (rc == 0)
		say_all(&k.c);
	return rc;
}
