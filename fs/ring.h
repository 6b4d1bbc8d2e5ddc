/* fs/ring.h - requests by io_uring instead of read(2) and write(2) on
 * /dev/fuse, where the kernel offers it (Linux 6.14 and later, when root has
 * said Y in /sys/module/fuse/parameters/enable_uring).
 *
 * A *seat* is a thread with a ring and one entry in one of the kernel's queues,
 * of which each CPU has its own. An answer and the next request are one call
 * into the kernel; while requests wait in the queue no seat sleeps between two.
 * Which seat is next the kernel decides: the one that was at work last. A seat
 * whose request waits for something (a rebuild) takes no other, and what is
 * asked for while none is left waits in the kernel for one that is (seats that
 * are added then would not be given it): so there are many from the start.
 * libfuse's loop goes on beside it: INIT, FORGET and INTERRUPT come that way.
 *
 * Threads: open, start and close in one; ring_reply() any. */
#ifndef ACESO_FS_RING_H
#define ACESO_FS_RING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct fuse_session;
struct ring;

struct ring_opts {
	struct fuse_session *se; /* mounted; outlives the ring */
	int fd;			 /* its device */
	size_t payload;		 /* the most bytes of one request or answer */
	uint32_t seats;		 /* of a queue */
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
