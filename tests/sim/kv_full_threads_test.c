/* Real threads on real shared memory that rewrite records of all sizes in a
 * pool that is nearly full of them: none is refused, none is lost. What is
 * obsolete lies in holes between what stays, which longer records do not fit:
 * the client's cleaner moves those (kv/client/clean.h). And pages, which it has
 * moved, beside records. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cluster.h"
#include "tests/lib/effort.h"

#define USABLE	  (8u << 20)
#define THREADS	  3u
#define KEYS	  8000u /* of a thread, at most */
#define BYTES_MAX 3000u
#define PAGES	  2048u /* at most */
#define FULL	  92u	/* of 100 */

struct worker {
	struct kv *kv;
	unsigned no, seed;
	uint32_t keys;	      /* so many fill its share: */
	uint64_t share, held; /* bytes of records */
	uint32_t age[KEYS], rounds;
	uint16_t len[KEYS];
	int bad;
};

static struct worker worker[THREADS];

static unsigned roll(struct worker *w, unsigned n)
{
	return (unsigned)rand_r(&w->seed) % n;
}

static size_t key_of(const struct worker *w, uint32_t i, char key[24])
{
	return (size_t)sprintf(key, "key%u-%u", w->no, i);
}

static void fill(const struct worker *w, uint32_t i, char *to)
{
	for (uint32_t at = 0; at < w->len[i]; at++)
		to[at] = (char)(i * 31 + w->age[i] * 7 + at);
}

static uint64_t record_bytes(uint32_t len)
{
	return (64 + 12 + len + 63) / 64 * 64;
}

/* Short ones as often as long ones; none that its share has no room for. */
static uint16_t new_len(struct worker *w, uint32_t i)
{
	uint32_t len = 20 + roll(w, 80u << roll(w, 6));
	uint64_t was = w->age[i] == 0 ? 0 : record_bytes(w->len[i]);

	if (len > BYTES_MAX)
		len = BYTES_MAX;
	if (w->held - was + record_bytes(len) > w->share)
		len = w->age[i] == 0 ? 20 : w->len[i];
	w->held += record_bytes(len) - was;
	return (uint16_t)len;
}

static int write_key(struct worker *w, uint32_t i)
{
	char key[24], val[BYTES_MAX];

	w->len[i] = new_len(w, i);
	w->age[i]++;
	fill(w, i, val);
	return kv_put(w->kv, key, key_of(w, i, key), val, w->len[i], NULL);
}

static int look_at(struct worker *w, uint32_t i)
{
	char key[24], want[BYTES_MAX], got[BYTES_MAX];
	size_t len = 0;
	int rc = kv_get(w->kv, key, key_of(w, i, key), got, sizeof(got), &len,
			NULL);

	if (rc != 0)
		return rc;
	fill(w, i, want);
	return len == w->len[i] && memcmp(got, want, len) == 0 ? 0 : -EBADMSG;
}

static void fill_up(struct worker *w, uint64_t share)
{
	w->share = share;
	while (w->keys < KEYS && w->held + record_bytes(20) <= share)
		assert_int_equal(write_key(w, w->keys++), 0);
}

static void rewrite(void *arg)
{
	struct worker *w = arg;

	for (uint32_t r = 0; r < w->rounds && w->bad == 0; r++) {
		uint32_t i = roll(w, w->keys);

		w->bad = write_key(w, i);
		if (w->bad == 0 && r % 4 == 0)
			w->bad = look_at(w, roll(w, w->keys));
	}
}

static void run_all(struct cluster *c)
{
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i].rounds = (uint32_t)effort(8000);
		cluster_spawn(c, rewrite, &worker[i]);
	}
	cluster_join(c);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(worker[i].bad, 0);
		for (uint32_t k = 0; k < worker[i].keys; k++)
			assert_int_equal(look_at(&worker[i], k), 0);
	}
}

static void begin(struct kv *kv)
{
	memset(worker, 0, sizeof(worker));
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i].kv = kv;
		worker[i].no = i;
		worker[i].seed = i + 1;
	}
}

/* --- records ------------------------------------------------------------- */

