/* mount-helper/daemon.h - go to the background, but let the caller wait until
 * it is known whether that worked. */
#ifndef ACESO_MOUNT_HELPER_DAEMON_H
#define ACESO_MOUNT_HELPER_DAEMON_H

struct daemon_link {
	int fd; /* -1: in the foreground */
};

/* Fork. The child gets 0 and goes on; it says when it is ready. Until then it
 * stays in its caller's process group: an automount's directory lets only that
 * group pass while it is being mounted on, all others wait for ever. The parent
 * does not return: it exits with the child's code if that ends first, else with
 * 0 once @dir answers as another file system than @dev. Files past standard
 * error are closed. Call before any thread is started. Errors (nothing was
 * done): of fork(2). */
int daemon_start(const char *dir, unsigned long dev, struct daemon_link *link);

/* All is ready: the parent goes on, we are a session of our own, our terminal
 * is let go, words go to syslog. Nothing in the foreground. Errors: -ECANCELED
 * if the parent was killed meanwhile: whoever asked for it does not want it any
 * more. */
int daemon_ready(struct daemon_link *link);

#endif
