/* mount-helper/doctor.h - what this host lacks, and the command that mends it.
 * A check looks at one thing and says one finding about it, or several.
 * Threads: one at a time per struct doctor. */
#ifndef ACESO_MOUNT_HELPER_DOCTOR_H
#define ACESO_MOUNT_HELPER_DOCTOR_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define DOCTOR_PATH_BYTES 512u

enum doctor_verdict {
	DOCTOR_OK,
	DOCTOR_WARN, /* it works, but less well than it could */
	DOCTOR_FAIL, /* something will not work */
};

struct poolconf;

struct doctor {
	const char *root;	     /* before paths of the system; "" */
	const struct poolconf *pool; /* NULL: none is asked about */
	json_t *findings;	     /* array: see docs in doctor.c */
	bool failed, lost;	     /* lost: out of memory */
	bool rdma;		     /* this host has an adapter */
};

/* Add a finding: that check @check found @fmt. What it @means and the command
 * that mends it: NULL if all is well. */
void doctor_say(struct doctor *d, const char *check, enum doctor_verdict v,
		const char *means, const char *mend, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

/* @path of the system, behind the root. Returns @out. */
const char *doctor_path(const struct doctor *d, const char *path,
			char out[DOCTOR_PATH_BYTES]);

/* The first line of that file (without its end) into @out. -errno. */
int doctor_line(const struct doctor *d, const char *path, char *out,
		size_t cap);

/* The command that opens @path where @error names a line of it, "@path:LINE:".
 * Returns @out. */
const char *doctor_editor(const char *path, const char *error,
			  char out[DOCTOR_PATH_BYTES]);

/* Which nodes of a pool are this host's: bits, by number. */
struct doctor_own {
	uint64_t nodes, running; /* running: of these */
	uint64_t held;		 /* bytes that these have taken by now */
};

/* Of @d's pool, which is not NULL. Asks the resolver for each node's host. */
void doctor_own(const struct doctor *d, struct doctor_own *own);

/* --- the checks ----------------------------------------------------- */

void doctor_fuse(struct doctor *d);	/* /dev/fuse, fusermount3, fuse.conf */
void doctor_system(struct doctor *d);	/* versions, programs, clock */
void doctor_memory(struct doctor *d);	/* free, locked, huge, overcommit */
void doctor_rdma(struct doctor *d);	/* adapters, their GIDs and MTUs */
void doctor_conf(struct doctor *d);	/* aceso.conf */
void doctor_names(struct doctor *d);	/* where its hosts' names lead */
void doctor_pool(struct doctor *d);	/* its key, hosts, coordinators */
void doctor_firewall(struct doctor *d); /* whether others reach this host */

#endif
