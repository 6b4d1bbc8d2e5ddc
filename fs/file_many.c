/* fs/file_many.c - several small overwrites at once.
 *
 *	take          locks that are free, the inode, the same tests as alone
 *	load nodes    one kv_run()
 *	pages         one kv_pages_write(): from nine on in rows, which cost two
 *	              copies a page fewer and no folding
 *	store nodes   one kv_run() of conditional stores
 *
 * What does not fit is left to be done alone: fs_file_overwrite() and the like
 * know how. Nobody waits for a lock here, as it would hold those of others. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/xattr.h"

_Static_assert(FS_OVERWRITES_MAX <= FS_CNODES_MAX, "one load, one store");

struct many {
	struct fs *fs;
	size_t n; /* of those that were taken */
	struct fs_overwrite *write[FS_OVERWRITES_MAX];
	struct fs_cnode_at at[FS_OVERWRITES_MAX];
	struct fs_cnode old[FS_OVERWRITES_MAX], new[FS_OVERWRITES_MAX];
	int status[FS_OVERWRITES_MAX];
	size_t pages;
	const void *data[KV_PAGES_MAX];
	struct kv_page out[KV_PAGES_MAX];
};

/* The page pointers of @w in its chunk's node. */
static struct kv_page *pages_of(const struct fs_overwrite *w,
				struct fs_cnode *node)
{
	return &node->page[w->off / FS_PAGE_BYTES % FS_CHUNK_PAGES];
}

/* --- who comes along ------------------------------------------------------ */

/* Does it change nothing but bytes that are there, and times? */
static bool is_plain(struct fs *fs, const struct fs_overwrite *w)
{
	struct fs_inode in;

	return fs_inode_load(fs, w->ino, &in) == 0 && !in.is_inline &&
	       !fs_xattr_has_caps(&in) &&
	       (in.mode & (S_ISUID | S_ISGID)) == 0 && w->off < in.size &&
	       w->size <= in.size - w->off;
}

static void leave(struct fs *fs, const struct fs_overwrite *w)
{
	fs_range_unlock(fs, w->ino, w->off, 1);
	fs_inode_unlock(fs, w->ino);
}

static bool take(struct fs *fs, const struct fs_overwrite *w)
{
	if (!fs_inode_trylock(fs, w->ino))
		return false;
	if (!is_plain(fs, w) || !fs_range_trylock(fs, w->ino, w->off)) {
		fs_inode_unlock(fs, w->ino);
		return false;
	}
	return true;
}

static void take_all(struct many *m, struct fs_overwrite *write, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct fs_overwrite *w = &write[i];

		assert(w->size > 0 && (w->size | w->off) % FS_PAGE_BYTES == 0);
		assert(w->off / FS_CHUNK_BYTES ==
		       (w->off + w->size - 1) / FS_CHUNK_BYTES);
		w->done = -EAGAIN;
		if (!take(m->fs, w))
			continue;
		m->at[m->n] =
			(struct fs_cnode_at){w->ino, w->off / FS_CHUNK_BYTES};
		m->write[m->n++] = w;
	}
}

static bool has_hole(const struct fs_overwrite *w, struct fs_cnode *node)
{
	for (size_t i = 0; i < w->size / FS_PAGE_BYTES; i++)
		if (pages_of(w, node)[i].addr == 0)
			return true;
	return false;
}

/* Loads the nodes; who fills a hole, or whose node is not to be had, goes. */
static void load(struct many *m)
{
	size_t n = 0;

	fs_cnode_load_each(m->fs, m->at, m->n, m->old, m->status);
	for (size_t i = 0; i < m->n; i++) {
		if (m->status[i] != 0 || has_hole(m->write[i], &m->old[i])) {
			leave(m->fs, m->write[i]);
			continue;
		}
		m->write[n] = m->write[i];
		m->at[n] = m->at[i];
		m->old[n++] = m->old[i];
	}
	m->n = n;
}

/* --- what they do --------------------------------------------------------- */

static int write_pages(struct many *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct fs_overwrite *w = m->write[i];

		for (size_t at = 0; at < w->size; at += FS_PAGE_BYTES)
			m->data[m->pages++] = (const char *)w->buf + at;
	}
	assert(m->pages <= KV_PAGES_MAX);
	return m->pages > 0
		       ? kv_pages_write(m->fs->kv, m->data, m->pages, m->out)
		       : 0;
}

static void store(struct many *m)
{
	const struct kv_page *out = m->out;

	for (size_t i = 0; i < m->n; i++) {
		size_t pages = m->write[i]->size / FS_PAGE_BYTES;

		m->new[i] = m->old[i];
		memcpy(pages_of(m->write[i], &m->new[i]), out,
		       pages * sizeof(*out));
		out += pages;
		m->status[i] = 1;
	}
	fs_cnode_store_each(m->fs, m->at, m->n, m->new, m->status, 0);
}

/* Give back the pages that no node names (B2), and say how each ended. */
static void settle(struct many *m)
{
	for (size_t i = 0; i < m->n; i++) {
		struct fs_overwrite *w = m->write[i];
		int rc = m->status[i];

		if (rc == 0) {
			fs_cnode_free(m->fs, &m->old[i], &m->new[i]);
			fs_itable_touch(m->fs, w->ino,
					FS_TOUCH_MTIME | FS_TOUCH_CTIME);
		} else if (rc != -ETIMEDOUT) {
			fs_cnode_free(m->fs, &m->new[i], &m->old[i]);
		}
		w->done = rc == 0	  ? (ssize_t)w->size
			  : rc == -ESTALE ? -EAGAIN
					  : rc;
	}
}

void fs_file_overwrite_many(struct fs *fs, struct fs_overwrite *write, size_t n)
{
	struct many m;

	assert(n <= FS_OVERWRITES_MAX);
	m.fs = fs;
	m.n = m.pages = 0;
	take_all(&m, write, n);
	load(&m);
	if (write_pages(&m) == 0) {
		store(&m);
		settle(&m);
	}
	for (size_t i = 0; i < m.n; i++)
		leave(fs, m.write[i]);
}
