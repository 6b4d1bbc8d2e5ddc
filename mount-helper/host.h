/* mount-helper/host.h - what one host gives to a pool over several: memory
 *nodes and perhaps a coordinator, each a process, started again when it dies.
 *
 *	aceso pool serve -+- aceso-node 0     a link to each: "ready", or
 *	  (systemd knows  +- aceso-node 1     "error CAUSE", once; whoever loses
 *	   this one)      +- aceso-coordinator  it ends
 *
 * What cannot be at all - no such file, no key, nothing of it is this host's -
 * ends it at once; what fails later is tried again, ever more seldom. */
#ifndef ACESO_MOUNT_HELPER_HOST_H
#define ACESO_MOUNT_HELPER_HOST_H
#include <stdbool.h>
#include <stdint.h>

struct host_opts {
	const char *pool;
	bool only; /* these, by number; else what the file gives to this host */
	uint64_t nodes, coords;
};

/* Run until SIGTERM or SIGINT; systemd is told how it goes, if it asks.
 * Returns an exit code of aceso (cmd.h). */
int host_serve(const struct host_opts *opts);

#endif
