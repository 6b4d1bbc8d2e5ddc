/* Names on the model of the store: what each call must do, what stays of a
 * file that is open or held, and large directories. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>

#include "fs/attr.h"
#include "fs/board.h"
#include "fs/itable.h"
#include "fs/open.h"
#include "fs/orphan.h"
#include "tests/fsmodel/mounts.h"

/* --- one call at a time
 * -------------------------------------------------------------- */

static void a_new_pool_has_an_open_root(void **state)
{
	struct mount m = mount_open();
	struct fs_inode in;

	assert_int_equal(fs_inode_load(m.fs, ROOT, &in), 0);
	assert_int_equal(in.mode, S_IFDIR | 01777);
	assert_int_equal(in.nlink, 2);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

static void names_survive_a_remount(void **state)
{
	struct mount m = mount_open();
	uint64_t made, found;

	assert_int_equal(touch(m.fs, ROOT, "a", &made), 0);
	mount_close(&m);
	m = mount_open();
	assert_int_equal(look(m.fs, ROOT, "a", &found), 0);
	assert_int_equal(made, found);
	assert_int_equal(touch(m.fs, ROOT, "b", &found), 0);
	assert_int_not_equal(made, found); /* never the same number */
	pool_drop(&m);
}

static void names_have_limits(void **state)
{
	struct mount m = mount_open();
	char name[258];
	uint64_t ino;

	memset(name, 'x', sizeof(name));
	name[256] = '\0';
	assert_int_equal(touch(m.fs, ROOT, name, NULL), -ENAMETOOLONG);
	assert_int_equal(look(m.fs, ROOT, name, &ino), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(touch(m.fs, ROOT, name, NULL), 0);
	assert_int_equal(look(m.fs, ROOT, name, &ino), 0);
	assert_int_equal(touch(m.fs, ROOT, "\xff\xfe\n", NULL), 0);
	assert_int_equal(look(m.fs, ROOT, "\xff\xfe\n", &ino), 0);
	assert_int_equal(touch(m.fs, ROOT, "..", NULL), -EINVAL);
	assert_int_equal(touch(m.fs, ROOT, "", NULL), -EINVAL);
	pool_drop(&m);
}

static void create_refuses_what_it_must(void **state)
{
	struct mount m = mount_open();
	uint64_t file, dir;

	assert_int_equal(touch(m.fs, ROOT, "f", &file), 0);
	assert_int_equal(touch(m.fs, ROOT, "f", NULL), -EEXIST);
	assert_int_equal(mkdir_(m.fs, ROOT, "f", NULL), -EEXIST);
	assert_int_equal(touch(m.fs, file, "x", NULL), -ENOTDIR);
	assert_int_equal(touch(m.fs, 999, "x", NULL), -ENOENT);
	assert_int_equal(mkdir_(m.fs, ROOT, "d", &dir), 0);
	assert_int_equal(fs_names_rmdir(m.fs, ROOT, "d"), 0);
	assert_int_equal(touch(m.fs, dir, "x", NULL), -ENOENT);
	assert_int_equal(mkdir_(m.fs, dir, "x", NULL), -ENOENT);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

static void a_set_gid_directory_hands_its_group_down(void **state)
{
	struct mount m = mount_open();
	struct fs_make how = {.mode = S_IFREG | 0644, .uid = 7, .gid = 8};
	struct fs_inode in;
	uint64_t dir;

	assert_int_equal(make(m.fs, ROOT, "d", S_IFDIR | 02775, &dir), 0);
	how.gid = 9;
	assert_int_equal(fs_names_make(m.fs, dir, "f", &how, &in), 0);
	assert_int_equal(in.gid, 8);
	assert_int_equal(in.mode, S_IFREG | 0644);
	how.mode = S_IFDIR | 0755;
	assert_int_equal(fs_names_make(m.fs, dir, "s", &how, &in), 0);
	assert_int_equal(in.gid, 8);
	assert_int_equal(in.mode, S_IFDIR | 02755);
	pool_drop(&m);
}

static void links_are_counted(void **state)
{
	struct mount m = mount_open();
	struct fs_inode in;
	uint64_t f, d;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	assert_int_equal(mkdir_(m.fs, ROOT, "d", &d), 0);
	assert_int_equal(fs_names_link(m.fs, f, d, "g", &in), 0);
	assert_int_equal(in.nlink, 2);
	assert_int_equal(fs_names_link(m.fs, f, d, "g", &in), -EEXIST);
	assert_int_equal(fs_names_link(m.fs, d, ROOT, "h", &in), -EPERM);
	assert_int_equal(links(m.fs, f), 2);
	sound_and_tight(m.fs);
	assert_int_equal(fs_names_unlink(m.fs, ROOT, "f"), 0);
	assert_int_equal(links(m.fs, f), 1);
	assert_int_equal(fs_names_unlink(m.fs, ROOT, "d"), -EISDIR);
	assert_int_equal(fs_names_rmdir(m.fs, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(fs_names_unlink(m.fs, d, "g"), 0);
	assert_int_equal(fs_inode_load(m.fs, f, &in), -ENOENT);
	assert_int_equal(links(m.fs, ROOT), 3);
	assert_int_equal(fs_names_rmdir(m.fs, ROOT, "d"), 0);
	assert_int_equal(links(m.fs, ROOT), 2);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

static void rename_knows_files_from_directories(void **state)
{
	struct mount m = mount_open();
	uint64_t f, d, e, ino;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	assert_int_equal(mkdir_(m.fs, ROOT, "d", &d), 0);
	assert_int_equal(mkdir_(m.fs, d, "e", &e), 0);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "f", ROOT, "d", 0),
			 -EISDIR);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "d", ROOT, "f", 0),
			 -ENOTDIR);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "d", e, "x", 0), -EINVAL);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "d", d, "x", 0), -EINVAL);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "no", d, "x", 0), -ENOENT);
	assert_int_equal(fs_names_rename(m.fs, d, "e", ROOT, "d", 0),
			 -ENOTEMPTY);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "f", e, "g", 0), 0);
	assert_int_equal(look(m.fs, e, "g", &ino), 0);
	assert_int_equal(ino, f);
	assert_int_equal(fs_names_rename(m.fs, d, "e", ROOT, "e", 0), 0);
	assert_int_equal(links(m.fs, d), 2);
	assert_int_equal(links(m.fs, ROOT), 4);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "e", ROOT, "d", 0), 0);
	assert_int_equal(look(m.fs, ROOT, "d", &ino), 0);
	assert_int_equal(ino, e);
	assert_int_equal(links(m.fs, ROOT), 3);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

