/* kv/client/marks_impl.h - private to marks.c (the queue) and marks_send.c. */
#ifndef ACESO_KV_CLIENT_MARKS_IMPL_H
#define ACESO_KV_CLIENT_MARKS_IMPL_H
#include <pthread.h>
#include <stdbool.h>

#include "kv/client/marks.h"

struct marks {
	struct kv *kv;
	pthread_mutex_t lock; /* of all below */
	struct proto_mark_one *queue;
	uint32_t n, cap;
	uint64_t dropped;
	bool sending; /* one thread at a time */
};

/* Take up to @max from the queue and the right to send, to be given back by
 * marks_sent(). 0: nothing there, or another thread is sending. */
uint32_t marks_fetch(struct marks *m, struct proto_mark_one *out, uint32_t max);
void marks_return(struct marks *m, const struct proto_mark_one *mark,
		  uint32_t n);
void marks_sent(struct marks *m);

#endif
