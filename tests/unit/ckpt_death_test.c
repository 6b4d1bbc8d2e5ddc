/* Whoever dies when, whatever is torn or rots: each image is some whole
 * version, and a restore finds the newest. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/fault_alloc.h"
#include "tests/unit/ckpt_world.h"

/* --- deaths --- */

struct death {
	uint64_t version; /* before the round in which it died */
	bool died;
};

/* Its owner dies at remote write @n of the third round, or that WRITE is torn;
 * an heir restores and goes on. */
static struct death owner_dies(uint64_t n, bool torn)
{
	struct ckpt_restored out;
	struct death d;
	struct world w;

	world_open(&w, BIG, 100 + n);
	noise(&w);
	round_with(&w, 3); /* peer 2 will need all of it */
	change(&w, 50);
	round_with(&w, 3);
	d.version = version_of(&w);
	noise(&w);
	expect(&w, d.version + 1);
	n += faulty_writes(w.faulty);
	if (torn)
		faulty_tear_client(w.faulty, n, UINT32_MAX);
	else
		faulty_kill_client(w.faulty, n);
	round_with(&w, ALL);
	d.died = faulty_client_dead(w.faulty);
	check_images(&w);
	memset(w.live, 0xee, w.size);
	assert_int_equal(restore(&w, ALL, 0, w.live, &out), 0);
	assert_true(out.version == d.version || out.version == d.version + 1);
	assert_true(out.note == out.version); /* as round_with() counts */
	assert_bytes_of(&w, out.version, w.live);
	owner_free(&w);
	owner_start(&w);
	change(&w, 9);
	assert_int_equal(round_with(&w, ALL), ALL);
	check_images(&w);
	assert_restored(&w, version_of(&w));
	world_close(&w);
	return d;
}

static void its_owner_dies_at_every_remote_write(void **state)
{
	uint64_t n = 0;

	while (owner_dies(n, false).died)
		n++;
	/* 3 asked in part; 2 messages to 2 peers, 2 to the third */
	assert_in_range(n, 12, 16);
}

static void every_write_of_its_owner_is_torn(void **state)
{
	uint64_t n = 1;

	while (owner_dies(n, true).died)
		n++;
	assert_in_range(n, 12, 17);
}

/* A peer dies after operation @n of a round: the others have it all. */
static bool peer_dies(uint64_t n)
{
	struct ckpt_restored out;
	struct world w;
	char *home;
	bool died;

	world_open(&w, BIG, 200 + n);
	noise(&w);
	round_with(&w, 3);
	noise(&w);
	faulty_kill_node(w.faulty, 1, faulty_ops(w.faulty) + n, kill_node, &w);
	assert_int_equal(round_with(&w, ALL) & 5, 5);
	died = faulty_bites(w.faulty) > 0;
	home = malloc(w.size);
	assert_int_equal(restore(&w, 5, 0, home, &out), 0);
	assert_int_equal(out.version, 2);
	assert_bytes_of(&w, 2, home);
	if (died) { /* a new one in its place: empty */
		change(&w, 9);
		assert_int_equal(round_with(&w, 5), 5);
		node_free(&w.node[1]);
		node_start(&w, 1);
		assert_int_equal(fab_net_attach(w.net, 1, ADDRESS[1], "", 0),
				 0);
		assert_int_equal(round_with(&w, ALL), ALL);
	}
	check_images(&w);
	free(home);
	world_close(&w);
	return died;
}

static void a_peer_dies_at_every_operation(void **state)
{
	uint64_t n = 1;

	while (peer_dies(n))
		n++;
	assert_in_range(n, 12, 17);
}

/* --- restore --- */

static void damage(struct world *w, uint32_t i)
{
	((char *)ckpt_image_bytes(w->node[i].img))[w->size - 1] ^= 4;
}

static void a_restore_takes_the_newest_that_is_whole(void **state)
{
	struct ckpt_restored out;
	struct world w;
	char *home;

	world_open(&w, BIG, 10);
	home = malloc(w.size);
	assert_int_equal(restore(&w, ALL, 0, home, &out), -ENODATA);
	for (unsigned i = 0; i < 3; i++) {
		noise(&w);
		round_with(&w, i < 2 ? ALL : 2); /* version 3: peer 1 alone */
	}
	assert_int_equal(restore(&w, ALL, 0, home, &out), 0);
	assert_int_equal(out.version, 3);
	assert_int_equal(out.refused, 0);
	damage(&w, 1);
	assert_int_equal(restore(&w, ALL, 0, home, &out), 0);
	assert_int_equal(out.version, 2);
	assert_int_equal(out.note, 2);
	assert_int_equal(out.refused, 1);
	assert_bytes_of(&w, 2, home);
	damage(&w, 0);
	damage(&w, 2);
	assert_int_equal(restore(&w, 4, 0, home, &out), 0); /* its older one */
	assert_int_equal(out.version, 1);
	assert_bytes_of(&w, 1, home);
	assert_int_equal(restore(&w, ALL, 2, home, &out), 0); /* peer 1's */
	assert_int_equal(out.version, 2);
	assert_int_equal(restore(&w, 4, 2, home, &out), -ENODATA);
	free(home);
	world_close(&w);
}

static void a_restore_without_peers_says_so(void **state)
{
	struct ckpt_restored out;
	struct world w;
	char *home;

	world_open(&w, SMALL, 11);
	home = malloc(w.size);
	noise(&w);
	round_with(&w, 3);
	kill_node(&w, 0);
	assert_int_equal(restore(&w, ALL, 0, home, &out), 0);
	assert_int_equal(out.version, 1);
	assert_bytes_of(&w, 1, home);
	kill_node(&w, 1);
	kill_node(&w, 2);
	assert_int_equal(restore(&w, ALL, 0, home, &out), -EHOSTDOWN);
	assert_int_equal(restore(&w, 0, 0, home, &out), -ENODATA);
	free(home);
	world_close(&w);
}

static void opening_survives_every_failed_allocation(void **state)
{
	static uint64_t live[CKPT_PIECE_WORDS];
	struct ckpt_round_opts o = {.live = live, .size = sizeof(live)};
	struct ckpt_restore_opts ro = {.to = live, .size = sizeof(live)};
	struct ckpt_round *r = NULL;
	struct ckpt_restore *re = NULL;
	int failed = -1, rc;

	do {
		fault_alloc(++failed);
		rc = ckpt_round_open(&o, &r);
		fault_alloc_off();
		assert_true(rc == 0 || (rc == -ENOMEM && r == NULL));
	} while (rc != 0);
	assert_int_equal(failed, 5);
	ckpt_round_close(r);
	failed = -1;
	do {
		fault_alloc(++failed);
		rc = ckpt_restore_open(&ro, &re);
		fault_alloc_off();
		assert_true(rc == 0 || (rc == -ENOMEM && re == NULL));
	} while (rc != 0);
	assert_int_equal(failed, 2);
	ckpt_restore_close(re);
	o.n_peers = CKPT_PEERS_MAX + 1;
	assert_int_equal(ckpt_round_open(&o, &r), -EINVAL);
	ro.size = 12;
	assert_int_equal(ckpt_restore_open(&ro, &re), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_owner_dies_at_every_remote_write),
		cmocka_unit_test(every_write_of_its_owner_is_torn),
		cmocka_unit_test(a_peer_dies_at_every_operation),
		cmocka_unit_test(a_restore_takes_the_newest_that_is_whole),
		cmocka_unit_test(a_restore_without_peers_says_so),
		cmocka_unit_test(opening_survives_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
