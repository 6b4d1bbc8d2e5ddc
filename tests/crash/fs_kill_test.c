/* tests/crash/fs_kill_test.c - for each thing that a file system does (make,
 * unlink, link, rename in all its kinds, truncate, write, many at once,
 *vacate), for each node and the mount itself, for n = 1, 2, ...: it dies just
 *before the mount's n-th remote operation. Then pairs of them. A mount that
 *lives gets the answer that was foretold; what another mount finds afterwards
 *is that, or, if it died, what was before or what was to be; the tree is sound,
 *the nodes' memory too.
 *
 * Moments are taken in steps, but for EVERY=1; pairs are samples, SAMPLES=n.
 *
 *	fs_kill_test KIND SEED WHO N [WHO M]: one alone; WHO 5: the mount */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fs/fs_impl.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/effort.h"
#include "tests/lib/fs_own.h"
#include "tests/lib/fs_tree.h"
#include "tests/lib/sim.h"

#define NODES	   5u
#define MOUNT	   NODES /* as a victim */
#define STEP	   19u
#define TIMEOUT_MS 1000u
#define REST_NS	   (20 * MS)
#define MS	   UINT64_C(1000000)

static const char *const kind_name[FS_OWN_KINDS] = {
	"make",	    "mkdir", "unlink", "rmdir", "link", "rename", "replace",
	"exchange", "cut",   "grow",   "write", "fill", "many",	  "vacate",
};

struct blow {
	uint32_t who, n;
	bool hit;
};

struct play {
	struct cluster *c;
	struct sim *sim;
	enum fs_own_kind kind;
	struct kv *kv;
	struct fab_net *net;
	struct fs *fs;
	struct fs_own_pair own;
	struct blow *blow;
	uint32_t blows, at, count;
	bool company, acted, dead;
};

/* --- blows ---------------------------------------------------------------- */

static void strike(struct play *y, struct blow *b)
{
	b->hit = true;
	y->at++;
	y->count = 0;
	if (b->who == MOUNT) {
		y->dead = true;
		cluster_client_kill(y->c, y->kv);
	} else {
		cluster_kill_node(y->c, b->who);
	}
}

/* The first counts the mount's operations, the second everybody's. */
static void on_effect(void *arg, struct fab_net *net)
{
	struct play *y = arg;

	if (y->at == y->blows || (y->at == 0 && net != y->net))
		return;
	if (++y->count >= y->blow[y->at].n)
		strike(y, &y->blow[y->at]);
}

/* --- a play --------------------------------------------------------------- */

static struct fs *open_fs(struct kv *kv)
{
	struct fs_opts o = {.attr_timeout = -1,
			    .entry_timeout = -1,
			    .negative_timeout = -1};
	struct fs *fs;

	assert_int_equal(fs_open(kv, &o, &fs), 0);
	return fs;
}

/* Files with bytes, links, directories; each kind of act finds what it needs.
 */
static void prepare(struct play *y)
{
	static const enum fs_own_kind kind[] = {
		FS_OWN_MAKE, FS_OWN_MAKE, FS_OWN_FILL,	FS_OWN_MKDIR,
		FS_OWN_MAKE, FS_OWN_LINK, FS_OWN_WRITE, FS_OWN_WRITE,
		FS_OWN_FILL, FS_OWN_CUT,
	};
	char why[160];

	assert_int_equal(fs_own_make(y->fs, "own", sim_dice(y->sim, UINT32_MAX),
				     &y->own),
			 0);
	for (uint32_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++)
		if (fs_own_do(y->fs, &y->own, kind[i], why) != 0)
			fail_msg("%s: %s", kind_name[kind[i]], why);
}

static void act(void *arg)
{
	struct play *y = arg;
	char why[160];
	int rc = fs_own_do(y->fs, &y->own, y->kind, why);

	if (rc != 0 && !y->dead)
		fail_msg("%s: %s", kind_name[y->kind], why);
	y->acted = true;
}

static void look(struct play *y, struct fs *fs)
{
	const struct fs_own_pair *o = &y->own;
	char why[160], why2[160] = "";
	struct fs_tree t;

	if (fs_tree_check(fs, &t) != 0)
		fail_msg("the tree is not sound: %s", t.fault);
	if (!y->dead)
		assert_int_equal(t.lost_inodes + t.lost_nodes + t.high_links,
				 0);
	if (fs_own_holds(fs, &o->now, y->dead ? &o->before : NULL, why))
		return;
	if (!y->dead || !fs_own_holds(fs, &o->before, &o->now, why2))
		fail_msg("%s: %s; %s", kind_name[y->kind], why, why2);
}

static void look_around(struct play *y)
{
	struct kv *kv = cluster_client(y->c);
	struct fs *fs = open_fs(kv);

	look(y, fs);
	cluster_settle(y->c);
	look(y, fs);
	sim_on_effect(y->sim, NULL, NULL);
	cluster_join(y->c);
	fs_close(y->fs);
	cluster_settle(y->c);
	look(y, fs);
	fs_close(fs);
	cluster_sleep(y->c, REST_NS);
	cluster_check(y->c, kv, y->dead);
}

