/* fs/intake.h - how a thread of libfuse's loop comes by its next request.
 *
 * Requests come to whoever waits in read(2), one wake-up each: with a thread
 * for each request under way they change places all the time. So as many wait
 * at the door as there are processors, and the others rest (door.h); and who
 * finds more requests waiting than threads gathers small writes (gather.h).
 * Over a network each request sleeps, so there all threads wait.
 *
 * Threads: the session's. */
#ifndef ACESO_FS_INTAKE_H
#define ACESO_FS_INTAKE_H
#include <stddef.h>
#include <sys/types.h>

struct fs;

/* read(2) from the session's device by @fd, with what goes before: what the
 * thread has gathered is done if nothing more waits. A point of cancellation.
 */
ssize_t fs_intake_read(struct fs *fs, int fd, void *buf, size_t len);

#endif
