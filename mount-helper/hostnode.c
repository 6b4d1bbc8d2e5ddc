/* mount-helper/hostnode.c - see hostnode.h. */
#include "mount-helper/hostnode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "kv/hello.h"

/* Why it is TCP, in the words of the status. */
static const char *why_tcp(const struct poolconf *c, int probe)
{
	if (c->transport == POOLCONF_TCP)
		return "the pool's file says so";
	switch (probe) {
	case -EOPNOTSUPP:
		return "this RDMA device has no atomic operations";
	case -ENODEV:
		return "no RDMA device on this host";
	default:
		return "its address is no RDMA device's";
	}
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
			 "%s wants RDMA (transport = verbs), but %.64s is no "
			 "address of an RDMA device with atomic operations on "
			 "this host: %s; see rdma link, or say transport = "
			 "auto",
			 h->conf.name, at->host, strerror(-rc));
		return -ENODEV;
	}
	if (rc != 0)
		poolconf_address("tcp", at, h->listen, sizeof(h->listen));
	snprintf(h->come.why, sizeof(h->come.why), "%s%s",
		 h->verbs ? "there is an RDMA device" : why_tcp(&h->conf, rc),
		 !h->verbs && fab_tcp_kernel_tls() ? "; kernel TLS" : "");
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
