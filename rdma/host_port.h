/* rdma/host_port.h - addresses of fabrics that go over a network:
 * "SCHEME:HOST:PORT", "SCHEME:[V6]:PORT", and "SCHEME:*:PORT" to listen at all
 * of a host's. Threads: any. */
#ifndef ACESO_RDMA_HOST_PORT_H
#define ACESO_RDMA_HOST_PORT_H
#include <stddef.h>

/* The parts of @address, whose scheme is to be @scheme ("tcp:"): @host without
 * brackets, "" for all; @port within @address. Errors: -EINVAL no such form, or
 * a host that @cap bytes do not hold. */
int fab_host_port(const char *address, const char *scheme, char *host,
		  size_t cap, const char **port);

#endif