static void body(struct cluster *c, void *arg)
{
	struct play *y = arg;

	y->c = c;
	y->sim = cluster_sim(c);
	y->kv = cluster_client(c);
	y->net = cluster_client_net(c, y->kv);
	y->fs = open_fs(y->kv);
	prepare(y);
	if (y->company)
		cluster_client(c);
	while (y->company && kv_clients(y->kv) < 2)
		cluster_sleep(c, MS / 100);
	sim_on_effect(y->sim, on_effect, y);
	cluster_spawn(c, act, y);
	while (!y->acted && !y->dead)
		cluster_sleep(c, MS / 100);
	if (y->at == 0)
		sim_on_effect(y->sim, NULL, NULL); /* it is over */
	look_around(y);
}

static void play(enum fs_own_kind kind, uint64_t seed, struct blow *blow,
		 uint32_t blows)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .usable = 8u << 20,
				 .slots = 1024,
				 .op_timeout_ms = TIMEOUT_MS,
				 .clients = 4,
				 .ckpt_ms = (uint32_t)seed % 3};
	struct play *y = calloc(1, sizeof(*y));

	assert_non_null(y);
	y->kind = kind;
	y->company = seed % 2 == 0;
	y->blow = blow;
	y->blows = blows;
	cluster_run(&o, body, y);
	free(y);
}

/* --- all moments ---------------------------------------------------------- */

static const char *victim(uint32_t who)
{
	static const char *const name[] = {"node 0", "node 1", "node 2",
					   "node 3", "node 4", "the mount"};

	return name[who];
}

static uint32_t step(void)
{
	if (getenv("EVERY") != NULL)
		return 1;
	return effort_is_whole() ? STEP : 5 * STEP;
}

/* Until the act ends before the blow comes. */
static uint32_t every_moment(enum fs_own_kind kind, uint32_t who)
{
	struct blow b = {.who = who, .hit = true};
	uint32_t hits = 0;

	for (b.n = 1 + (who * 5 + kind) % step(); b.hit; b.n += step()) {
		b.hit = false;
		fprintf(stderr, "%s: seed %u, %s at %u\n", kind_name[kind],
			1 + b.n, victim(who), b.n);
		play(kind, 1 + b.n, &b, 1);
		hits += b.hit;
	}
	return hits;
}

static void somebody_dies(void **state)
{
	enum fs_own_kind kind = (enum fs_own_kind)(uintptr_t)*state;
	uint32_t hits = 0;

	for (uint32_t who = 0; who <= MOUNT; who++)
		hits += every_moment(kind, who);
	assert_true(hits >= 1);
}

/* --- pairs, samples ------------------------------------------------------- */

static uint32_t samples;

static uint32_t roll(uint64_t *dice, uint32_t n)
{
	*dice = *dice * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(*dice >> 33) % n;
}

static void two_die(void **state)
{
	enum fs_own_kind kind = (enum fs_own_kind)(uintptr_t)*state;

	for (uint32_t i = 0; i < samples; i++) {
		uint64_t dice = 1 + i + kind * 1000;
		struct blow b[2] = {{.who = roll(&dice, NODES + 1)}};

		b[0].n = 1 + roll(&dice, 30);
		b[1].who = (b[0].who + 1 + roll(&dice, NODES)) % (NODES + 1);
		b[1].n = 1 + roll(&dice, 1u << (3 + roll(&dice, 8)));
		fprintf(stderr, "%s: seed %u, %s at %u, %s after %u\n",
			kind_name[kind], 1 + i, victim(b[0].who), b[0].n,
			victim(b[1].who), b[1].n);
		play(kind, 1 + i, b, 2);
	}
}

/* --- which ---------------------------------------------------------------- */

static int play_one(int argc, char **argv)
{
	struct blow b[2] = {{.n = 0}, {.n = 0}};

	for (int i = 0; i < 2 && argc > 4 + 2 * i; i++) {
		b[i].who = (uint32_t)atoi(argv[3 + 2 * i]);
		b[i].n = (uint32_t)atoi(argv[4 + 2 * i]);
	}
	for (uint32_t k = 0; k < FS_OWN_KINDS; k++)
		if (strcmp(kind_name[k], argv[1]) == 0)
			play(k, strtoull(argv[2], NULL, 0), b,
			     argc > 6 ? 2 : 1);
	return 0;
}

static int run_all(const char *name, void (*test)(void **state))
{
	struct CMUnitTest tests[FS_OWN_KINDS];

	for (uint32_t i = 0; i < FS_OWN_KINDS; i++)
		tests[i] = (struct CMUnitTest){
			.name = kind_name[i],
			.test_func = test,
			.initial_state = (void *)(uintptr_t)i,
		};
	return _cmocka_run_group_tests(name, tests, FS_OWN_KINDS, NULL, NULL);
}

int main(int argc, char **argv)
{
	const char *n = getenv("SAMPLES");

	samples = (uint32_t)effort(8);
	if (n != NULL)
		samples = (uint32_t)atoi(n);
	if (argc >= 5)
		return play_one(argc, argv);
	return run_all("somebody dies", somebody_dies) +
	       run_all("two die", two_die);
}
