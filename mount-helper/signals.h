/* mount-helper/signals.h - the signals that ask a daemon to end, as something
 * to poll for. */
#ifndef ACESO_MOUNT_HELPER_SIGNALS_H
#define ACESO_MOUNT_HELPER_SIGNALS_H

/* Block TERM, INT and HUP, and PIPE (a write says so itself), here and in all
 * threads to come: call it before any is started. Returns a signalfd of the
 * first three, the caller's to close; or -errno. */
int signals_open(void);

#endif
