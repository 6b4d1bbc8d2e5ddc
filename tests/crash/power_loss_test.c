/* tests/crash/power_loss_test.c - power is lost at the n-th step of the disks,
 * n = 1, 2, ..., while clients work; the pool comes back from them. Each
 * client's keys are then as they were after some of its operations, all of
 * those that were durable among them; every byte is as it should be; and the
 * pool works on, is made durable, loses power again. The same where values fill
 * the pool, so that blocks that the cuts name are opened again in place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/client_impl.h"
#include "kv/node/node_impl.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/disk_model.h"
#include "tests/lib/effort.h"

#define WRITERS	  2u
#define KEYS	  24u
#define ACTS_MAX  4096u
#define PAGES_MAX 28u
#define LIVES	  3u /* power losses one after the other */

/* What a key's value says; pages hold its stamp. */
struct value {
	uint32_t stamp, pages;
	struct kv_page page[PAGES_MAX];
	char fill[600];
};

/* One operation: keys @a and (in a transaction) @b become @stamp; 0: gone. */
struct act {
	uint8_t key[2], keys;
	uint32_t stamp[2];
};

struct writer {
	struct world *w;
	struct kv *kv;
	uint32_t id;
	uint64_t dice;
	uint32_t stamp;
	uint32_t begin[KEYS]; /* stamps, when this life began */
	struct act act[ACTS_MAX];
	uint32_t begun, done;
	uint32_t durable;   /* this many were, by kv_persist() */
	uint32_t persisted; /* calls that returned well */
	bool refused;	    /* the last put: no room, so it did not happen */
	struct value was[KEYS];
	char page[PAGES_MAX][KV_PAGE_BYTES];
	uint64_t version[KEYS];
};

struct world {
	uint64_t seed;
	struct cluster *c;
	struct disk_model *disk;
	struct writer writer[WRITERS];
	struct layout_super super;
	bool over;
	bool full; /* values are large */
	uint64_t lost_records;
};

static struct {
	uint64_t losses, dropped, persists, full, reopened;
} met;

static uint32_t dice(uint64_t *state, uint32_t n)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(*state >> 33) % n;
}

/* --- the clients ---------------------------------------------------------- */

static size_t key_of(const struct writer *wr, uint32_t key, char out[16])
{
	return (size_t)snprintf(out, 16, "w%u.%u", wr->id, key);
}

static void fill_page(char *page, uint32_t stamp, uint32_t i)
{
	for (uint32_t at = 0; at < KV_PAGE_BYTES; at += 4) {
		uint32_t word = stamp * 2654435761u + i * 97u + at;

		memcpy(page + at, &word, sizeof(word));
	}
}

static int write_pages(struct writer *wr, struct value *v)
{
	char(*page)[KV_PAGE_BYTES] = wr->page;
	const void *data[PAGES_MAX];

	for (uint32_t i = 0; i < v->pages; i++) {
		fill_page(page[i], v->stamp, i);
		data[i] = page[i];
	}
	return v->pages == 0 ? 0
			     : kv_pages_write(wr->kv, data, v->pages, v->page);
}

static size_t value_bytes(const struct value *v)
{
	return offsetof(struct value, fill) + v->stamp % sizeof(v->fill);
}

static void free_pages(struct writer *wr, uint32_t key)
{
	kv_pages_free(wr->kv, wr->was[key].page, wr->was[key].pages);
}

/* True if it took place; false: power was lost, or there was no room. */
static bool put(struct writer *wr, uint32_t key, uint32_t stamp)
{
	struct value v = {.stamp = stamp,
			  .pages =
				  dice(&wr->dice, wr->w->full ? PAGES_MAX : 5)};
	char name[16];
	size_t n = key_of(wr, key, name);
	int rc;

	rc = write_pages(wr, &v);
	if (rc == 0)
		rc = kv_put(wr->kv, name, n, &v, value_bytes(&v),
			    &wr->version[key]);
	if (rc != 0) {
		wr->refused = rc == -ENOSPC;
		met.full += wr->refused;
		return false;
	}
	free_pages(wr, key);
	wr->was[key] = v;
	return true;
}

static bool del(struct writer *wr, uint32_t key)
{
	char name[16];
	size_t n = key_of(wr, key, name);
	int rc = kv_del(wr->kv, name, n, 0);

	if (rc != 0 && rc != -ENOENT)
		return false;
	free_pages(wr, key);
	wr->was[key] = (struct value){0};
	return true;
}

