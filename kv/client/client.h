/* kv/client/client.h - what client.c keeps beside struct kv, for the files of
 * the operations; space and pages do not need it.
 *
 * Every operation of this client is judged by two words of a slot that it
 * reads: the word that is CASed, and the version beside it. The word alone
 * might be equal by accident: it has 8 bits of the version, and a hot key's
 * records cycle through few places. */
#ifndef ACESO_KV_CLIENT_CLIENT_H
#define ACESO_KV_CLIENT_CLIENT_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "kv/client/client_impl.h"

struct txn_keys;
struct threads; /* thread.c: those of this client */

struct client {
	struct threads *threads;
	struct txn_keys *txn_keys;
	uint64_t generation; /* of struct kv; its address may come again */
	uint8_t uuid[16];    /* of the pool */
	char *coords;	     /* where coordinators are: kv_opts.pool */
	/* client.c's background */
	bool threaded;
	_Atomic bool busy;	  /* kv_background() is at it */
	struct kv_thread *chores; /* kv_background()'s, where it is called */
	pthread_t watcher, worker;
	pthread_mutex_t lock;
	pthread_cond_t kick;
	bool stop;		    /* under lock */
	_Atomic bool sleeping;	    /* the worker waits for a change */
	_Atomic bool stopping;	    /* for the watcher */
	_Atomic uint64_t wanted_at; /* degraded.c: when a node was told, ns */
	_Atomic uint64_t lost_said; /* and of which view it said so, epoch */
	_Atomic bool refusal_said;  /* memory.c */
	/* space_stats.c */
	pthread_mutex_t space_lock;
	struct kv_space space;
	uint64_t space_at; /* when it was asked for, ns; 0 never */
};

static inline struct client *client_of(struct kv *kv)
{
	return kv->priv;
}

/* There may be background work: wakes the worker if it sleeps. Cheap. */
void client_kick(struct kv *kv);

/* --- client.c ------------------------------------------------------------- */

void client_what(char *to, size_t cap); /* this program, for people */

/* --- thread.c ------------------------------------------------------------- */

/* A thread's part in the view; member.c's. */
struct thread_place {
	_Atomic uint64_t epoch; /* of the operation under way; 0: none */
	unsigned depth;		/* operations within operations */
};

int threads_open(struct kv *kv, struct threads **out);
/* Frees what threads still have; none may be in a call. */
void threads_close(struct threads *ts);
/* A context that is no thread's, until threads_close(). NULL: -ENOMEM. */
struct kv_thread *threads_extra(struct threads *ts);
struct thread_place *thread_place(struct kv_thread *t);
/* True if some thread has an operation under way begun before @epoch; in a
 * simulator a thread is many, so this one counts as well. */
bool threads_before(struct threads *ts, uint64_t epoch);
void threads_stats(struct threads *ts, struct kv_stats *sum);

/* --- run.c ---------------------------------------------------------------- */

struct op;
/* Drive @ops (a list by op->link) to their ends. */
void run_ops(struct kv_thread *t, struct op *ops);
#endif
