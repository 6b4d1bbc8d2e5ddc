/* mount-helper/host_names.c - see host_names.h. */
#include "mount-helper/host_names.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/loopback.h"

/* --- looking them up ------------------------------------------------------ */

static const struct host_name *find(const struct host_names *n,
				    const char *name)
{
	for (uint32_t i = 0; i < n->n; i++)
		if (strcmp(n->host[i].name, name) == 0)
			return &n->host[i];
	return NULL;
}

static void look(struct host_name *h, const struct ifaddrs *here)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
	const struct addrinfo *met;

	if (getaddrinfo(h->name, NULL, &hints, &all) != 0)
		return;
	met = fab_meet(all, all);
	memcpy(&h->at, met->ai_addr, met->ai_addrlen);
	h->len = met->ai_addrlen;
	h->where = host_where(all, here);
	freeaddrinfo(all);
}

static void add(struct host_names *n, const char *name,
		const struct ifaddrs *here)
{
	struct host_name *h = &n->host[n->n];

	if (find(n, name) != NULL)
		return;
	*h = (struct host_name){.name = name, .where = HOST_NOWHERE};
	look(h, here);
	n->n++;
}

void host_names_look(const struct poolconf *c, struct host_names *out)
{
	struct ifaddrs *here;

	out->n = 0;
	if (getifaddrs(&here) != 0)
		here = NULL;
	for (uint32_t i = 0; i < c->nodes; i++)
		add(out, c->node[i].host, here);
	for (uint32_t i = 0; i < c->coords; i++)
		add(out, c->coord[i].host, here);
	if (here != NULL)
		freeifaddrs(here);
}

enum host_where host_names_where(const struct host_names *n, const char *name)
{
	const struct host_name *h = find(n, name);

	return h != NULL ? h->where : HOST_NOWHERE;
}

/* --- the rule ------------------------------------------------------------- */

const struct host_name *host_names_shut(const struct host_names *n)
{
	const struct host_name *shut = NULL;
	uint32_t loopback = 0;

	for (uint32_t i = n->n; i-- > 0;)
		if (n->host[i].where == HOST_LOOPBACK) {
			shut = &n->host[i];
			loopback++;
		}
	return loopback < n->n ? shut : NULL;
}

/* --- words for people ----------------------------------------------------- */

static void text(const struct sockaddr_storage *at, socklen_t len, char *out,
		 size_t cap)
{
	if (getnameinfo((const struct sockaddr *)at, len, out, (socklen_t)cap,
			NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(out, cap, "loopback");
}

/* An address, or a name that means loopback wherever it is said. */
static bool is_everywhere(const char *name)
{
	struct in6_addr ignored;

	return inet_pton(AF_INET, name, &ignored) == 1 ||
	       inet_pton(AF_INET6, name, &ignored) == 1 ||
	       strcasecmp(name, "localhost") == 0;
}

void host_names_found(const struct host_name *shut,
		      char out[HOST_NAMES_WORDS_MAX])
{
	char at[INET6_ADDRSTRLEN];

	text(&shut->at, shut->len, at, sizeof(at));
	if (is_everywhere(shut->name))
		snprintf(out, HOST_NAMES_WORDS_MAX,
			 "%s leads every host to itself, and the pool has "
			 "others",
			 shut->name);
	else
		snprintf(out, HOST_NAMES_WORDS_MAX,
			 "%s leads to %s here, where no other host can reach "
			 "it",
			 shut->name, at);
}

/* The address of ours that @away sees: that of a socket on the way there, over
 * which nothing is sent. False: there is no way. */
static bool seen_by(const struct host_name *away, char *out, size_t cap)
{
	struct sockaddr_storage to = away->at, ours;
	socklen_t len = sizeof(ours);
	int s = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool seen;

	if (s < 0)
		return false;
	/* the port has one place in both families; any will do */
	((struct sockaddr_in *)&to)->sin_port = htons(POOLCONF_PORT_NODE);
	seen = connect(s, (struct sockaddr *)&to, away->len) == 0 &&
	       getsockname(s, (struct sockaddr *)&ours, &len) == 0 &&
	       !fab_loopback((struct sockaddr *)&ours);
	close(s);
	if (seen)
		text(&ours, len, out, cap);
	return seen;
}

void host_names_mend(const struct host_names *n, const struct host_name *shut,
		     const char *path, char *out, size_t cap)
{
	char ours[INET6_ADDRSTRLEN] = "ADDRESS";
	bool seen = false;

	for (uint32_t i = 0; i < n->n && !seen; i++)
		seen = n->host[i].where == HOST_AWAY &&
		       seen_by(&n->host[i], ours, sizeof(ours));
	if (is_everywhere(shut->name))
		snprintf(out, cap,
			 "write %s, which others see, in its place into %s, on "
			 "each host",
			 ours, path);
	else
		snprintf(out, cap, "echo '%s %s' | sudo tee -a /etc/hosts",
			 ours, shut->name);
}
