/* kv/client/lease.h - a client whose process nobody can end holds itself: what
 * it was told by nodes counts only while it is surely a member.
 *
 * It is one, for half a lease from the moment it asked, if
 *  - the coordinator that leads says so (BEAT), or
 *  - every member of its view answers it (PING): before anything is taken over
 *    from it or from a node that it still takes for a member, each that is left
 *    has cut it off. So while no coordinator is there nothing stops.
 * The coordinator waits for longer than that after the last node has cut it
 * (kv/node/coord_nodefence.c). Hence
 *
 * L1. An operation goes on from a batch's completions only if the client was a
 *     member when they were complete, or has become sure of it since, in a
 *     question asked later. What it read was the newest then, and what it wrote
 *     is found by whoever takes over.
 *
 * Questions are asked by a thread of its own, only while operations are under
 * way, or it leaves. A client that is told that it is none any more is dead,
 * for good. Threads: any; work() one at a time. */
#ifndef ACESO_KV_CLIENT_LEASE_H
#define ACESO_KV_CLIENT_LEASE_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/client/client_impl.h"

struct lease;

/* Errors: -ENOMEM; those of fab_open(). */
int lease_open(struct kv *kv, uint32_t lease_ms, struct lease **out);
int lease_start(struct lease *l); /* its thread. -EAGAIN */
void lease_stop(struct lease *l);
void lease_close(struct lease *l); /* NULL is fine, here and below */

/* Wait until it is a member for certain, but not beyond @deadline_ns, nor
 * kv_leaving()'s.
 * Errors: -ENOTCONN it is dead; -ETIMEDOUT. */
int lease_hold(struct lease *l, struct kv_thread *t, uint64_t deadline_ns);

/* It was told that it is fenced: says so, once. */
void lease_die(struct lease *l);
bool lease_is_dead(const struct lease *l);
/* For @ns at least nobody has answered that it is a member. */
bool lease_is_in_vain(const struct lease *l, uint64_t ns, uint64_t now);

/* kv_leaving(): from now on all nodes are asked, all the time. */
void lease_leave(struct lease *l);
/* For @ns at least @node has not answered, though it was asked. */
bool lease_is_silent(const struct lease *l, uint32_t node, uint64_t ns,
		     uint64_t now);

/* As kv_on_shut_out(). */
void lease_on_death(struct lease *l, void (*fn)(void *arg), void *arg);

/* Without threads: ask what is to be asked, never waiting. Returns 1 if there
 * was something. */
int lease_work(struct lease *l);

/* Watching must not take longer, with what it does when it fails. */
uint64_t lease_ns(const struct lease *l);

#endif
