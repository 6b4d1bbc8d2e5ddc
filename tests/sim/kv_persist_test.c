/* tests/sim/kv_persist_test.c - waiting for a durable checkpoint in pieces, as
 * the supervisor of a pool that ends does: with slow disks, without clients,
 * with a dead node that is replaced meanwhile, and with too many. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kv/node/disk.h"
#include "tests/lib/cluster.h"
#include "tests/lib/disk_model.h"
#include "tests/lib/sim.h"

#define NODES	  5u
#define USABLE	  (3u << 20)
#define SLOTS	  1024u
#define CLIENTS	  4u
#define COMMIT_NS UINT64_C(700000000) /* far longer than a piece */
#define PIECE_NS  UINT64_C(20000000)

struct world {
	struct cluster *c;
	struct disk_model *disk;
	struct cluster_opts of_disk; /* what it filled in */
	uint64_t bytes;
	uint32_t commits;
	bool no_room;		   /* on the disk: nothing is committed */
	bool io_error;		   /* of node 2's disk, from now on */
	const struct disk *second; /* it, and what stands before it */
	struct disk frail;
};

static int frail_sync(void *arg)
{
	struct world *w = arg;

	return w->io_error ? -EIO : w->second->sync(w->second->arg);
}

static int frail_write(void *arg, const char *name, const void *buf, size_t len)
{
	struct world *w = arg;

	return w->second->write(w->second->arg, name, buf, len);
}

static const struct disk *give_disk(void *arg, uint32_t id, void **region)
{
	struct world *w = arg;
	const struct disk *d = w->of_disk.disk(w->of_disk.disk_arg, id, region);

	memset(*region, 0, w->bytes); /* a replaced node has lost it */
	if (id != 2)
		return d;
	w->second = d;
	w->frail = *d;
	w->frail.arg = w;
	w->frail.sync = frail_sync;
	w->frail.write = frail_write;
	return &w->frail;
}

static int slow_commit(void *arg, const struct coord_counters *at)
{
	struct world *w = arg;

	w->commits++;
	cluster_sleep(w->c, COMMIT_NS);
	if (w->no_room)
		return -ENOSPC;
	return w->of_disk.commit(w->of_disk.disk_arg, at);
}

static int wait_pieces(struct world *w, uint64_t number, uint32_t pieces)
{
	int rc = -ETIMEDOUT;

	for (uint32_t i = 0; i < pieces && rc == -ETIMEDOUT; i++) {
		rc = coord_persist_wait(cluster_coord(w->c), number, 0);
		if (rc == -ETIMEDOUT)
			cluster_sleep(w->c, PIECE_NS);
	}
	return rc;
}

static void write_some(struct world *w)
{
	struct kv *kv = cluster_client(w->c);
	char key[2] = "a";

	for (; key[0] <= 'z'; key[0]++)
		assert_int_equal(kv_put(kv, key, 1, key, 1, NULL), 0);
	cluster_client_close(w->c, kv);
}

/* What the status says of it; json_decref() it. */
static json_t *durable_of(struct world *w, const char *name)
{
	json_t *o, *one;
	char *text;

	assert_int_equal(coord_status(cluster_coord(w->c), &text), 0);
	o = json_loads(text, 0, NULL);
	assert_non_null(o);
	one = json_incref(json_object_get(json_object_get(o, "durable"), name));
	json_decref(o);
	free(text);
	return one;
}

/* Does the status say that all there is would survive? */
static bool is_current(struct world *w)
{
	json_t *current = durable_of(w, "current");
	bool is = json_is_true(current);

	json_decref(current);
	return is;
}

static void expect_trouble(struct world *w, const char *want)
{
	json_t *said = durable_of(w, "trouble");

	if (want == NULL)
		assert_true(json_is_null(said));
	else
		assert_string_equal(json_string_value(said), want);
	json_decref(said);
}

