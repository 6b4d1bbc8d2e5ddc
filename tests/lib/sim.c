/* tests/lib/sim.c - the simulation's clock, dice and events. */
#include "tests/lib/sim.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sim_impl.h"

#define SWEEP_FROM 64u /* cancelled events, at least */

static struct sim *the_sim; /* the one that "sim:" addresses mean */

void *sim_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		abort(); /* a test's own tool; not what is under test */
	return p;
}

/* --- dice ----------------------------------------------------------------- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t roll(struct sim *s)
{
	return mix(s->dice += UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t sim_dice(struct sim *s, uint64_t n)
{
	return n <= 1 ? 0 : roll(s) % n;
}

uint64_t sim_latency(struct sim *s)
{
	uint64_t t = s->o.latency_ns + sim_dice(s, s->o.jitter_ns + 1);

	return sim_dice(s, 1000) < s->o.slow_permille ? 100 * t : t;
}

/* --- what has happened ---------------------------------------------------- */

static void hash_in(struct sim *s, uint64_t v)
{
	s->hash = mix(s->hash ^ v) + UINT64_C(0x9e3779b97f4a7c15);
}

void sim_note(struct sim *s, const char *what, const char *who, uint64_t a,
	      uint64_t b, int64_t c)
{
	hash_in(s, s->now);
	for (const char *p = what; *p != '\0'; p++)
		hash_in(s, (unsigned char)*p);
	hash_in(s, a);
	hash_in(s, b);
	hash_in(s, (uint64_t)c);
	if (s->o.trace)
		fprintf(stderr,
			"%12" PRIu64 " %-8s %-16s %" PRIx64 " %" PRIx64
			" %" PRId64 "\n",
			s->now, what, who, a, b, c);
}

/* --- the heap ------------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	if (a->time != b->time)
		return a->time < b->time;
	if (a->tie != b->tie)
		return a->tie < b->tie;
	return a->serial < b->serial;
}

static void heap_put(struct sim *s, struct sim_event *e)
{
	size_t i = s->heap_n++, up;

	if (s->heap_n > s->heap_cap) {
		s->heap_cap = s->heap_cap != 0 ? 2 * s->heap_cap : 256;
		s->heap = realloc(s->heap, s->heap_cap * sizeof(e));
		if (s->heap == NULL)
			abort();
	}
	for (; i > 0 && before(e, s->heap[up = (i - 1) / 2]); i = up)
		s->heap[i] = s->heap[up];
	s->heap[i] = e;
}

static struct sim_event *heap_take(struct sim *s)
{
	struct sim_event *first = s->heap[0], *e = s->heap[--s->heap_n];
	size_t i = 0, kid;

	while ((kid = 2 * i + 1) < s->heap_n) {
		if (kid + 1 < s->heap_n &&
		    before(s->heap[kid + 1], s->heap[kid]))
			kid++;
		if (!before(s->heap[kid], e))
			break;
		s->heap[i] = s->heap[kid];
		i = kid;
	}
	if (s->heap_n > 0)
		s->heap[i] = e;
	return first;
}

/* --- events -------------------------------------------------------------- */

struct sim_event *sim_schedule(struct sim *s, uint64_t after,
			       void (*fn)(struct sim *s, void *arg), void *arg)
{
	struct sim_event *e = sim_alloc(sizeof(*e));

	e->time = after > UINT64_MAX - s->now ? UINT64_MAX : s->now + after;
	e->tie = roll(s);
	e->serial = ++s->serial;
	e->fn = fn;
	e->arg = arg;
	heap_put(s, e);
	return e;
}

/* Most are deadlines that were met, far in the future: let them not pile up.
 * What remains comes in the same order, whatever the heap looks like. */
static void sweep_cancelled(struct sim *s)
{
	size_t n = s->heap_n, kept = 0;

	for (size_t i = 0; i < n; i++)
		if (s->heap[i]->cancelled)
			free(s->heap[i]);
		else
			s->heap[kept++] = s->heap[i];
	s->cancelled = 0;
	for (s->heap_n = 0; s->heap_n < kept;)
		heap_put(s, s->heap[s->heap_n]);
}

void sim_cancel(struct sim *s, struct sim_event *e)
{
	if (e == NULL)
		return;
	e->cancelled = true;
	if (++s->cancelled > SWEEP_FROM && s->cancelled > s->heap_n / 2)
		sweep_cancelled(s);
}

static void drop_cancelled(struct sim *s)
{
	while (s->heap_n > 0 && s->heap[0]->cancelled) {
		free(heap_take(s));
		s->cancelled--;
	}
}

