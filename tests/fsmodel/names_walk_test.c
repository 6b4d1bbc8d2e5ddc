/* A long random walk of names on two mounts of one pool, beside a tree that is
 * obviously right; then four threads on two mounts at once, after which the
 * tree must be sound. The seed is printed; ACESO_SEED=n repeats a run,
 * ACESO_STEPS=n makes it longer. */
#include <errno.h>
#include <linux/fs.h>
#include <pthread.h>

#include "fs/itable.h"
#include "fs/orphan.h"
#include "tests/fsmodel/mounts.h"

#define DIRS_MAX 24 /* in the model, root included; removed ones count */
#define NAMES	 10 /* few, so that they meet */
#define STEPS	 6000

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value != NULL ? strtoull(value, NULL, 10) : otherwise;
}

/* --- the tree that is obviously right
 * --------------------------------------------- */

struct entry {
	bool used;
	uint64_t ino;
	bool is_dir;
};

struct dir {
	bool alive;
	uint64_t ino, parent;
	struct entry entry[NAMES];
};

struct tree {
	struct dir dir[DIRS_MAX];
	unsigned dirs; /* ever made; dir[0] is the root */
};

static struct dir *dir_of(struct tree *t, uint64_t ino)
{
	for (unsigned i = 0; i < t->dirs; i++)
		if (t->dir[i].alive && t->dir[i].ino == ino)
			return &t->dir[i];
	return NULL;
}

static bool dir_is_empty(const struct dir *d)
{
	for (unsigned i = 0; i < NAMES; i++)
		if (d->entry[i].used)
			return false;
	return true;
}

/* Is @ino @at or above it? */
static bool is_above(struct tree *t, uint64_t ino, uint64_t at)
{
	while (at != ino && at != ROOT)
		at = dir_of(t, at)->parent;
	return at == ino;
}

static int tree_make(struct tree *t, struct dir *d, unsigned n, bool is_dir)
{
	if (d->entry[n].used)
		return -EEXIST;
	d->entry[n] = (struct entry){.used = true, .is_dir = is_dir};
	return 0;
}

static int tree_remove(struct tree *t, struct dir *d, unsigned n, bool rmdir)
{
	struct entry *e = &d->entry[n];

	if (!e->used)
		return -ENOENT;
	if (rmdir && !e->is_dir)
		return -ENOTDIR;
	if (!rmdir && e->is_dir)
		return -EISDIR;
	if (e->is_dir && !dir_is_empty(dir_of(t, e->ino)))
		return -ENOTEMPTY;
	if (e->is_dir)
		dir_of(t, e->ino)->alive = false;
	e->used = false;
	return 0;
}

static int tree_link(struct tree *t, const struct entry *from, struct dir *d,
		     unsigned n)
{
	if (d->entry[n].used)
		return -EEXIST;
	if (from->is_dir)
		return -EPERM;
	d->entry[n] = *from;
	return 0;
}

static int tree_may_rename(struct tree *t, const struct dir *a,
			   const struct entry *from, const struct dir *b,
			   const struct entry *to, unsigned flags)
{
	if (!from->used)
		return -ENOENT;
	if (flags == RENAME_EXCHANGE && !to->used)
		return -ENOENT;
	if (flags == RENAME_NOREPLACE && to->used)
		return -EEXIST;
	if (to->used && to->ino == from->ino)
		return 1;
	if (to->used && flags != RENAME_EXCHANGE && to->is_dir != from->is_dir)
		return to->is_dir ? -EISDIR : -ENOTDIR;
	if (a != b && from->is_dir && is_above(t, from->ino, b->ino))
		return -EINVAL;
	if (flags == RENAME_EXCHANGE && a != b && to->is_dir &&
	    is_above(t, to->ino, a->ino))
		return -EINVAL;
	if (flags != RENAME_EXCHANGE && to->used && to->is_dir &&
	    !dir_is_empty(dir_of(t, to->ino)))
		return -ENOTEMPTY;
	return 0;
}

