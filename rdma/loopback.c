/* rdma/loopback.c - see loopback.h. */
#include "rdma/loopback.h"

#include <netinet/in.h>
#include <stddef.h>

#define LOOPBACK_NET 127u /* all of 127.0.0.0/8 */

bool fab_loopback(const struct sockaddr *a)
{
	const struct in6_addr *six;

	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)a)
				     ->sin_addr.s_addr) >>
			       24 ==
		       LOOPBACK_NET;
	if (a->sa_family != AF_INET6)
		return false;
	six = &((const struct sockaddr_in6 *)a)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) ||
	       (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == LOOPBACK_NET);
}

static const struct addrinfo *not_loopback(const struct addrinfo *at)
{
	while (at != NULL && fab_loopback(at->ai_addr))
		at = at->ai_next;
	return at;
}

const struct addrinfo *fab_meet(const struct addrinfo *all,
				const struct addrinfo *at)
{
	return not_loopback(all) != NULL ? not_loopback(at) : at;
}
