/* mount-helper/files.h - aceso ls, get, put and rm on paths: done through a
 * mount of the pool, where the kernel keeps order. Each returns an exit code
 * of cmd.h and says its errors. */
#ifndef ACESO_MOUNT_HELPER_FILES_H
#define ACESO_MOUNT_HELPER_FILES_H
#include <stdbool.h>

/* @path is from the root of the file system ("/a/b"), or through the mount
 * point ("/mnt/aceso/a/b"). */
int files_ls(const char *pool, const char *path, bool is_long);
int files_get(const char *pool, const char *path);
/* @value NULL or "-": standard input. Creates the file, or replaces what is
 * in it. */
int files_put(const char *pool, const char *path, const char *value);
int files_rm(const char *pool, const char *path);

/* @path without @mountpoint before it, if that is there: "/" at least. */
const char *files_within(const char *path, const char *mountpoint);

#endif
