/* mount-helper/host_own.c - see host_own.h. */
#include "mount-helper/host_own.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "rdma/loopback.h"

static bool same(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a == NULL || b == NULL || a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		      &((const struct sockaddr_in6 *)b)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

/* All of 127.0.0.0/8 is, though one address of it is told. */
static bool is_here(const struct sockaddr *a, const struct ifaddrs *here)
{
	if (fab_loopback(a))
		return true;
	for (; here != NULL; here = here->ifa_next)
		if (same(a, here->ifa_addr))
			return true;
	return false;
}

enum host_where host_where(const struct addrinfo *all,
			   const struct ifaddrs *here)
{
	if (all == NULL)
		return HOST_NOWHERE;
	if (fab_loopback(fab_meet(all, all)->ai_addr))
		return HOST_LOOPBACK;
	for (; all != NULL; all = all->ai_next)
		if (is_here(all->ai_addr, here))
			return HOST_HERE;
	return HOST_AWAY;
}

int host_owns(const char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
	struct ifaddrs *here;
	enum host_where where;

	if (getaddrinfo(name, NULL, &hints, &all) != 0)
		return -ENOENT;
	if (getifaddrs(&here) != 0)
		here = NULL;
	where = host_where(all, here);
	if (here != NULL)
		freeifaddrs(here);
	freeaddrinfo(all);
	return where != HOST_AWAY;
}
