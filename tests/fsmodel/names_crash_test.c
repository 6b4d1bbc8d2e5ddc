/* What a crash at any change may leave, and what another mount may do at the
 * worst moment: names on the model of the store. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <semaphore.h>

#include "fs/fsck.h"
#include "fs/itable.h"
#include "fs/open.h"
#include "tests/fsmodel/mounts.h"

/* --- a crash at any change
 * ----------------------------------------------------------------- */

/* The scene: /f (2 links: /f and /d/f2), /g, /d with s in it, /e empty, /big
 * with leaves on two levels, emptied; a full leaf in /full; /m/x/q, /n/y/p. */
struct scene {
	uint64_t f, g, d, s, e, big, full;
	uint64_t m, x, q, n, y, p;
	unsigned next; /* name that does not fit into /full any more */
};

static void build_full(struct fs *fs, struct scene *sc)
{
	struct fs_spot spot;
	char name[256];

	memset(name, 'n', sizeof(name));
	do {
		snprintf(name + 200, 20, "%u", sc->next++);
		assert_int_equal(touch(fs, sc->full, name, NULL), 0);
		assert_int_equal(fs_trie_find(fs, sc->full, 0, &spot), 0);
	} while (spot.node.len + 300 < FS_LEAF_BYTES_MAX);
}

static void build(struct fs *fs, struct scene *sc)
{
	struct fs_inode in;

	memset(sc, 0, sizeof(*sc));
	assert_int_equal(touch(fs, ROOT, "f", &sc->f), 0);
	assert_int_equal(touch(fs, ROOT, "g", &sc->g), 0);
	assert_int_equal(mkdir_(fs, ROOT, "d", &sc->d), 0);
	assert_int_equal(mkdir_(fs, sc->d, "s", &sc->s), 0);
	assert_int_equal(fs_names_link(fs, sc->f, sc->d, "f2", &in), 0);
	assert_int_equal(mkdir_(fs, ROOT, "e", &sc->e), 0);
	assert_int_equal(mkdir_(fs, ROOT, "big", &sc->big), 0);
	many_make(fs, sc->big, 8);
	for (unsigned i = 0; i < MANY; i += 8)
		many_remove(fs, sc->big, i);
	assert_int_equal(mkdir_(fs, ROOT, "full", &sc->full), 0);
	build_full(fs, sc);
	assert_int_equal(mkdir_(fs, ROOT, "m", &sc->m), 0);
	assert_int_equal(mkdir_(fs, sc->m, "x", &sc->x), 0);
	assert_int_equal(mkdir_(fs, sc->x, "q", &sc->q), 0);
	assert_int_equal(mkdir_(fs, ROOT, "n", &sc->n), 0);
	assert_int_equal(mkdir_(fs, sc->n, "y", &sc->y), 0);
	assert_int_equal(mkdir_(fs, sc->y, "p", &sc->p), 0);
	fs_itable_settle_all(fs, 0);
}

typedef int act(struct fs *fs, struct scene *sc);

static int act_create(struct fs *fs, struct scene *sc)
{
	return touch(fs, ROOT, "new", NULL);
}

static int act_split(struct fs *fs, struct scene *sc)
{
	char name[256];

	memset(name, 'm', sizeof(name));
	name[255] = '\0';
	return mkdir_(fs, sc->full, name, NULL);
}

static int act_mkdir(struct fs *fs, struct scene *sc)
{
	return mkdir_(fs, sc->d, "new", NULL);
}

static int act_link(struct fs *fs, struct scene *sc)
{
	struct fs_inode in;

	return fs_names_link(fs, sc->g, sc->d, "g2", &in);
}

static int act_link_full(struct fs *fs, struct scene *sc)
{
	struct fs_inode in;
	char name[256];

	memset(name, 'l', sizeof(name));
	name[255] = '\0';
	return fs_names_link(fs, sc->g, sc->full, name, &in);
}

static int act_unlink(struct fs *fs, struct scene *sc)
{
	return fs_names_unlink(fs, ROOT, "g");
}

static int act_unlink_one(struct fs *fs, struct scene *sc)
{
	return fs_names_unlink(fs, ROOT, "f");
}

static int act_unlink_open(struct fs *fs, struct scene *sc)
{
	struct fuse_file_info fi = {.flags = O_RDONLY};
	int err = fs_open_file(fs, sc->g, &fi, false);

	if (err == 0)
		err = fs_names_unlink(fs, ROOT, "g");
	fs_open_release(fs, sc->g);
	return err;
}

static int act_rmdir(struct fs *fs, struct scene *sc)
{
	return fs_names_rmdir(fs, ROOT, "e");
}

static int act_rmdir_big(struct fs *fs, struct scene *sc)
{
	return fs_names_rmdir(fs, ROOT, "big");
}

