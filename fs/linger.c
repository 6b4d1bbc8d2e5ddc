/* fs/linger.c - see linger.h. */
#include "fs/linger.h"

#include <errno.h>
#include <unistd.h>

#include "fs/clock.h"

#define LINGER_NS UINT64_C(50000) /* what may be wasted at a pause */

/* A look takes less than a microsecond. If one took so long, another program
 * had the processor: it is left to others for a while then, and for longer each
 * time in a row. */
#define LOOK_NS	   UINT64_C(15000)
#define SHUN_NS	   UINT64_C(1000000)
#define SPOILT_MAX 6u

static void spoil(struct linger *l, uint64_t now)
{
	l->shun = now + (SHUN_NS << l->spoilt);
	if (l->spoilt < SPOILT_MAX)
		l->spoilt++;
}

bool fs_linger_begin(struct linger *l)
{
	l->since = fs_clock_ns();
	return l->gap <= LINGER_NS && l->since >= l->shun;
}

ssize_t fs_linger_read(struct linger *l, int fd, void *buf, size_t len)
{
	uint64_t t = l->since, end = t + LINGER_NS;
	ssize_t rc;

	for (;;) {
		uint64_t was = t;

		rc = read(fd, buf, len);
		if (rc >= 0 || errno != EAGAIN)
			break;
		t = fs_clock_ns();
		if (t - was > LOOK_NS) {
			spoil(l, t);
			break;
		}
		if (t >= end)
			break;
	}
	if (rc >= 0)
		l->spoilt = 0;
	return rc;
}

void fs_linger_took(struct linger *l)
{
	l->gap = fs_clock_ns() - l->since;
}