static void rename_flags_are_kept(void **state)
{
	struct mount m = mount_open();
	uint64_t f, d, s, ino;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	assert_int_equal(mkdir_(m.fs, ROOT, "d", &d), 0);
	assert_int_equal(mkdir_(m.fs, d, "s", &s), 0);
	assert_int_equal(
		fs_names_rename(m.fs, ROOT, "f", ROOT, "d", RENAME_NOREPLACE),
		-EEXIST);
	assert_int_equal(
		fs_names_rename(m.fs, ROOT, "f", ROOT, "n", RENAME_EXCHANGE),
		-ENOENT);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "f", ROOT, "n", 8),
			 -EINVAL);
	assert_int_equal(
		fs_names_rename(m.fs, ROOT, "d", d, "s", RENAME_EXCHANGE),
		-EINVAL);
	assert_int_equal(
		fs_names_rename(m.fs, d, "s", ROOT, "f", RENAME_EXCHANGE), 0);
	assert_int_equal(look(m.fs, d, "s", &ino), 0);
	assert_int_equal(ino, f);
	assert_int_equal(links(m.fs, d), 2);
	assert_int_equal(links(m.fs, ROOT), 4);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

static void rename_onto_another_link_does_nothing(void **state)
{
	struct mount m = mount_open();
	struct fs_inode in;
	uint64_t f, ino;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	assert_int_equal(fs_names_link(m.fs, f, ROOT, "g", &in), 0);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "f", ROOT, "g", 0), 0);
	assert_int_equal(look(m.fs, ROOT, "f", &ino), 0);
	assert_int_equal(look(m.fs, ROOT, "g", &ino), 0);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

/* --- open, held, pending
 * -------------------------------------------------------------- */

