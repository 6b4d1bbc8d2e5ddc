/* mount-helper/host_own.h - which names are this host. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_HOST_OWN_H
#define ACESO_MOUNT_HELPER_HOST_OWN_H
#include <ifaddrs.h>
#include <netdb.h>

/* Where a name leads, seen from here. */
enum host_where {
	HOST_NOWHERE,  /* nobody knows it */
	HOST_LOOPBACK, /* to this host, and there no other can reach it */
	HOST_HERE,     /* to this host */
	HOST_AWAY,     /* to another */
};

/* A name that leads to @all (NULL: nowhere), on a host whose addresses are
 * @here. */
enum host_where host_where(const struct addrinfo *all,
			   const struct ifaddrs *here);

/* @name is this host's, or an address of it. 1, 0, or -ENOENT: nobody knows
 * it. Asks the resolver, which may take its time. */
int host_owns(const char *name);

#endif
