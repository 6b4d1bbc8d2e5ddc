/* fs/linger.h - a thread that waits for its next request looks for it a while
 * before it sleeps.
 *
 * To wake a thread on a processor that has gone to sleep takes as long as many
 * a request, and on a virtual machine several times as long; a program that
 * asks for one thing after the other pays that at each step. So as long as
 * requests follow one another closely, who waits for them stays awake. It stops
 * when they do not, or when its processor is wanted by others.
 *
 * Threads: each for itself. */
#ifndef ACESO_FS_LINGER_H
#define ACESO_FS_LINGER_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a thread knows of its requests. All zero: nothing yet. */
struct linger {
	uint64_t gap;	 /* ns from wanting one to having it, the last time */
	uint64_t shun;	 /* until then it does not look */
	uint64_t since;	 /* when it began to want one */
	unsigned spoilt; /* how often in a row others had its processor */
};

/* The calling thread wants a request: is it to look for it first? */
bool fs_linger_begin(struct linger *l);

/* If so: by @fd, which does not block. What read(2) says; -1 and EAGAIN if it
 * is to sleep for it now. A point of cancellation. */
ssize_t fs_linger_read(struct linger *l, int fd, void *buf, size_t len);

/* It has got one, after all: by then it knows for how long it waited. */
void fs_linger_took(struct linger *l);

#endif
