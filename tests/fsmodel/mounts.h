/* tests/fsmodel/mounts.h - mounts of one pool on the model of the store, and
 * short words for what tests of names do with them. */
#ifndef ACESO_TESTS_FSMODEL_MOUNTS_H
#define ACESO_TESTS_FSMODEL_MOUNTS_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/names.h"
#include "tests/lib/fs_tree.h"
#include "tests/lib/kv_model.h"

#define POOL "names"
#define ROOT FS_ROOT_INO

/* --- mounts
 * -------------------------------------------------------------------- */

struct mount {
	struct kv *kv;
	struct fs *fs;
};

static inline struct mount mount_open(void)
{
	struct kv_opts kv_opts = {.pool = POOL};
	struct fs_opts opts = {.attr_timeout = -1, .entry_timeout = -1};
	struct mount m;

	assert_int_equal(kv_open(&kv_opts, &m.kv), 0);
	assert_int_equal(fs_open(m.kv, &opts, &m.fs), 0);
	return m;
}

static inline void mount_close(struct mount *m)
{
	fs_close(m->fs);
	kv_close(m->kv);
}

static inline void pool_drop(struct mount *m)
{
	mount_close(m);
	kv_model_drop(POOL);
}

static inline int make(struct fs *fs, uint64_t dir, const char *name,
		       uint32_t mode, uint64_t *ino)
{
	struct fs_make how = {.mode = mode, .uid = 7, .gid = 8};
	struct fs_inode in;
	int err = fs_names_make(fs, dir, name, &how, &in);

	if (ino != NULL)
		*ino = err == 0 ? in.ino : 0;
	return err;
}

static inline int touch(struct fs *fs, uint64_t dir, const char *name,
			uint64_t *ino)
{
	return make(fs, dir, name, S_IFREG | 0644, ino);
}

static inline int mkdir_(struct fs *fs, uint64_t dir, const char *name,
			 uint64_t *ino)
{
	return make(fs, dir, name, S_IFDIR | 0755, ino);
}

static inline int look(struct fs *fs, uint64_t dir, const char *name,
		       uint64_t *ino)
{
	return fs_dentry_lookup(fs, dir, name, ino, NULL);
}

static inline uint32_t links(struct fs *fs, uint64_t ino)
{
	struct fs_inode in;

	assert_int_equal(fs_inode_load(fs, ino, &in), 0);
	return in.nlink;
}

/* The tree is sound; returns what it holds. */
static inline struct fs_tree sound(struct fs *fs)
{
	struct fs_tree t;
	int err = fs_tree_check(fs, &t);

	if (err != 0)
		fail_msg("%s", t.fault);
	return t;
}

static inline void sound_and_tight(struct fs *fs)
{
	struct fs_tree t = sound(fs);

	assert_int_equal(t.lost_inodes, 0);
	assert_int_equal(t.lost_nodes, 0);
	assert_int_equal(t.high_links, 0);
}

/* --- many names without inodes
 * ------------------------------------------------- */

#define MANY 6000

static inline void many_make(struct fs *fs, uint64_t dir, unsigned step)
{
	char name[16];

	for (unsigned i = 0; i < MANY; i += step) {
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(fs_dentry_add(fs, dir, name, 1000 + i,
					       fs_dentry_type(S_IFREG)),
				 0);
	}
}

static inline void many_remove(struct fs *fs, uint64_t dir, unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", i);
	assert_int_equal(fs_dentry_remove(fs, dir, name, 1000 + i), 0);
}

#endif