static int act_rename(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, ROOT, "g", sc->d, "x", 0);
}

static int act_rename_over(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, ROOT, "f", ROOT, "g", 0);
}

static int act_rename_dir(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, sc->d, "s", sc->e, "x", 0);
}

static int act_rename_dir_over(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, sc->d, "s", ROOT, "big", 0);
}

static int act_exchange(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, sc->d, "s", ROOT, "g", RENAME_EXCHANGE);
}

static int act_exchange_dirs(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, sc->d, "s", ROOT, "full", RENAME_EXCHANGE);
}

static const struct {
	act *act;
	const char *name;
	uint64_t names_after; /* more or fewer than before, modulo 2^64 */
	bool again;	      /* once done, doing it again fails */
} acts[] = {
	{act_create, "create", 1, true},
	{act_split, "split", 1, true},
	{act_mkdir, "mkdir", 1, true},
	{act_link, "link", 1, true},
	{act_link_full, "link_full", 1, true},
	{act_unlink, "unlink", -1, true},
	{act_unlink_one, "unlink_one", -1, true},
	{act_unlink_open, "unlink_open", -1, true},
	{act_rmdir, "rmdir", -1, true},
	{act_rmdir_big, "rmdir_big", -1, true},
	{act_rename, "rename", 0, true},
	{act_rename_over, "rename_over", -1, true},
	{act_rename_dir, "rename_dir", 0, true},
	{act_rename_dir_over, "rename_dir_over", -1, true},
	{act_exchange, "exchange", 0, false},
	{act_exchange_dirs, "exchange_dirs", 0, false},
};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

/* One act with a crash at its n-th change, seen by the next mount: all or
 * nothing. Returns true if the crash was met. */
static bool crash_once(unsigned a, uint64_t n)
{
	struct mount m = mount_open();
	struct fs_tree before, after;
	uint64_t at;
	struct scene sc;
	int err;

	build(m.fs, &sc);
	before = sound(m.fs);
	at = kv_model_changes(m.kv);
	kv_model_crash_at(m.kv, n);
	err = acts[a].act(m.fs, &sc);
	at = kv_model_changes(m.kv) - at;
	mount_close(&m);
	m = mount_open();
	after = sound(m.fs);
	if (err == 0)
		assert_int_equal(after.names,
				 before.names + acts[a].names_after);
	else if (after.names != before.names)
		assert_int_equal(after.names,
				 before.names + acts[a].names_after);
	assert_in_range(after.lost_inodes, 0, 1);
	assert_in_range(after.lost_nodes, 0, 4);
	err = acts[a].act(m.fs, &sc); /* nothing is stuck */
	if (err != 0)
		assert_true(acts[a].again &&
			    (err == -EEXIST || err == -ENOENT));
	sound(m.fs);
	pool_drop(&m);
	return at >= n;
}

static void a_crash_at_any_change_leaves_all_or_nothing(void **state)
{
	for (unsigned a = 0; a < ACTS; a++) {
		uint64_t n = 0;

		while (crash_once(a, ++n))
			;
		assert_true(n > 1); /* it bit */
		print_message("%s: %llu changes\n", acts[a].name,
			      (unsigned long long)n - 1);
	}
}

/* fsck finds nothing but leaks after it, and nothing once it has mended. */
static void only_leaks(void *arg, const struct fs_fault *f)
{
	if (!f->leak)
		fail_msg("after a crash in %s: %s", (const char *)arg,
			 f->words);
}

static struct fs_fsck_sum checked(struct kv *kv, bool repair, unsigned a)
{
	struct fs_fsck_opts o = {.repair = repair,
				 .fault = only_leaks,
				 .arg = (void *)acts[a].name};
	struct fs_fsck_sum sum;

	assert_int_equal(fs_fsck(kv, &o, &sum), 0);
	return sum;
}

static bool crash_and_check(unsigned a, uint64_t n, uint64_t *leaks)
{
	struct kv_opts opts = {.pool = POOL};
	struct mount m = mount_open();
	struct scene sc;
	uint64_t at;

	build(m.fs, &sc);
	at = kv_model_changes(m.kv);
	kv_model_crash_at(m.kv, n);
	(void)acts[a].act(m.fs, &sc);
	at = kv_model_changes(m.kv) - at;
	mount_close(&m);
	assert_int_equal(kv_open(&opts, &m.kv), 0);
	*leaks += checked(m.kv, false, a).leaks;
	assert_int_equal(checked(m.kv, true, a).left, 0);
	assert_int_equal(checked(m.kv, false, a).found, 0);
	kv_close(m.kv);
	m = mount_open();
	sound_and_tight(m.fs);
	pool_drop(&m);
	return at >= n;
}

