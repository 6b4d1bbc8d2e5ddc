/* fs/answers.h - short answers to several requests, in one system call. One by
 * one, each wakes a caller, who takes the processor before the next is given,
 * finds nothing more to do, and sleeps again.
 *
 * Threads: each has its own, made and closed by that thread; every function is
 * of the calling thread's. */
#ifndef ACESO_FS_ANSWERS_H
#define ACESO_FS_ANSWERS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define FS_ANSWER_BYTES_MAX 32u /* of one: what a write is told is 24 */

struct fs_answers;

/* Room for @n. Sets *@out on success only; the caller owns it until
 * fs_answers_close().
 * Errors: -ENOMEM; those of io_uring_setup(2), as -ENOSYS and -EPERM where it
 * is forbidden. */
int fs_answers_open(uint32_t n, struct fs_answers **out);

/* From now until fs_answers_give() short answers of this thread wait. NULL is
 * fine: none do. */
void fs_answers_hold(struct fs_answers *a);

/* Take over an answer that is to go to @fd. False: none are held now, or it is
 * too long, or there is no room: the caller writes it. */
bool fs_answers_take(int fd, const struct iovec *iov, int count);

/* All that wait, to the kernel. Who asked may be gone: nobody is told. */
void fs_answers_give(void);

void fs_answers_close(struct fs_answers *a); /* NULL is fine */

#endif