/* Two keys that are there, or not at all. */
static bool both(struct writer *wr, uint32_t a, uint32_t b, uint32_t stamp)
{
	struct value v[2] = {{.stamp = stamp}, {.stamp = stamp + 1}};
	uint32_t key[2] = {a, b};
	struct kv_req rq[2];
	char name[2][16];

	for (int i = 0; i < 2; i++)
		rq[i] = (struct kv_req){
			.kind = wr->was[key[i]].stamp != 0 ? KV_PUT_IF
							   : KV_INSERT,
			.klen = (uint16_t)key_of(wr, key[i], name[i]),
			.key = name[i],
			.val = &v[i],
			.len = (uint32_t)value_bytes(&v[i]),
			.expect = wr->version[key[i]],
		};
	if (kv_txn(wr->kv, rq, 2) != 0)
		return false;
	for (int i = 0; i < 2; i++) {
		free_pages(wr, key[i]);
		wr->was[key[i]] = v[i];
		wr->version[key[i]] = rq[i].version;
	}
	return true;
}

static bool act(struct writer *wr, struct act *a)
{
	uint32_t what = dice(&wr->dice, 16);
	uint32_t stamp = wr->stamp += 2;

	*a = (struct act){.key = {(uint8_t)dice(&wr->dice, KEYS)}, .keys = 1};
	if (what < 2) {
		wr->begun++;
		return del(wr, a->key[0]);
	}
	a->stamp[0] = stamp;
	if (what < 13) {
		wr->begun++;
		return put(wr, a->key[0], stamp);
	}
	a->keys = 2;
	a->key[1] = (uint8_t)((a->key[0] + 1u) % KEYS);
	a->stamp[1] = stamp + 1;
	wr->begun++;
	return both(wr, a->key[0], a->key[1], stamp);
}

static void write_on(void *arg)
{
	struct writer *wr = arg;
	uint32_t done;

	while (!wr->w->over && wr->begun < ACTS_MAX) {
		wr->refused = false;
		if (!act(wr, &wr->act[wr->begun])) {
			if (!wr->refused)
				break;
			wr->begun--;
			cluster_sleep(wr->w->c, 1000000);
			continue;
		}
		wr->done = wr->begun;
		if (dice(&wr->dice, 40) != 0)
			continue;
		done = wr->done;
		if (kv_persist(wr->kv) != 0)
			break;
		wr->durable = done;
		wr->persisted++;
	}
	while (!wr->w->over)
		cluster_sleep(wr->w->c, 1000000);
}

/* --- what is there -------------------------------------------------------- */

static void check_pages(struct writer *wr, const struct value *v)
{
	char(*page)[KV_PAGE_BYTES] = wr->page, want[KV_PAGE_BYTES];
	void *data[PAGES_MAX];

	for (uint32_t i = 0; i < v->pages; i++)
		data[i] = page[i];
	if (v->pages != 0)
		assert_int_equal(
			kv_pages_read(wr->kv, v->page, v->pages, data, true),
			0);
	for (uint32_t i = 0; i < v->pages; i++) {
		fill_page(want, v->stamp, i);
		assert_memory_equal(page[i], want, KV_PAGE_BYTES);
	}
}

static void read_all(struct writer *wr)
{
	char name[16];
	size_t n, len;
	int rc;

	for (uint32_t k = 0; k < KEYS; k++) {
		struct value v = {0};

		n = key_of(wr, k, name);
		rc = kv_get(wr->kv, name, n, &v, sizeof(v), &len,
			    &wr->version[k]);
		assert_true(rc == 0 || rc == -ENOENT);
		if (rc == 0) {
			assert_int_equal(len, value_bytes(&v));
			check_pages(wr, &v);
		}
		wr->was[k] = v;
	}
}

static bool is_state(const struct writer *wr, const uint32_t *stamp)
{
	for (uint32_t k = 0; k < KEYS; k++)
		if (wr->was[k].stamp != stamp[k])
			return false;
	return true;
}

/* Some prefix of what it did, no shorter than what was durable. */
static void check_prefix(struct writer *wr)
{
	uint32_t stamp[KEYS], n = 0;
	bool found;

	memcpy(stamp, wr->begin, sizeof(stamp));
	found = wr->durable == 0 && is_state(wr, stamp);
	for (; n < wr->begun && !found; n++) {
		const struct act *a = &wr->act[n];

		for (uint32_t i = 0; i < a->keys; i++)
			stamp[a->key[i]] = a->stamp[i];
		found = n + 1 >= wr->durable && is_state(wr, stamp);
	}
	if (!found)
		print_error("writer %u: no prefix of its %u acts, %u durable\n",
			    wr->id, wr->begun, wr->durable);
	assert_true(found);
}

/* --- lives ---------------------------------------------------------------- */

static void start_writers(struct world *w, struct cluster *c)
{
	for (uint32_t i = 0; i < WRITERS; i++) {
		struct writer *wr = &w->writer[i];

		wr->w = w;
		wr->id = i;
		wr->kv = cluster_client(c);
	}
}

static void next_life(struct writer *wr)
{
	for (uint32_t k = 0; k < KEYS; k++)
		wr->begin[k] = wr->was[k].stamp;
	wr->done = wr->begun = wr->durable = 0;
}

