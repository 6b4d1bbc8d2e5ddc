/* mount-helper/respawn.h - when a process that died is started again: at once,
 * unless it dies again and again; then after 1, 2, 4 .. 30 s. Times are
 * milliseconds of one clock that does not jump. Plain data. */
#ifndef ACESO_MOUNT_HELPER_RESPAWN_H
#define ACESO_MOUNT_HELPER_RESPAWN_H
#include <stdbool.h>
#include <stdint.h>

#define RESPAWN_LIVED_MS    10000 /* who lived so long did not die at once */
#define RESPAWN_WAIT_MS	    1000
#define RESPAWN_WAIT_MAX_MS 30000

struct respawn {
	bool due;	  /* it is to be started, */
	int64_t at_ms;	  /* then */
	int64_t began_ms; /* when it was started last; 0: at the beginning */
	int64_t wait_ms;  /* after the next early death; 0: none */
};

void respawn_began(struct respawn *r, int64_t now_ms);
void respawn_died(struct respawn *r, int64_t now_ms);

/* It is dead, and needed at once, however often it died. */
void respawn_now(struct respawn *r, int64_t now_ms);

/* How long from now until it is to be started; -1: it is not. */
int64_t respawn_in(const struct respawn *r, int64_t now_ms);

#endif
