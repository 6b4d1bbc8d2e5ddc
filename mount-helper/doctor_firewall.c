/* mount-helper/doctor_firewall.c - does this host's own firewall keep other
 * hosts from what it serves? Of nftables' rules those are followed whose effect
 * on a new TCP connection to a port is certain. Where one may let it in, in
 * what way ever, nothing is said. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount-helper/clock.h"
#include "mount-helper/doctor.h"
#include "mount-helper/host_own.h"
#include "mount-helper/poolconf.h"

#define NFT_MS	   3000
#define NFT_BYTES  (8u << 20)
#define DEPTH_MAX  8u /* of chains that others jump to */
#define PORTS_MAX  (FAB_NODES_MAX + POOLCONF_COORDS_MAX)
#define PORT_CHARS 7u /* "65535, " */

extern char **environ;

/* --- asking nft ----------------------------------------------------- */

/* What comes by @fd until its end, at most for NFT_MS, into @buf: bytes; 0 if
 * the end was not reached. */
static size_t read_all(int fd, char *buf)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t end = now_ms() + NFT_MS, now;
	size_t len = 0;
	ssize_t n;

	while ((now = now_ms()) < end && poll(&p, 1, (int)(end - now)) > 0) {
		n = read(fd, buf + len, NFT_BYTES - len);
		if (n <= 0)
			return n == 0 && len < NFT_BYTES ? len : 0;
		len += (size_t)n;
	}
	return 0;
}

static int start(int out, pid_t *pid)
{
	char *argv[] = {"nft", "-j", "list", "ruleset", NULL};
	posix_spawn_file_actions_t fa;
	int rc;

	if (posix_spawn_file_actions_init(&fa) != 0)
		return -ENOMEM;
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(pid, "nft", &fa, NULL, argv, environ);
	if (rc == ENOENT)
		rc = posix_spawn(pid, "/usr/sbin/nft", &fa, NULL, argv,
				 environ);
	posix_spawn_file_actions_destroy(&fa);
	return -rc;
}

/* All rules; NULL: they cannot be known. */
static json_t *ruleset(void)
{
	char *buf = malloc(NFT_BYTES);
	json_t *all = NULL;
	size_t len = 0;
	int p[2];
	pid_t pid;

	if (buf == NULL || pipe2(p, O_CLOEXEC) != 0) {
		free(buf);
		return NULL;
	}
	if (start(p[1], &pid) == 0) {
		close(p[1]);
		len = read_all(p[0], buf);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	} else {
		close(p[1]);
	}
	close(p[0]);
	if (len > 0)
		all = json_loadb(buf, len, 0, NULL);
	free(buf);
	return all;
}

/* --- one match ------------------------------------------------------ */

enum truth { NEVER, ALWAYS, MAYBE };

static bool is(const json_t *o, const char *name, const char *word)
{
	const char *has = json_string_value(json_object_get(o, name));

	return has != NULL && strcmp(has, word) == 0;
}

static enum truth holds(const json_t *right, const char *word,
			json_int_t number);

static enum truth one_of(const json_t *list, const char *word,
			 json_int_t number)
{
	enum truth t = NEVER, one;

	for (size_t i = 0; i < json_array_size(list) && t != ALWAYS; i++) {
		one = holds(json_array_get(list, i), word, number);
		if (one != NEVER)
			t = one;
	}
	return t;
}

/* @word, or @number if that is NULL, is among what stands on the right. */
static enum truth holds(const json_t *right, const char *word,
			json_int_t number)
{
	const json_t *set = json_object_get(right, "set");
	const json_t *range = json_object_get(right, "range");
	const json_t *from = json_array_get(range, 0);
	const json_t *to = json_array_get(range, 1);
	const char *text = json_string_value(right);

	if (json_is_array(right) || json_is_array(set))
		return one_of(set != NULL ? set : right, word, number);
	if (word != NULL && text != NULL && text[0] != '@')
		return strcmp(text, word) == 0 ? ALWAYS : NEVER;
	if (word == NULL && json_is_integer(right))
		return json_integer_value(right) == number ? ALWAYS : NEVER;
	if (word == NULL && json_is_integer(from) && json_is_integer(to))
		return number >= json_integer_value(from) &&
				       number <= json_integer_value(to)
			       ? ALWAYS
			       : NEVER;
	return MAYBE;
}

