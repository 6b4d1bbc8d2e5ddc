/* Who waits at the door: as many threads as there are seats; one more for each
 * that is stuck with its request; and seats of threads that end are free. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#include "fs/door.h"

#define WAIT_S	  60
#define CROWD	  8u
#define MOMENT_NS 100000000 /* twenty looks of the keeper */

struct thread {
	struct door *door;
	pthread_t id;
	sem_t go;   /* to its next step */
	sem_t step; /* it got there */
	bool full;  /* what door_took() said */
	_Atomic bool quit;
};

static void got(sem_t *s)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += WAIT_S;
	assert_int_equal(sem_timedwait(s, &t), 0);
}

static void not_got(sem_t *s)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += MOMENT_NS;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	assert_int_equal(sem_timedwait(s, &t), -1);
	assert_int_equal(errno, ETIMEDOUT);
}

/* A seat, a request, the end of the request, a seat, ... */
static void *thread_main(void *arg)
{
	struct thread *t = arg;

	for (;;) {
		door_wait(t->door);
		sem_post(&t->step);
		sem_wait(&t->go);
		if (t->quit)
			return NULL;
		t->full = door_took(t->door);
		sem_post(&t->step);
		sem_wait(&t->go);
		if (t->quit)
			return NULL;
	}
}

static void begin(struct thread *t, struct door *d)
{
	t->door = d;
	t->quit = false;
	sem_init(&t->go, 0, 0);
	sem_init(&t->step, 0, 0);
	assert_int_equal(pthread_create(&t->id, NULL, thread_main, t), 0);
}

static void call_off(struct thread *t)
{
	t->quit = true;
	sem_post(&t->go);
}

static void end(struct thread *t)
{
	call_off(t);
	pthread_join(t->id, NULL);
	sem_destroy(&t->go);
	sem_destroy(&t->step);
}

/* Seated; now it has a request. */
static bool takes(struct thread *t)
{
	sem_post(&t->go);
	got(&t->step);
	return t->full;
}

static void answers(struct thread *t)
{
	sem_post(&t->go);
}

static void one_seat(void **state)
{
	struct thread a, b, c;
	struct door *d;

	assert_int_equal(door_open(1, &d), 0);
	begin(&a, d);
	got(&a.step);
	begin(&b, d);
	not_got(&b.step); /* a waits for a request: nobody is stuck */
	assert_true(takes(&a));
	got(&b.step); /* a is stuck */
	answers(&a);
	not_got(&a.step); /* b has the seat now */
	takes(&b);
	got(&a.step);
	end(&b); /* at its request: a sits in its place */
	begin(&c, d);
	not_got(&c.step);
	end(&a);
	got(&c.step);
	end(&c);
	door_close(d);
}

/* How many of the crowd got a seat, once the first has, and have no request. */
static unsigned seated(struct thread t[CROWD])
{
	const struct timespec moment = {.tv_nsec = MOMENT_NS};
	unsigned n = 0;

	for (unsigned i = 0; n == 0 && i < WAIT_S * 10; i++) {
		nanosleep(&moment, NULL);
		for (unsigned j = 0; j < CROWD; j++)
			n += sem_trywait(&t[j].step) == 0;
	}
	return n;
}

/* However many are stuck, the next request is taken. */
static void all_stuck(void **state)
{
	struct thread t[CROWD];
	struct door *d;

	assert_int_equal(door_open(1, &d), 0);
	for (unsigned i = 0; i < CROWD; i++) {
		begin(&t[i], d);
		got(&t[i].step);
		takes(&t[i]);
	}
	for (unsigned i = 0; i < CROWD; i++)
		answers(&t[i]);
	assert_int_equal(seated(t), 1);
	for (unsigned i = 0; i < CROWD; i++)
		call_off(&t[i]);
	for (unsigned i = 0; i < CROWD; i++)
		end(&t[i]);
	door_close(d);
}

/* libfuse ends its threads so, at the door and at their requests. */
static void cancelled(void **state)
{
	struct thread t[3];
	struct door *d;

#ifdef __SANITIZE_THREAD__
	print_message("skipped: after pthread_cancel() the thread sanitizer "
		      "sees no locks\n");
	return;
#endif
	assert_int_equal(door_open(1, &d), 0);
	begin(&t[0], d);
	got(&t[0].step);
	begin(&t[1], d);
	not_got(&t[1].step);
	pthread_cancel(t[1].id);
	pthread_join(t[1].id, NULL);
	takes(&t[0]);
	pthread_cancel(t[0].id);
	pthread_join(t[0].id, NULL);
	begin(&t[2], d);
	got(&t[2].step);
	end(&t[2]);
	door_close(d);
}

/* Who says that it will wait is not looked for. */
static void one_leaves(void **state)
{
	struct door *d;

	assert_int_equal(door_open(1, &d), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct thread t;

		door_wait(d);
		door_took(d);
		door_leave(d);
		door_leave(d);
		begin(&t, d);
		got(&t.step);
		end(&t);
	}
	door_close(d);
}

static void two_seats(void **state)
{
	struct thread a, b;
	struct door *d;

	assert_int_equal(door_open(2, &d), 0);
	begin(&a, d);
	got(&a.step);
	begin(&b, d);
	got(&b.step);
	assert_false(takes(&a));
	assert_true(takes(&b));
	answers(&a);
	answers(&b);
	end(&a);
	end(&b);
	door_close(d);
}

static void no_door(void **state)
{
	door_wait(NULL);
	assert_false(door_took(NULL));
	door_leave(NULL);
	door_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_seat),   cmocka_unit_test(all_stuck),
		cmocka_unit_test(one_leaves), cmocka_unit_test(two_seats),
		cmocka_unit_test(no_door),    cmocka_unit_test(cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
