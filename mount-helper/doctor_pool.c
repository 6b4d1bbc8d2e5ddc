/* mount-helper/doctor_pool.c - a pool over several hosts, seen from this one:
 * its key, its hosts' ports, its coordinators. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mount-helper/conf.h"
#include "mount-helper/doctor.h"
#include "mount-helper/host_names.h"
#include "mount-helper/knock.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/poolkey.h"
#include "mount-helper/ways.h"
#include "rdma/fabric.h"

/* --- the key -------------------------------------------------------- */

static int key(struct doctor *d, struct fab_key *out)
{
	const struct poolconf *c = d->pool;
	char error[CONF_ERROR_BYTES_MAX], mend[2 * POOLCONF_PATH_BYTES + 96];
	int rc = poolkey_read(c->key_path, out, error);

	switch (rc) {
	case 0:
		doctor_say(d, "key", DOCTOR_OK, NULL, NULL,
			   "%s: only its owner can read it", c->key_path);
		return 0;
	case -EACCES:
		snprintf(mend, sizeof(mend), "sudo aceso doctor --pool %s",
			 c->name);
		doctor_say(d, "key", DOCTOR_WARN,
			   "this user cannot mount the pool; what lies behind "
			   "the key was not looked at",
			   mend, "%s", error);
		return rc;
	case -EPERM:
		snprintf(mend, sizeof(mend),
			 "sudo chown root %s && sudo chmod 600 %s", c->key_path,
			 c->key_path);
		break;
	default:
		snprintf(mend, sizeof(mend),
			 "scp HOST:%s %s (from where aceso pool create was "
			 "run)",
			 c->key_path, c->key_path);
	}
	doctor_say(d, "key", DOCTOR_FAIL,
		   "no host lets this one in without the right key", mend, "%s",
		   error);
	return rc;
}

/* --- ports ---------------------------------------------------------- */

#define UNKNOWN -ENOKEY /* whether anybody listens there */

struct place {
	char name[24]; /* "node-3" */
	bool rdma;     /* its node listens by RDMA, as far as is known */
};

struct ports {
	struct doctor *d;
	struct place place[FAB_NODES_MAX + POOLCONF_COORDS_MAX];
	struct knock k[FAB_NODES_MAX + POOLCONF_COORDS_MAX];
	bool rdma_begun;
	struct knock_rdma rdma;
	int coord; /* what the coordinators answered; UNKNOWN: not asked */
	struct ways ways;
};

static void let_through(const struct place *p, const struct knock *k,
			char mend[256])
{
	const char *host = k->place->host;
	unsigned port = k->place->port;

	if (p->rdma)
		snprintf(mend, 256,
			 "on %s: sudo ufw allow 4791/udp, which RoCE takes; "
			 "rdma link (is it on? is the port ACTIVE?)",
			 host);
	else
		snprintf(mend, 256,
			 "on %s: sudo ufw allow %u/tcp, or sudo nft add rule "
			 "inet filter input tcp dport %u accept (is it on?)",
			 host, port, port);
}

/* One that does not answer: why, and what to do, there or here. */
static void say_away(struct doctor *d, const struct place *p,
		     const struct knock *k, enum doctor_verdict v)
{
	const char *host = k->place->host, *found;
	char mend[256];

	switch (-k->rc) {
	case ENOENT:
		snprintf(mend, sizeof(mend),
			 "echo 'ADDRESS %s' | sudo tee -a /etc/hosts", host);
		found = "the name leads to no address";
		break;
	case ECONNREFUSED:
		snprintf(mend, sizeof(mend),
			 "on %s: sudo systemctl enable --now aceso-pool@%s",
			 host, d->pool->name);
		found = "the host answers, but nothing listens there";
		break;
	default:
		let_through(p, k, mend);
		found = "no answer: the host is off, or a firewall drops what "
			"comes";
	}
	doctor_say(d, p->name, v,
		   v == DOCTOR_FAIL ? "the pool cannot be reached from here"
				    : "the pool bears it, if there are not "
				      "too many",
		   mend, "%s:%u: %s", host, k->place->port, found);
}

