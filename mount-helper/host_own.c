/* mount-helper/host_own.c - see host_own.h. */
#include "mount-helper/host_own.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

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

/* All of 127.0.0.0/8 is here, though one address of it is told. */
static bool is_loopback(const struct sockaddr *a)
{
	return a->sa_family == AF_INET &&
	       ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 ==
		       127;
}

static bool is_here(const struct sockaddr *a, const struct ifaddrs *here)
{
	if (is_loopback(a))
		return true;
	for (; here != NULL; here = here->ifa_next)
		if (same(a, here->ifa_addr))
			return true;
	return false;
}

int host_owns(const char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all, *ai;
	struct ifaddrs *here;
	int owns = 0;

	if (getaddrinfo(name, NULL, &hints, &all) != 0)
		return -ENOENT;
	if (getifaddrs(&here) != 0)
		here = NULL;
	for (ai = all; ai != NULL && !owns; ai = ai->ai_next)
		owns = is_here(ai->ai_addr, here);
	if (here != NULL)
		freeifaddrs(here);
	freeaddrinfo(all);
	return owns;
}
