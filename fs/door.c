/* fs/door.c - see door.h. */
#include "fs/door.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "fs/thread.h"

/* Between two looks of the keeper: a request that is still there at the second
 * is stuck. Where one is, others may be: then it looks more often. After so
 * many looks that saw nothing new it sleeps until it is woken. */
#define LOOK_NS	   5000000
#define STUCK_NS   1000000
#define IDLE_LOOKS 20

struct seat {
	struct door *door;
	bool taken; /* of the thread's alone */
	/* Odd while the thread is at a request: then its number. */
	_Atomic uint64_t turn;
	_Atomic bool replaced; /* another was given out for it */
	uint64_t seen;	       /* turn at the keeper's last look */
	/* For door_wait(): a thread that is cancelled there has nothing on its
	 * stack that an address sanitizer would go on guarding. */
	eventfd_t one;
	LIST_ENTRY(seat) in;
};

struct door {
	uint32_t seats;
	int free; /* an eventfd that counts: its read(2) can be cancelled, and
		   * leaves nothing behind */
	_Atomic int64_t at_work;
	pthread_key_t key;
	pthread_mutex_t lock; /* of all, and of their order */
	LIST_HEAD(, seat) all;
	pthread_t keeper;
	sem_t wake;
	_Atomic bool asleep, stop;
};

static __thread struct seat *mine;

/* --- a thread's seat ------------------------------------------------------ */

static void end_turn(struct seat *s)
{
	uint64_t turn = atomic_load_explicit(&s->turn, memory_order_relaxed);

	if (turn % 2 == 0)
		return;
	atomic_store(&s->turn, turn + 1);
	atomic_fetch_sub(&s->door->at_work, 1);
}

/* Another gets a seat for it, once. */
static void replace(struct seat *s)
{
	if (!atomic_exchange(&s->replaced, true))
		(void)eventfd_write(s->door->free, 1);
}

/* The thread ends, perhaps at a request. */
static void leave(void *arg)
{
	struct seat *s = arg;
	struct door *d = s->door;

	end_turn(s);
	pthread_mutex_lock(&d->lock);
	LIST_REMOVE(s, in);
	pthread_mutex_unlock(&d->lock);
	if (s->taken)
		replace(s);
	free(s);
}

static struct seat *seat_of_thread(struct door *d)
{
	struct seat *s = mine;

	if (s != NULL && s->door == d)
		return s;
	s = calloc(1, sizeof(*s));
	if (s == NULL || pthread_setspecific(d->key, s) != 0) {
		free(s);
		return NULL; /* it goes without one */
	}
	s->door = d;
	pthread_mutex_lock(&d->lock);
	LIST_INSERT_HEAD(&d->all, s, in);
	pthread_mutex_unlock(&d->lock);
	return mine = s;
}

void door_wait(struct door *d)
{
	struct seat *s = d != NULL ? seat_of_thread(d) : NULL;

	if (s == NULL)
		return;
	end_turn(s);
	if (s->taken && atomic_exchange(&s->replaced, false))
		s->taken = false;
	while (!s->taken)
		s->taken =
			eventfd_read(d->free, &s->one) == 0; /* else a signal */
}

void door_leave(struct door *d)
{
	if (d != NULL && mine != NULL && mine->door == d)
		replace(mine);
}

bool door_took(struct door *d)
{
	struct seat *s = mine;

	if (d == NULL || s == NULL || s->door != d)
		return false;
	atomic_store(&s->turn,
		     atomic_load_explicit(&s->turn, memory_order_relaxed) + 1);
	if (atomic_load(&d->asleep) && atomic_exchange(&d->asleep, false))
		sem_post(&d->wake);
	return atomic_fetch_add(&d->at_work, 1) + 1 >= (int64_t)d->seats;
}

/* --- the keeper ----------------------------------------------------------- */

struct sight {
	bool busy;  /* a thread is at a request, or was since the last look */
	bool stuck; /* at the same as then */
};

static struct sight look(struct door *d)
{
	struct sight all = {false, false};
	struct seat *s;

	pthread_mutex_lock(&d->lock);
	LIST_FOREACH (s, &d->all, in) {
		uint64_t turn = atomic_load(&s->turn);
		bool stuck = turn % 2 && turn == s->seen;

		all.busy |= turn % 2 || turn != s->seen;
		all.stuck |= stuck;
		if (stuck)
			replace(s);
		s->seen = turn;
	}
	pthread_mutex_unlock(&d->lock);
	return all;
}

static void nap(bool stuck)
{
	const struct timespec t = {.tv_nsec = stuck ? STUCK_NS : LOOK_NS};

	nanosleep(&t, NULL);
}

/* A request that came before the word that it sleeps is seen by one look
 * more. */
static void sleep_till_woken(struct door *d)
{
	atomic_store(&d->asleep, true);
	if (look(d).busy && atomic_exchange(&d->asleep, false))
		return;
	while (sem_wait(&d->wake) != 0)
		;
}

static void *keeper_main(void *arg)
{
	struct door *d = arg;
	unsigned idle = 0;

	while (!atomic_load(&d->stop)) {
		struct sight all = look(d);

		idle = all.busy ? 0 : idle + 1;
		if (idle < IDLE_LOOKS) {
			nap(all.stuck);
		} else {
			sleep_till_woken(d);
			idle = 0;
		}
	}
	return NULL;
}

/* --- life ----------------------------------------------------------------- */

int door_open(uint32_t seats, struct door **out)
{
	struct door *d = calloc(1, sizeof(*d));
	int rc;

	if (d == NULL)
		return -ENOMEM;
	d->seats = seats;
	LIST_INIT(&d->all);
	pthread_mutex_init(&d->lock, NULL);
	sem_init(&d->wake, 0, 0);
	d->free = eventfd(seats, EFD_SEMAPHORE | EFD_CLOEXEC);
	rc = d->free < 0 ? -errno : 0;
	if (rc != 0)
		goto err_door;
	rc = -pthread_key_create(&d->key, leave);
	if (rc != 0)
		goto err_free;
	rc = fs_thread_start(&d->keeper, keeper_main, d);
	if (rc != 0)
		goto err_key;
	*out = d;
	return 0;

err_key:
	pthread_key_delete(d->key);
err_free:
	close(d->free);
err_door:
	pthread_mutex_destroy(&d->lock);
	sem_destroy(&d->wake);
	free(d);
	return rc;
}

void door_close(struct door *d)
{
	struct seat *s;

	if (d == NULL)
		return;
	atomic_store(&d->stop, true);
	sem_post(&d->wake);
	pthread_join(d->keeper, NULL);
	pthread_key_delete(d->key);
	if (mine != NULL && mine->door == d)
		mine = NULL;
	while ((s = LIST_FIRST(&d->all)) != NULL) {
		LIST_REMOVE(s, in);
		free(s);
	}
	sem_destroy(&d->wake);
	close(d->free);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
