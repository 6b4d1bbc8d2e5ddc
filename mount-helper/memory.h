/* mount-helper/memory.h - how much memory this host can give to a pool.
 * Threads: any. */
#ifndef ACESO_MOUNT_HELPER_MEMORY_H
#define ACESO_MOUNT_HELPER_MEMORY_H
#include <stdint.h>

#include "mount-helper/conf.h"

#define MEMORY_DEFAULT_PERCENT 50.0
#define MEMORY_POOL_BYTES_MIN  (UINT64_C(8) << 20) /* for users */

/* Bytes that can be taken without swapping: MemAvailable, or what the memory
 * cgroups of this process leave, if that is less. Errors: -EIO. */
int memory_available(uint64_t *bytes);

/* The number in the first line of @path that begins with @key and has one; @key
 * "": of any. Errors: of opening it; -ENOENT no such line. */
int memory_number(const char *path, const char *key, uint64_t *out);

/* Bytes that all nodes of @pool take together, if it is of @size bytes for
 * users. Errors: as of layout_of(). */
int memory_of_pool(const struct conf_pool *pool, uint64_t size, uint64_t *raw);

/* Settle @pool->size: from its percent if it has one, by default from half of
 * what is free; and see that there is room for it. On error @error (of
 * CONF_ERROR_BYTES_MAX bytes) says what to do.
 * Errors: -ENOMEM too little memory; -EINVAL. */
int memory_plan(struct conf_pool *pool, char *error);

#endif
