/* tests/sim/fs_seeds_test.c - two or three mounts of one pool at work, without
 * a kernel, while nodes and mounts die, from many seeds. Each mount has a
 * directory of its own, of which every answer and at the end every byte can be
 * foretold, and all share three directories, of which is known how many names
 * there must be. Afterwards another mount looks: the tree is sound, what was
 * acknowledged is there, and a rename shows neither both names nor none.
 *
 * SEEDS=n tries that many; `fs_seeds_test SEED [LAST]` runs some alone. */
#include <errno.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/names.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/fs_own.h"
#include "tests/lib/fs_tree.h"
#include "tests/lib/seeds.h"
#include "tests/lib/sim.h"

#define MOUNTS_MAX 3u
#define ROUNDS	   40u
#define SHARED	   3u /* directories */
#define TIMEOUT_MS 1000u
#define MS	   UINT64_C(1000000)

static struct seeds seeds;

static struct {
	uint64_t nodes, mounts, shared;
} met;

struct mount {
	struct world *w;
	struct kv *kv;
	struct fs *fs;
	uint32_t id;
	bool dead, ended;
	int32_t by; /* names that its shared act under way adds */
	struct fs_own_pair own;
};

struct world {
	struct cluster *c;
	struct sim *s;
	uint32_t mounts, running, down;
	uint64_t dir[SHARED];
	/* names that must be in the shared directories, at least and at most */
	int32_t least, most;
	bool some_died;
	struct mount mount[MOUNTS_MAX];
};

static struct fs *open_fs(struct kv *kv)
{
	struct fs_opts o = {.attr_timeout = -1,
			    .entry_timeout = -1,
			    .negative_timeout = -1};
	struct fs *fs;

	assert_int_equal(fs_open(kv, &o, &fs), 0);
	return fs;
}

/* --- the directories that all share
 * ------------------------------------------- */

struct spot {
	uint64_t dir;
	char name[16];
};

static struct spot somewhere(struct world *w)
{
	struct spot s = {.dir = w->dir[sim_dice(w->s, SHARED)]};

	snprintf(s.name, sizeof(s.name), "n%u", (unsigned)sim_dice(w->s, 6));
	return s;
}

/* Mount @m dies: what it has under way may have taken place, or yet may. */
static void count_open(struct mount *m)
{
	m->w->least += m->by < 0 ? m->by : 0;
	m->w->most += m->by > 0 ? m->by : 0;
}

/* An act that adds @m->by names if it succeeds: count it when it is known. */
static void count(struct mount *m, int rc)
{
	if (!m->dead && rc == 0) {
		m->w->least += m->by;
		m->w->most += m->by;
	} else if (!m->dead && rc != -EEXIST && rc != -ENOENT) {
		fail_msg("mount %u: %s", m->id, strerror(-rc));
	}
	m->by = 0;
	met.shared++;
}

static void shared_act(struct mount *m)
{
	struct spot a = somewhere(m->w), b = somewhere(m->w);
	struct fs_make how = {.mode = S_IFREG | 0600};
	struct fs_inode in;
	bool same = a.dir == b.dir && strcmp(a.name, b.name) == 0;

	switch (sim_dice(m->w->s, 6)) {
	case 0:
	case 1:
		m->by = 1;
		count(m, fs_names_make(m->fs, a.dir, a.name, &how, &in));
		break;
	case 2:
		m->by = -1;
		count(m, fs_names_unlink(m->fs, a.dir, a.name));
		break;
	case 3:
		if (!same)
			count(m, fs_names_rename(m->fs, a.dir, a.name, b.dir,
						 b.name, RENAME_EXCHANGE));
		break;
	default:
		if (!same)
			count(m, fs_names_rename(m->fs, a.dir, a.name, b.dir,
						 b.name, RENAME_NOREPLACE));
	}
}

static int one_more(void *arg, const struct fs_dentry *d, uint64_t cookie)
{
	(*(int32_t *)arg)++;
	return 0;
}

static void check_shared(struct world *w, struct fs *fs)
{
	int32_t n = 0;

	for (uint32_t i = 0; i < SHARED; i++)
		assert_int_equal(fs_dentry_list(fs, w->dir[i], 0, one_more, &n),
				 0);
	if (n < w->least || n > w->most)
		fail_msg("%d names, must be %d to %d", n, w->least, w->most);
}

/* --- a mount
 * ------------------------------------------------------------------------ */

static void own_act(struct mount *m)
{
	char why[160];
	int rc = fs_own_act(m->fs, &m->own, why);

	if (!m->dead && rc != 0)
		fail_msg("mount %u: %s", m->id, why);
}

static void mount_main(void *arg)
{
	struct mount *m = arg;

	for (uint32_t i = 0; i < ROUNDS && !m->dead; i++) {
		if (sim_dice(m->w->s, 3) == 0)
			shared_act(m);
		else
			own_act(m);
		if (!m->dead)
			sim_pause(m->w->s, sim_dice(m->w->s, MS / 2));
	}
	m->ended = true;
	if (!m->dead)
		m->w->running--;
}