static void what_a_crash_leaves_is_what_fsck_takes_away(void **state)
{
	uint64_t leaks = 0;

	for (unsigned a = 0; a < ACTS; a++)
		for (uint64_t n = 1; crash_and_check(a, n, &leaks); n++)
			;
	assert_true(leaks > ACTS); /* it did find some */
}

/* --- no space
 * ----------------------------------------------------------------------------------
 */

static void a_full_pool_says_so_and_lets_go(void **state)
{
	struct mount m = mount_open();
	struct fs_tree t;
	struct scene sc;

	build(m.fs, &sc);
	kv_model_limit(m.kv, kv_model_keys(m.kv));
	assert_int_equal(act_create(m.fs, &sc), -ENOSPC);
	assert_int_equal(act_mkdir(m.fs, &sc), -ENOSPC);
	assert_int_equal(act_split(m.fs, &sc), -ENOSPC);
	assert_int_equal(act_link_full(m.fs, &sc), -ENOSPC);
	assert_int_equal(sound(m.fs).high_links, 0);
	assert_int_equal(act_unlink_open(m.fs, &sc), 0);
	assert_int_equal(act_rename_over(m.fs, &sc), 0);
	assert_int_equal(act_rmdir_big(m.fs, &sc), 0);
	assert_int_equal(act_create(m.fs, &sc), 0); /* there is room again */
	t = sound(m.fs);
	assert_int_equal(t.lost_inodes, 0);
	assert_int_equal(t.lost_nodes, 0);
	pool_drop(&m);
}

/* --- another mount, at the worst moment
 * ----------------------------------------------------------- */

struct meddler {
	struct mount m;
	act *act;
	struct scene *sc;
	int err;
	bool done;
};

static void meddle(void *arg)
{
	struct meddler *me = arg;

	me->err = me->act(me->m.fs, me->sc);
	me->done = true;
}

static int act_fill_e(struct fs *fs, struct scene *sc)
{
	return touch(fs, sc->e, "x", NULL);
}

static int act_fill_big(struct fs *fs, struct scene *sc)
{
	return touch(fs, sc->big, "4711", NULL);
}

static int act_fill_s(struct fs *fs, struct scene *sc)
{
	return touch(fs, sc->s, "x", NULL);
}

static int act_move_d_into_e(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, ROOT, "d", sc->e, "d", 0);
}

static int act_move_e_into_s(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, ROOT, "e", sc->s, "e", 0);
}

/* No key is in both of these but the count of moves. */
static int act_move_x_into_p(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, sc->m, "x", sc->p, "x", 0);
}

static int act_move_y_into_q(struct fs *fs, struct scene *sc)
{
	return fs_names_rename(fs, sc->n, "y", sc->q, "y", 0);
}

static int act_fill_full(struct fs *fs, struct scene *sc)
{
	char name[256];

	memset(name, 'k', sizeof(name));
	name[255] = '\0';
	return touch(fs, sc->full, name, NULL);
}

/* Pairs of which one wins, or both do, or it depends on the moment. */
enum outcome { ONE, BOTH, EITHER };
static const struct {
	act *mine, *theirs;
	enum outcome outcome;
} duels[] = {
	{act_rmdir, act_fill_e, ONE},
	{act_rmdir_big, act_fill_big, ONE},
	{act_rename_dir_over, act_fill_big, ONE},
	{act_move_d_into_e, act_move_e_into_s, ONE},
	{act_move_x_into_p, act_move_y_into_q, ONE},
	{act_rename_over, act_unlink, EITHER},
	{act_create, act_create, ONE},
	{act_rmdir_big, act_rmdir_big, ONE},
	{act_split, act_split, ONE},
	{act_split, act_fill_full, BOTH},
	{act_link, act_unlink, EITHER},
	{act_rename_dir, act_fill_s, BOTH},
	{act_mkdir, act_rename_dir, BOTH},
};
#define DUELS (sizeof(duels) / sizeof(duels[0]))

static bool duel_once(unsigned i, uint64_t n)
{
	struct mount m = mount_open();
	struct scene sc;
	struct meddler me = {.act = duels[i].theirs, .sc = &sc};
	int err;

	build(m.fs, &sc);
	me.m = mount_open();
	kv_model_meddle_at(m.kv, n, meddle, &me);
	err = duels[i].mine(m.fs, &sc);
	kv_model_meddle_at(m.kv, 0, NULL, NULL);
	if (me.done) {
		assert_true(err == 0 || me.err == 0);
		if (duels[i].outcome == BOTH)
			assert_true(err == 0 && me.err == 0);
		if (duels[i].outcome == ONE)
			assert_true(err != 0 || me.err != 0);
	}
	fs_itable_settle_all(m.fs, 0);
	mount_close(&me.m);
	sound_and_tight(m.fs);
	pool_drop(&m);
	return me.done;
}