static void an_open_file_outlives_its_name(void **state)
{
	struct mount m = mount_open();
	struct fuse_file_info fi = {.flags = O_RDWR};
	struct fs_inode in;
	uint64_t f;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	assert_int_equal(fs_open_file(m.fs, f, &fi, false), 0);
	assert_int_equal(fs_names_unlink(m.fs, ROOT, "f"), 0);
	assert_int_equal(fs_inode_load(m.fs, f, &in), 0);
	assert_int_equal(in.nlink, 0);
	assert_int_equal(sound(m.fs).orphans, 1);
	assert_int_equal(fs_names_link(m.fs, f, ROOT, "g", &in), -ENOENT);
	fs_open_release(m.fs, f);
	assert_int_equal(fs_inode_load(m.fs, f, &in), -ENOENT);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

static void orphans_of_a_dead_mount_are_reaped(void **state)
{
	struct mount m = mount_open();
	struct fuse_file_info fi = {.flags = O_RDWR};
	struct fs_inode in;
	uint64_t f;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	assert_int_equal(fs_open_file(m.fs, f, &fi, false), 0);
	assert_int_equal(fs_names_unlink(m.fs, ROOT, "f"), 0);
	kv_model_crash_at(m.kv, 1);
	assert_int_equal(touch(m.fs, ROOT, "x", NULL), -EIO);
	mount_close(&m);
	m = mount_open();
	assert_int_equal(fs_inode_load(m.fs, f, &in), -ENOENT);
	sound_and_tight(m.fs);
	pool_drop(&m);
}

/* What the timers of @n mounts do in @rounds looks, with a moment between. */
static void look_round(struct mount *m, unsigned n, unsigned rounds)
{
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned i = 0; i < n; i++)
			fs_orphan_tick(m[i].fs);
}

/* The same, while @seconds pass. */
static void pass(struct mount *m, unsigned n, unsigned seconds)
{
	for (unsigned s = 0; s < seconds; s++) {
		kv_model_pass(m[0].kv, 1);
		look_round(m, n, 3);
	}
}

static bool is_there(struct fs *fs, uint64_t ino)
{
	struct fs_inode in;
	int err = fs_inode_load(fs, ino, &in);

	assert_true(err == 0 || err == -ENOENT);
	return err == 0;
}

static void open_on(struct mount *m, uint64_t ino)
{
	struct fuse_file_info fi = {.flags = O_RDWR};

	assert_int_equal(fs_open_file(m->fs, ino, &fi, false), 0);
}

static void a_file_open_on_another_mount_stays(void **state)
{
	struct mount m[2] = {mount_open(), mount_open()};
	uint64_t f;

	assert_int_equal(touch(m[0].fs, ROOT, "f", &f), 0);
	open_on(&m[1], f);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
	pass(m, 2, 200);
	assert_true(is_there(m[1].fs, f));
	fs_open_release(m[1].fs, f);
	mount_close(&m[1]);
	look_round(m, 1, 1); /* alone: it goes */
	assert_false(is_there(m[0].fs, f));
	sound_and_tight(m[0].fs);
	pool_drop(&m[0]);
}

/* Not after a minute: as soon as the others have been asked. */
static void what_nobody_has_open_goes_at_once(void **state)
{
	struct mount m[3] = {mount_open(), mount_open(), mount_open()};
	uint64_t keys, f[8];
	char name[8];

	look_round(m, 3, 3); /* they have asked each other before */
	assert_int_equal(touch(m[0].fs, ROOT, "x", NULL), 0);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "x"), 0);
	look_round(m, 3, 3);
	keys = kv_model_keys(m[0].kv);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(touch(m[0].fs, ROOT, name, &f[i]), 0);
		assert_int_equal(fs_names_unlink(m[i % 3].fs, ROOT, name), 0);
	}
	look_round(m, 3, 6);
	for (unsigned i = 0; i < 8; i++)
		assert_false(is_there(m[0].fs, f[i]));
	/* beside answers to two that had never asked before */
	assert_in_range(kv_model_keys(m[0].kv), keys, keys + 2 * 3);
	mount_close(&m[2]);
	mount_close(&m[1]);
	look_round(m, 1, 1);
	sound_and_tight(m[0].fs);
	pool_drop(&m[0]);
}

