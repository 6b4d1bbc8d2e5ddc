/* fs/clock.h - how long something has taken. */
#ifndef ACESO_FS_CLOCK_H
#define ACESO_FS_CLOCK_H
#include <stdint.h>
#include <time.h>

/* Nanoseconds of a clock that nobody sets. Any thread. */
static inline uint64_t fs_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) +
	       (uint64_t)ts.tv_nsec;
}

#endif
