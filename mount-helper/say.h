/* mount-helper/say.h - words for people: to the terminal while there is one,
 * to syslog afterwards. One call, one line.
 * Threads: any, after say_init(). */
#ifndef ACESO_MOUNT_HELPER_SAY_H
#define ACESO_MOUNT_HELPER_SAY_H
#include <stdbool.h>

/* @name begins each line; kept, not copied. Until say_to_syslog() lines go to
 * stderr. */
void say_init(const char *name);

/* From now on lines go to syslog: call when stderr is closed. */
void say_to_syslog(void);

/* What went wrong and what to do about it. */
void say_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What is worth knowing. */
void say_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* libfuse's own lines come here too. While quiet they are kept back, and
 * say_fuse_last() tells the last one: "" if there was none. */
void say_fuse(bool quiet);
const char *say_fuse_last(void);

#endif
