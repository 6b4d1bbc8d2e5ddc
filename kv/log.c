/* kv/log.c - lines for people. */
#include "kv/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 512

static _Atomic int max_level = LOG_INFO;
static void (*sink)(void *arg, enum log_level level, const char *line);
static void *sink_arg;

void log_level(enum log_level level)
{
	atomic_store(&max_level, (int)level);
}

void log_to(void (*to)(void *arg, enum log_level level, const char *line),
	    void *arg)
{
	sink = to;
	sink_arg = arg;
}

static void put(enum log_level level, const char *line)
{
	static const char *const name[] = {"error", "warning", "info", "debug"};

	if (sink != NULL)
		sink(sink_arg, level, line);
	else
		fprintf(stderr, "aceso: %s: %s\n", name[level], line);
}

/* False if this place has said enough for now. *left_out: lines dropped in the
 * window before, once. */
static bool may_say(struct log_site *site, unsigned *left_out)
{
	struct timespec ts;
	unsigned long now, was;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = (unsigned long)ts.tv_sec / LOG_WINDOW_S + 1;
	was = atomic_load(&site->window);
	*left_out = 0;
	if (was != now &&
	    atomic_compare_exchange_strong(&site->window, &was, now)) {
		*left_out = atomic_exchange(&site->left_out, 0);
		atomic_store(&site->said, 0);
	}
	if (atomic_fetch_add(&site->said, 1) < LOG_BURST)
		return true;
	atomic_fetch_add(&site->left_out, 1);
	return false;
}

void log_line(struct log_site *site, enum log_level level, const char *format,
	      ...)
{
	char line[LINE_MAX_BYTES];
	unsigned left_out;
	va_list ap;

	if ((int)level > atomic_load(&max_level) || !may_say(site, &left_out))
		return;
	if (left_out > 0) {
		snprintf(line, sizeof(line),
			 "(%u more lines like the next were left out)",
			 left_out);
		put(level, line);
	}
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	put(level, line);
}
