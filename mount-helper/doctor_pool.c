/* mount-helper/doctor_pool.c - a pool over several hosts, seen from this one:
 * its key, its hosts' ports, its coordinators. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kv/hello.h"
#include "mount-helper/conf.h"
#include "mount-helper/doctor.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/poolkey.h"
#include "rdma/fabric.h"

#define CONNECT_MS 2000 /* for all of them together */

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

struct knock {
	const struct poolconf_place *place;
	char name[24]; /* "node-3" */
	int fd;
	int rc; /* -EINPROGRESS: not known yet */
};

static void begin(struct knock *k)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	char port[8];

	k->fd = -1;
	k->rc = -ENOENT;
	snprintf(port, sizeof(port), "%u", k->place->port);
	if (getaddrinfo(k->place->host, port, &hints, &ai) != 0)
		return;
	k->fd = socket(ai->ai_family,
		       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->fd >= 0 && connect(k->fd, ai->ai_addr, ai->ai_addrlen) == 0)
		k->rc = 0;
	else
		k->rc = -errno;
	freeaddrinfo(ai);
}

static void look(struct knock *k)
{
	int err = EIO;
	socklen_t len = sizeof(err);

	if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	k->rc = -err;
}

/* All at once: a host that is away costs its time only once. */
static void knock_all(struct knock *k, unsigned n)
{
	struct pollfd p[FAB_NODES_MAX + POOLCONF_COORDS_MAX] = {0};
	int left = CONNECT_MS, open;

	for (unsigned i = 0; i < n; i++)
		begin(&k[i]);
	do {
		open = 0;
		for (unsigned i = 0; i < n; i++) {
			bool wait = k[i].rc == -EINPROGRESS;

			p[i] = (struct pollfd){.fd = wait ? k[i].fd : -1,
					       .events = POLLOUT};
			open += wait;
		}
		if (open > 0 && poll(p, n, 100) < 0 && errno != EINTR)
			break;
		for (unsigned i = 0; i < n; i++)
			if (p[i].fd >= 0 && p[i].revents != 0)
				look(&k[i]);
		left -= 100;
	} while (open > 0 && left > 0);
	for (unsigned i = 0; i < n; i++) {
		if (k[i].rc == -EINPROGRESS)
			k[i].rc = -ETIMEDOUT;
		if (k[i].fd >= 0)
			close(k[i].fd);
	}
}

/* One that does not answer: why, and what to do, there or here. */
static void say_away(struct doctor *d, const struct knock *k,
		     enum doctor_verdict v)
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
		snprintf(mend, sizeof(mend),
			 "on %s: sudo ufw allow %u/tcp, or sudo nft add rule "
			 "inet filter input tcp dport %u accept (is it on?)",
			 host, k->place->port, k->place->port);
		found = "no answer: the host is off, or a firewall drops what "
			"comes";
	}
	doctor_say(d, k->name, v,
		   v == DOCTOR_FAIL ? "the pool cannot be reached from here"
				    : "the pool bears it, if there are not "
				      "too many",
		   mend, "%s:%u: %s", host, k->place->port, found);
}

static unsigned away(const struct knock *k, unsigned n)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		count += k[i].rc != 0;
	return count;
}

/* @bearable of these @n may be away. */
static void say_all(struct doctor *d, const char *what, const struct knock *k,
		    unsigned n, unsigned bearable)
{
	unsigned lost = away(k, n);

	for (unsigned i = 0; i < n; i++)
		if (k[i].rc != 0)
			say_away(d, &k[i],
				 lost > bearable ? DOCTOR_FAIL : DOCTOR_WARN);
	if (lost == 0)
		doctor_say(d, what, DOCTOR_OK, NULL, NULL,
			   "all %u of them can be reached", n);
}

static void ports(struct doctor *d)
{
	const struct poolconf *c = d->pool;
	struct knock k[FAB_NODES_MAX + POOLCONF_COORDS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < c->nodes; i++, n++) {
		k[n].place = &c->node[i];
		snprintf(k[n].name, sizeof(k[n].name), "node-%u", i);
	}
	for (unsigned i = 0; i < c->coords; i++, n++) {
		k[n].place = &c->coord[i];
		snprintf(k[n].name, sizeof(k[n].name), "coordinator-%u", i);
	}
	knock_all(k, n);
	say_all(d, "nodes", k, c->nodes, c->m);
	if (c->coords > 0)
		say_all(d, "coordinators", k + c->nodes, c->coords,
			c->coords - 1);
}

/* --- what the coordinator says -------------------------------------- */

static void refused(struct doctor *d, int rc)
{
	const char *dir = poolconf_dir(), *name = d->pool->name;
	char mend[DOCTOR_PATH_BYTES];

	if (rc == -EACCES) {
		snprintf(mend, sizeof(mend),
			 "compare sha256sum %s/%s.key on both hosts, and copy "
			 "the right one",
			 dir, name);
		doctor_say(d, "pool", DOCTOR_FAIL,
			   "nothing of the pool can be reached", mend,
			   "the coordinator has another key than this host");
	} else if (rc == -EPROTO) {
		doctor_say(d, "pool", DOCTOR_FAIL,
			   "hosts of one pool run one version",
			   "install the same version on all hosts (here: "
			   "aceso version)",
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

static void coordinator(struct doctor *d, const struct fab_key *k)
{
	char list[POOLCONF_LIST_BYTES];
	struct proto_hello hello;
	struct fab_net *net;
	int rc;

	poolconf_coords(d->pool, list);
	hello_fill(&hello, PROTO_TOOL, NULL);
	rc = hello_net(list, k, &net);
	if (rc == 0) {
		rc = hello_attach_coord(net, list, &hello);
		fab_net_close(net);
	}
	if (rc == 0)
		doctor_say(d, "pool", DOCTOR_OK, NULL, NULL,
			   "a coordinator lets this host in");
	else
		refused(d, rc);
}

void doctor_pool(struct doctor *d)
{
	struct fab_key k = {0};
	bool have = key(d, &k) == 0;

	ports(d);
	if (have)
		coordinator(d, &k);
	explicit_bzero(&k, sizeof(k));
}
