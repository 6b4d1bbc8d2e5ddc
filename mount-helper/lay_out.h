/* mount-helper/lay_out.h - what a pool that starts is: a new one, or the one
 * that its directory holds. The supervisor's thread. */
#ifndef ACESO_MOUNT_HELPER_LAY_OUT_H
#define ACESO_MOUNT_HELPER_LAY_OUT_H
#include <stdbool.h>

#include "kv/layout.h"
#include "mount-helper/conf.h"
#include "mount-helper/pooldir.h"

struct lay_out {
	struct layout_super head; /* of all nodes, but for its node */
	struct pooldir *dir;	  /* NULL: memory is all there is */
	bool restarted;		  /* the regions hold what was there */
};

/* Fill in *@out (zeros); its dir, also after an error, is for pooldir_close().
 * On error @error (PROGRAM_LINE_BYTES_MAX) says why. */
int lay_out(const struct conf_pool *pool, struct lay_out *out, char *error);

#endif