static void kill_mount(struct world *w)
{
	struct mount *m = &w->mount[1 + sim_dice(w->s, w->mounts - 1)];

	if (m->dead || m->ended)
		return;
	m->dead = w->some_died = true;
	count_open(m);
	w->running--;
	cluster_client_kill(w->c, m->kv);
	met.mounts++;
}

static void fate_main(void *arg)
{
	struct world *w = arg;
	uint32_t n = (uint32_t)sim_dice(w->s, 5);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t id = (uint32_t)sim_dice(w->s, 5);

		sim_pause(w->s, sim_dice(w->s, ROUNDS * MS / 4));
		if (sim_dice(w->s, 3) == 0) {
			kill_mount(w);
		} else if (w->down < 2 && cluster_node(w->c, id) != NULL) {
			cluster_kill_node(w->c, id);
			w->down++;
			met.nodes++;
		}
	}
}

/* --- a seed
 * ---------------------------------------------------------------------------
 */

static void check_own(const struct mount *m, struct fs *fs)
{
	const struct fs_own_pair *o = &m->own;
	char why[160], why2[160];

	if (fs_own_holds(fs, &o->now, m->dead ? &o->before : NULL, why))
		return;
	if (m->dead && fs_own_holds(fs, &o->before, &o->now, why2))
		return;
	fail_msg("own directory of %smount %u: %s; %s", m->dead ? "dead " : "",
		 m->id, why, m->dead ? why2 : "");
}

static void check_all(struct world *w, struct fs *fs)
{
	struct fs_tree t;

	if (fs_tree_check(fs, &t) != 0)
		fail_msg("the tree is not sound: %s", t.fault);
	if (!w->some_died)
		assert_int_equal(t.lost_inodes + t.lost_nodes + t.high_links,
				 0);
	check_shared(w, fs);
	for (uint32_t i = 0; i < w->mounts; i++)
		check_own(&w->mount[i], fs);
}

static void start(struct world *w)
{
	struct fs_make how = {.mode = S_IFDIR | 0755};
	struct fs_inode in;
	char name[16];

	for (uint32_t i = 0; i < w->mounts; i++) {
		struct mount *m = &w->mount[i];

		m->w = w;
		m->id = i;
		m->kv = cluster_client(w->c);
		m->fs = open_fs(m->kv);
		snprintf(name, sizeof(name), "own%u", i);
		assert_int_equal(fs_own_make(m->fs, name,
					     sim_dice(w->s, UINT32_MAX),
					     &m->own),
				 0);
	}
	for (uint32_t i = 0; i < SHARED; i++) {
		snprintf(name, sizeof(name), "all%u", i);
		assert_int_equal(fs_names_make(w->mount[0].fs, FS_ROOT_INO,
					       name, &how, &in),
				 0);
		w->dir[i] = in.ino;
	}
}

static void body(struct cluster *c, void *arg)
{
	struct world *w = arg;
	struct kv *kv;
	struct fs *fs;

	w->c = c;
	w->s = cluster_sim(c);
	w->mounts = 2 + (uint32_t)sim_dice(w->s, MOUNTS_MAX - 1);
	start(w);
	w->running = w->mounts;
	for (uint32_t i = 0; i < w->mounts; i++)
		cluster_spawn(c, mount_main, &w->mount[i]);
	cluster_spawn(c, fate_main, w);
	while (w->running > 0)
		cluster_sleep(c, MS / 10);
	kv = cluster_client(c);
	fs = open_fs(kv);
	check_all(w, fs);
	cluster_settle(c);
	check_all(w, fs);
	cluster_join(c);
	for (uint32_t i = 0; i < w->mounts; i++)
		fs_close(w->mount[i].fs);
	cluster_settle(c);
	check_all(w, fs);
	cluster_check(c, kv, w->some_died);
	fs_close(fs);
}

static void run_seed(uint64_t seed)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .usable = 16u << 20,
				 .op_timeout_ms = TIMEOUT_MS,
				 .ckpt_ms = (uint32_t)seed % 3 * 10,
				 .rest_ms = cluster_rest_ms(seed)};
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	seeds_tell(seed);
	cluster_run(&o, body, w);
	free(w);
}

static void mounts_at_work(void **state)
{
	memset(&met, 0, sizeof(met));
	for (uint64_t seed = seeds.first; seed <= seeds.last; seed++)
		run_seed(seed);
	print_message("%llu shared acts; died: %llu nodes, %llu mounts\n",
		      (unsigned long long)met.shared,
		      (unsigned long long)met.nodes,
		      (unsigned long long)met.mounts);
	if (seeds_are_many(seeds))
		assert_true(met.nodes > 8 && met.mounts > 3 &&
			    met.shared > 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_at_work),
	};

	seeds = seeds_of(argc, argv, 40);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