uint64_t sim_next(struct sim *s)
{
	drop_cancelled(s);
	return s->heap_n > 0 ? s->heap[0]->time : UINT64_MAX;
}

bool sim_step(struct sim *s)
{
	struct sim_event *e;

	assert(s->current == NULL);
	drop_cancelled(s);
	if (s->heap_n == 0)
		return false;
	e = heap_take(s);
	s->now = e->time;
	s->events++;
	e->fn(s, e->arg);
	free(e);
	return true;
}

void sim_spin(struct sim *s, bool (*done)(void *arg), void *arg, uint64_t until)
{
	while (!done(arg) && s->now < until) {
		if (sim_next(s) > until ||
		    (until == UINT64_MAX && sim_next(s) == UINT64_MAX)) {
			if (until == UINT64_MAX) {
				fprintf(stderr,
					"sim: seed %" PRIu64
					": nothing is left to happen, but the"
					" test waits; and so do: %s\n",
					s->o.seed, sim_stuck(s));
				abort();
			}
			s->now = until;
			return;
		}
		sim_step(s);
	}
}

struct at {
	void (*fn)(void *arg);
	void *arg;
};

static void run_at(struct sim *s, void *arg)
{
	struct at a = *(struct at *)arg;

	free(arg);
	a.fn(a.arg);
}

void sim_at(struct sim *s, uint64_t after_ns, void (*fn)(void *arg), void *arg)
{
	struct at *a = sim_alloc(sizeof(*a));

	a->fn = fn;
	a->arg = arg;
	sim_schedule(s, after_ns, run_at, a)->owns_arg = true;
}

uint64_t sim_now(struct sim *s)
{
	return s->now;
}

uint64_t sim_events(struct sim *s)
{
	return s->events;
}

uint64_t sim_hash(struct sim *s)
{
	return s->hash;
}

/* --- its life ------------------------------------------------------------ */

static int listener_open(const struct fab_server_opts *o,
			 struct fab_server **out)
{
	return sim_server_open(o, out);
}

static void set_defaults(struct sim_opts *o)
{
	if (o->latency_ns == 0)
		o->latency_ns = 1000;
	if (o->jitter_ns == 0)
		o->jitter_ns = 2000;
	if (o->down_ns == 0)
		o->down_ns = 100000;
}

int sim_open(const struct sim_opts *opts, struct sim **out)
{
	struct sim *s;

	if (the_sim != NULL)
		return -EBUSY;
	s = sim_alloc(sizeof(*s));
	s->o = *opts;
	set_defaults(&s->o);
	s->dice = mix(opts->seed + 1);
	s->now = 1000000000; /* a clock at 0 hides mistakes */
	TAILQ_INIT(&s->fibers);
	TAILQ_INIT(&s->servers);
	TAILQ_INIT(&s->nets);
	TAILQ_INIT(&s->batches);
	TAILQ_INIT(&s->peers);
	sim_fibers_open(s);
	s->listener.scheme = "sim:";
	s->listener.open = listener_open;
	fab_listener_add(&s->listener);
	the_sim = s;
	*out = s;
	return 0;
}

struct sim *sim_the_one(void)
{
	return the_sim;
}

static void free_events(struct sim *s)
{
	struct sim_event *e;

	while (s->heap_n > 0) {
		e = heap_take(s);
		if (e->owns_arg)
			free(e->arg);
		free(e);
	}
	free(s->heap);
}

void sim_close(struct sim *s)
{
	struct sim_batch *b;
	struct sim_peer *p;
	struct sim_server *v;
	struct sim_net *n;

	if (s == NULL)
		return;
	assert(s->current == NULL);
	fab_listener_del(&s->listener);
	the_sim = NULL;
	sim_fibers_close(s);
	while ((b = TAILQ_FIRST(&s->batches)) != NULL) {
		b->refs = 1;
		sim_batch_put(b);
	}
	while ((v = TAILQ_FIRST(&s->servers)) != NULL) {
		TAILQ_REMOVE(&s->servers, v, link);
		sim_server_free(v);
	}
	while ((p = TAILQ_FIRST(&s->peers)) != NULL) {
		TAILQ_REMOVE(&s->peers, p, all);
		free(p);
	}
	while ((n = TAILQ_FIRST(&s->nets)) != NULL) {
		assert(n->closed);
		TAILQ_REMOVE(&s->nets, n, link);
		free(n);
	}
	free_events(s);
	free(s);
}
