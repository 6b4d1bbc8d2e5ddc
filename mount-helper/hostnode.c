/* mount-helper/hostnode.c - see hostnode.h. */
#include "mount-helper/hostnode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "kv/hello.h"
#include "mount-helper/ways.h"

/* What fab_verbs_probe() said, in the words of the status. */
static const char *no_rdma(int probe)
{
	switch (probe) {
	case -EOPNOTSUPP:
		return "this RDMA device has no atomic operations";
	case -ENOBUFS:
		return "this RDMA device bears too little at a time";
	case -ENODEV:
		return "no RDMA device on this host";
	default:
		return "its address is no RDMA device's";
	}
}

static int use_tcp(struct hostnode *h, uint32_t id, const char *why)
{
	h->verbs = false;
	poolconf_address("tcp", &h->conf.node[id], h->listen,
			 sizeof(h->listen));
	snprintf(h->come.why, sizeof(h->come.why), "%s%s", why,
		 fab_tcp_kernel_tls() ? "; kernel TLS" : "");
	return 0;
}

/* Does an RDMA device of this host lead to node @to, whether that answers or
 * not? */
static bool leads(const struct hostnode *h, uint32_t to)
{
	char address[PROTO_ADDRESS_BYTES];
	struct proto_hello hello;
	struct fab_net *net;
	int rc;

	if (fab_any_open(&h->conf.key, &net) != 0)
		return true; /* it is something else that lacks */
	poolconf_address("verbs", &h->conf.node[to], address, sizeof(address));
	hello_fill(&hello, PROTO_TOOL, h->conf.uuid);
	rc = hello_attach(net, (uint8_t)to, address, &hello);
	fab_net_close(net);
	return rc != -ENODEV;
}

/* Every node must reach every other: who was there first decides. */
static int fit_in(struct hostnode *h, uint32_t id, char *error)
{
	uint64_t others = ~(UINT64_C(1) << id);
	char words[HELLO_WORDS_BYTES], at[PROTO_ADDRESS_BYTES];
	struct ways w;
	uint32_t to;

	if (ways_ask(&h->conf, &h->conf.key, &w) != 0)
		return 0; /* there is nobody yet */
	w.tcp &= others;
	w.verbs &= others;
	if (h->verbs && h->conf.transport == POOLCONF_AUTO && w.tcp != 0 &&
	    w.verbs == 0)
		return use_tcp(h, id, "the other nodes use it");
	if (h->verbs || w.verbs == 0)
		return 0;
	to = (uint32_t)__builtin_ctzll(w.verbs);
	if (to >= h->conf.nodes || leads(h, to))
		return 0;
	poolconf_address("verbs", &h->conf.node[to], at, sizeof(at));
	snprintf(error, CONF_ERROR_BYTES_MAX, "%s",
		 hello_no_rdma(to, at, words));
	return -ENODEV;
}

/* RDMA where it can be had. */
static int choose(struct hostnode *h, uint32_t id, char *error)
{
	const struct poolconf_place *at = &h->conf.node[id];
	int rc;

	poolconf_address("verbs", at, h->listen, sizeof(h->listen));
	rc = h->conf.transport == POOLCONF_TCP ? -ENODEV
					       : fab_verbs_probe(h->listen);
	h->verbs = rc == 0;
	if (rc != 0 && h->conf.transport == POOLCONF_VERBS) {
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "%s wants RDMA (transport = verbs), but not through "
			 "%.64s on this host: %s (%s); see rdma link, or say "
			 "transport = auto",
			 h->conf.name, at->host, no_rdma(rc), strerror(-rc));
		return -ENODEV;
	}
	if (rc != 0)
		return use_tcp(h, id,
			       h->conf.transport == POOLCONF_TCP
				       ? "the pool's file says so"
				       : no_rdma(rc));
	snprintf(h->come.why, sizeof(h->come.why), "there is an RDMA device");
	return 0;
}

static int introduce(struct hostnode *h, uint32_t id)
{
	struct proto_come *me = &h->come;

	me->id = id;
	me->pid = getpid();
	while (me->instance == 0)
		if (getrandom(&me->instance, sizeof(me->instance), 0) < 0)
			return -errno;
	memcpy(me->uuid, h->super.uuid, sizeof(me->uuid));
	me->shape = layout_sum(&h->super.layout);
	if (gethostname(me->host, sizeof(me->host) - 1) < 0)
		strcpy(me->host, "?");
	return hello_address(h->listen, me->instance, me->address,
			     sizeof(me->address));
}

int hostnode_make(const char *pool, uint32_t id, struct hostnode *h,
		  char *error)
{
	int rc;

	memset(h, 0, sizeof(*h));
	rc = poolconf_load(pool, &h->conf, error);
	if (rc == 0)
		rc = poolconf_super(&h->conf, &h->super, error);
	if (rc != 0)
		return rc;
	if (id >= h->conf.nodes) {
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "%.300s has no node %u: they are 0 to %u",
			 h->conf.path, id, h->conf.nodes - 1);
		return -ENOENT;
	}
	h->super.node = id;
	poolconf_coords(&h->conf, h->coords);
	rc = choose(h, id, error);
	if (rc == 0)
		rc = fit_in(h, id, error);
	if (rc != 0)
		return rc;
	rc = introduce(h, id);
	if (rc != 0)
		snprintf(error, CONF_ERROR_BYTES_MAX,
			 "%.64s: the address is too long, or there are no "
			 "random numbers: %s",
			 h->conf.node[id].host, strerror(-rc));
	return rc;
}

int hostnode_again(struct hostnode *h, uint32_t id)
{
	h->come.instance = 0;
	return introduce(h, id);
}