static bool of_another_protocol(const json_t *payload)
{
	static const char *const others[] = {"udp",  "icmp", "icmpv6", "sctp",
					     "dccp", "esp",  "ah"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (is(payload, "protocol", others[i]))
			return true;
	return false;
}

/* Does what stands on the left equal the right, for a connection to @port that
 * is new, by TCP, and from another host? */
static enum truth equals(const json_t *left, const json_t *right, unsigned port)
{
	const json_t *payload = json_object_get(left, "payload");
	const json_t *meta = json_object_get(left, "meta");
	const json_t *ct = json_object_get(left, "ct");

	if (is(payload, "field", "dport") &&
	    (is(payload, "protocol", "tcp") || is(payload, "protocol", "th")))
		return holds(right, NULL, port);
	if (is(meta, "key", "l4proto") ||
	    (is(payload, "protocol", "ip") && is(payload, "field", "protocol")))
		return holds(right, "tcp", 0);
	if (is(ct, "key", "state"))
		return holds(right, "new", 0);
	if ((is(meta, "key", "iif") || is(meta, "key", "iifname")) &&
	    json_is_string(right) && holds(right, "lo", 0) == ALWAYS)
		return NEVER;
	return MAYBE;
}

static enum truth match_of(const json_t *match, unsigned port)
{
	const json_t *left = json_object_get(match, "left");
	enum truth t;

	if (of_another_protocol(json_object_get(left, "payload")))
		return NEVER;
	t = equals(left, json_object_get(match, "right"), port);
	if (is(match, "op", "==") || is(match, "op", "in"))
		return t;
	if (t == MAYBE || !is(match, "op", "!="))
		return MAYBE;
	return t == ALWAYS ? NEVER : ALWAYS;
}

/* --- rules and chains ----------------------------------------------- */

enum fate { GOES_ON, DROPPED, UNKNOWN };

struct walk {
	const json_t *all; /* array of nft */
	const char *family, *table;
	unsigned port, depth;
};

static enum fate chain_fate(struct walk *w, const char *chain);

static enum fate jump_fate(struct walk *w, const json_t *jump, bool sure)
{
	const char *to = json_string_value(json_object_get(jump, "target"));
	enum fate f = UNKNOWN;

	if (to != NULL && w->depth < DEPTH_MAX) {
		w->depth++;
		f = chain_fate(w, to);
		w->depth--;
	}
	return f == DROPPED && !sure ? GOES_ON : f;
}

/* What one statement does; @sure: all before it in the rule are true. */
static enum fate statement_fate(struct walk *w, const char *name,
				const json_t *what, bool sure)
{
	if (strcmp(name, "drop") == 0 || strcmp(name, "reject") == 0)
		return sure ? DROPPED : GOES_ON;
	if (strcmp(name, "jump") == 0)
		return jump_fate(w, what, sure);
	if (strcmp(name, "counter") == 0 || strcmp(name, "log") == 0)
		return GOES_ON;
	return UNKNOWN;
}

static enum fate rule_fate(struct walk *w, const json_t *expr)
{
	enum fate f = GOES_ON;
	bool sure = true;

	for (size_t i = 0; i < json_array_size(expr) && f == GOES_ON; i++) {
		json_t *one = json_array_get(expr, i);
		const char *name = json_object_iter_key(json_object_iter(one));
		const json_t *match = json_object_get(one, "match");
		enum truth t;

		if (name == NULL)
			return UNKNOWN;
		if (match != NULL) {
			t = match_of(match, w->port);
			if (t == NEVER)
				return GOES_ON;
			sure = sure && t == ALWAYS;
		} else if (strcmp(name, "limit") == 0) {
			sure = false;
		} else {
			f = statement_fate(w, name, json_object_get(one, name),
					   sure);
		}
	}
	return f;
}

static enum fate chain_fate(struct walk *w, const char *chain)
{
	enum fate f = GOES_ON;

	for (size_t i = 0; i < json_array_size(w->all) && f == GOES_ON; i++) {
		const json_t *rule =
			json_object_get(json_array_get(w->all, i), "rule");

		if (is(rule, "family", w->family) &&
		    is(rule, "table", w->table) && is(rule, "chain", chain))
			f = rule_fate(w, json_object_get(rule, "expr"));
	}
	return f;
}

/* Packets for this host, of IPv4 at least, pass through it. */
static bool is_input(const json_t *chain)
{
	return is(chain, "hook", "input") && is(chain, "type", "filter") &&
	       (is(chain, "family", "inet") || is(chain, "family", "ip"));
}

static bool drops(const json_t *all, const json_t *chain, unsigned port)
{
	struct walk w = {
		.all = all,
		.family = json_string_value(json_object_get(chain, "family")),
		.table = json_string_value(json_object_get(chain, "table")),
		.port = port,
	};
	const char *name = json_string_value(json_object_get(chain, "name"));
	enum fate f = UNKNOWN;

	if (w.table != NULL && name != NULL)
		f = chain_fate(&w, name);
	return f == DROPPED || (f == GOES_ON && is(chain, "policy", "drop"));
}

/* --- what this host serves by TCP ----------------------------------- */

struct ports {
	unsigned port[PORTS_MAX], n;
};

static void add(struct ports *p, const struct poolconf_place *place)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->port[i] == place->port)
			return;
	if (host_owns(place->host) == 1)
		p->port[p->n++] = place->port;
}