/* --- the tests ------------------------------------------------------------ */

static void one_is_enough(struct cluster *c, void *arg)
{
	struct world *w = arg;
	uint64_t number;

	w->c = c;
	write_some(w);
	number = coord_persist(cluster_coord(c));
	assert_true(number != 0);
	assert_int_equal(wait_pieces(w, number, 300), 0);
	assert_true(disk_model_at(w->disk)->durable >= number);
	assert_in_range(w->commits, 1, 2); /* one may have been under way */
	/* It is over: whoever waits for it now has it at once. */
	assert_int_equal(wait_pieces(w, number, 1), 0);
}

/* What a checkpoint under way has will be lost if it comes to nothing. */
static void it_is_said_to_be_safe_when_it_is(struct cluster *c, void *arg)
{
	struct world *w = arg;
	uint64_t number;

	w->c = c;
	write_some(w);
	number = coord_persist(cluster_coord(c));
	while (!is_current(w))
		cluster_sleep(c, PIECE_NS);
	assert_int_equal(coord_persist_wait(cluster_coord(c), number, 0), 0);
}

static void a_dead_node_is_waited_for(struct cluster *c, void *arg)
{
	struct coord_durable_stats st;
	struct world *w = arg;
	uint64_t number;

	w->c = c;
	write_some(w);
	cluster_kill_node(c, 1);
	number = coord_persist(cluster_coord(c));
	assert_int_equal(wait_pieces(w, number, 100), -ETIMEDOUT);
	cluster_replace_node(c, 1);
	assert_int_equal(wait_pieces(w, number, 1000), 0);
	assert_true(disk_model_at(w->disk)->durable >= number);
	coord_durable_stats(cluster_coord(c), &st);
	assert_false(st.under_way);
	assert_int_equal(st.restored, 0); /* of those that come: none */
}

/* What a disk may have dropped it may say nothing of later: its node writes no
 * more, until another process is in its place. */
static void a_disk_that_fails_is_named(struct cluster *c, void *arg)
{
	struct world *w = arg;
	uint64_t number;

	w->c = c;
	write_some(w);
	w->io_error = true;
	number = coord_persist(cluster_coord(c));
	assert_int_equal(wait_pieces(w, number, 100), -ETIMEDOUT);
	w->io_error = false;
	assert_int_equal(wait_pieces(w, number, 100), -ETIMEDOUT);
	expect_trouble(w, "memory node 2: Input/output error");
	assert_false(is_current(w));
	cluster_kill_node(c, 2);
	cluster_replace_node(c, 2);
	assert_int_equal(wait_pieces(w, number, 1000), 0);
	expect_trouble(w, NULL);
}

/* Nobody else asks whether it answers, when there are no clients. */
static void a_hung_node_is_found_out(struct cluster *c, void *arg)
{
	struct world *w = arg;
	struct view v;

	w->c = c;
	write_some(w);
	cluster_sleep(c, 3 * COMMIT_NS);
	cluster_hang_node(c, 3);
	coord_persist(cluster_coord(c));
	for (uint32_t i = 0; i < 1000; i++) {
		coord_view(cluster_coord(c), &v);
		if (v.node[3] != VIEW_NODE_UP)
			break;
		wait_pieces(w, v.cut + 1, 1);
	}
	assert_int_equal(v.node[3], VIEW_NODE_DOWN);
}

static void too_many_are_not_waited_for(struct cluster *c, void *arg)
{
	struct world *w = arg;
	uint64_t number;

	w->c = c;
	write_some(w);
	for (uint32_t id = 0; id < 3; id++)
		cluster_kill_node(c, id);
	number = coord_persist(cluster_coord(c));
	assert_int_equal(wait_pieces(w, number, 200), -EIO);
}

/* --- space that only a cut gives back ------------------------------------- */

#define PAGES_MAX (USABLE / KV_PAGE_BYTES * 2)

