/* kv/log.h - lines for people. Below kv/ nothing prints; from here up, this.
 *
 * A line goes to standard error with its level in front, or to whom log_to()
 * names. A place in the code that says the same over and over is cut short:
 * LOG_BURST lines in LOG_WINDOW_S seconds, then a count of what was left out.
 * Threads: any. */
#ifndef ACESO_KV_LOG_H
#define ACESO_KV_LOG_H
#include <stdarg.h>
#include <stdatomic.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#define LOG_BURST    8u
#define LOG_WINDOW_S 5u

/* What one place has said lately. */
struct log_site {
	_Atomic unsigned long window; /* number of the current one */
	_Atomic unsigned said, left_out;
};

/* Lines above @level are dropped; LOG_INFO at first. */
void log_level(enum log_level level);

/* @to NULL: standard error again. Set before other threads log. */
void log_to(void (*to)(void *arg, enum log_level level, const char *line),
	    void *arg);

void log_line(struct log_site *site, enum log_level level, const char *format,
	      ...) __attribute__((format(printf, 3, 4)));

#define LOG(level, ...)                                                        \
	do {                                                                   \
		static struct log_site log_here;                               \
		log_line(&log_here, level, __VA_ARGS__);                       \
	} while (0)

#endif
