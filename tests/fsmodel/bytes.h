/* tests/fsmodel/bytes.h - what the tests of file contents share: a mount
 * without a kernel on the model store, and one file in it. Header only, as
 * each file of this folder is a program. */
#ifndef ACESO_TESTS_FSMODEL_BYTES_H
#define ACESO_TESTS_FSMODEL_BYTES_H
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/chunk.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "tests/lib/kv_model.h"

#define KIB  1024ull
#define MIB  (1024 * KIB)
#define TIB  (1024 * 1024 * MIB)
#define PAGE FS_PAGE_BYTES

#define POOL "bytes"

struct mnt {
	struct kv *kv;
	struct fs *fs;
};

static inline void mnt_open(struct mnt *m)
{
	struct kv_opts kv_opts = {.pool = POOL};
	struct fs_opts opts = {.cache = FS_CACHE_NONE};

	assert_int_equal(kv_open(&kv_opts, &m->kv), 0);
	assert_int_equal(fs_open(m->kv, &opts, &m->fs), 0);
}

static inline void mnt_close(struct mnt *m)
{
	fs_close(m->fs);
	kv_close(m->kv);
}

/* The process dies and another mounts: what was in memory is gone. */
static inline void mnt_crashed(struct mnt *m)
{
	mnt_close(m); /* the dead client's calls change nothing */
	mnt_open(m);
}

static inline uint64_t file_new(struct mnt *m)
{
	struct fs_inode in;

	memset(&in, 0, sizeof(in));
	in.ino = fs_inode_number(m->fs);
	in.mode = S_IFREG | 0644;
	in.nlink = 1;
	in.is_inline = true;
	assert_int_equal(fs_inode_store(m->fs, &in), 0);
	return in.ino;
}

static inline void file_load(struct mnt *m, uint64_t ino, struct fs_inode *in)
{
	assert_int_equal(fs_inode_load(m->fs, ino, in), 0);
}

static inline uint64_t file_size(struct mnt *m, uint64_t ino)
{
	struct fs_inode in;

	file_load(m, ino, &in);
	return in.size;
}

static inline ssize_t file_write(struct mnt *m, uint64_t ino, const void *buf,
				 size_t size, uint64_t off)
{
	struct fs_inode in;
	ssize_t rc = fs_file_overwrite(m->fs, ino, buf, size, off, false, &in);

	if (rc == -EAGAIN)
		rc = fs_file_write_small(m->fs, &in, buf, size, off, false);
	if (rc != -EAGAIN && rc != -ESTALE)
		return rc;
	return fs_file_write(m->fs, ino, buf, size, &off, false, false);
}

static inline ssize_t file_append(struct mnt *m, uint64_t ino, const void *buf,
				  size_t size)
{
	uint64_t off = 0;

	return fs_file_write(m->fs, ino, buf, size, &off, true, false);
}

static inline ssize_t file_read(struct mnt *m, uint64_t ino, void *buf,
				size_t size, uint64_t off)
{
	struct fs_inode in;

	file_load(m, ino, &in);
	return fs_file_read(m->fs, &in, buf, size, off);
}

static inline int file_truncate(struct mnt *m, uint64_t ino, uint64_t size)
{
	struct fs_inode in;

	file_load(m, ino, &in);
	return fs_file_truncate(m->fs, &in, size);
}

static inline off_t file_seek(struct mnt *m, uint64_t ino, uint64_t off,
			      int whence)
{
	struct fs_inode in;

	file_load(m, ino, &in);
	return fs_file_seek(m->fs, &in, off, whence);
}

static inline void file_destroy(struct mnt *m, uint64_t ino)
{
	struct fs_inode in;

	file_load(m, ino, &in);
	assert_int_equal(fs_inode_destroy(m->fs, &in), 0);
}

/* splitmix64: a test says its seed, and can be run again. */
static inline uint64_t dice(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Bytes that are never 0 and differ from place to place and call to call. */
static inline void fill(void *buf, size_t n, uint64_t seed)
{
	uint8_t *b = buf;

	for (size_t i = 0; i < n; i++)
		b[i] = 1 + (seed * 31 + i * 7 + i / 251) % 255;
}

static inline void assert_all(const uint8_t *b, size_t n, uint8_t byte)
{
	for (size_t i = 0; i < n; i++)
		if (b[i] != byte)
			fail_msg("byte %zu of %zu is %u, not %u", i, n, b[i],
				 byte);
}

#endif
