/* tests/contract/fabric_memory.c - memory that is registered with a net: used
 * in place where there is an adapter, and the poster's again when a batch is
 * complete, however it ended. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

#define AREA   (1u << 20) /* there is as much on both sides of it */
#define OURS   0xee
#define NODES  0x11
#define THREAD (256u << 10)

static uint8_t *map(void *at, size_t bytes)
{
	uint8_t *p =
		mmap(at, bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | (at != NULL ? MAP_FIXED : 0),
		     -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static uint64_t direct(struct fab *f)
{
	struct fab_counters c;

	fab_counters(f, &c);
	return c.direct;
}

/* As many of @n operations on @len bytes each as go without a copy. */
static uint64_t expected(uint64_t n, bool inside, uint32_t len)
{
	return contract->direct && inside && len >= FAB_DIRECT_MIN ? n : 0;
}

static void fill(uint8_t *at, uint32_t len, unsigned seed)
{
	for (uint32_t i = 0; i < len; i++)
		at[i] = (uint8_t)(i * 7 + (i >> 8) + (i >> 16) + seed);
}

static bool all_are(const uint8_t *at, size_t len, uint8_t byte)
{
	return at[0] == byte && memcmp(at, at + 1, len - 1) == 0;
}

/* --- what is copied, and what not ----------------------------------------- */

/* From @at to the node and back, in one batch each. */
static void there_and_back(struct fixture *x, uint8_t *at, uint32_t len,
			   bool inside)
{
	uint8_t *region = x->node[0].region + 4096, before = at[-1];
	uint8_t after = at[len];
	struct fab_op op[2];
	uint64_t was = direct(x->f);

	fill(at, len, len);
	fab_write(&op[0], 0, 4096, at, len);
	fab_faa(&op[1], 0, 8, 1);
	contract_ops(x->f, op, 2);
	assert_int_equal(op[0].status, 0);
	assert_int_equal(op[1].status, 0);
	assert_memory_equal(region, at, len);
	fill(region, len, len + 1);
	fab_read(&op[0], 0, 4096, at, len);
	fab_faa(&op[1], 0, 8, 1);
	contract_ops(x->f, op, 2);
	assert_int_equal(op[0].status, 0);
	assert_int_equal(op[1].status, 0);
	assert_memory_equal(region, at, len);
	assert_int_equal(at[-1], before);
	assert_int_equal(at[len], after);
	assert_int_equal(direct(x->f) - was, expected(2, inside, len));
}

static void registered_memory_is_used_up_to_its_bounds(void **state)
{
	static const uint32_t len[] = {
		1, FAB_DIRECT_MIN - 1, FAB_DIRECT_MIN, 4096, 100001, AREA - 1};
	struct fixture *x = *state;
	uint8_t *memory = map(NULL, 4 * AREA), *area = memory + AREA;

	assert_int_equal(fab_net_register(x->net, area, AREA), 0);
	for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		there_and_back(x, area, len[i], true);
		there_and_back(x, area + 1, len[i], true);
		there_and_back(x, area + AREA - len[i], len[i], true);
		there_and_back(x, area - 1, len[i], false);
		there_and_back(x, area + AREA - len[i] + 1, len[i], false);
		there_and_back(x, area + AREA + 1, len[i], false);
	}
	there_and_back(x, area, AREA, true);
	there_and_back(x, area - 1, AREA + 2, false);
	fab_net_deregister(x->net, area);
	there_and_back(x, area, 4096, false);
	munmap(memory, 4 * AREA);
}

static void many_areas_are_told_apart(void **state)
{
	struct fixture *x = *state;
	uint8_t *memory = map(NULL, (FAB_REGISTERED_MAX + 2) * 8192);
	uint8_t *area = memory + 4096;

	for (unsigned i = 0; i < FAB_REGISTERED_MAX; i++) /* not in order */
		assert_int_equal(
			fab_net_register(x->net,
					 area + i * 37 % FAB_REGISTERED_MAX *
							 8192,
					 4096),
			0);
	assert_int_equal(fab_net_register(x->net,
					  area + FAB_REGISTERED_MAX * 8192,
					  4096),
			 -ENOSPC);
	for (unsigned i = 0; i < FAB_REGISTERED_MAX; i += 5) {
		there_and_back(x, area + i * 8192, 4096, true);
		there_and_back(x, area + i * 8192 - 1, 4096, false);
		there_and_back(x, area + i * 8192 + 2048, 4096, false);
	}
	for (unsigned i = 0; i < FAB_REGISTERED_MAX; i += 2)
		fab_net_deregister(x->net, area + i * 8192);
	for (unsigned i = 0; i < FAB_REGISTERED_MAX; i += 17)
		there_and_back(x, area + i * 8192, 4096, i % 2 != 0);
	munmap(memory, (FAB_REGISTERED_MAX + 2) * 8192);
}

static void senseless_areas_are_refused(void **state)
{
	struct fixture *x = *state;
	uint8_t *a = map(NULL, 65536);

	assert_int_equal(fab_net_register(x->net, NULL, 4096), -EINVAL);
	assert_int_equal(fab_net_register(x->net, a, 0), -EINVAL);
	assert_int_equal(fab_net_register(x->net, a, SIZE_MAX), -EINVAL);
	assert_int_equal(fab_net_register(x->net, a + 8192, 8192), 0);
	assert_int_equal(fab_net_register(x->net, a + 8192, 8192), -EEXIST);
	assert_int_equal(fab_net_register(x->net, a, 8193), -EEXIST);
	assert_int_equal(fab_net_register(x->net, a + 16383, 1), -EEXIST);
	assert_int_equal(fab_net_register(x->net, a, 65536), -EEXIST);
	assert_int_equal(fab_net_register(x->net, a + 12288, 16), -EEXIST);
	assert_int_equal(fab_net_register(x->net, a, 8192), 0);
	assert_int_equal(fab_net_register(x->net, a + 16384, 8192), 0);
	fab_net_deregister(x->net, a + 12288); /* there is none */
	fab_net_deregister(x->net, a + 32768);
	there_and_back(x, a + 8193, 4096, true);
	there_and_back(x, a + 8191, 4096, false); /* in two of them */
	fab_net_deregister(x->net, a + 8192);
	there_and_back(x, a + 8193, 4096, false);
	munmap(a, 65536);
}

/* Other pages at an address that was registered once. */
static void memory_can_be_unmapped_once_deregistered(void **state)
{
	struct fixture *x = *state;
	uint8_t *a = map(NULL, 65536);

	for (int i = 0; i < 10; i++) {
		assert_int_equal(fab_net_register(x->net, a + 4096, 32768), 0);
		there_and_back(x, a + 4096, 32768, true);
		fab_net_deregister(x->net, a + 4096);
		munmap(a, 65536);
		map(a, 65536);
		there_and_back(x, a + 4096, 32768, false);
	}
	munmap(a, 65536);
}

static void a_node_that_comes_later_knows_it_too(void **state)
{
	struct fixture *x = *state, later = *x;
	uint8_t *a = map(NULL, 65536);

	assert_int_equal(contract->net_open(&later.net), 0);
	assert_int_equal(fab_net_register(later.net, a + 4096, 32768), 0);
	for (int i = 0; i < 3; i++) {
		contract_attach(later.net, 0, x->node[0].address);
		assert_int_equal(fab_open(later.net, &later.f), 0);
		there_and_back(&later, a + 4096, 32768, true);
		fab_net_cut(later.net, 0);
		fab_close(later.f);
	}
	fab_net_close(later.net);
	munmap(a, 65536);
}

/* --- threads -------------------------------------------------------------- */

struct user {
	pthread_t thread;
	struct fixture *x;
	unsigned id;
	bool bad;
};

static bool write_and_read(struct fab *f, struct user *u, uint8_t *a,
			   unsigned seed)
{
	uint64_t at = 1u << 20 | u->id * THREAD;
	struct fab_op op[2];
	struct fab_batch b = {.ops = op, .n = 2};

	fill(a, THREAD / 2, seed);
	fab_write(&op[0], 0, at, a, THREAD / 2);
	fab_read(&op[1], 0, at, a + THREAD / 2, THREAD / 2);
	return fab_run(f, &b) == 0 && op[0].status == 0 && op[1].status == 0 &&
	       memcmp(a, a + THREAD / 2, THREAD / 2) == 0;
}

static void *come_and_go(void *arg)
{
	struct user *u = arg;
	uint8_t *a = aligned_alloc(4096, THREAD);
	unsigned rounds = CONTRACT_CRAWLS ? 4 : 25;
	struct fab *f;

	u->bad = a == NULL || fab_open(u->x->net, &f) != 0;
	for (unsigned i = 0; !u->bad && i < rounds; i++) {
		if (fab_net_register(u->x->net, a, THREAD) != 0)
			u->bad = true;
		for (unsigned k = 0; k < 3; k++)
			u->bad |= !write_and_read(f, u, a, i + k);
		u->bad |= direct(f) !=
			  (uint64_t)(i + 1) * expected(6, true, THREAD);
		fab_net_deregister(u->x->net, a);
	}
	fab_close(f);
	free(a);
	return NULL;
}

static void threads_come_and_go_with_their_memory(void **state)
{
	struct user u[4];

	for (unsigned i = 0; i < 4; i++) {
		u[i] = (struct user){.x = *state, .id = i};
		assert_int_equal(
			pthread_create(&u[i].thread, NULL, come_and_go, &u[i]),
			0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(u[i].thread, NULL);
		assert_false(u[i].bad);
	}
}

/* --- the poster's again --------------------------------------------------- */

#define LONG	 (CONTRACT_CRAWLS ? 256u << 10 : FAB_OP_BYTES_MAX)
#define LONGS	 8u
#define ALL_LONG (LONGS * (size_t)LONG)

struct burst {
	struct fixture *x;
	uint8_t *a; /* registered */
	struct fab_op op[LONGS];
	int late;
};

static struct burst *burst_open(struct fixture *x)
{
	struct burst *u = calloc(1, sizeof(*u));

	u->x = x;
	u->a = map(NULL, ALL_LONG);
	memset(x->node[0].region, NODES, CONTRACT_REGION);
	memset(x->node[0].region + 8, 0, 8);
	assert_int_equal(fab_net_register(x->net, u->a, ALL_LONG), 0);
	return u;
}

/* Some were too late, where the adapter does them while we wait; and all is
 * well again. */
static void burst_close(struct burst *u)
{
	assert_true(u->late > 0 || !contract->direct);
	there_and_back(u->x, u->a + 4096, 65536, true);
	fab_net_deregister(u->x->net, u->a);
	munmap(u->a, ALL_LONG);
	free(u);
}

static void connect_again(struct fixture *x)
{
	struct fab_op op;

	fab_faa(&op, 0, 8, 1);
	contract_ops(x->f, &op, 1);
	assert_int_equal(op.status, 0);
}

/* WRITEs; or every other one a READ: one that is at once with its adapter has
 * to wait for the WRITE before it. */
static void prepare(struct burst *u, bool reads)
{
	uint8_t *at = u->a;

	memset(u->a, NODES, ALL_LONG);
	connect_again(u->x);
	for (unsigned i = 0; i < LONGS; i++, at += LONG)
		if (reads && i % 2 == 1)
			fab_read(&u->op[i], 0, 4096, at, LONG);
		else
			fab_write(&u->op[i], 0, 4096, at, LONG);
}

/* One batch, with a deadline that is short for it. The last is late first. */
static void hurry(struct burst *u, bool reads, uint64_t ns)
{
	struct fab_batch b = {.ops = u->op, .n = LONGS};

	prepare(u, reads);
	b.deadline_ns = fab_now(u->x->f) + ns;
	assert_int_equal(fab_run(u->x->f, &b), 0);
	for (unsigned i = 0; i < LONGS; i++)
		assert_true(u->op[i].status == 0 ||
			    u->op[i].status == -ETIMEDOUT);
	u->late += u->op[LONGS - 1].status != 0;
}

/* The node, or its adapter, goes on with what has not been taken back. */
static void let_it_go_on(struct burst *u)
{
	usleep((unsigned)(20 * MS / 1000));
	connect_again(u->x);
	usleep((unsigned)(2 * MS / 1000));
}

static void after_its_deadline_a_read_leaves_memory_alone(void **state)
{
	struct burst *u = burst_open(*state);

	for (unsigned i = 0; i < 12; i++) {
		hurry(u, true, i * MS / 4);
		memset(u->a, OURS, ALL_LONG);
		let_it_go_on(u);
		assert_true(all_are(u->a, ALL_LONG, OURS));
	}
	burst_close(u);
}

/* What is written then is not what was to be. */
static void after_its_deadline_a_write_sends_nothing_else(void **state)
{
	struct burst *u = burst_open(*state);

	for (unsigned i = 0; i < 12; i++) {
		hurry(u, false, i * MS / 4);
		memset(u->a, OURS, ALL_LONG);
		let_it_go_on(u);
		assert_true(all_are(u->x->node[0].region + 4096, LONG, NODES));
	}
	burst_close(u);
}

/* Batches of one queue share a connection: one that is late may cost the
 * others -EHOSTDOWN, never their memory. */
static void what_ends_with_another_leaves_memory_alone(void **state)
{
	struct burst *u = burst_open(*state);
	struct fab_op *last = &u->op[LONGS - 1];
	struct fab_batch *done, late = {.ops = u->op, .n = LONGS - 1};
	struct fab_batch other = {.ops = last, .n = 1};

	for (unsigned i = 0; i < 12; i++) {
		prepare(u, true);
		late.deadline_ns = fab_now(u->x->f) + i * MS / 4;
		assert_int_equal(fab_post(u->x->f, &late), 0);
		assert_int_equal(fab_post(u->x->f, &other), 0);
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(fab_poll(u->x->f, &done, 1, 5000 * MS),
					 1);
			memset(done->ops[0].buf, OURS, done->n * (size_t)LONG);
		}
		assert_true(last->status == 0 || last->status == -EHOSTDOWN);
		u->late += last->status != 0;
		let_it_go_on(u);
		assert_true(all_are(u->a, ALL_LONG, OURS));
		assert_true(all_are(u->x->node[0].region + 4096, LONG, NODES));
	}
	burst_close(u);
}

struct reader {
	pthread_t thread;
	struct fab_net *net;
	int ready;
	bool bad;
};

/* READs until it is cut off; then its memory is its own. */
static void *read_till_cut(void *arg)
{
	struct reader *r = arg;
	uint8_t *a = aligned_alloc(4096, LONG);
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	struct fab *f;

	if (a == NULL || fab_open(r->net, &f) != 0 ||
	    fab_net_register(r->net, a, LONG) != 0)
		abort();
	do {
		fab_read(&op, 0, 4096, a, LONG);
		r->bad |= fab_run(f, &b) != 0;
		__atomic_store_n(&r->ready, 1, __ATOMIC_SEQ_CST);
	} while (op.status == 0);
	memset(a, OURS, LONG);
	r->bad |= op.status != -EHOSTDOWN;
	usleep((unsigned)(20 * MS / 1000));
	r->bad |= !all_are(a, LONG, OURS);
	fab_net_deregister(r->net, a);
	fab_close(f);
	free(a);
	return NULL;
}

static void after_a_cut_memory_is_the_posters(void **state)
{
	struct fixture *x = *state;
	struct reader r[2];
	struct fab_net *net;

	for (unsigned round = 0; round < 8; round++) {
		assert_int_equal(contract->net_open(&net), 0);
		contract_attach(net, 0, x->node[0].address);
		for (int i = 0; i < 2; i++) {
			r[i] = (struct reader){.net = net};
			assert_int_equal(pthread_create(&r[i].thread, NULL,
							read_till_cut, &r[i]),
					 0);
		}
		for (int i = 0; i < 2; i++)
			contract_wait(&r[i].ready, 1);
		usleep(round * 137);
		fab_net_cut(net, 0);
		for (int i = 0; i < 2; i++) {
			pthread_join(r[i].thread, NULL);
			assert_false(r[i].bad);
		}
		fab_net_close(net);
	}
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

int contract_run_memory(void)
{
	const struct CMUnitTest tests[] = {
		X(registered_memory_is_used_up_to_its_bounds),
		X(many_areas_are_told_apart),
		X(senseless_areas_are_refused),
		X(memory_can_be_unmapped_once_deregistered),
		X(a_node_that_comes_later_knows_it_too),
		X(threads_come_and_go_with_their_memory),
		X(after_its_deadline_a_read_leaves_memory_alone),
		X(after_its_deadline_a_write_sends_nothing_else),
		X(what_ends_with_another_leaves_memory_alone),
		X(after_a_cut_memory_is_the_posters),
	};

	return cmocka_run_group_tests_name(contract->name, tests, NULL, NULL);
}