static void another_mount_at_any_change_does_no_harm(void **state)
{
	for (unsigned i = 0; i < DUELS; i++) {
		uint64_t n = 0;

		while (duel_once(i, ++n))
			;
		assert_true(n > 1);
	}
}

/* --- a leaf that was left for dead
 * ---------------------------------------------- */

static unsigned fill_name; /* which name act_fill_nth() takes */

static int act_fill_nth(struct fs *fs, struct scene *sc)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", fill_name);
	return touch(fs, sc->big, name, NULL);
}

/* A mount dies in its @k-th change of rmdir /big. Then one fills it, and at
 * its @n-th change another removes it: a name that was made is not lost. */
static bool dead_once(uint64_t k, uint64_t n)
{
	struct mount m = mount_open();
	struct scene sc;
	struct meddler me = {.act = act_rmdir_big, .sc = &sc};
	int err;

	build(m.fs, &sc);
	kv_model_crash_at(m.kv, k);
	err = act_rmdir_big(m.fs, &sc);
	mount_close(&m);
	m = mount_open();
	me.m = mount_open();
	kv_model_meddle_at(m.kv, n, meddle, &me);
	if (err != 0)
		err = act_fill_nth(m.fs, &sc);
	kv_model_meddle_at(m.kv, 0, NULL, NULL);
	if (me.done)
		assert_true((err == 0) != (me.err == 0));
	mount_close(&me.m);
	sound(m.fs);
	pool_drop(&m);
	return me.done;
}

static void a_dead_leaf_is_revived_or_buried_never_both(void **state)
{
	unsigned met = 0;

	for (fill_name = 0; fill_name < 6; fill_name++)
		for (uint64_t k = 1; k < 20; k++)
			for (uint64_t n = 1; dead_once(k, n); n++)
				met += n > 2; /* changes that revive */
	assert_true(met > 0);
}

/* The same with both half-way: the one who fills stops before its @r-th change
 * and goes on at the @n-th of the one who removes. */
struct halfway {
	struct mount m;
	struct scene *sc;
	pthread_t thread;
	sem_t stopped, go, ended;
	bool resumed;
	int err;
};

static void stop_here(void *arg)
{
	struct halfway *h = arg;

	sem_post(&h->stopped);
	sem_wait(&h->go);
}

static void resume(void *arg)
{
	struct halfway *h = arg;

	h->resumed = true;
	sem_post(&h->go);
	sem_wait(&h->ended);
}

static void *fill_thread(void *arg)
{
	struct halfway *h = arg;

	h->err = act_fill_nth(h->m.fs, h->sc);
	sem_post(&h->stopped); /* if it never stopped */
	sem_post(&h->ended);
	return NULL;
}

static void die_in_rmdir_big(struct scene *sc, uint64_t k)
{
	struct mount m = mount_open();

	build(m.fs, sc);
	kv_model_crash_at(m.kv, k);
	(void)act_rmdir_big(m.fs, sc);
	mount_close(&m);
}

static bool halfway_once(uint64_t k, uint64_t r, uint64_t n)
{
	struct scene sc;
	struct halfway h = {.sc = &sc};
	struct mount m;
	int err;

	die_in_rmdir_big(&sc, k);
	sem_init(&h.stopped, 0, 0);
	sem_init(&h.go, 0, 0);
	sem_init(&h.ended, 0, 0);
	m = mount_open();
	h.m = mount_open();
	kv_model_meddle_at(h.m.kv, r, stop_here, &h);
	pthread_create(&h.thread, NULL, fill_thread, &h);
	sem_wait(&h.stopped);
	kv_model_meddle_at(m.kv, n, resume, &h);
	err = act_rmdir_big(m.fs, &sc);
	kv_model_meddle_at(m.kv, 0, NULL, NULL);
	sem_post(&h.go);
	pthread_join(h.thread, NULL);
	assert_true((err == 0) != (h.err == 0));
	mount_close(&h.m);
	sound(m.fs);
	pool_drop(&m);
	return h.resumed;
}

static void a_revival_and_a_burial_interleaved_lose_nothing(void **state)
{
	unsigned met = 0;

	for (fill_name = 0; fill_name < 4; fill_name++)
		for (uint64_t k = 2; k < 10; k += 2)
			for (uint64_t r = 1; r < 6; r++)
				for (uint64_t n = 1; halfway_once(k, r, n); n++)
					met++;
	assert_true(met > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_at_any_change_leaves_all_or_nothing),
		cmocka_unit_test(what_a_crash_leaves_is_what_fsck_takes_away),
		cmocka_unit_test(a_full_pool_says_so_and_lets_go),
		cmocka_unit_test(another_mount_at_any_change_does_no_harm),
		cmocka_unit_test(a_dead_leaf_is_revived_or_buried_never_both),
		cmocka_unit_test(
			a_revival_and_a_burial_interleaved_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
