/* mount-helper/cmd_pool.c - what the subcommands share: which pool. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kv/kv.h"
#include "mount-helper/ask.h"
#include "mount-helper/cmd.h"
#include "mount-helper/files.h"
#include "mount-helper/pool_hosts.h"
#include "mount-helper/pool_key.h"
#include "mount-helper/say.h"

/* The running pools: how many, and the last of them. */
struct running {
	unsigned n;
	bool file; /* by their files, not running here */
	char orphan[CONF_POOL_BYTES_MAX + 1]; /* one without supervisor */
	struct pool_place last;
	char names[256];
};

static int count(void *arg, const struct pool_place *p)
{
	struct running *r = arg;
	size_t at = strlen(r->names);

	if (pool_supervisor(p) == 0) {
		if (pool_has_nodes(p))
			snprintf(r->orphan, sizeof(r->orphan), "%s", p->name);
		return 0;
	}
	r->n++;
	r->last = *p;
	snprintf(r->names + at, sizeof(r->names) - at, "%s%s",
		 at > 0 ? ", " : "", p->name);
	return 0;
}

/* A pool over several hosts that this one knows of. */
static int count_file(void *arg, const char *name)
{
	struct running *r = arg;
	size_t at = strlen(r->names);

	if (pool_place(name, &r->last) < 0)
		return 0;
	r->n++;
	r->file = true;
	snprintf(r->names + at, sizeof(r->names) - at, "%s%s",
		 at > 0 ? ", " : "", name);
	return 0;
}

static int find_file(struct pool_place *p)
{
	char error[CONF_ERROR_BYTES_MAX];

	if (pool_hosts(p, error) == 0)
		return 0;
	say_err("%s", error);
	return CMD_NO_POOL;
}

static void say_orphaned(const char *name)
{
	say_err("pool %s has lost its supervisor; its mounts go on. Unmount "
		"them to end it",
		name);
}

static int find_only(struct pool_place *out)
{
	struct running r = {0};
	int rc = pool_each(count, &r);

	if (rc < 0) {
		say_err("the pools of this host cannot be listed: %s",
			strerror(-rc));
		return CMD_NO_POOL;
	}
	if (r.n == 0)
		pool_hosts_each(count_file, &r);
	if (r.n == 0 && r.orphan[0] != '\0')
		say_orphaned(r.orphan);
	else if (r.n == 0)
		say_err("no pool is running: aceso-fuse DIR makes one");
	else if (r.n > 1)
		say_err("%u pools are running: say which with -p NAME (%s)",
			r.n, r.names);
	*out = r.last;
	if (r.n == 1 && r.file)
		return find_file(out);
	return r.n == 1 ? 0 : CMD_NO_POOL;
}

int cmd_find_any(const char *name, struct pool_place *out)
{
	if (name == NULL)
		return find_only(out);
	if (pool_find(name, out) < 0) {
		say_err("'%s' is no name of a pool: see aceso pools", name);
		return CMD_NO_POOL;
	}
	if (pool_supervisor(out) != 0)
		return 0;
	if (poolconf_exists(name))
		return find_file(out);
	if (pool_has_nodes(out))
		say_orphaned(name);
	else
		say_err("no pool %s is running (for this user): see aceso "
			"pools",
			name);
	return CMD_NO_POOL;
}

int cmd_find(const char *name, struct pool_place *out)
{
	int rc = cmd_find_any(name, out);

	if (rc != 0 || pool_may_look(out))
		return rc;
	say_err("pool %s is another user's: you may see its status and df; "
		"for more, use sudo",
		out->name);
	return CMD_NO_POOL;
}

int cmd_ask(const struct pool_place *p, json_t **out)
{
	int rc = ask_pool(p, out);
	const char *why = rc < 0 ? pool_key_why(p, rc) : NULL;

	if (why != NULL)
		say_err("pool %s %s", p->name, why);
	else if (rc == -EPROTO)
		say_err("pool %s is of another version than this aceso (%s): "
			"use that version's",
			p->name, ACESO_VERSION);
	else if (rc < 0)
		say_err("pool %s does not answer: %s", p->name, strerror(-rc));
	return rc < 0 ? CMD_NO_POOL : 0;
}

int cmd_open(const struct pool_place *p, struct kv **out)
{
	/* one lane: a tool does one thing at a time */
	struct fab_key key = {0};
	struct kv_opts o = {.pool = pool_coords(p),
			    .key = &key,
			    .lanes = 1,
			    .cache_bytes = 1 << 20};
	int rc = pool_key_find(p, &key);
	const char *why = rc < 0 ? pool_key_why(p, rc) : NULL;

	if (rc < 0) {
		say_err("pool %s %s", p->name,
			why != NULL ? why : strerror(-rc));
		return CMD_NO_POOL;
	}
	rc = kv_open(&o, out);
	explicit_bzero(&key, sizeof(key));
	if (rc == 0)
		return 0;
	say_err("pool %s cannot be opened: %s", p->name, kv_error());
	return CMD_NO_POOL;
}

/* Stops at the first mount that answers. */
static int take_mountpoint(void *arg, pid_t pid, const char *sock)
{
	json_t *o;
	int found;

	if (ask_status(sock, &o) < 0)
		return 0;
	found = snprintf(arg, PATH_MAX, "%s", cmd_text(o, "mountpoint")) > 1;
	json_decref(o);
	return found;
}

int cmd_mountpoint(const struct pool_place *p, char *out)
{
	return pool_each_mount(p, take_mountpoint, out) == 1 ? 0 : -ENOENT;
}

struct within {
	const char *path, *rest;
};

/* The longest mount point wins: one mount may lie inside another. */
static int take_within(void *arg, pid_t pid, const char *sock)
{
	struct within *w = arg;
	const char *rest;
	json_t *o;

	if (ask_status(sock, &o) < 0)
		return 0;
	rest = files_within(w->path, cmd_text(o, "mountpoint"));
	if (strlen(rest) < strlen(w->rest))
		w->rest = rest;
	json_decref(o);
	return 0;
}

const char *cmd_within(const struct pool_place *p, const char *path)
{
	struct within w = {.path = path, .rest = path};

	pool_each_mount(p, take_within, &w);
	return w.rest;
}

uint64_t cmd_number(const json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
}

const char *cmd_text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s != NULL ? s : "?";
}

json_t *cmd_json_text(const char *text)
{
	json_t *o = json_string(text);
	char plain[1024];
	size_t i;

	if (o != NULL)
		return o;
	for (i = 0; i < sizeof(plain) - 1 && text[i] != '\0'; i++)
		plain[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
	plain[i] = '\0';
	return json_string(plain);
}

/* A user's own as it was given, without the letter before it; others in hex. */
const char *cmd_key_words(const void *key, size_t klen, char out[CMD_KEY_WORDS])
{
	const unsigned char *b = key;
	bool plain = klen > 1 && b[0] == 'u';

	for (size_t i = 0; i < klen; i++)
		plain = plain && b[i] >= 0x20 && b[i] < 0x7f;
	if (plain) {
		snprintf(out, CMD_KEY_WORDS, "%.*s", (int)klen - 1,
			 (const char *)b + 1);
		return out;
	}
	for (size_t i = 0; i < klen && 2 * i + 3 <= CMD_KEY_WORDS; i++)
		snprintf(out + 2 * i, 3, "%02x", b[i]);
	return out;
}