static int tree_rename(struct tree *t, struct dir *a, unsigned i, struct dir *b,
		       unsigned j, unsigned flags)
{
	struct entry from = a->entry[i], to = b->entry[j];
	int err = tree_may_rename(t, a, &from, b, &to, flags);

	if (err != 0)
		return err > 0 ? 0 : err;
	if (flags == RENAME_EXCHANGE) {
		a->entry[i] = to;
		if (to.is_dir)
			dir_of(t, to.ino)->parent = a->ino;
	} else {
		a->entry[i].used = false;
		if (to.used && to.is_dir)
			dir_of(t, to.ino)->alive = false;
	}
	b->entry[j] = from;
	if (from.is_dir)
		dir_of(t, from.ino)->parent = b->ino;
	return 0;
}

/* --- comparing
 * ----------------------------------------------------------------------- */

static void compare_dir(struct fs *fs, struct tree *t, const struct dir *d)
{
	for (unsigned n = 0; n < NAMES; n++) {
		char name[2] = {'a' + n, '\0'};
		uint64_t ino = 0;
		int err = look(fs, d->ino, name, &ino);

		if (d->entry[n].used != (err == 0))
			fail_msg("name %s in %llx: %d", name,
				 (unsigned long long)d->ino, err);
		if (err == 0)
			assert_int_equal(ino, d->entry[n].ino);
	}
}

static void compare(struct fs *fs, struct tree *t)
{
	for (unsigned i = 0; i < t->dirs; i++)
		if (t->dir[i].alive)
			compare_dir(fs, t, &t->dir[i]);
	sound_and_tight(fs);
}

/* --- walking
 * ---------------------------------------------------------------------------
 */

struct pick {
	struct dir *a, *b;
	unsigned i, j;
	char from[2], to[2];
};

static struct dir *pick_dir(struct tree *t, unsigned *seed)
{
	struct dir *d;

	do
		d = &t->dir[rand_r(seed) % t->dirs];
	while (!d->alive);
	return d;
}

static struct pick pick(struct tree *t, unsigned *seed)
{
	struct pick p = {.a = pick_dir(t, seed),
			 .b = pick_dir(t, seed),
			 .i = rand_r(seed) % NAMES,
			 .j = rand_r(seed) % NAMES};

	p.from[0] = 'a' + p.i;
	p.to[0] = 'a' + p.j;
	return p;
}

static void step_make(struct fs *fs, struct tree *t, struct pick p, bool is_dir)
{
	struct entry *e = &p.a->entry[p.i];
	int want = tree_make(t, p.a, p.i, is_dir);
	uint64_t ino;

	assert_int_equal(is_dir ? mkdir_(fs, p.a->ino, p.from, &ino)
				: touch(fs, p.a->ino, p.from, &ino),
			 want);
	if (want != 0)
		return;
	e->ino = ino;
	if (is_dir)
		t->dir[t->dirs++] = (struct dir){
			.alive = true, .ino = ino, .parent = p.a->ino};
}

static void step_link(struct fs *fs, struct tree *t, struct pick p)
{
	const struct entry *from = &p.a->entry[p.i];
	struct fs_inode in;

	if (!from->used)
		return;
	assert_int_equal(fs_names_link(fs, from->ino, p.b->ino, p.to, &in),
			 tree_link(t, from, p.b, p.j));
}

static void step_rename(struct fs *fs, struct tree *t, struct pick p,
			unsigned flags)
{
	int want = tree_rename(t, p.a, p.i, p.b, p.j, flags);
	int err = fs_names_rename(fs, p.a->ino, p.from, p.b->ino, p.to, flags);

	/* of two reasons against it either may be given */
	if (want == -ENOTEMPTY && err == -EINVAL)
		return;
	assert_int_equal(err, want);
}

static void step(struct fs *fs, struct tree *t, unsigned *seed)
{
	static const unsigned flags[] = {0, 0, RENAME_NOREPLACE,
					 RENAME_EXCHANGE};
	struct pick p = pick(t, seed);

	switch (rand_r(seed) % 8) {
	case 0:
		if (t->dirs < DIRS_MAX)
			step_make(fs, t, p, true);
		break;
	case 1:
	case 2:
		step_make(fs, t, p, false);
		break;
	case 3:
		step_link(fs, t, p);
		break;
	case 4:
		assert_int_equal(fs_names_unlink(fs, p.a->ino, p.from),
				 tree_remove(t, p.a, p.i, false));
		break;
	case 5:
		assert_int_equal(fs_names_rmdir(fs, p.a->ino, p.from),
				 tree_remove(t, p.a, p.i, true));
		break;
	default:
		step_rename(fs, t, p, flags[rand_r(seed) % 4]);
	}
}