static void a_file_goes_soon_after_its_last_handle_anywhere(void **state)
{
	struct mount m[3] = {mount_open(), mount_open(), mount_open()};
	uint64_t f;

	assert_int_equal(touch(m[0].fs, ROOT, "f", &f), 0);
	for (unsigned i = 0; i < 3; i++)
		open_on(&m[i], f);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
	for (unsigned i = 0; i < 3; i++) {
		pass(m, 3, 100);
		assert_true(is_there(m[0].fs, f));
		fs_open_release(m[i].fs, f);
	}
	look_round(m, 3, 3); /* who closed it last asks at once */
	assert_false(is_there(m[0].fs, f));
	for (unsigned i = 2; i > 0; i--)
		mount_close(&m[i]);
	sound_and_tight(m[0].fs);
	pool_drop(&m[0]);
}

/* A kernel that remembers the name asks to open what has none any more: who let
 * it would have told nobody. */
static void what_has_no_name_is_not_opened_anew(void **state)
{
	struct mount m[2] = {mount_open(), mount_open()};
	struct fuse_file_info fi = {.flags = O_RDWR};
	uint64_t f;

	assert_int_equal(touch(m[0].fs, ROOT, "f", &f), 0);
	open_on(&m[0], f);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
	assert_int_equal(fs_open_file(m[1].fs, f, &fi, false), -ESTALE);
	open_on(&m[0], f); /* /proc/self/fd/n: it is open here */
	fs_open_release(m[0].fs, f);
	look_round(m, 2, 4);
	assert_true(is_there(m[0].fs, f));
	fs_open_release(m[0].fs, f);
	look_round(m, 2, 4);
	assert_false(is_there(m[0].fs, f));
	mount_close(&m[1]);
	pool_drop(&m[0]);
}

struct race {
	struct mount *by;
	uint64_t ino;
	int opened;
};

/* Another mount opens the file just before the n-th change of who removes it.
 */
static void open_now(void *arg)
{
	struct race *r = arg;
	struct fuse_file_info fi = {.flags = O_RDWR};

	r->opened = fs_open_file(r->by->fs, r->ino, &fi, false);
}

static void an_open_at_any_moment_is_seen_or_refused(void **state)
{
	unsigned held = 0, refused = 0;

	for (unsigned n = 1; n <= 12; n++) {
		struct mount m[2] = {mount_open(), mount_open()};
		struct race r = {.by = &m[1], .opened = 1};

		assert_int_equal(touch(m[0].fs, ROOT, "f", &r.ino), 0);
		kv_model_meddle_at(m[0].kv, n, open_now, &r);
		assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
		look_round(m, 2, 8);
		kv_model_meddle_at(m[0].kv, 0, NULL, NULL);
		if (r.opened == 0) {
			assert_true(is_there(m[1].fs, r.ino));
			fs_open_release(m[1].fs, r.ino);
			look_round(m, 2, 8);
			held++;
		} else {
			refused += r.opened != 1;
		}
		assert_false(is_there(m[0].fs, r.ino));
		mount_close(&m[1]);
		pool_drop(&m[0]);
	}
	assert_true(held > 0 && refused > 0);
}

/* Two others live; one of them has one of the files open. */
static void orphans_of_a_dead_mount_go_while_others_are_at_work(void **state)
{
	struct mount a = mount_open(), m[2] = {mount_open(), mount_open()};
	uint64_t f, g;

	assert_int_equal(touch(a.fs, ROOT, "f", &f), 0);
	assert_int_equal(touch(a.fs, ROOT, "g", &g), 0);
	open_on(&a, f);
	open_on(&m[0], g);
	assert_int_equal(fs_names_unlink(a.fs, ROOT, "f"), 0);
	assert_int_equal(fs_names_unlink(a.fs, ROOT, "g"), 0);
	kv_model_crash_at(a.kv, 1);
	assert_int_equal(touch(a.fs, ROOT, "x", NULL), -EIO);
	pass(m, 2, 40);
	assert_false(is_there(m[1].fs, f));
	assert_true(is_there(m[1].fs, g));
	fs_open_release(m[0].fs, g);
	look_round(m, 2, 4);
	assert_false(is_there(m[1].fs, g));
	mount_close(&a);
	mount_close(&m[0]);
	sound_and_tight(m[1].fs);
	pool_drop(&m[1]);
}

/* A dies before each change that it makes on the way of removing a file, and of
 * what its timer does then: the others finish it, and never too early. */
