/* mount-helper/clock.h - how long something has taken. */
#ifndef ACESO_MOUNT_HELPER_CLOCK_H
#define ACESO_MOUNT_HELPER_CLOCK_H
#include <stdint.h>
#include <time.h>

/* Milliseconds, whole seconds, of a clock that nobody sets. Any thread. */
static inline int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline time_t now_s(void)
{
	return (time_t)(now_ms() / 1000);
}

#endif
