/* What is out of reach for a while is not lost: who reads waits for it, as long
 * as no more nodes are away than the code bears; -EIO is for what is gone. In
 * virtual time. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kv/check.h"
#include "kv/log.h"
#include "kv/object.h"
#include "rdma/addr.h"
#include "tests/lib/cluster.h"
#include "tests/lib/effort.h"
#include "tests/lib/sim.h"

#define PAGES	  40u
#define KEYS	  40u
#define SEEDS	  6u
#define MS	  UINT64_C(1000000)
#define TIMEOUT	  3000u /* of an operation, ms */
#define LEASE	  400u
#define CLOCK_TOL (500 * MS)

struct world {
	struct cluster *c;
	struct kv *kv;
	struct kv_page page[PAGES];
	uint8_t bytes[PAGES][KV_PAGE_BYTES];
	uint32_t away;	   /* the node that is paused */
	uint64_t pause_ns; /* and for how long */
	uint64_t spared;   /* bits of nodes that are not cut off */
};

static struct world w;

/* --- what is there ------------------------------------------------------- */

static size_t name(char *to, uint32_t i)
{
	return (size_t)snprintf(to, 16, "key %u", i);
}

static void fill(struct kv *kv)
{
	const void *from[PAGES];
	char key[16];

	for (uint32_t i = 0; i < PAGES; i++) {
		memset(w.bytes[i], (int)i + 1, KV_PAGE_BYTES);
		from[i] = w.bytes[i];
	}
	/* A few at a time: not in rows, so on one node after the other. */
	for (uint32_t i = 0; i < PAGES; i += 4)
		assert_int_equal(kv_pages_write(kv, from + i, 4, w.page + i),
				 0);
	for (uint32_t i = 0; i < KEYS; i++)
		assert_int_equal(
			kv_put(kv, key, name(key, i), &i, sizeof(i), NULL), 0);
}

static int read_page(struct kv *kv, uint32_t i)
{
	static uint8_t got[KV_PAGE_BYTES];
	void *to = got;
	int rc = kv_pages_read(kv, &w.page[i], 1, &to, true);

	if (rc == 0)
		assert_memory_equal(got, w.bytes[i], KV_PAGE_BYTES);
	return rc;
}

static int read_key(struct kv *kv, uint32_t i)
{
	char key[16];
	uint32_t val;
	size_t len;
	int rc = kv_get(kv, key, name(key, i), &val, sizeof(val), &len, NULL);

	if (rc == 0)
		assert_int_equal(val, i);
	return rc;
}

static void read_all(struct kv *kv)
{
	for (uint32_t i = 0; i < PAGES; i++)
		assert_int_equal(read_page(kv, i), 0);
	for (uint32_t i = 0; i < KEYS; i++)
		assert_int_equal(read_key(kv, i), 0);
}

/* --- two are dead, a third one is slow ----------------------------------- */

static void come_back(void *arg)
{
	cluster_sleep(w.c, w.pause_ns);
	sim_server_resume(cluster_sim(w.c), cluster_node_address(w.c, w.away));
}

static void pause_for(uint64_t ns)
{
	w.pause_ns = ns;
	sim_server_pause(cluster_sim(w.c), cluster_node_address(w.c, w.away));
	cluster_spawn(w.c, come_back, NULL);
}

static void begin(struct cluster *c)
{
	memset(&w, 0, sizeof(w));
	w.c = c;
	w.kv = cluster_client(c);
	fill(w.kv);
	w.away = fab_addr_node(w.page[0].addr);
}

/* Those that have copies of the first page: it is nowhere but on its node. */
static void kill_copies(void)
{
	const struct group *g = &cluster_layout(w.c)->group;
	uint32_t role, at, node, block;
	uint64_t stripe;

	assert_int_equal(group_locate(g, w.page[0].addr, &stripe, &role, &at),
			 0);
	for (uint32_t j = 0; j < g->m; j++) {
		group_member(g, stripe, g->k + j, &node, &block);
		cluster_kill_node(w.c, node);
	}
}

