/* mount-helper/spec.h - what mount(8) calls a mount: a spec, a directory, and
 * options; as options of aceso-fuse. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_SPEC_H
#define ACESO_MOUNT_HELPER_SPEC_H
#include <stdbool.h>

/* "none" and "aceso": not a pool's name, an embedded one is made. */
bool spec_is_embedded(const char *spec);

/* The list for -o into *@out (free() it): what @spec stands for, then @given
 * (may be NULL). Says what is wrong. Errors: -EINVAL; -ENOMEM. */
int spec_options(const char *spec, const char *given, bool sloppy, char **out);

/* Has the list the word @name, or @name=...? */
bool spec_has(const char *options, const char *name);

/* Change what the kernel keeps of the mount at @dir (ro, nosuid, noatime...)
 * to @options; all other words are passed over. Says what is wrong. Errors:
 * those of mount(2). */
int spec_remount(const char *dir, const char *options);

#endif