static uint64_t room_of(struct kv *kv)
{
	struct kv_space s;

	assert_int_equal(kv_space(kv, &s), 0);
	return s.available;
}

static void records_body(struct cluster *c, void *arg)
{
	uint64_t room;

	begin(cluster_client(c));
	room = room_of(worker[0].kv);
	for (unsigned i = 0; i < THREADS; i++)
		fill_up(&worker[i], room / THREADS * FULL / 100);
	run_all(c);
}

static void records_are_rewritten_for_ever(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SHM,
				 .usable = USABLE,
				 .slots = 4 * THREADS * KEYS,
				 .lanes = 1};

	cluster_run(&o, records_body, NULL);
}

/* --- records beside pages
 * ----------------------------------------------------- */

struct names {
	struct kv *kv;
	pthread_mutex_t lock;
	struct kv_page page[PAGES];
	uint32_t pages, moved;
};

static char page_byte(uint32_t i)
{
	return (char)(i * 7 + 1);
}

static void write_page(struct names *n, uint32_t i)
{
	static char page[KV_PAGE_BYTES];
	const void *data = page;

	memset(page, page_byte(i), sizeof(page));
	assert_int_equal(kv_pages_write(n->kv, &data, 1, &n->page[i]), 0);
}

static int move_page(struct names *n, uint32_t i)
{
	static char page[KV_PAGE_BYTES];
	struct kv_page was = n->page[i];
	void *to = page;
	const void *from = page;
	int rc = kv_pages_read(n->kv, &was, 1, &to, true);

	if (rc == 0)
		rc = kv_pages_write(n->kv, &from, 1, &n->page[i]);
	if (rc == 0)
		kv_pages_free(n->kv, &was, 1);
	n->moved += rc == 0;
	return rc;
}

static int vacate(void *arg, kv_is_in *is_in, const void *set)
{
	struct names *n = arg;
	int rc = 0;

	pthread_mutex_lock(&n->lock);
	for (uint32_t i = 0; rc == 0 && i < n->pages; i++)
		if (n->page[i].addr != 0 && is_in(set, n->page[i].addr))
			rc = move_page(n, i);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

static void look_at_pages(struct names *n)
{
	static char page[KV_PAGE_BYTES];
	void *to = page;

	for (uint32_t i = 0; i < n->pages; i++) {
		if (n->page[i].addr == 0)
			continue;
		assert_int_equal(
			kv_pages_read(n->kv, &n->page[i], 1, &to, true), 0);
		for (uint32_t at = 0; at < KV_PAGE_BYTES; at++)
			assert_int_equal(page[at], page_byte(i));
	}
}

/* Pages fill the pool, every fourth is dropped: there is room, but none for
 * records without moving pages. */
static void pages_body(struct cluster *c, void *arg)
{
	struct names *n = arg;
	uint64_t room;

	begin(cluster_client(c));
	n->kv = worker[0].kv;
	room = room_of(n->kv);
	n->pages = (uint32_t)(room / KV_PAGE_BYTES * 88 / 100);
	assert_true(n->pages <= PAGES);
	kv_on_vacate(n->kv, vacate, n);
	for (uint32_t i = 0; i < n->pages; i++)
		write_page(n, i);
	for (uint32_t i = 0; i < n->pages; i += 4) {
		kv_pages_free(n->kv, &n->page[i], 1);
		n->page[i].addr = 0;
	}
	assert_int_equal(kv_sync(n->kv), 0);
	for (unsigned i = 0; i < THREADS; i++)
		fill_up(&worker[i], room / THREADS / 5);
	run_all(c);
	kv_on_vacate(n->kv, NULL, NULL);
	fprintf(stderr, "%u pages were moved\n", n->moved);
	assert_true(n->moved > 0);
	look_at_pages(n);
}

static void pages_make_room_for_records(void **state)
{
	struct cluster_opts o = {.mode = CLUSTER_SHM,
				 .usable = USABLE,
				 .slots = 4 * THREADS * KEYS,
				 .lanes = 1};
	struct names n = {.lock = PTHREAD_MUTEX_INITIALIZER};

	cluster_run(&o, pages_body, &n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_rewritten_for_ever),
		cmocka_unit_test(pages_make_room_for_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
