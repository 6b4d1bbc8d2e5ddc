/* fs/door.h - how many threads are at the requests of one mount.
 *
 * There are so many seats. A thread that has one keeps it from request to
 * request; the others rest, and cost nothing. A request that has its thread
 * for longer than some milliseconds - it waits for a node, a lock, a disk - is
 * seen by a keeper, who gives out one seat more; its thread gives one back
 * when it is through. So no request waits for long behind one that waits.
 *
 * Threads: any, also those that are cancelled meanwhile: their seat is free
 * then. A NULL door has seats for all. */
#ifndef ACESO_FS_DOOR_H
#define ACESO_FS_DOOR_H
#include <stdbool.h>
#include <stdint.h>

struct door;

/* @seats > 0. Errors: -ENOMEM, those of eventfd(2) and pthread_create(3). */
int door_open(uint32_t seats, struct door **out);
/* No thread uses it any more. NULL is fine. */
void door_close(struct door *d);

/* The calling thread has answered its request, or has none yet: returns when it
 * has a seat. A point of cancellation. */
void door_wait(struct door *d);

/* The calling thread will be long with its request: another is to take the next
 * at once, not when the keeper finds out. */
void door_leave(struct door *d);

/* The calling thread, which has a seat, got a request. Returns whether all
 * seats are at requests now: others may be waiting. */
bool door_took(struct door *d);

#endif
