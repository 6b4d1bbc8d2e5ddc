/* fs/thread.c - see thread.h. */
#include "fs/thread.h"

#include <signal.h>

int fs_thread_start(pthread_t *out, void *(*main)(void *arg), void *arg)
{
	sigset_t all, was;
	pthread_t thread;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	err = pthread_create(&thread, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	if (err == 0)
		*out = thread;
	return -err;
}