/* It was knocked at, and nobody was heard. */
static bool is_away(const struct knock *k)
{
	return k->rc != 0 && k->rc != -ENODEV && k->rc != UNKNOWN;
}

static unsigned count(const struct knock *k, unsigned n, int rc)
{
	unsigned all = 0;

	for (unsigned i = 0; i < n; i++)
		all += k[i].rc == rc;
	return all;
}

/* @bearable of these @n, from @first on, may be away. */
static void say_all(const struct ports *p, const char *what, unsigned first,
		    unsigned n, unsigned bearable)
{
	const struct knock *k = p->k + first;
	unsigned lost = 0;

	for (unsigned i = 0; i < n; i++)
		lost += is_away(&k[i]);
	for (unsigned i = 0; i < n; i++)
		if (is_away(&k[i]))
			say_away(p->d, &p->place[first + i], &k[i],
				 lost > bearable ? DOCTOR_FAIL : DOCTOR_WARN);
	if (count(k, n, 0) == n)
		doctor_say(p->d, what, DOCTOR_OK, NULL, NULL,
			   "all %u of them can be reached", n);
}

/* No device of this host leads to nodes. */
static void say_no_way(const struct ports *p, unsigned n)
{
	const struct poolconf *c = p->d->pool;
	unsigned lacking = count(p->k, n, -ENODEV), i = 0;
	char mend[POOLCONF_PATH_BYTES + 160];

	if (lacking == 0)
		return;
	while (p->k[i].rc != -ENODEV)
		i++;
	snprintf(mend, sizeof(mend),
		 "say transport = tcp in %s on all hosts, and on each sudo "
		 "systemctl restart aceso-pool@%s; or use a host with RDMA",
		 c->path, c->name);
	doctor_say(
		p->d, "transport", DOCTOR_FAIL,
		"this host can neither mount the pool nor serve a node of it",
		mend,
		"%u of %u nodes, as node-%u (%s:%u), listen by RDMA, and no "
		"RDMA device of this host leads there",
		lacking, n, i, c->node[i].host, c->node[i].port);
}

static void say_unknown(const struct ports *p, unsigned n)
{
	unsigned unknown = count(p->k, n, UNKNOWN);

	if (unknown > 0)
		doctor_say(p->d, "nodes", DOCTOR_WARN,
			   "whether they can be reached is not known",
			   "aceso doctor again, as who can read the key",
			   "%u of %u may listen by RDMA, where nobody is heard "
			   "without the key",
			   unknown, n);
}

/* What it is to knock at node @id by RDMA. */
static int by_rdma(const struct ports *p, unsigned id)
{
	if (!p->d->rdma)
		return -ENODEV;
	return p->rdma_begun ? p->rdma.rc[id] : UNKNOWN;
}

/* Nobody listens by TCP, perhaps as all is well. */
static void knock_again(struct ports *p, unsigned id)
{
	int rc = by_rdma(p, id), *was = &p->k[id].rc;
	bool maybe = rc == 0 || (rc == UNKNOWN && *was == -ECONNREFUSED);

	if (!maybe && p->d->pool->transport != POOLCONF_VERBS &&
	    !(p->ways.verbs >> id & 1))
		return;
	p->place[id].rdma = true;
	*was = rc;
}

/* Bits of the nodes that nobody was heard at. */
static uint64_t silent(const struct ports *p)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < p->d->pool->nodes; i++)
		if (p->k[i].rc != 0 && !(p->ways.tcp >> i & 1))
			bits |= UINT64_C(1) << i;
	return bits;
}

/* Where nobody listens nobody needs to be asked. */
static int ask(struct ports *p, const struct fab_key *key)
{
	const struct poolconf *c = p->d->pool;
	const struct knock *coord = p->k + c->nodes;

	if (key == NULL)
		return UNKNOWN;
	if (count(coord, c->coords, 0) == 0)
		return coord->rc;
	return ways_ask(c, key, &p->ways);
}