static void slow_body(struct cluster *c, void *arg)
{
	begin(c);
	kill_copies();
	cluster_settle(c);
	pause_for(1800 * MS);
	assert_int_equal(read_page(w.kv, 0), 0);
	cluster_join(c);
	for (uint32_t i = 0; i < KEYS; i += KEYS / 4) {
		pause_for(1800 * MS);
		assert_int_equal(read_key(w.kv, i), 0);
		cluster_join(c);
	}
	read_all(w.kv);
}

/* Longer than a call may take: that says nothing of the bytes. */
static void too_slow_body(struct cluster *c, void *arg)
{
	uint64_t begun;

	begin(c);
	kill_copies();
	cluster_settle(c);
	pause_for(2 * TIMEOUT * MS);
	begun = sim_now(cluster_sim(c));
	assert_int_equal(read_page(w.kv, 0), -ETIMEDOUT);
	assert_in_range(sim_now(cluster_sim(c)) - begun, TIMEOUT * MS,
			TIMEOUT * MS + CLOCK_TOL);
	cluster_join(c);
	read_all(w.kv);
}

static unsigned said; /* lines of clients that tell of a loss, by the view... */
static unsigned long long said_of; /* ...of this number */

static void hear(void *arg, enum log_level level, const char *line)
{
	const char *what = strstr(line, "of what was asked for");
	const char *view = strstr(line, "view ");

	if (what == NULL || view == NULL)
		return;
	said++;
	said_of = strtoull(view + strlen("view "), NULL, 10);
}

/* And what is gone is said to be, at once. */
static void lost_body(struct cluster *c, void *arg)
{
	uint64_t begun;
	struct view v;

	begin(c);
	kill_copies();
	cluster_settle(c);
	cluster_kill_node(c, w.away);
	cluster_sleep(c, 100 * MS);
	begun = sim_now(cluster_sim(c));
	said = 0;
	log_to(hear, NULL);
	assert_int_equal(read_page(w.kv, 0), -EIO);
	assert_true(sim_now(cluster_sim(c)) - begun < CLOCK_TOL);
	assert_int_equal(read_page(w.kv, 0), -EIO);
	log_to(NULL, NULL);
	coord_view(cluster_coord(c), &v);
	assert_int_equal(said, 1); /* once */
	assert_int_equal(said_of, v.epoch);
}

/* --- all connections end in one moment ----------------------------------- */

static void cut_but(uint64_t spared)
{
	struct fab_net *net = cluster_client_net(w.c, w.kv);

	for (uint8_t id = 0; id < 5; id++)
		if (!(spared >> id & 1))
			fab_net_cut(net, id);
}

static void cut_body(struct cluster *c, void *arg)
{
	begin(c);
	for (uint32_t i = 0; i < PAGES; i++) {
		cut_but(0);
		assert_int_equal(read_page(w.kv, i), 0);
	}
	for (uint32_t i = 0; i < KEYS; i++) {
		cut_but(0);
		assert_int_equal(read_key(w.kv, i), 0);
	}
}

static void damage(void)
{
	uint8_t *region = cluster_region(w.c, w.away);

	region[fab_addr_offset(w.page[0].addr) + 100] ^= 0xff;
}

/* Its bytes are wrong where they are, and those that have the rest of its
 * stripe are not connected now. */
static void wrong_body(struct cluster *c, void *arg)
{
	begin(c);
	cluster_settle(c);
	damage();
	cut_but(UINT64_C(1) << w.away);
	assert_int_equal(read_page(w.kv, 0), 0);
}

/* --- a check that loses its connections ---------------------------------- */

static void keep_cutting(void *arg)
{
	for (uint32_t i = 0; i < 3000; i++) {
		cut_but(w.spared);
		cluster_sleep(w.c, MS / 10);
	}
}

static int named(void *arg)
{
	return 1;
}

static void told(void *arg, const struct kv_damage *d)
{
	assert_int_equal(d->state, KV_DAMAGE_MENDED);
}

static void check_body(struct cluster *c, void *arg)
{
	struct kv_check_opts o = {.mend = true, .damage = told};
	struct kv_check_sum sum;
	struct kv_check *k;

	begin(c);
	cluster_settle(c);
	damage();
	assert_int_equal(kv_check_open(w.kv, &o, &k), 0);
	w.spared = UINT64_C(1) << w.away;
	cluster_spawn(c, keep_cutting, NULL);
	assert_int_equal(kv_check_page(k, w.page[0], named, NULL), 0);
	kv_check_sum(k, &sum);
	kv_check_close(k);
	assert_int_equal(sum.lost, 0);
	assert_int_equal(sum.mended, 1);
	cluster_join(c);
	read_all(w.kv);
}

