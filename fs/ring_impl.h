/* fs/ring_impl.h - private to ring*.c. */
#ifndef ACESO_FS_RING_IMPL_H
#define ACESO_FS_RING_IMPL_H
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>

#include "fs/ring.h"
#include "fs/ring_abi.h"

#define RING_ENTRIES_MAX 64u /* of a queue */

struct ring_entry {
	struct ring_desk *desk;
	size_t payload_bytes;
	char *memory; /* a page; a page; the payload: see ring_entry.c */
	struct ring_head *head;
	char *payload;
	struct iovec part[2]; /* head and payload, as the kernel takes them */
	uint32_t op;	      /* what was given last */
	uint64_t commit_id;
	_Atomic uint64_t unique; /* of the request at hand; 0: none */
};

struct ring_desk {
	struct ring *ring;
	uint16_t queue;
	pthread_mutex_t lock; /* of what follows, and of what is submitted */
	pthread_cond_t call;  /* to those who rest */
	bool stop;
	bool registered; /* the kernel took one entry at least */
	bool attended;	 /* by one who waits for the next request: who alone
			  * looks at completions */
	uint64_t taken;	 /* requests so far */
	uint64_t seen;	 /* of them, when the keeper last looked */
	uint32_t resting;
	uint32_t crew; /* who are at a request, wait for one or rest */
	pthread_t clerk[RING_ENTRIES_MAX];
	struct io_uring uring;
	uint32_t n; /* entries; does not change once it is open */
	struct ring_entry entry[];
};

struct ring_queue {
	uint32_t n; /* does not change after ring_open() */
	struct ring_desk *desk[RING_ENTRIES_MAX];
};

struct ring {
	struct ring_opts opts;
	int fd; /* the session's */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool going, stop; /* under lock */
	bool kept;	  /* there is a keeper */
	pthread_t keeper;
	int keeper_stop; /* an eventfd */
	uint32_t queues;
	struct ring_queue queue[];
};

/* --- ring_entry.c --------------------------------------------------------- */

/* Room for one request. Errors: -ENOMEM; there is nothing to close then. */
int ring_entry_open(struct ring_entry *e, struct ring_desk *desk);
void ring_entry_close(struct ring_entry *e);
/* A request came: to libfuse with it. */
void ring_entry_serve(struct ring_entry *e, struct fuse_session *se);
/* The request at hand is answered. */
void ring_entry_reply(struct ring_entry *e, const struct iovec *iov, int count);
/* Whose request this thread is at; NULL: nobody's. */
struct ring_entry *ring_entry_here(void);

/* --- ring_desk.c ---------------------------------------------------------- */

/* One more with @n entries, and one clerk, who waits for ring_goes().
 * Errors: as ring_open(). */
int ring_desk_open(struct ring *r, uint16_t queue, uint32_t n,
		   struct ring_desk **out);
/* Nobody takes another request. */
void ring_desk_stop(struct ring_desk *d);
/* It has been stopped; waits for the requests that its clerks are at. */
void ring_desk_close(struct ring_desk *d);
/* @e goes to the kernel, with @op. */
void ring_desk_give(struct ring_desk *d, struct ring_entry *e, uint32_t op);
/* The keeper's look: if requests wait, and since the last look few were taken,
 * one clerk more is called. Returns whether any is at a request. */
bool ring_desk_look(struct ring_desk *d);

/* --- ring_keeper.c -------------------------------------------------------- */

/* Errors: those of eventfd(2) and pthread_create(3). */
int ring_keeper_open(struct ring *r);
void ring_keeper_close(struct ring *r); /* also if there is none */

/* --- ring.c, for the threads ---------------------------------------------- */

/* Waits for ring_start(). False: it is to end. */
bool ring_goes(struct ring *r);

#endif
