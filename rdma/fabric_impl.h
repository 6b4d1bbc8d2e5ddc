/* rdma/fabric_impl.h - what a transport fills in, and its rules.
 * Included in rdma/ and tests/ only.
 *
 * fabric.c has checked every batch against the limits of fabric.h before a
 * transport sees it, and counts what was asked. The transport
 *  - sets every status, counts b->left down, and hands a batch whose left is 0
 *    to fab_done(), once, in the thread that owns the fab;
 *  - never writes a batch's deadline_ns: it is the poster's;
 *  - may use b->priv and b->link until fab_done(). */
#ifndef ACESO_RDMA_FABRIC_IMPL_H
#define ACESO_RDMA_FABRIC_IMPL_H
#include <pthread.h>

#include "rdma/fabric.h"

TAILQ_HEAD(fab_batches, fab_batch);

#define FAB_AREA_WORDS 4u

/* Memory that the net's user has registered. */
struct fab_area {
	uint8_t *at;
	size_t bytes;
	void *word[FAB_AREA_WORDS]; /* the transport's; NULL at first */
};

/* All of them, by address; zeroed, it is empty. */
struct fab_areas {
	pthread_mutex_t lock;
	unsigned n;
	struct fab_area area[FAB_REGISTERED_MAX];
};

struct fab_net_ops {
	int (*open)(struct fab_net *net, struct fab **out);
	int (*attach)(struct fab_net *net, uint8_t id, const char *address,
		      const void *hello, size_t len);
	void (*cut)(struct fab_net *net, uint8_t id);
	bool (*up)(struct fab_net *net, uint8_t id);
	uint64_t (*size)(struct fab_net *net, uint8_t id);
	void (*on_down)(struct fab_net *net,
			void (*down)(void *arg, uint8_t id), void *arg);
	void (*prepare)(struct fab_net *net, uint8_t id, uint64_t offset,
			uint64_t len, bool map); /* NULL: nothing to do */
	/* Of fab_net_register(), the lock of the areas held; NULL: nothing to
	 * do. An error: nothing has been done. */
	int (*area_add)(struct fab_net *net, struct fab_area *a);
	void (*area_drop)(struct fab_net *net, struct fab_area *a);
	void (*close)(struct fab_net *net);
};

struct fab_ops {
	void (*close)(struct fab *f);
	/* Start @b, which has at least one operation. */
	int (*post)(struct fab *f, struct fab_batch *b);
	/* Work until f->completions has changed or fab_now() is @until; 0: do
	 * what can be done now, without waiting. */
	void (*progress)(struct fab *f, uint64_t until);
	uint64_t (*now)(struct fab *f);
	uint64_t (*wall)(struct fab *f);
	uint64_t (*random)(struct fab *f);
	void (*sleep)(struct fab *f, uint64_t ns);
};

/* The first member of a transport's own structure, each. */
struct fab_net {
	const struct fab_net_ops *ops;
	struct fab_areas areas;
};

struct fab {
	const struct fab_ops *ops;
	struct fab_batches done; /* complete, not yet taken */
	uint32_t under_way;	 /* batches posted and not yet complete */
	uint64_t completions;	 /* counts them */
	struct fab_counters count;
};

void fab_init(struct fab *f, const struct fab_ops *ops);

/* @b is complete. */
static inline void fab_done(struct fab *f, struct fab_batch *b)
{
	f->under_way--;
	f->completions++;
	TAILQ_INSERT_TAIL(&f->done, b, link);
}

/* Times from the system, for transports that are not simulated. */
uint64_t fab_clock_now(struct fab *f);
uint64_t fab_clock_wall(struct fab *f);
void fab_clock_sleep(struct fab *f, uint64_t ns);

struct pollfd;
/* ppoll() until fab_clock_now() is @until, an hour at most; 0: do not wait. */
int fab_poll_until(struct pollfd *p, unsigned long n, uint64_t until);

/* The next number from *@state, any 64 bits at first. */
uint64_t fab_dice(uint64_t *state);

/* Start a thread that takes no signals: they are the program's, and it may
 * count on who gets them. Errors: -EAGAIN. */
int fab_thread_start(pthread_t *t, void *(*fn)(void *arg), void *arg);

/* When @b must be complete, by fab_now(). */
static inline uint64_t fab_deadline(struct fab *f, const struct fab_batch *b)
{
	return b->deadline_ns ? b->deadline_ns
			      : f->ops->now(f) + FAB_TIMEOUT_NS;
}

/* --- the other side ------------------------------------------------------ */

struct fab_server_ops {
	void (*close)(struct fab_server *s);
	void (*reply)(struct fab_request *rq, int status, const void *data,
		      size_t len); /* limits are checked; frees @rq */
	void (*peer_cut)(struct fab_peer *peer);
	uint64_t (*malformed)(const struct fab_server *s);
};

struct fab_server {
	const struct fab_server_ops *ops;
};

struct fab_peer {
	const struct fab_server_ops *ops;
	void *word; /* atomic */
	int32_t pid;
	uint32_t uid;
	bool reader;
};

struct fab_request {
	const struct fab_server_ops *ops;
	struct fab_peer *peer;
};

/* How fab_server_open() finds a transport: the first whose scheme begins the
 * address ("" is shm: a path). A simulator adds its own in front, and takes it
 * away; not while other threads open servers. */
struct fab_listener {
	const char *scheme;
	int (*open)(const struct fab_server_opts *opts,
		    struct fab_server **out);
	struct fab_listener *next;
};

void fab_listener_add(struct fab_listener *l);
void fab_listener_del(struct fab_listener *l);

int shm_server_open(const struct fab_server_opts *opts,
		    struct fab_server **out);
int tcp_server_open(const struct fab_server_opts *opts,
		    struct fab_server **out);
int verbs_server_open(const struct fab_server_opts *opts,
		      struct fab_server **out);

#endif
