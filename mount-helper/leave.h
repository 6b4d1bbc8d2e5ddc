/* mount-helper/leave.h - the end of a session is noticed while its threads are
 * at work: libfuse's loop returns when the last of them has answered, and that
 * may wait for nodes that are silent. They are told (kv_leaving()) as soon as
 * there was an unmount or a signal.
 * Threads: one owner. */
#ifndef ACESO_MOUNT_HELPER_LEAVE_H
#define ACESO_MOUNT_HELPER_LEAVE_H

struct fuse_session;
struct kv;
struct leave;

/* Watch @se, in a thread of its own that has the caller's signal mask. Errors:
 * -ENOMEM; what pthread_create(3) says. */
int leave_watch(struct fuse_session *se, struct kv *kv, struct leave **out);

/* Watch no more; waits for the thread. NULL is fine. */
void leave_close(struct leave *l);

#endif
