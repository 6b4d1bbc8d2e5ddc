/* mount-helper/progress.c - see progress.h. */
#include "mount-helper/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_CHARS 30
#define DRAW_NS	  UINT64_C(100000000)

void progress_open(struct progress *p)
{
	*p = (struct progress){.on = isatty(STDERR_FILENO) == 1};
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void progress_show(struct progress *p, const char *what, uint64_t done,
		   uint64_t total, const char *more)
{
	char bar[BAR_CHARS + 1];
	uint64_t now, full;

	if (!p->on)
		return;
	now = now_ns();
	if (now < p->next_ns)
		return;
	p->next_ns = now + DRAW_NS;
	if (total == 0 || done > total)
		done = total;
	full = total != 0 ? done * BAR_CHARS / total : 0;
	for (uint64_t i = 0; i < BAR_CHARS; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_CHARS] = '\0';
	fprintf(stderr, "\r%s [%s] %3u %%%s\033[K", what, bar,
		total != 0 ? (unsigned)(done * 100 / total) : 0, more);
	fflush(stderr);
	p->shown = true;
}

void progress_hide(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
	p->next_ns = 0;
}
