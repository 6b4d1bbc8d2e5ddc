/* mount-helper/poolconf.c - read a pool's file. Its key: poolkey.c. */
#include "mount-helper/poolconf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/node/rounds.h"
#include "mount-helper/poolkey.h"
#include "mount-helper/inifile.h"
#include "mount-helper/size.h"

struct reader {
	struct poolconf *c;
	char *error;
	bool has_uuid, has_key;
};

const char *poolconf_dir(void)
{
	const char *dir = getenv("ACESO_CONF_DIR");

	return dir != NULL && dir[0] == '/' ? dir : "/etc/aceso";
}

int poolconf_path(const char *name, char out[POOLCONF_PATH_BYTES])
{
	int rc = conf_check_name(name);

	if (rc == 0 &&
	    snprintf(out, POOLCONF_PATH_BYTES, "%s/%s.conf", poolconf_dir(),
		     name) >= (int)POOLCONF_PATH_BYTES)
		rc = -ENAMETOOLONG;
	return rc;
}

/* aceso.conf is the defaults' file: aceso.conf(5). */
bool poolconf_exists(const char *name)
{
	char path[POOLCONF_PATH_BYTES];

	return strcmp(name, "aceso") != 0 && poolconf_path(name, path) == 0 &&
	       access(path, F_OK) == 0;
}

/* --- values --------------------------------------------------------------- */

static int set_name(struct reader *r, const char *v)
{
	if (strcmp(v, r->c->name) != 0)
		return -EINVAL; /* a copy under another name: which is meant? */
	return 0;
}

static int set_uuid(struct reader *r, const char *v)
{
	unsigned byte;

	if (strlen(v) != 32 || strspn(v, "0123456789abcdef") != 32)
		return -EINVAL;
	for (size_t i = 0; i < 16; i++) {
		sscanf(v + 2 * i, "%2x", &byte);
		r->c->uuid[i] = (uint8_t)byte;
	}
	r->has_uuid = true;
	return 0;
}

static int set_code(struct reader *r, const char *v)
{
	return size_parse_code(v, &r->c->k, &r->c->m);
}

static int set_node_size(struct reader *r, const char *v)
{
	int rc = size_parse(v, &r->c->node_size);

	return rc == 0 && r->c->node_size == 0 ? -EINVAL : rc;
}

static int set_transport(struct reader *r, const char *v)
{
	static const char *const names[] = {"auto", "tcp", "verbs"};

	for (int i = 0; i < 3; i++)
		if (strcmp(v, names[i]) == 0) {
			r->c->transport = (enum poolconf_transport)i;
			return 0;
		}
	return -EINVAL;
}

/* Beside the file, unless it is a path. */
static int set_key(struct reader *r, const char *v)
{
	char *slash;

	if (v[0] == '/') {
		if (strlen(v) >= sizeof(r->c->key_path))
			return -ENAMETOOLONG;
		strcpy(r->c->key_path, v);
	} else {
		strcpy(r->c->key_path, r->c->path);
		slash = strrchr(r->c->key_path, '/') + 1;
		if (strlen(v) >=
		    sizeof(r->c->key_path) - (size_t)(slash - r->c->key_path))
			return -ENAMETOOLONG;
		strcpy(slash, v);
	}
	r->has_key = true;
	return 0;
}

static int set_lease(struct reader *r, const char *v)
{
	return size_parse_count(v, POOLCONF_LEASE_MS_MIN, POOLCONF_LEASE_MS_MAX,
				&r->c->lease_ms);
}

static int set_ckpt(struct reader *r, const char *v)
{
	return size_parse_count(v, 0, POOLCONF_CKPT_MS_MAX, &r->c->ckpt_ms);
}

static int set_rebuild_rate(struct reader *r, const char *v)
{
	return size_parse(v, &r->c->rebuild_rate);
}

static int set_servers(struct reader *r, const char *v)
{
	if (strlen(v) >= sizeof(r->c->zookeeper) || v[0] == '\0')
		return -EINVAL;
	strcpy(r->c->zookeeper, v);
	return 0;
}

