/* mount-helper/progress.h - one line on a terminal that says how far it is.
 * Where standard error is no terminal nothing is shown. Threads: one. */
#ifndef ACESO_MOUNT_HELPER_PROGRESS_H
#define ACESO_MOUNT_HELPER_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on, shown;
	uint64_t next_ns; /* not drawn again before */
};

void progress_open(struct progress *p);
/* "what [####....] 42 % more", a few times a second at most. */
void progress_show(struct progress *p, const char *what, uint64_t done,
		   uint64_t total, const char *more);
/* Take the line away, so that others can be printed. */
void progress_hide(struct progress *p);

#endif
