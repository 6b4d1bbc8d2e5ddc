/* rdma/loopback.h - addresses at which only the host itself is met: Debian
 * writes one, 127.0.1.1, behind its own name into /etc/hosts.
 * Threads: any. */
#ifndef ACESO_RDMA_LOOPBACK_H
#define ACESO_RDMA_LOOPBACK_H
#include <netdb.h>
#include <stdbool.h>
#include <sys/socket.h>

bool fab_loopback(const struct sockaddr *a);

/* A name leads to @all. The first of them, from @at on, where its host is to
 * be met: by whoever listens there, and whoever comes. Loopback only if there
 * is nothing else among @all. NULL: none is left. */
const struct addrinfo *fab_meet(const struct addrinfo *all,
				const struct addrinfo *at);

#endif
