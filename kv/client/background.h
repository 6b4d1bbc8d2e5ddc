/* kv/client/background.h - the two threads of a client: one watches the view,
 * one does space's chores. Private to client.c. */
#ifndef ACESO_KV_CLIENT_BACKGROUND_H
#define ACESO_KV_CLIENT_BACKGROUND_H
#include <pthread.h>

#include "kv/client/client_impl.h"

/* A thread that no signal comes to. Errors: those of pthread_create(3). */
int background_thread(pthread_t *thread, void *(*run)(void *), void *arg);

int background_start(struct kv *kv); /* -EAGAIN: no threads to be had */

/* Whoever watches waits, to adopt a view, for operations, and these may wait
 * for the lease: if the coordinator is lost, which gives it, find it, or learn
 * that this client is none any more. To be called again and again. */
void background_held_up(struct kv *kv, struct kv_thread *t);

/* In this order; fine if never started. */
void background_stop_worker(struct kv *kv);
void background_leaving(struct kv *kv);	     /* views matter no more */
void background_stop_watcher(struct kv *kv); /* hangs up on the coordinator */

#endif