static void a_death_at_any_change_leaves_nothing(void **state)
{
	for (unsigned n = 1; n <= 20; n++) {
		struct mount m[3] = {mount_open(), mount_open(), mount_open()};
		uint64_t f, g;

		assert_int_equal(touch(m[2].fs, ROOT, "f", &f), 0);
		assert_int_equal(touch(m[2].fs, ROOT, "g", &g), 0);
		open_on(&m[0], g);
		kv_model_crash_at(m[2].kv, n);
		(void)fs_names_unlink(m[2].fs, ROOT, "f");
		(void)fs_names_unlink(m[2].fs, ROOT, "g");
		look_round(m, 3, 8);
		kv_model_crash_at(m[2].kv, 1);
		(void)touch(m[2].fs, ROOT, "x", NULL);
		mount_close(&m[2]);
		pass(m, 2, 40);
		assert_true(is_there(m[1].fs, g));
		fs_open_release(m[0].fs, g);
		if (look(m[1].fs, ROOT, "g", &g) == 0)
			fs_names_unlink(m[1].fs, ROOT, "g");
		if (look(m[1].fs, ROOT, "f", &f) == 0)
			fs_names_unlink(m[1].fs, ROOT, "f");
		pass(m, 2, 40);
		assert_int_equal(sound(m[1].fs).orphans, 0);
		mount_close(&m[0]);
		pool_drop(&m[1]);
	}
}

/* One that is held up, not dead: it keeps its files for a minute. */
static void a_silent_mount_is_waited_for(void **state)
{
	struct mount m[2] = {mount_open(), mount_open()};
	uint64_t f;

	assert_int_equal(touch(m[0].fs, ROOT, "f", &f), 0);
	open_on(&m[1], f);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
	pass(m, 1, FS_BOARD_SILENT_MS / 1000 - 5);
	assert_true(is_there(m[0].fs, f));
	pass(m, 1, 10);
	assert_false(is_there(m[0].fs, f));
	mount_close(&m[1]);
	pool_drop(&m[0]);
}

/* Without the pool's help: it is found to be dead, and taken off. */
static void a_dead_mount_is_not_waited_for(void **state)
{
	struct mount m[2] = {mount_open(), mount_open()};
	uint64_t f;

	assert_int_equal(touch(m[0].fs, ROOT, "f", &f), 0);
	open_on(&m[1], f);
	kv_model_crash_at(m[1].kv, 1);
	assert_int_equal(touch(m[1].fs, ROOT, "x", NULL), -EIO);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
	pass(m, 1, 2);
	assert_false(is_there(m[0].fs, f));
	mount_close(&m[1]);
	pool_drop(&m[0]);
}

/* Who meets a full pool waits for others' answers, not for its own handles. */
static void what_is_open_here_is_not_waited_for(void **state)
{
	struct mount m[2] = {mount_open(), mount_open()};
	uint64_t f;

	assert_int_equal(touch(m[0].fs, ROOT, "f", &f), 0);
	open_on(&m[0], f);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
	assert_false(fs_orphan_waits(m[0].fs));
	fs_open_release(m[0].fs, f);
	assert_true(fs_orphan_waits(m[0].fs));
	look_round(m, 2, 4);
	assert_false(fs_orphan_waits(m[0].fs));
	mount_close(&m[1]);
	pool_drop(&m[0]);
}

static void a_mount_leaves_no_keys(void **state)
{
	struct mount m[2] = {mount_open()};
	uint64_t keys = kv_model_keys(m[0].kv);

	m[1] = mount_open();
	assert_int_equal(touch(m[0].fs, ROOT, "f", NULL), 0);
	assert_int_equal(touch(m[0].fs, ROOT, "g", NULL), 0);
	assert_int_equal(fs_names_unlink(m[0].fs, ROOT, "f"), 0);
	assert_int_equal(fs_names_unlink(m[1].fs, ROOT, "g"), 0);
	look_round(m, 2, 6);
	assert_true(kv_model_keys(m[0].kv) > keys);
	mount_close(&m[1]);
	fs_close(m[0].fs); /* its own question goes with it */
	assert_int_equal(kv_model_keys(m[0].kv), keys);
	kv_close(m[0].kv);
	kv_model_drop(POOL);
}

