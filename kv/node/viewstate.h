/* kv/node/viewstate.h - what a coordinator must know to go on where the last
 * one ended: written before anybody is told of it (kv/node/coord_store.c), as
 * the bytes of kv/FORMAT.md. Pure. Threads: any. */
#ifndef ACESO_KV_NODE_VIEWSTATE_H
#define ACESO_KV_NODE_VIEWSTATE_H
#include <stddef.h>
#include <stdint.h>

#include "kv/proto.h"

#define VIEWSTATE_VERSION     1u
#define VIEWSTATE_CLIENTS_MAX 4096u
#define VIEWSTATE_ORPHANS_MAX 4096u

struct viewstate_client {
	uint32_t id;
	uint32_t fenced; /* 1: it is to be kept out, by nodes or already */
};

struct viewstate {
	uint8_t uuid[16]; /* of the pool */
	/* Addresses beyond view.nodes are empty. */
	struct proto_view_set set;
	uint64_t least[FAB_NODES_MAX]; /* of coord_impl.h */
	uint32_t next_client;
	uint32_t clients, orphans; /* how many: */
	struct viewstate_client client[VIEWSTATE_CLIENTS_MAX];
	uint32_t orphan[VIEWSTATE_ORPHANS_MAX]; /* dead, not yet told */
};

/* The most that viewstate_write() makes. */
size_t viewstate_bytes_max(void);

/* Returns how many bytes of @buf (of viewstate_bytes_max()) it made. */
size_t viewstate_write(const struct viewstate *in, void *buf);

/* Errors: -ENOTUNIQ these are no such bytes; -EPROTO of another version;
 * -EBADMSG damaged. */
int viewstate_read(const void *buf, size_t len, struct viewstate *out);

#endif