/* A key of the first shard, which is looked at first, with a value so long
 * that its record's header alone says how long. No copy of it is on that
 * shard's host. */
static void put_long(char *key, struct kv_where *at)
{
	static const char val[20000];
	bool there = true;

	for (uint32_t i = 0; there; i++) {
		snprintf(key, 16, "long %u", i);
		assert_int_equal(
			kv_put(w.kv, key, strlen(key), val, sizeof(val), NULL),
			0);
		assert_int_equal(kv_where(w.kv, key, strlen(key), at), 0);
		there = at->shard != 0;
		for (uint32_t j = 0; j < at->parities; j++)
			there |= at->parity_node[j] == at->host;
	}
}

/* Those that are not spared answer nothing, or again. */
static void set_answering(bool answer)
{
	for (uint32_t id = 0; id < 5; id++) {
		const char *address = cluster_node_address(w.c, id);

		if (w.spared >> id & 1)
			continue;
		if (answer)
			sim_server_resume(cluster_sim(w.c), address);
		else
			sim_server_pause(cluster_sim(w.c), address);
	}
}

/* The slot would be emptied if its record were taken for lost. */
static void long_body(struct cluster *c, void *arg)
{
	struct kv_check_opts o = {
		.mend = true, .slots = true, .drop_lost = true, .damage = told};
	static char val[20000];
	struct object_hdr *hdr;
	struct kv_where at;
	struct kv_check *k;
	char key[16];
	size_t len;

	begin(c);
	put_long(key, &at);
	hdr = (void *)((char *)cluster_region(c, at.node) + at.offset);
	hdr->units = UINT16_MAX;
	w.spared = UINT64_C(1) << at.node | UINT64_C(1) << at.host;
	assert_int_equal(kv_check_open(w.kv, &o, &k), 0);
	set_answering(false);
	assert_int_equal(kv_check_index(k), -ETIMEDOUT);
	set_answering(true);
	assert_int_equal(kv_check_index(k), 0);
	kv_check_close(k);
	assert_int_equal(
		kv_get(w.kv, key, strlen(key), val, sizeof(val), &len, NULL),
		0);
	assert_int_equal(len, sizeof(val));
}

/* --------------------------------------------------------------------------
 */

static void with_seed(uint64_t seed, void (*body)(struct cluster *c, void *arg),
		      bool remote)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .op_timeout_ms = TIMEOUT,
				 .remote = remote,
				 .ckpt_ms = (uint32_t)seed % 2 * 20,
				 .lease_ms = remote ? LEASE : 0};

	print_message("seed %llu\n", (unsigned long long)seed);
	cluster_run(&o, body, NULL);
}

static void each_seed(void (*body)(struct cluster *c, void *arg), bool remote)
{
	for (uint64_t seed = 1; seed <= effort(SEEDS); seed++)
		with_seed(seed, body, remote);
}

static void a_slow_node_is_waited_for(void **state)
{
	each_seed(slow_body, false);
}

static void too_slow_is_not_lost(void **state)
{
	each_seed(too_slow_body, false);
}

static void lost_is_lost_at_once(void **state)
{
	each_seed(lost_body, false);
}

static void connections_are_waited_for(void **state)
{
	each_seed(cut_body, true);
}

static void wrong_bytes_are_mended_when_they_are_back(void **state)
{
	each_seed(wrong_body, true);
}

static void a_check_calls_nothing_lost_that_is_not(void **state)
{
	each_seed(check_body, true);
	with_seed(1, long_body, false);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_node_is_waited_for),
		cmocka_unit_test(too_slow_is_not_lost),
		cmocka_unit_test(lost_is_lost_at_once),
		cmocka_unit_test(connections_are_waited_for),
		cmocka_unit_test(wrong_bytes_are_mended_when_they_are_back),
		cmocka_unit_test(a_check_calls_nothing_lost_that_is_not),
	};

	if (argc > 1) /* one of them */
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