static void knock(struct ports *p, const struct fab_key *key)
{
	const struct poolconf *c = p->d->pool;
	bool rdma = c->transport != POOLCONF_TCP;
	unsigned skip = c->transport == POOLCONF_VERBS ? c->nodes : 0;
	uint64_t again;

	if (rdma && p->d->rdma && key != NULL)
		p->rdma_begun = knock_rdma_begin(c, key, &p->rdma) == 0;
	knock_tcp(p->k + skip, c->nodes + c->coords - skip);
	p->coord = ask(p, key);
	again = rdma ? silent(p) : 0;
	if (p->rdma_begun)
		knock_rdma_end(&p->rdma, again);
	for (unsigned i = 0; i < c->nodes; i++)
		if (again >> i & 1)
			knock_again(p, i);
}

static void name_all(struct ports *p)
{
	const struct poolconf *c = p->d->pool;

	for (unsigned i = 0; i < c->nodes; i++) {
		p->k[i].place = &c->node[i];
		p->k[i].rc = UNKNOWN;
		snprintf(p->place[i].name, sizeof(p->place[i].name), "node-%u",
			 i);
	}
	for (unsigned i = 0; i < c->coords; i++) {
		struct place *place = &p->place[c->nodes + i];

		p->k[c->nodes + i].place = &c->coord[i];
		snprintf(place->name, sizeof(place->name), "coordinator-%u", i);
	}
}

/* --- what the coordinator says -------------------------------------- */

/* The command that shows what each host has. */
static void versions(const struct doctor *d, char *out, size_t cap)
{
	static struct host_names names;
	size_t at = (size_t)snprintf(out, cap, "for h in");

	host_names_look(d->pool, &names);
	for (uint32_t i = 0; i < names.n; i++)
		if (at + strlen(names.host[i].name) + 96 < cap)
			at += (size_t)sprintf(out + at, " %s",
					      names.host[i].name);
	snprintf(out + at, cap - at,
		 "; do echo $h; ssh $h aceso version; done (and install the "
		 "newest on all)");
}

static void refused(struct doctor *d, int rc)
{
	const char *dir = poolconf_dir(), *name = d->pool->name;
	char mend[2 * DOCTOR_PATH_BYTES];

	if (rc == -EACCES) {
		snprintf(mend, sizeof(mend),
			 "compare sha256sum %s/%s.key on both hosts, and copy "
			 "the right one",
			 dir, name);
		doctor_say(d, "pool", DOCTOR_FAIL,
			   "nothing of the pool can be reached", mend,
			   "the coordinator has another key than this host");
	} else if (rc == -EPROTO) {
		versions(d, mend, sizeof(mend));
		doctor_say(d, "pool", DOCTOR_FAIL,
			   "hosts of one pool run one version", mend,
			   "the coordinator is of another version than this "
			   "aceso (%s)",
			   ACESO_VERSION);
	} else {
		snprintf(mend, sizeof(mend),
			 "sudo systemctl status aceso-pool@%s, on each of its "
			 "hosts",
			 name);
		doctor_say(d, "pool", DOCTOR_FAIL, "it cannot be mounted now",
			   mend, "no coordinator answers: %s", strerror(-rc));
	}
}

static void coordinator(struct doctor *d, int rc)
{
	if (rc == 0)
		doctor_say(d, "pool", DOCTOR_OK, NULL, NULL,
			   "a coordinator lets this host in");
	else if (rc != UNKNOWN)
		refused(d, rc);
}

void doctor_pool(struct doctor *d)
{
	const struct poolconf *c = d->pool;
	static struct ports p;
	struct fab_key k = {0};
	bool have = key(d, &k) == 0;

	p = (struct ports){.d = d};
	name_all(&p);
	knock(&p, have ? &k : NULL);
	explicit_bzero(&k, sizeof(k));
	say_all(&p, "nodes", 0, c->nodes, c->m);
	say_no_way(&p, c->nodes);
	say_unknown(&p, c->nodes);
	if (c->coords > 0)
		say_all(&p, "coordinators", c->nodes, c->coords, c->coords - 1);
	coordinator(d, p.coord);
}
