/* fs/ring_keeper.c - who sees to it that no request waits behind another that
 * waits. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/ring_impl.h"
#include "fs/thread.h"

/* Between two looks: while anybody is at a request, and else. */
#define LOOK_MS 5
#define IDLE_MS 20

static bool look(struct ring *r)
{
	bool at_work = false;

	for (uint32_t i = 0; i < r->queues; i++)
		for (uint32_t j = 0; j < r->queue[i].n; j++)
			at_work |= ring_desk_look(r->queue[i].desk[j]);
	return at_work;
}

static void *keeper_main(void *arg)
{
	struct ring *r = arg;
	struct pollfd p = {.fd = r->keeper_stop, .events = POLLIN};
	bool at_work = false;

	if (!ring_goes(r))
		return NULL;
	while (poll(&p, 1, at_work ? LOOK_MS : IDLE_MS) <= 0)
		at_work = look(r);
	return NULL;
}

int ring_keeper_open(struct ring *r)
{
	int rc;

	r->keeper_stop = eventfd(0, EFD_CLOEXEC);
	if (r->keeper_stop < 0)
		return -errno;
	rc = fs_thread_start(&r->keeper, keeper_main, r);
	if (rc != 0)
		close(r->keeper_stop);
	r->kept = rc == 0;
	return rc;
}

void ring_keeper_close(struct ring *r)
{
	if (!r->kept)
		return;
	(void)eventfd_write(r->keeper_stop, 1);
	pthread_join(r->keeper, NULL);
	close(r->keeper_stop);
}