/* Nodes that may listen by RDMA are passed over. */
static void served(const struct doctor *d, struct ports *out)
{
	const struct poolconf *c = d->pool;
	bool tcp = c->transport == POOLCONF_TCP ||
		   (c->transport != POOLCONF_VERBS && !d->rdma);

	*out = (struct ports){0};
	for (uint32_t i = 0; i < c->coords; i++)
		add(out, &c->coord[i]);
	for (uint32_t i = 0; i < c->nodes && tcp; i++)
		add(out, &c->node[i]);
}

/* Those of them that @chain drops, as "7600, 7601". */
static void dropped(const json_t *all, const json_t *chain,
		    const struct ports *p, char list[PORTS_MAX * PORT_CHARS])
{
	size_t at = 0;

	list[0] = '\0';
	for (unsigned i = 0; i < p->n; i++)
		if (drops(all, chain, p->port[i]))
			at += (size_t)sprintf(list + at, "%s%u",
					      at > 0 ? ", " : "", p->port[i]);
}

static void say(struct doctor *d, const json_t *chain, const char *list)
{
	const char *family =
		json_string_value(json_object_get(chain, "family"));
	const char *table = json_string_value(json_object_get(chain, "table"));
	const char *name = json_string_value(json_object_get(chain, "name"));
	char mend[PORTS_MAX * PORT_CHARS + 384];

	snprintf(mend, sizeof(mend),
		 "sudo nft insert rule %.32s %.64s %.64s tcp dport '{ %s }' "
		 "accept (to keep it: in /etc/nftables.conf, too)",
		 family, table, name, list);
	doctor_say(d, "firewall", DOCTOR_WARN,
		   "other hosts do not reach what this one serves", mend,
		   "this host's own firewall (nft: chain %.32s %.64s %.64s) "
		   "drops what comes to TCP port %s",
		   family, table, name, list);
}

void doctor_firewall(struct doctor *d)
{
	char list[PORTS_MAX * PORT_CHARS];
	json_t *got, *all;
	struct ports p;

	if (geteuid() != 0)
		return;
	served(d, &p);
	got = p.n > 0 ? ruleset() : NULL;
	all = json_object_get(got, "nftables");
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *chain =
			json_object_get(json_array_get(all, i), "chain");

		if (!is_input(chain))
			continue;
		dropped(all, chain, &p, list);
		if (list[0] != '\0')
			say(d, chain, list);
	}
	json_decref(got);
}