static const struct word {
	const char *section, *name;
	int (*set)(struct reader *r, const char *v);
	const char *like; /* what it should look like */
} words[] = {
	{"pool", "name", set_name, "the name of the file without .conf"},
	{"pool", "uuid", set_uuid, "32 hexadecimal digits"},
	{"pool", "code", set_code, "3+2"},
	{"pool", "node-size", set_node_size, "4G"},
	{"pool", "transport", set_transport, "auto, tcp or verbs"},
	{"pool", "key", set_key, "the name of a file beside it"},
	{"pool", "lease-ms", set_lease, "milliseconds, 200 to 600000"},
	{"pool", "ckpt-ms", set_ckpt, "milliseconds, 0 (never) to 3600000"},
	{"pool", "rebuild-rate", set_rebuild_rate, "bytes a second: 200M"},
	{"zookeeper", "servers", set_servers, "host1:2181,host2:2181"},
};

#define WORDS (sizeof(words) / sizeof(words[0]))

/* --- places --------------------------------------------------------------- */

static int parse_port(const char *text, uint16_t *out)
{
	uint32_t n;
	int rc = size_parse_count(text, 1, 65535, &n);

	if (rc == 0)
		*out = (uint16_t)n;
	return rc;
}

static bool is_host(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) &&
		    strchr(".-_:%", text[i]) == NULL)
			return false;
	return len > 0 && len < POOLCONF_HOST_BYTES - 2;
}

/* An IPv6 address has more than one colon: its port stands behind "]:". */
int poolconf_parse_place(const char *text, uint16_t port,
			 struct poolconf_place *out)
{
	const char *host = text, *end = text + strlen(text), *colon;
	const char *close = strchr(text, ']');

	out->port = port;
	if (text[0] == '[' && close != NULL) {
		host = text + 1;
		colon = close[1] == ':' ? close + 1 : NULL;
		end = close;
		if (colon == NULL && close[1] != '\0')
			return -EINVAL;
	} else {
		colon = strchr(text, ':');
		if (colon != NULL && strchr(colon + 1, ':') != NULL)
			colon = NULL;
		if (colon != NULL)
			end = colon;
	}
	if (!is_host(host, (size_t)(end - host)))
		return -EINVAL;
	snprintf(out->host, sizeof(out->host), "%.*s", (int)(end - host), host);
	return colon != NULL ? parse_port(colon + 1, &out->port) : 0;
}

static int set_place(struct reader *r, const char *id, const char *v,
		     struct poolconf_place *places, uint32_t max, uint32_t *n,
		     uint16_t port)
{
	uint32_t i;
	int rc = size_parse_count(id, 0, max - 1, &i);

	if (rc != 0)
		return rc;
	if (places[i].host[0] != '\0')
		return -EEXIST;
	*n = i + 1 > *n ? i + 1 : *n;
	return poolconf_parse_place(v, port, &places[i]);
}

/* --- the file ------------------------------------------------------------- */

static bool is_places(const char *section)
{
	return strcmp(section, "nodes") == 0 ||
	       strcmp(section, "coordinators") == 0;
}

static int take_place(struct reader *r, const struct inifile_entry *e)
{
	struct poolconf *c = r->c;

	if (e->section[0] == 'n')
		return set_place(r, e->name, e->value, c->node, FAB_NODES_MAX,
				 &c->nodes, POOLCONF_PORT_NODE);
	return set_place(r, e->name, e->value, c->coord, POOLCONF_COORDS_MAX,
			 &c->coords, POOLCONF_PORT_COORD);
}

static const struct word *find(const struct inifile_entry *e)
{
	for (size_t i = 0; i < WORDS; i++)
		if (strcmp(e->section, words[i].section) == 0 &&
		    strcmp(e->name, words[i].name) == 0)
			return &words[i];
	return NULL;
}

