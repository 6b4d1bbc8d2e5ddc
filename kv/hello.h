/* kv/hello.h - the way to a node that a view names.
 *
 * A node of a pool over several hosts has one port for ever; what tells its
 * processes apart is an *instance*, 64 random bits drawn at each start. Its
 * address in views ends in it, "tcp:host:7601#0123456789abcdef", and a hello
 * names it: a process with another one refuses (-ESTALE). So an address is one
 * process's for ever, as a socket's path is on one host.
 * Threads: any. */
#ifndef ACESO_KV_HELLO_H
#define ACESO_KV_HELLO_H
#include <stdbool.h>
#include <stddef.h>

#include "kv/proto.h"

#define HELLO_WORDS_BYTES 384u

/* Fill in @h: of @role, and of a pool if @uuid is not NULL. */
void hello_fill(struct proto_hello *h, uint32_t role, const uint8_t *uuid);

/* Attach node @id at @address, with an instance or without, saying @h.
 * Errors: those of fab_net_attach(); -ESTALE it is another process; -ENODEV it
 * listens by RDMA, and this host has none: that will not change by itself;
 * -EINVAL the address makes no sense. */
int hello_attach(struct fab_net *net, uint8_t id, const char *address,
		 const struct proto_hello *h);

/* The node at @address listens by RDMA. */
bool hello_is_rdma(const char *address);

/* For people: node @id, at @address, could not be attached: -ENODEV. One line:
 * which, why, and what to do. Returns @out. */
const char *hello_no_rdma(uint32_t id, const char *address,
			  char out[HELLO_WORDS_BYTES]);

/* A net for the pool whose coordinators are at @pool (kv_opts.pool).
 * Errors: those of fab_shm_open(), fab_any_open(). */
int hello_net(const char *pool, const struct fab_key *key,
	      struct fab_net **out);

/* Attach the coordinator: the first in the list @coords that answers. It is the
 * last in the list then: who finds it lost, or that another one leads, cuts it
 * and comes again, and the others are asked before it. As long as none answers
 * the order stays, so that each is asked again as soon as can be.
 * Errors: of the last one; -EAGAIN, -EPROTO or -EACCES if any said so. */
int hello_attach_coord(struct fab_net *net, char *coords,
		       const struct proto_hello *h);

uint32_t hello_coords(const char *coords); /* how many are in the list */

/* The process that a view names by @address, among all of its number. */
uint64_t hello_self(const char address[PROTO_ADDRESS_BYTES]);

/* "ADDRESS#INSTANCE" into @out. Errors: -ENAMETOOLONG. */
int hello_address(const char *address, uint64_t instance, char *out,
		  size_t cap);

/* Split @address: where to connect to, and the instance (0: none).
 * Errors: -EINVAL. */
int hello_split(const char *address, char bare[PROTO_ADDRESS_BYTES],
		uint64_t *instance);

#endif