static uint32_t write_pages(struct kv *kv, struct kv_page *page, uint32_t max)
{
	static const char data[KV_PAGE_BYTES] = "some";
	const void *from = data;
	uint32_t n = 0;
	int rc = 0;

	while (n < max) {
		rc = kv_pages_write(kv, &from, 1, &page[n]);
		if (rc != 0)
			break;
		n++;
	}
	assert_true(rc == 0 || rc == -ENOSPC);
	return n;
}

/* Every other page of a full pool is obsolete, and no cut can be made: who
 * writes is told so in time. There is room when one can. */
static void a_disk_that_is_full_is_told(struct cluster *c, void *arg)
{
	static struct kv_page page[PAGES_MAX];
	struct world *w = arg;
	struct kv *kv;
	uint32_t n, i;
	uint64_t since;

	w->c = c;
	kv = cluster_client(c);
	n = write_pages(kv, page, PAGES_MAX);
	assert_in_range(n, 100, PAGES_MAX - 1);
	assert_int_equal(wait_pieces(w, coord_persist(cluster_coord(c)), 1000),
			 0);
	w->no_room = true;
	for (i = 0; i < n; i += 2)
		kv_pages_free(kv, &page[i], 1);
	since = sim_now(cluster_sim(c));
	assert_true(write_pages(kv, page, n / 4) < n / 4);
	assert_in_range(sim_now(cluster_sim(c)) - since, UINT64_C(1000000000),
			KV_OP_TIMEOUT_MS * UINT64_C(2000000));
	since = sim_now(cluster_sim(c));
	assert_int_equal(write_pages(kv, page, 1), 0);
	assert_true(sim_now(cluster_sim(c)) - since < UINT64_C(2000000000));
	expect_trouble(w, "the pool file: No space left on device");
	w->no_room = false;
	assert_int_equal(wait_pieces(w, coord_persist(cluster_coord(c)), 1000),
			 0);
	expect_trouble(w, NULL);
	assert_int_equal(write_pages(kv, page, n / 4), n / 4);
	cluster_client_close(c, kv);
}

/* --- worlds --------------------------------------------------------------- */

static void run(void (*body)(struct cluster *c, void *arg))
{
	struct layout_shape s = {.nodes = NODES,
				 .k = 3,
				 .m = 2,
				 .usable = USABLE,
				 .block_bytes = 64u << 10,
				 .slots = SLOTS,
				 .clients = CLIENTS};
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = 7,
				 .usable = USABLE,
				 .slots = SLOTS,
				 .clients = CLIENTS,
				 .durable_ms = 60000};
	struct world w = {0};
	struct layout l;

	assert_int_equal(layout_of(&s, &l), 0);
	w.bytes = l.size;
	w.disk = disk_model_open(o.seed, l.size, NODES);
	disk_model_opts(w.disk, &w.of_disk);
	o.disk = give_disk;
	o.commit = slow_commit;
	o.disk_arg = &w;
	cluster_run(&o, body, &w);
	disk_model_close(w.disk);
}

#define T(name)                                                                \
	static void name##_(void **state)                                      \
	{                                                                      \
		(void)state;                                                   \
		run(name);                                                     \
	}
T(one_is_enough)
T(it_is_said_to_be_safe_when_it_is)
T(a_dead_node_is_waited_for)
T(a_hung_node_is_found_out)
T(too_many_are_not_waited_for)
T(a_disk_that_is_full_is_told)
T(a_disk_that_fails_is_named)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_is_enough_),
		cmocka_unit_test(it_is_said_to_be_safe_when_it_is_),
		cmocka_unit_test(a_dead_node_is_waited_for_),
		cmocka_unit_test(a_hung_node_is_found_out_),
		cmocka_unit_test(too_many_are_not_waited_for_),
		cmocka_unit_test(a_disk_that_is_full_is_told_),
		cmocka_unit_test(a_disk_that_fails_is_named_),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