/* The last of several: nobody else can have it open. */
static void orphans_of_the_dead_go_soon_for_who_is_left(void **state)
{
	struct mount a = mount_open(), b = mount_open();
	struct fuse_file_info fi = {.flags = O_RDWR};
	struct fs_inode in;
	uint64_t f;

	assert_int_equal(touch(a.fs, ROOT, "f", &f), 0);
	assert_int_equal(fs_open_file(a.fs, f, &fi, false), 0);
	fs_orphan_tick(b.fs); /* it has seen that there are two */
	assert_int_equal(fs_names_unlink(a.fs, ROOT, "f"), 0);
	kv_model_crash_at(a.kv, 1);
	assert_int_equal(touch(a.fs, ROOT, "x", NULL), -EIO);
	mount_close(&a);
	kv_model_pass(b.kv, 31);
	fs_orphan_tick(b.fs);
	assert_int_equal(fs_inode_load(b.fs, f, &in), -ENOENT);
	sound_and_tight(b.fs);
	pool_drop(&b);
}

static void what_the_kernel_holds_leaves_a_ghost(void **state)
{
	struct mount m = mount_open();
	struct stat st, want = {.st_mode = 0600};
	uint64_t f, d;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	assert_int_equal(mkdir_(m.fs, ROOT, "d", &d), 0);
	assert_int_equal(fs_itable_hold(m.fs, f), 0);
	assert_int_equal(fs_itable_hold(m.fs, d), 0);
	assert_int_equal(fs_names_unlink(m.fs, ROOT, "f"), 0);
	assert_int_equal(fs_names_rmdir(m.fs, ROOT, "d"), 0);
	assert_int_equal(fs_attr_get(m.fs, f, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(
		fs_attr_set(m.fs, f, &want, FUSE_SET_ATTR_MODE, true, &st), 0);
	assert_int_equal(fs_attr_get(m.fs, f, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(fs_attr_get(m.fs, d, &st), 0);
	fs_itable_forget(m.fs, f, 1);
	assert_int_equal(fs_attr_get(m.fs, f, &st), -ENOENT);
	pool_drop(&m);
}

struct look {
	struct fs *fs;
	uint64_t ino;
	bool ghost;
};

static void look_for_ghost(void *arg)
{
	struct look *l = arg;
	struct stat st;

	l->ghost = fs_itable_ghost_get(l->fs, l->ino, &st) && st.st_nlink == 0;
}

/* fstat(2) on what is just being removed finds the inode or its ghost, at
 * every instant: so the ghost comes before the removal. */
static void the_ghost_is_there_before_the_inode_goes(void **state)
{
	struct mount m = mount_open();
	struct look rmdir = {.fs = m.fs}, unlink = rmdir, replaced = rmdir;
	uint64_t d;

	assert_int_equal(mkdir_(m.fs, ROOT, "a", &rmdir.ino), 0);
	assert_int_equal(mkdir_(m.fs, ROOT, "b", &replaced.ino), 0);
	assert_int_equal(mkdir_(m.fs, ROOT, "c", &d), 0);
	assert_int_equal(touch(m.fs, ROOT, "f", &unlink.ino), 0);
	fs_itable_hold(m.fs, rmdir.ino);
	fs_itable_hold(m.fs, replaced.ino);
	fs_itable_hold(m.fs, unlink.ino);
	kv_model_meddle_at(m.kv, 1, look_for_ghost, &rmdir);
	assert_int_equal(fs_names_rmdir(m.fs, ROOT, "a"), 0);
	kv_model_meddle_at(m.kv, 1, look_for_ghost, &replaced);
	assert_int_equal(fs_names_rename(m.fs, ROOT, "c", ROOT, "b", 0), 0);
	kv_model_meddle_at(m.kv, 2, look_for_ghost, &unlink); /* name, inode */
	assert_int_equal(fs_names_unlink(m.fs, ROOT, "f"), 0);
	assert_true(rmdir.ghost);
	assert_true(replaced.ghost);
	assert_true(unlink.ghost);
	pool_drop(&m);
}

static void pending_times_show_at_once_and_settle(void **state)
{
	struct mount a = mount_open(), b = mount_open();
	struct stat before, now, there;
	uint64_t f, changes;

	assert_int_equal(touch(a.fs, ROOT, "f", &f), 0);
	fs_itable_settle_all(a.fs, 0);
	assert_int_equal(fs_attr_get(a.fs, f, &before), 0);
	changes = kv_model_changes(a.kv);
	fs_itable_touch(a.fs, f, FS_TOUCH_MTIME);
	assert_int_equal(kv_model_changes(a.kv), changes);
	assert_int_equal(fs_attr_get(a.fs, f, &now), 0);
	assert_true(now.st_mtim.tv_sec > before.st_mtim.tv_sec ||
		    now.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
	assert_int_equal(fs_attr_get(b.fs, f, &there), 0);
	assert_memory_equal(&there.st_mtim, &before.st_mtim, 16);
	assert_int_equal(fs_itable_settle(a.fs, f), 0);
	assert_int_equal(kv_model_changes(a.kv), changes + 1);
	assert_int_equal(fs_itable_settle(a.fs, f), 0); /* nothing left */
	assert_int_equal(kv_model_changes(a.kv), changes + 1);
	assert_int_equal(fs_attr_get(b.fs, f, &there), 0);
	assert_memory_equal(&there.st_mtim, &now.st_mtim, 16);
	mount_close(&b);
	pool_drop(&a);
}

static void utimes_beats_a_pending_time(void **state)
{
	struct mount m = mount_open();
	struct stat st, want = {.st_mtim = {.tv_sec = 5, .tv_nsec = 6}};
	uint64_t f;

	assert_int_equal(touch(m.fs, ROOT, "f", &f), 0);
	fs_itable_touch(m.fs, f, FS_TOUCH_MTIME);
	assert_int_equal(
		fs_attr_set(m.fs, f, &want, FUSE_SET_ATTR_MTIME, true, &st), 0);
	fs_itable_settle_all(m.fs, 0);
	assert_int_equal(fs_attr_get(m.fs, f, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 5);
	assert_int_equal(st.st_mtim.tv_nsec, 6);
	pool_drop(&m);
}

static void pages_are_kept_unless_another_mount_wrote(void **state)
{
	struct mount a = mount_open(), b = mount_open();
	struct fuse_file_info fi = {.flags = O_RDWR};
	struct stat st, want = {.st_size = 100};
	uint64_t f;

	assert_int_equal(touch(a.fs, ROOT, "f", &f), 0);
	assert_int_equal(fs_open_file(a.fs, f, &fi, false), 0);
	assert_int_equal(
		fs_attr_set(a.fs, f, &want, FUSE_SET_ATTR_SIZE, true, &st), 0);
	assert_int_equal(fs_open_file(a.fs, f, &fi, false), 0);
	assert_true(fi.keep_cache); /* the change was ours */
	want.st_size = 200;
	assert_int_equal(
		fs_attr_set(b.fs, f, &want, FUSE_SET_ATTR_SIZE, true, &st), 0);
	assert_int_equal(fs_open_file(a.fs, f, &fi, false), 0);
	assert_false(fi.keep_cache);
	mount_close(&b);
	pool_drop(&a);
}

/* --- looking inside
 * ------------------------------------------------------------- */

struct told {
	unsigned inodes, nodes, others;
};

static int tell(void *arg, const char *what, const void *key, unsigned klen)
{
	struct told *told = arg;
	struct fs_key_parts p;

	assert_int_equal(fs_key_parse(key, klen, &p), 0);
	told->inodes += p.kind == FS_KEY_INODE;
	told->nodes += p.kind == FS_KEY_DIR;
	told->others += p.kind != FS_KEY_INODE && p.kind != FS_KEY_DIR;
	assert_non_null(what);
	return 0;
}

static void explain_shows_the_keys_of_a_path(void **state)
{
	struct fs_make how = {.mode = S_IFLNK | 0777, .target = "d"};
	struct mount m = mount_open();
	struct told told = {0};
	struct fs_inode in;
	uint64_t d, f, ino;

	assert_int_equal(mkdir_(m.fs, ROOT, "d", &d), 0);
	assert_int_equal(touch(m.fs, d, "f", &f), 0);
	assert_int_equal(fs_names_make(m.fs, ROOT, "l", &how, &in), 0);
	assert_int_equal(fs_resolve(m.fs, "//d/./../d/f", &ino), 0);
	assert_int_equal(ino, f);
	assert_int_equal(fs_resolve(m.fs, "/", &ino), 0);
	assert_int_equal(ino, ROOT);
	assert_int_equal(fs_resolve(m.fs, "/l", &ino), 0);
	assert_int_equal(ino, in.ino);
	assert_int_equal(fs_resolve(m.fs, "/l/f", &ino), -ELOOP);
	assert_int_equal(fs_resolve(m.fs, "/d/g", &ino), -ENOENT);
	assert_int_equal(fs_resolve(m.fs, "/d/f/g", &ino), -ENOTDIR);
	assert_int_equal(fs_explain(m.fs, "/d/f", tell, NULL, &told), 0);
	assert_int_equal(told.inodes, 3);
	assert_int_equal(told.nodes, 2);
	assert_int_equal(told.others, 0);
	pool_drop(&m);
}

/* --- large directories
 * ----------------------------------------------------------------- */

struct met {
	uint8_t times[MANY];
	uint64_t last;
	unsigned left; /* entries until the listing pauses */
};

static int meet(void *arg, const struct fs_dentry *d, uint64_t cookie)
{
	struct met *met = arg;

	if (met->left-- == 0)
		return 1;
	assert_true(cookie > met->last);
	met->last = cookie;
	met->times[atoi(d->name)]++;
	return 0;
}

static void listing_meets_each_once_while_others_go(void **state)
{
	struct mount m = mount_open();
	struct met *met = calloc(1, sizeof(*met));
	uint64_t dir, keys;
	unsigned gone = 0;

	keys = kv_model_keys(m.kv);
	assert_int_equal(mkdir_(m.fs, ROOT, "d", &dir), 0);
	many_make(m.fs, dir, 1);
	do { /* pause after 50, and remove some odd ones */
		met->left = 50;
		for (unsigned i = 0; i < 60 && gone < MANY; i++, gone += 2)
			many_remove(m.fs, dir, gone + 1);
	} while (fs_dentry_list(m.fs, dir, met->last, meet, met) == 1);
	for (unsigned i = 0; i < MANY; i++)
		assert_in_range(met->times[i], i % 2 == 0, 1);
	for (unsigned i = 0; i < MANY; i += 2)
		many_remove(m.fs, dir, i);
	for (; gone < MANY; gone += 2)
		many_remove(m.fs, dir, gone + 1);
	assert_int_equal(fs_names_rmdir(m.fs, ROOT, "d"), 0);
	assert_int_equal(kv_model_keys(m.kv), keys); /* every node is gone */
	free(met);
	pool_drop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_pool_has_an_open_root),
		cmocka_unit_test(names_survive_a_remount),
		cmocka_unit_test(names_have_limits),
		cmocka_unit_test(create_refuses_what_it_must),
		cmocka_unit_test(a_set_gid_directory_hands_its_group_down),
		cmocka_unit_test(links_are_counted),
		cmocka_unit_test(rename_knows_files_from_directories),
		cmocka_unit_test(rename_flags_are_kept),
		cmocka_unit_test(rename_onto_another_link_does_nothing),
		cmocka_unit_test(an_open_file_outlives_its_name),
		cmocka_unit_test(orphans_of_a_dead_mount_are_reaped),
		cmocka_unit_test(a_file_open_on_another_mount_stays),
		cmocka_unit_test(what_nobody_has_open_goes_at_once),
		cmocka_unit_test(
			a_file_goes_soon_after_its_last_handle_anywhere),
		cmocka_unit_test(what_has_no_name_is_not_opened_anew),
		cmocka_unit_test(an_open_at_any_moment_is_seen_or_refused),
		cmocka_unit_test(a_death_at_any_change_leaves_nothing),
		cmocka_unit_test(a_silent_mount_is_waited_for),
		cmocka_unit_test(a_dead_mount_is_not_waited_for),
		cmocka_unit_test(what_is_open_here_is_not_waited_for),
		cmocka_unit_test(a_mount_leaves_no_keys),
		cmocka_unit_test(
			orphans_of_a_dead_mount_go_while_others_are_at_work),
		cmocka_unit_test(orphans_of_the_dead_go_soon_for_who_is_left),
		cmocka_unit_test(what_the_kernel_holds_leaves_a_ghost),
		cmocka_unit_test(the_ghost_is_there_before_the_inode_goes),
		cmocka_unit_test(pending_times_show_at_once_and_settle),
		cmocka_unit_test(utimes_beats_a_pending_time),
		cmocka_unit_test(pages_are_kept_unless_another_mount_wrote),
		cmocka_unit_test(explain_shows_the_keys_of_a_path),
		cmocka_unit_test(listing_meets_each_once_while_others_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
