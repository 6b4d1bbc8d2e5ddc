/* fs/ring.h - requests by io_uring instead of read(2) and write(2) on
 * /dev/fuse, where the kernel offers it (Linux 6.14 and later, when root has
 * said Y in /sys/module/fuse/parameters/enable_uring).
 *
 * The kernel has a queue for each CPU, and hands what is asked for there to the
 * entry that was given to it last. A *desk* is a ring with some entries of one
 * queue; a *clerk* is a thread that takes a request from it, serves it, and
 * puts the answer and the wish for another request into one call. One clerk
 * attends a desk: while requests wait it never sleeps, and nobody is woken. All
 * entries are there from the start, as the kernel does not hand what has queued
 * up to one that comes later. So a request may wait at the desk while the
 * clerk's own waits for something (a rebuild, a silent node): a *keeper* looks
 * every few milliseconds, and calls one clerk more to a desk where requests
 * wait and few were taken, up to one for each entry. A clerk who finds another
 * waiting for the next request rests. Where every request sleeps, as the store
 * is far, each entry has a desk, and a clerk, of its own. libfuse's loop goes
 * on beside all this: INIT, FORGET and INTERRUPT come that way.
 *
 * Threads: open, start and close in one; ring_reply() any. */
#ifndef ACESO_FS_RING_H
#define ACESO_FS_RING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct fuse_session;
struct kv;
struct ring;

struct ring_opts {
	struct fuse_session *se; /* mounted; outlives the ring */
	size_t payload;		 /* the most bytes of one request or answer */
	uint32_t entries;	 /* of a queue: requests at once; not 0 */
	bool far;		 /* each sleeps while the store is asked */
	struct kv *kv;		 /* knows the memory of requests, so that an
				  * adapter may take bytes from there */
};

/* Before INIT is answered: all that may fail is done here. Sets *@out on
 * success only. Errors: -ENOMEM, -EAGAIN, -ENOSYS, -EPERM and what else
 * io_uring_setup(2) and pthread_create(3) say: go on without. */
int ring_open(const struct ring_opts *opts, struct ring **out);

/* INIT was answered, with FUSE_OVER_IO_URING: from now on requests come. */
void ring_start(struct ring *r);

/* An answer, as libfuse would write it. True: it was one to a request that
 * came here, and it is sent. */
bool ring_reply(struct ring *r, const struct iovec *iov, int count);

/* Ends the threads, after the requests they are at. NULL is fine. */
void ring_close(struct ring *r);

#endif