static int take(void *arg, const struct inifile_entry *e, char *why, size_t cap)
{
	const struct word *w = find(e);
	const char *like = "not known here";
	int rc = -EINVAL;

	if (is_places(e->section)) {
		rc = take_place(arg, e);
		like = "NUMBER = host or host:port, each number once, from 0";
	} else if (w != NULL) {
		rc = w->set(arg, e->value);
		like = w->like;
	}
	if (rc != 0)
		snprintf(why, cap, "%.40s = %.60s makes no sense: it is %s",
			 e->name, e->value, like);
	return rc != 0 ? -EINVAL : 0;
}

static int missing(struct reader *r, const char *what)
{
	snprintf(r->error, CONF_ERROR_BYTES_MAX,
		 "%.200s: %s: make it with aceso pool create, or see man "
		 "pool.conf",
		 r->c->path, what);
	return -EINVAL;
}

static int check(struct reader *r)
{
	const struct poolconf *c = r->c;

	if (!r->has_uuid)
		return missing(r, "it has no uuid =");
	if (!r->has_key)
		return missing(r, "it has no key =");
	if (c->k == 0)
		return missing(r, "it has no code =");
	if (c->node_size == 0)
		return missing(r, "it has no node-size =");
	if (c->nodes < c->k + c->m)
		return missing(r, "it has fewer [nodes] than its code needs");
	if (c->coords == 0)
		return missing(r, "it has no [coordinators]");
	for (uint32_t i = 0; i < c->nodes; i++)
		if (c->node[i].host[0] == '\0')
			return missing(r, "a number is missing in [nodes]");
	for (uint32_t i = 0; i < c->coords; i++)
		if (c->coord[i].host[0] == '\0')
			return missing(r, "a number is missing in "
					  "[coordinators]");
	return 0;
}

int poolconf_read(const char *name, struct poolconf *c, char *error)
{
	struct reader r = {.c = c, .error = error};
	int rc;

	*c = (struct poolconf){.ckpt_ms = ROUNDS_MS};
	error[0] = '\0';
	rc = poolconf_path(name, c->path);
	if (rc != 0) {
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "'%.100s' is no name for a pool", name);
		return rc;
	}
	strcpy(c->name, name);
	rc = inifile_read(c->path, take, &r, error, CONF_ERROR_BYTES_MAX);
	if (rc == -ENOENT)
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "%.300s: there is no such file: make a pool with "
			 "aceso pool create, or copy the file from where that "
			 "was done",
			 c->path);
	return rc != 0 ? rc : check(&r);
}

int poolconf_load(const char *name, struct poolconf *c, char *error)
{
	int rc = poolconf_read(name, c, error);

	return rc != 0 ? rc : poolkey_read(c->key_path, &c->key, error);
}

/* --- what follows from it ------------------------------------------------- */

int poolconf_super(const struct poolconf *c, struct layout_super *out,
		   char *error)
{
	struct layout_shape shape = {.nodes = c->nodes, .k = c->k, .m = c->m};
	int rc;

	*out = (struct layout_super){.magic = LAYOUT_MAGIC,
				     .version = LAYOUT_VERSION};
	memcpy(out->uuid, c->uuid, sizeof(out->uuid));
	rc = layout_within(&shape, c->node_size, &out->layout);
	if (rc == 0)
		rc = poolkey_secret(&c->key, c->uuid, &out->secret);
	if (rc != 0)
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 rc == -ENOSPC
				 ? "%.300s: node-size is too small for any pool"
				 : "%.300s: code and [nodes] make no pool: %s",
			 c->path, strerror(-rc));
	return rc;
}

void poolconf_address(const char *scheme, const struct poolconf_place *p,
		      char *out, size_t cap)
{
	bool v6 = strchr(p->host, ':') != NULL;

	snprintf(out, cap, "%s:%s%s%s:%u", scheme, v6 ? "[" : "", p->host,
		 v6 ? "]" : "", p->port);
}

void poolconf_coords(const struct poolconf *c, char out[POOLCONF_LIST_BYTES])
{
	size_t at = 0;

	for (uint32_t i = 0; i < c->coords; i++) {
		if (i > 0)
			out[at++] = ',';
		poolconf_address("tcp", &c->coord[i], out + at,
				 POOLCONF_LIST_BYTES - at);
		at += strlen(out + at);
	}
}
