/* kv/client/marks_impl.h - private to marks.c (the queue), marks_send.c and
 * marks_again.c. */
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

/* marks_again.c: all members say that the block of @mark has another life by
 * now. True if it is to be sent again, with its new life in @mark. */
bool marks_look(struct marks *m, struct kv_thread *t, uint64_t up,
		struct proto_mark_one *mark);

/* Take up to @max from the queue and the right to send, to be given back by
 * marks_sent(). 0: nothing there, or another thread is sending. */
uint32_t marks_fetch(struct marks *m, struct proto_mark_one *out, uint32_t max);
void marks_return(struct marks *m, const struct proto_mark_one *mark,
		  uint32_t n);
void marks_sent(struct marks *m);

#endif
