/* fs/buffer.h - memory of a mount's threads that the bytes of files pass
 * through. The store knows it (kv_register()), so that an adapter may put them
 * there itself and take them from there.
 * Threads: any, each its own; free when none is at a request. */
#ifndef ACESO_FS_BUFFER_H
#define ACESO_FS_BUFFER_H
#include <stddef.h>

#define FS_BUFFER_BYTES (1024u * 1024)

struct fs_buffers;
struct kv;

/* Errors: -ENOMEM, -EAGAIN. */
int fs_buffers_new(struct kv *kv, struct fs_buffers **out);
void fs_buffers_free(struct fs_buffers *s); /* before the kv; NULL is fine */

/* The thread's own for answers, FS_BUFFER_BYTES, at the begin of a page: kept,
 * as a fresh MiB for each request costs more in page faults than the read.
 * NULL: there is none. */
void *fs_buffer_for_answers(struct fs_buffers *s);

/* Requests come to the thread in [@at, +@bytes), as they will until it ends or
 * says otherwise; it is not unmapped before that. Cheap if it was said. NULL is
 * fine. */
void fs_buffer_of_requests(struct fs_buffers *s, void *at, size_t bytes);

#endif
