/* tests/lib/sim_fiber.c - fibers: blocking code as an actor of the simulation.
 * A fiber runs until it waits; then the scheduler (whoever called sim_step)
 * goes on. Sanitizers are told of each switch. */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/lib/sim_impl.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES (1u << 20)
#define GUARD_BYTES 4096u

struct sim_fiber {
	struct sim *sim;
	char name[32];
	void (*fn)(void *arg);
	void *arg;
	bool daemon, ended;
	bool woken; /* a wake is under way, or came early */
	bool blocked;
	bool poked; /* waits in sim_wait_for() */
	ucontext_t context;
	jmp_buf at; /* where it waits, once it has begun */
	bool begun;
	void *stack;
	void *san_stack, *san_fiber;
	TAILQ_ENTRY(sim_fiber) link;
};

/* The scheduler's side of a switch. */
struct sim_sched {
	ucontext_t context;
	jmp_buf at;
	void *san_stack, *san_fiber;
	const void *bottom;
	size_t size;
};

/* --- switching ------------------------------------------------------------ */

/* swapcontext() asks the system for the signal mask, twice; that was half the
 * time of a play. _setjmp() does not, and what it noted of a stack that is
 * still there is as good. Sanitizers take _longjmp() for an end of frames, so
 * they get the long way. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static void enter(struct sim_sched *d, struct sim_fiber *f)
{
	swapcontext(&d->context, &f->context);
}

static void leave(struct sim_sched *d, struct sim_fiber *f)
{
	swapcontext(&f->context, &d->context);
}
#else
static void enter(struct sim_sched *d, struct sim_fiber *f)
{
	if (_setjmp(d->at) != 0)
		return;
	if (f->begun)
		_longjmp(f->at, 1);
	f->begun = true;
	setcontext(&f->context);
}

static void leave(struct sim_sched *d, struct sim_fiber *f)
{
	if (_setjmp(f->at) == 0)
		_longjmp(d->at, 1);
}
#endif

static void to_fiber(struct sim *s, struct sim_fiber *f)
{
	struct sim_sched *d = s->sched;

	s->current = f;
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_start_switch_fiber(
		&d->san_stack, (char *)f->stack + GUARD_BYTES, STACK_BYTES);
#endif
#ifdef __SANITIZE_THREAD__
	d->san_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(f->san_fiber, 0);
#endif
	enter(d, f);
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(d->san_stack, NULL, NULL);
#endif
	s->current = NULL;
}

static void to_scheduler(struct sim *s, struct sim_fiber *f)
{
	struct sim_sched *d = s->sched;

#ifdef __SANITIZE_ADDRESS__
	__sanitizer_start_switch_fiber(f->ended ? NULL : &f->san_stack,
				       d->bottom, d->size);
#endif
#ifdef __SANITIZE_THREAD__
	__tsan_switch_to_fiber(d->san_fiber, 0);
#endif
	leave(d, f);
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(f->san_stack, &d->bottom, &d->size);
#endif
}

static void fiber_main(unsigned hi, unsigned lo)
{
	struct sim_fiber *f = (void *)((uintptr_t)hi << 32 | (uintptr_t)lo);
	struct sim *s = f->sim;

#ifdef __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(NULL, &s->sched->bottom,
					&s->sched->size);
#endif
	f->fn(f->arg);
	f->ended = true;
	sim_poke(s);
	to_scheduler(s, f);
	abort(); /* nobody comes back */
}

static void release_stack(struct sim_fiber *f)
{
	if (f->stack == NULL)
		return;
#ifdef __SANITIZE_ADDRESS__
	/* Its frames never return; whoever is mapped here next is clean. */
	__asan_unpoison_memory_region(f->stack, STACK_BYTES + GUARD_BYTES);
#endif
	munmap(f->stack, STACK_BYTES + GUARD_BYTES);
	f->stack = NULL;
#ifdef __SANITIZE_THREAD__
	__tsan_destroy_fiber(f->san_fiber);
#endif
}

static void resume(struct sim *s, void *arg)
{
	struct sim_fiber *f = arg;

	if (f->ended)
		return;
	f->woken = false;
	f->blocked = false;
	sim_note(s, "run", f->name, 0, 0, 0);
	to_fiber(s, f);
	if (f->ended)
		release_stack(f);
}

/* --- their life ----------------------------------------------------------- */

int sim_fibers_open(struct sim *s)
{
	s->sched = sim_alloc(sizeof(*s->sched));
	return 0;
}

static void make_stack(struct sim_fiber *f)
{
	void *p = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || mprotect(p, GUARD_BYTES, PROT_NONE) != 0)
		abort();
	f->stack = p;
}