static void note_reopened(struct cluster *c)
{
	struct alloc_usage use;

	for (uint32_t id = 0; id < 5; id++) {
		alloc_usage(cluster_node(c, id)->alloc, &use);
		met.reopened += use.reopened;
	}
}

static void body(struct cluster *c, void *arg)
{
	struct world *w = arg;

	w->c = c;
	w->over = false;
	w->super = *cluster_super(c);
	start_writers(w, c);
	if (disk_model_at(w->disk)->durable != 0) {
		for (uint32_t i = 0; i < WRITERS; i++) {
			read_all(&w->writer[i]);
			check_prefix(&w->writer[i]);
		}
		cluster_settle(c);
		cluster_check(c, w->writer[0].kv, true);
	}
	disk_model_cluster(w->disk, c);
	for (uint32_t i = 0; i < WRITERS; i++) {
		next_life(&w->writer[i]);
		cluster_spawn(c, write_on, &w->writer[i]);
	}
	for (uint32_t ms = 0; ms < 60 && !disk_model_lost(w->disk); ms++)
		cluster_sleep(c, 1000000);
	for (uint32_t i = 0; i < WRITERS; i++)
		cluster_client_kill(c, w->writer[i].kv);
	w->over = true;
	cluster_join(c);
	note_reopened(c);
	disk_model_cluster(w->disk, NULL);
}

static void live(struct world *w, uint64_t lose_at)
{
	struct cluster_opts o = {
		.mode = CLUSTER_SIM,
		.seed = w->seed,
		.usable = 3u << 20,
		.slots = 1024,
		.clients = 4,
		.op_timeout_ms = 500,
		.durable_ms = 10,
	};

	disk_model_opts(w->disk, &o);
	disk_model_lose(w->disk, lose_at);
	cluster_run(&o, body, w);
}

/* Returns false if the first life ended before step @n came. */
static bool lose_at(uint64_t seed, uint64_t n, uint64_t bytes, bool full)
{
	struct world *w = calloc(1, sizeof(*w));
	struct restart_report report;
	bool lost;

	assert_non_null(w);
	w->seed = seed;
	w->full = full;
	w->disk = disk_model_open(seed + n, bytes, 5);
	for (uint32_t i = 0; i < WRITERS; i++)
		w->writer[i].dice = seed * 7 + i;
	for (uint32_t i = 0; i < WRITERS; i++)
		w->writer[i].stamp = 1 + i * 1000000;
	live(w, n);
	lost = disk_model_lost(w->disk);
	if (getenv("POWER_TELL") != NULL)
		print_message("%llu %llu\n", (unsigned long long)seed,
			      (unsigned long long)n);
	for (uint32_t i = 1; i < LIVES && disk_model_at(w->disk)->durable;
	     i++) {
		met.losses++;
		disk_model_restart(w->disk, &w->super, &report);
		assert_int_equal(report.damaged, 0);
		met.dropped += report.lost;
		live(w, 1 + (n * 7 + i) % 60);
	}
	for (uint32_t i = 0; i < WRITERS; i++)
		met.persists += w->writer[i].persisted;
	disk_model_close(w->disk);
	free(w);
	return lost;
}

static uint64_t region_bytes(void)
{
	struct layout_shape s = {
		.nodes = 5,
		.k = 3,
		.m = 2,
		.usable = 3u << 20,
		.block_bytes = 64u << 10,
		.slots = 1024,
		.clients = 4,
	};
	struct layout l;

	assert_int_equal(layout_of(&s, &l), 0);
	return l.size;
}

static void lose_at_all(bool full)
{
	uint64_t bytes = region_bytes(), n, stride = 19, seed = 1;

	memset(&met, 0, sizeof(met));
	if (getenv("EVERY") != NULL)
		stride = 1;
	if (!effort_is_whole())
		stride = 70;
	for (n = 1; lose_at(seed, n, bytes, full); n += stride, seed++)
		;
	print_message(
		"%llu losses, %llu records dropped, %llu persists, "
		"%llu full, %llu blocks opened again\n",
		(unsigned long long)met.losses, (unsigned long long)met.dropped,
		(unsigned long long)met.persists, (unsigned long long)met.full,
		(unsigned long long)met.reopened);
	assert_true(met.losses >= 4 && met.dropped > 0 && met.persists > 0);
	assert_true(!full || met.reopened >= met.losses);
}

static void power_is_lost_at_every_step(void **state)
{
	(void)state;
	lose_at_all(false);
}

static void the_same_in_a_pool_that_is_full(void **state)
{
	(void)state;
	lose_at_all(true);
}

/* power_loss_test SEED STEP [full]: one of them alone. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_is_lost_at_every_step),
		cmocka_unit_test(the_same_in_a_pool_that_is_full),
	};

	if (argc == 3 || argc == 4) {
		lose_at(strtoull(argv[1], NULL, 0), strtoull(argv[2], NULL, 0),
			region_bytes(), argc == 4);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
