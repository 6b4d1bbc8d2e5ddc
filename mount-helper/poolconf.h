/* mount-helper/poolconf.h - a pool over several hosts, as its file describes
 * it: pool.conf(5). The same file and the same key lie on every host. Threads:
 * any; a struct poolconf is plain data once it is loaded. */
#ifndef ACESO_MOUNT_HELPER_POOLCONF_H
#define ACESO_MOUNT_HELPER_POOLCONF_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/layout.h"
#include "mount-helper/conf.h"
#include "rdma/fabric.h"

#define POOLCONF_COORDS_MAX    8u
#define POOLCONF_HOST_BYTES    65u /* a host's name or address, with its 0 */
#define POOLCONF_SERVERS_BYTES 512u
#define POOLCONF_PATH_BYTES    512u
#define POOLCONF_LIST_BYTES    (POOLCONF_COORDS_MAX * (POOLCONF_HOST_BYTES + 16))
#define POOLCONF_PORT_COORD    7600u /* where the file names none */
#define POOLCONF_PORT_NODE     7601u
#define POOLCONF_LEASE_MS_MIN  200u
#define POOLCONF_LEASE_MS_MAX  600000u
#define POOLCONF_CKPT_MS_MAX   3600000u

enum poolconf_transport { POOLCONF_AUTO, POOLCONF_TCP, POOLCONF_VERBS };

struct poolconf_place {
	char host[POOLCONF_HOST_BYTES]; /* "": not in the file */
	uint16_t port;
};

struct poolconf {
	char name[CONF_POOL_BYTES_MAX + 1];
	uint8_t uuid[16];
	uint32_t k, m;
	uint64_t node_size; /* memory of each node, bytes */
	enum poolconf_transport transport;
	uint32_t lease_ms;     /* 0: default */
	uint32_t ckpt_ms;      /* between checkpoints of a shard; 0: none */
	uint64_t rebuild_rate; /* as of conf_pool */
	uint32_t nodes, coords;
	struct poolconf_place node[FAB_NODES_MAX], coord[POOLCONF_COORDS_MAX];
	char zookeeper[POOLCONF_SERVERS_BYTES]; /* "": none */
	char path[POOLCONF_PATH_BYTES];		/* of the file */
	char key_path[POOLCONF_PATH_BYTES];
	struct fab_key key; /* len 0: not read */
};

/* The directory of such files: $ACESO_CONF_DIR, else /etc/aceso. */
const char *poolconf_dir(void);

/* The path of the file of pool @name. Errors: -EINVAL, -ENAMETOOLONG. */
int poolconf_path(const char *name, char out[POOLCONF_PATH_BYTES]);

/* Is there such a file? (Whether it can be read or not.) */
bool poolconf_exists(const char *name);

/* Read the file of pool @name, and its key. On error @error
 * (CONF_ERROR_BYTES_MAX) has a line for people: cause and remedy.
 * Errors: -ENOENT there is none; -EINVAL; -EPERM others can read the key;
 * -EACCES; those of open(2). */
int poolconf_load(const char *name, struct poolconf *out, char *error);

/* The same without the key: for who only wants to know what is where. */
int poolconf_read(const char *name, struct poolconf *out, char *error);

/* The superblock of its nodes, but for their number: a function of the file and
 * the key, so that all of them agree. Errors: -EINVAL, -ENOSPC; @error too. */
int poolconf_super(const struct poolconf *c, struct layout_super *out,
		   char *error);

/* Its coordinators, as kv_opts.pool wants them. */
void poolconf_coords(const struct poolconf *c, char out[POOLCONF_LIST_BYTES]);

/* "tcp:HOST:PORT". */
void poolconf_address(const char *scheme, const struct poolconf_place *p,
		      char *out, size_t cap);

/* "HOST" or "HOST:PORT", "[v6]:PORT"; @port if it has none. -EINVAL. */
int poolconf_parse_place(const char *text, uint16_t port,
			 struct poolconf_place *out);

#endif
