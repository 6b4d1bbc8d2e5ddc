/* fs/thread.h - threads beside the session's.
 * Threads: any. */
#ifndef ACESO_FS_THREAD_H
#define ACESO_FS_THREAD_H
#include <pthread.h>

/* One that no signal comes to: they are the main thread's. The caller joins it.
 * Errors: -EAGAIN and what else pthread_create(3) says; *@out is not set. */
int fs_thread_start(pthread_t *out, void *(*main)(void *arg), void *arg);

#endif
