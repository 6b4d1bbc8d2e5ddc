/* mount-helper/respawn.c - see respawn.h. */
#include "mount-helper/respawn.h"

void respawn_began(struct respawn *r, int64_t now_ms)
{
	r->due = false;
	r->began_ms = now_ms;
}

void respawn_died(struct respawn *r, int64_t now_ms)
{
	if (now_ms - r->began_ms >= RESPAWN_LIVED_MS)
		r->wait_ms = 0;
	r->due = true;
	r->at_ms = now_ms + r->wait_ms;
	r->wait_ms = r->wait_ms == 0 ? RESPAWN_WAIT_MS : r->wait_ms * 2;
	if (r->wait_ms > RESPAWN_WAIT_MAX_MS)
		r->wait_ms = RESPAWN_WAIT_MAX_MS;
}

void respawn_now(struct respawn *r, int64_t now_ms)
{
	r->due = true;
	r->at_ms = now_ms;
}

int64_t respawn_in(const struct respawn *r, int64_t now_ms)
{
	if (!r->due)
		return -1;
	return r->at_ms > now_ms ? r->at_ms - now_ms : 0;
}
