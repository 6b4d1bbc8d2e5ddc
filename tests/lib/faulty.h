/* tests/lib/faulty.h - a net around another net, that breaks things by rule.
 *
 * "Remote write" n is the n-th WRITE, CAS, FAA or CALL that this net's queues
 * hand on, in the order handed on, counted from 1; "operation" n counts READs
 * as well. Rules may be set at any time, from any thread; counters likewise.
 * A crash test is a loop: for n = 1, 2, ...: faulty_kill_client(f, n), run,
 * until faulty_client_dead() stays false.
 *
 * Batches go through whole and in order; a rule that bites splits one, so that
 * exactly the operations before it in the batch (to all nodes) are done. */
#ifndef ACESO_TESTS_LIB_FAULTY_H
#define ACESO_TESTS_LIB_FAULTY_H
#include <stdbool.h>
#include <stdint.h>

#include "rdma/fabric.h"

struct faulty;

/* Wrap @inner, which then belongs to *net: fab_net_close(net) closes it, and
 * faulty_close() after that frees *out. */
int faulty_open(struct fab_net *inner, uint64_t seed, struct fab_net **net,
		struct faulty **out);
void faulty_close(struct faulty *f); /* NULL is fine */

/* One line per operation to stderr. */
void faulty_trace(struct faulty *f, bool on);

/* --- counters ------------------------------------------------------------ */

uint64_t faulty_writes(struct faulty *f); /* remote writes handed on */
uint64_t faulty_ops(struct faulty *f);	  /* operations handed on */
/* How often rules have bitten. */
uint64_t faulty_bites(struct faulty *f);

/* --- rules; n counts from the opening ------------------------------------- */

/* Operation @n is not done and ends with @status (< 0); later ones of its
 * batch to its node end with -ECANCELED. */
void faulty_fail(struct faulty *f, uint64_t n, int status);
/* As if the message were lost: not done, ends with -ETIMEDOUT. */
void faulty_drop(struct faulty *f, uint64_t n);
/* As if the answer were lost: done, ends with -ETIMEDOUT. */
void faulty_drop_answer(struct faulty *f, uint64_t n);
/* Operation @n is held back for @ns (fab_sleep of the queue). */
void faulty_delay(struct faulty *f, uint64_t n, uint64_t ns);
/* @permille of operations, by the seed, meet faulty_drop() or (half of them)
 * faulty_drop_answer(). 0: none. */
void faulty_lossy(struct faulty *f, unsigned permille);

/* Just after operation @n is done, call @kill(arg, id) (it kills the node for
 * good: a signal, sim_server_kill; may be NULL), and cut node @id off. */
void faulty_kill_node(struct faulty *f, uint8_t id, uint64_t n,
		      void (*kill)(void *arg, uint8_t id), void *arg);

/* The client dies just after remote write @n: it and all before are done,
 * nothing after. From then on everything ends with -ECANCELED, at once.
 * 0: before the first. */
void faulty_kill_client(struct faulty *f, uint64_t n);
/* The same, but of remote write @n, if it is a WRITE, only the first
 * @bytes, rounded down to 64 (at random if UINT32_MAX), arrive. */
void faulty_tear_client(struct faulty *f, uint64_t n, uint32_t bytes);
bool faulty_client_dead(struct faulty *f);
/* From now on @fn sees each CALL that has ended, and may change its status and
 * what was answered, within reply_cap. In the thread that is told. NULL: none.
 */
void faulty_on_answer(struct faulty *f, void (*fn)(void *arg, struct fab_op *),
		      void *arg);
/* Called once when the client dies, in the thread that met it. */
void faulty_on_death(struct faulty *f, void (*fn)(void *arg), void *arg);

#endif
