/* mount-helper/daemon.h - go to the background, but let the caller wait until
 * it is known whether that worked. */
#ifndef ACESO_MOUNT_HELPER_DAEMON_H
#define ACESO_MOUNT_HELPER_DAEMON_H

struct daemon_link {
	int fd; /* -1: in the foreground */
};

/* Fork. The child gets 0 and goes on, in a session of its own; it says when it
 * is ready. The parent does not return: it exits with the child's code if that
 * ends first, else with 0 once @dir answers as another file system than @dev.
 * Files past standard error are closed. Call before any thread is started.
 * Errors (nothing was done): of fork(2). */
int daemon_start(const char *dir, unsigned long dev, struct daemon_link *link);

/* All is ready: the parent goes on, our terminal is let go, words go to
 * syslog. Nothing in the foreground. Errors: -ECANCELED if the parent was
 * killed meanwhile: whoever asked for it does not want it any more. */
int daemon_ready(struct daemon_link *link);

#endif