/* Removed directories leave their places. */
static void compact(struct tree *t)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->dirs; i++)
		if (t->dir[i].alive)
			t->dir[n++] = t->dir[i];
	t->dirs = n;
}

static void a_random_walk_on_two_mounts_ends_where_the_model_does(void **state)
{
	unsigned seed = number("ACESO_SEED", time(NULL));
	unsigned steps = number("ACESO_STEPS", STEPS);
	struct mount m[2] = {mount_open(), mount_open()};
	struct tree *t = calloc(1, sizeof(*t));

	print_message("ACESO_SEED=%u\n", seed);
	t->dir[0] = (struct dir){.alive = true, .ino = ROOT, .parent = ROOT};
	t->dirs = 1;
	for (unsigned i = 0; i < steps; i++) {
		step(m[rand_r(&seed) % 2].fs, t, &seed);
		compact(t);
		if (i % 500 == 0) {
			fs_orphan_tick(m[0].fs);
			compare(m[i % 1000 != 0].fs, t);
		}
	}
	mount_close(&m[1]);
	compare(m[0].fs, t);
	free(t);
	pool_drop(&m[0]);
}

/* --- all at once
 * ------------------------------------------------------------------------ */

#define THREADS 4
#define SPREAD	400 /* names, so that leaves split and directories prune */

struct worker {
	pthread_t thread;
	struct fs *fs;
	unsigned seed, steps;
	uint64_t *dir; /* THREADS directories, all in the root */
	int bad;
};

/* Errors that a race may bring, and no other. */
static bool is_fair(int err)
{
	switch (err) {
	case 0:
	case -EEXIST:
	case -ENOENT:
	case -ENOTEMPTY:
	case -EISDIR:
	case -ENOTDIR:
	case -EPERM:
	case -EINVAL:
		return true;
	default:
		return false;
	}
}

static int race_step(struct worker *w)
{
	uint64_t a = w->dir[rand_r(&w->seed) % THREADS];
	uint64_t b = w->dir[rand_r(&w->seed) % THREADS];
	char from[200], to[200];

	snprintf(from, sizeof(from), "%0150u", rand_r(&w->seed) % SPREAD);
	snprintf(to, sizeof(to), "%0150u", rand_r(&w->seed) % SPREAD);
	switch (rand_r(&w->seed) % 8) {
	case 0:
		return mkdir_(w->fs, a, from, NULL);
	case 1:
		return fs_names_rmdir(w->fs, a, from);
	case 2:
		return fs_names_unlink(w->fs, a, from);
	case 3:
		return fs_names_rename(w->fs, a, from, b, to, RENAME_EXCHANGE);
	case 4:
		return fs_names_rename(w->fs, a, from, b, to, 0);
	default:
		return touch(w->fs, a, from, NULL);
	}
}

static void *race(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->steps && w->bad == 0; i++) {
		int err = race_step(w);

		if (!is_fair(err))
			w->bad = err;
	}
	return NULL;
}

static void threads_on_two_mounts_leave_a_sound_tree(void **state)
{
	unsigned seed = number("ACESO_SEED", time(NULL));
	struct mount m[2] = {mount_open(), mount_open()};
	struct worker w[THREADS];
	uint64_t dir[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		char name[2] = {'A' + i, '\0'};

		assert_int_equal(mkdir_(m[0].fs, ROOT, name, &dir[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.fs = m[i % 2].fs,
				       .seed = seed + i,
				       .steps = number("ACESO_STEPS", STEPS),
				       .dir = dir};
		pthread_create(&w[i].thread, NULL, race, &w[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(w[i].bad, 0);
	mount_close(&m[1]);
	fs_orphan_tick(m[0].fs);
	sound_and_tight(m[0].fs);
	assert_true(sound(m[0].fs).names > THREADS);
	pool_drop(&m[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_random_walk_on_two_mounts_ends_where_the_model_does),
		cmocka_unit_test(threads_on_two_mounts_leave_a_sound_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