struct sim_fiber *sim_fiber_new(struct sim *s, const char *name,
				void (*fn)(void *arg), void *arg, bool daemon)
{
	struct sim_fiber *f = sim_alloc(sizeof(*f));

	f->sim = s;
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->fn = fn;
	f->arg = arg;
	f->daemon = daemon;
	make_stack(f);
	if (getcontext(&f->context) != 0)
		abort();
	f->context.uc_stack.ss_sp = (char *)f->stack + GUARD_BYTES;
	f->context.uc_stack.ss_size = STACK_BYTES;
	makecontext(&f->context, (void (*)(void))fiber_main, 2,
		    (unsigned)((uintptr_t)f >> 32), (unsigned)(uintptr_t)f);
	/* Else the address sanitizer wipes the marks of the whole stack at each
	 * switch to it: three system calls, and red zones lost. */
	f->context.uc_stack.ss_size = 0;
#ifdef __SANITIZE_THREAD__
	f->san_fiber = __tsan_create_fiber(0);
#endif
	TAILQ_INSERT_TAIL(&s->fibers, f, link);
	f->blocked = true;
	sim_fiber_wake(s, f);
	return f;
}

int sim_spawn(struct sim *s, const char *name, void (*fn)(void *arg), void *arg)
{
	sim_fiber_new(s, name, fn, arg, false);
	return 0;
}

void sim_fibers_close(struct sim *s)
{
	struct sim_fiber *f;

	while ((f = TAILQ_FIRST(&s->fibers)) != NULL) {
		TAILQ_REMOVE(&s->fibers, f, link);
		release_stack(f);
		free(f);
	}
	free(s->sched);
}

bool sim_fiber_ended(const struct sim_fiber *f)
{
	return f->ended;
}

bool sim_in_fiber(struct sim *s)
{
	return s->current != NULL;
}

/* --- waiting and waking --------------------------------------------------- */

void sim_fiber_block(struct sim *s)
{
	struct sim_fiber *f = s->current;

	assert(f != NULL);
	f->blocked = true;
	to_scheduler(s, f);
}

/* A fiber goes on within a moment of chance, so that of two woken at once
 * either may be first. */
void sim_fiber_wake(struct sim *s, struct sim_fiber *f)
{
	if (f == NULL || f->woken || f->ended || !f->blocked)
		return;
	f->woken = true;
	sim_schedule(s, sim_dice(s, 100), resume, f);
}

static void wake_event(struct sim *s, void *arg)
{
	struct sim_fiber *f = arg;

	sim_fiber_wake(s, f);
}

static bool never(void *arg)
{
	return false;
}

void sim_wait_for(struct sim *s, bool (*done)(void *arg), void *arg,
		  uint64_t until)
{
	struct sim_fiber *f = s->current;
	struct sim_event *alarm = NULL;

	if (f == NULL) {
		sim_spin(s, done, arg, until);
		return;
	}
	if (until != UINT64_MAX && until > s->now)
		alarm = sim_schedule(s, until - s->now, wake_event, f);
	while (!done(arg) && s->now < until) {
		f->poked = done != never; /* only time ends a pause */
		sim_fiber_block(s);
		f->poked = false;
	}
	if (alarm != NULL && s->now < until)
		sim_cancel(s, alarm); /* else it has happened and is gone */
}

void sim_poke(struct sim *s)
{
	struct sim_fiber *f;

	TAILQ_FOREACH (f, &s->fibers, link)
		if (f->poked)
			sim_fiber_wake(s, f);
}

void sim_pause(struct sim *s, uint64_t ns)
{
	sim_wait_for(s, never, NULL, s->now + ns + 1);
}

static bool word_set(void *arg)
{
	return *(const int *)arg != 0;
}

void sim_wait(struct sim *s, const int *word)
{
	sim_wait_for(s, word_set, (void *)word, UINT64_MAX);
}

/* --- all of them --------------------------------------------------------- */

static bool all_ended(struct sim *s)
{
	struct sim_fiber *f;

	TAILQ_FOREACH (f, &s->fibers, link)
		if (!f->daemon && !f->ended)
			return false;
	return true;
}

int sim_run(struct sim *s, uint64_t max_ns)
{
	uint64_t end = max_ns != 0 ? s->now + max_ns : UINT64_MAX;

	while (!all_ended(s)) {
		if (sim_next(s) == UINT64_MAX)
			return -EDEADLK;
		if (sim_next(s) > end)
			return -ETIME;
		sim_step(s);
	}
	return 0;
}

const char *sim_stuck(struct sim *s)
{
	struct sim_fiber *f;
	size_t at = 0;

	s->stuck[0] = '\0';
	TAILQ_FOREACH (f, &s->fibers, link) {
		if (f->daemon || f->ended || at >= sizeof(s->stuck) - 1)
			continue;
		at += (size_t)snprintf(s->stuck + at, sizeof(s->stuck) - at,
				       "%s%s", at > 0 ? ", " : "", f->name);
	}
	return s->stuck;
}
