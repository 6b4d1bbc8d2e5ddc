/* mount-helper/say.c - words for people. */
#define FUSE_USE_VERSION 314
#include <fuse3/fuse_log.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "mount-helper/say.h"

#define LINE_BYTES_MAX 1024

static const char *who = "aceso";
static bool in_syslog;
static bool fuse_quiet;
static char fuse_line[LINE_BYTES_MAX];

void say_init(const char *name)
{
	who = name;
}

void say_to_syslog(void)
{
	openlog(who, LOG_PID, LOG_DAEMON);
	in_syslog = true;
}

/* One write(2) a line, so that lines of several processes do not mix. */
static void say(int priority, const char *fmt, va_list ap)
{
	char text[LINE_BYTES_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	if (in_syslog)
		syslog(priority, "%s", text);
	else
		fprintf(stderr, "%s: %s\n", who, text);
}

void say_err(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(LOG_ERR, fmt, ap);
	va_end(ap);
}

void say_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(LOG_INFO, fmt, ap);
	va_end(ap);
}

static void from_fuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	if (fuse_quiet) {
		vsnprintf(fuse_line, sizeof(fuse_line), fmt, ap);
		fuse_line[strcspn(fuse_line, "\n")] = '\0';
	} else if (in_syslog) {
		vsyslog((int)level, fmt, ap);
	} else {
		vfprintf(stderr, fmt, ap); /* debug output has its own form */
	}
}

void say_fuse(bool quiet)
{
	fuse_quiet = quiet;
	fuse_line[0] = '\0';
	fuse_set_log_func(from_fuse);
}

const char *say_fuse_last(void)
{
	return fuse_line;
}
