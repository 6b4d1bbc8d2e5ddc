/* fs/ring_impl.h - private to ring*.c. */
#ifndef ACESO_FS_RING_IMPL_H
#define ACESO_FS_RING_IMPL_H
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>

#include "fs/ring.h"
#include "fs/ring_abi.h"

#define RING_SEATS_MAX 64u /* of a queue */

struct ring_seat {
	struct ring *ring;
	uint16_t queue;
	pthread_t thread;
	struct io_uring uring;
	char *memory; /* a page; a page; the payload: see ring_seat.c */
	struct ring_head *head;
	char *payload;
	struct iovec part[2]; /* head and payload, as the kernel takes them */
	uint32_t op;	      /* what was given last */
	uint64_t commit_id;
	_Atomic uint64_t unique; /* of the request at hand; 0: none */
};

struct ring_queue {
	uint32_t n; /* does not change after ring_open() */
	struct ring_seat *seat[RING_SEATS_MAX];
};

struct ring {
	struct ring_opts opts;
	int stop_fd; /* an eventfd that all seats watch */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool going, stop; /* under lock */
	uint32_t queues;
	struct ring_queue queue[];
};

/* --- ring_seat.c ---------------------------------------------------------- */

/* One more, whose thread waits for ring_goes(). Errors: as ring_open(). */
int ring_seat_open(struct ring *r, uint16_t queue, struct ring_seat **out);
/* Its thread has been told to stop: ring_close(). */
void ring_seat_close(struct ring_seat *s);
/* The request at hand is answered. */
void ring_seat_reply(struct ring_seat *s, const struct iovec *iov, int count);
/* Whose request this thread is at; NULL: nobody's. */
struct ring_seat *ring_seat_here(void);

/* --- ring.c, for the seats ------------------------------------------------ */

/* Waits for ring_start(). False: it is to end. */
bool ring_goes(struct ring *r);

#endif
