/* mount-helper/host_names.h - where the names of a pool's hosts lead on this
 * one. A host of many that finds itself at loopback would serve there, where
 * nobody meets it:
 *
 *	/etc/hosts of alpha:    127.0.1.1 alpha    what alpha listens at
 *	of all others:          10.0.0.1  alpha    where they look for it
 *
 * Threads: any; a struct host_names is plain data once it is looked up. */
#ifndef ACESO_MOUNT_HELPER_HOST_NAMES_H
#define ACESO_MOUNT_HELPER_HOST_NAMES_H
#include "mount-helper/host_own.h"
#include "mount-helper/poolconf.h"

#define HOST_NAMES_MAX	     (FAB_NODES_MAX + POOLCONF_COORDS_MAX)
#define HOST_NAMES_WORDS_MAX 320u

struct host_name {
	const char *name; /* as the pool's file has it */
	enum host_where where;
	struct sockaddr_storage at; /* where it is met; not if HOST_NOWHERE */
	socklen_t len;
};

struct host_names {
	struct host_name host[HOST_NAMES_MAX]; /* each once */
	uint32_t n;
};

/* Every host of @c, which @out keeps pointing into. Asks the resolver, which
 * may take its time. */
void host_names_look(const struct poolconf *c, struct host_names *out);

/* Of one of @c's. */
enum host_where host_names_where(const struct host_names *n, const char *name);

/* One that leads to loopback while another does not; NULL: there is none. All
 * at loopback is a pool on one machine. */
const struct host_name *host_names_shut(const struct host_names *n);

/* What is wrong with @shut, of the pool whose file is at @path, and what mends
 * it: a command, if there is one. */
void host_names_found(const struct host_name *shut,
		      char out[HOST_NAMES_WORDS_MAX]);
void host_names_mend(const struct host_names *n, const struct host_name *shut,
		     const char *path, char *out, size_t cap);

#endif
