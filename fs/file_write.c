/* fs/file_write.c - writing a file's bytes.
 *
 *	load inode          0.2 us, cached
 *	small?              into the inode: one put, done
 *	pages               one kv_pages_write() per MiB
 *	chunk nodes         one kv_run() of at most 17 conditional stores
 *	inode               one put, if size or page count changed
 *
 * Alone on the pool, a file grows after its bytes are stored: a crash leaves
 * the old end. With other mounts about, the end is moved first and so the
 * bytes behind the old one are ours alone: two appends never meet, and a
 * crash leaves zeros. A write that stays within the file (overwrite) shares it
 * with others, and has its chunks to itself. */
#include <errno.h>
#include <string.h>

#include "fs/file_impl.h"
#include "fs/file_piece.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/xattr.h"

struct writing {
	struct fs *fs;
	struct fs_inode *in; /* the newest copy we know: the caller's */
	uint64_t held;	     /* the size before us */
	uint64_t end;	     /* where our last byte ends */
	bool shared;	     /* with other mounts */
	int64_t gained;	     /* pages more than before, not yet in the inode */
	bool kill_priv;
	bool reserved;
};

static void stamp(struct writing *w, struct fs_inode *in)
{
	fs_file_stamp(w->fs, in);
	fs_xattr_kill_caps(in);
	if (w->kill_priv)
		fs_inode_kill_priv(in);
}

static void count(struct writing *w, struct fs_inode *in)
{
	if (w->gained < 0)
		fs_file_uncount(in, -w->gained);
	else
		in->pages += w->gained;
}

/* Does the inode itself have to change, more than its times? */
static bool must_store(const struct writing *w)
{
	return w->gained != 0 || fs_xattr_has_caps(w->in) ||
	       (w->kill_priv && (w->in->mode & (S_ISUID | S_ISGID)) != 0);
}

static int note_change(struct fs_inode *in, void *arg)
{
	struct writing *w = arg;

	stamp(w, in);
	count(w, in);
	return 0;
}

/* The size stays: count and privileges if need be, else times alone. */
static int note(struct writing *w)
{
	if (!must_store(w)) {
		fs_itable_touch(w->fs, w->in->ino,
				FS_TOUCH_MTIME | FS_TOUCH_CTIME);
		return 0;
	}
	return fs_inode_update(w->fs, w->in->ino, note_change, w, NULL);
}

/* Move the end to @end. -ESTALE: the inode changed, begin again. */
static int extend(struct writing *w, uint64_t end)
{
	int rc;

	stamp(w, w->in);
	count(w, w->in);
	w->in->size = end;
	rc = fs_inode_store(w->fs, w->in);
	if (rc == 0)
		w->gained = 0;
	return rc;
}

/* A small file: its bytes go into the inode. Returns 1 if it is none. */
static int write_inline(struct writing *w, const void *buf, size_t size,
			uint64_t off)
{
	struct fs_inode *in = w->in;

	if (in->size == 0)
		in->is_inline = true; /* what it had, is garbage: B1 */
	if (!in->is_inline || w->end > FS_INLINE_BYTES_MAX)
		return 1;
	if (w->end > in->size)
		fs_file_inline_resize(in, w->end);
	memcpy(in->body + off, buf, size);
	stamp(w, in);
	return fs_inode_store(w->fs, in);
}

/* Make room for the bytes: the old end, if they lie beyond it. */
static int prepare(struct writing *w, uint64_t off)
{
	int rc;

	w->held = w->in->size;
	w->shared = kv_clients(w->fs->kv) > 1;
	if (w->in->is_inline) {
		rc = fs_file_spill(w->fs, w->in);
		if (rc != 0)
			return rc;
	}
	rc = fs_file_zero_beyond(w->fs, w->in, off);
	if (rc != 0 || w->end <= w->held || !w->shared)
		return rc;
	rc = extend(w, w->end);
	w->reserved = rc == 0;
	return rc;
}

static int unreserve(struct fs_inode *in, void *arg)
{
	struct writing *w = arg;

	if (in->size != w->end)
		return 1; /* another came behind us: the hole stays */
	in->size = w->held;
	return 0;
}

/* Nothing was written: leave the file as it was. */
static void give_up(struct writing *w)
{
	if (w->reserved)
		fs_inode_update(w->fs, w->in->ino, unreserve, w, NULL);
}

/* All pieces; returns what is written, or -errno if that is nothing. */
static ssize_t write_pieces(struct writing *w, const uint8_t *buf, size_t size,
			    uint64_t off)
{
	struct fs_piece_target t = {
		.fs = w->fs,
		.ino = w->in->ino,
		.held = w->shared ? UINT64_MAX : w->held,
	};
	size_t done, len;
	int rc;

	for (done = 0; done < size; done += len) {
		len = fs_piece(off + done, size - done);
		rc = fs_piece_write(&t, buf + done, len, off + done);
		w->gained += t.gained;
		t.gained = 0;
		if (rc != 0)
			return done > 0 ? (ssize_t)done : rc;
	}
	return size;
}

/* The bytes are stored, the inode could not follow: take them back. What lay
 * before the old end was overwritten and stays, as after any failed write. */
static void take_back(struct writing *w, uint64_t off, uint64_t end, int why)
{
	uint64_t freed = 0;

	if (why == -ESTALE || why == -ETIMEDOUT)
		return; /* to be done again; not known */
	if (why != -ENOENT && off < w->held)
		off = w->held;
	fs_file_zero(w->fs, w->in->ino, off, end, &freed);
}

/* The same by one of several at once. */
static int note_shared(struct writing *w)
{
	int rc;

	if (!must_store(w))
		return note(w);
	fs_record_lock(w->fs, w->in->ino);
	rc = note(w);
	fs_record_unlock(w->fs, w->in->ino);
	return rc;
}

static ssize_t overwrite(struct writing *w, const void *buf, size_t size,
			 uint64_t off)
{
	uint64_t ino = w->in->ino;
	ssize_t done;
	int rc;

	fs_range_lock(w->fs, ino, off, size, true);
	done = write_pieces(w, buf, size, off);
	if (done > 0) {
		rc = note_shared(w);
		if (rc == -ENOENT)
			take_back(w, off, off + done, rc);
		if (rc != 0)
			done = rc;
	}
	fs_range_unlock(w->fs, ino, off, size);
	return done;
}

ssize_t fs_file_overwrite(struct fs *fs, uint64_t ino, const void *buf,
			  size_t size, uint64_t off, bool kill_priv,
			  struct fs_inode *in)
{
	struct writing w = {.fs = fs, .in = in, .kill_priv = kill_priv};
	int rc;

	if (size == 0)
		return 0;
	rc = fs_inode_load(fs, ino, in);
	if (rc != 0)
		return rc;
	if (in->is_inline || off >= in->size || size > in->size - off)
		return -EAGAIN;
	w.held = in->size;
	w.shared = kv_clients(fs->kv) > 1;
	return overwrite(&w, buf, size, off);
}

/* Nothing but the conditional put of write_inline() can happen here: chunks
 * are not to be touched by what an old copy says. */
ssize_t fs_file_write_small(struct fs *fs, struct fs_inode *in, const void *buf,
			    size_t size, uint64_t off, bool kill_priv)
{
	struct writing w = {
		.fs = fs, .in = in, .end = off + size, .kill_priv = kill_priv};
	int rc = write_inline(&w, buf, size, off);

	if (rc > 0)
		return -EAGAIN;
	return rc == 0 ? (ssize_t)size : rc;
}

static ssize_t write_chunks(struct writing *w, const void *buf, size_t size,
			    uint64_t off)
{
	ssize_t done;
	int rc;

	rc = prepare(w, off);
	if (rc != 0) {
		give_up(w);
		return rc;
	}
	done = write_pieces(w, buf, size, off);
	if (done < 0) {
		give_up(w);
		return done;
	}
	if (w->reserved || off + done <= w->held)
		rc = note(w);
	else
		rc = extend(w, off + done);
	if (rc == 0)
		return done;
	take_back(w, off, off + done, rc);
	return rc;
}

/* One try. -ESTALE: the inode changed under us; all may be done again. */
static ssize_t write_once(struct writing *w, uint64_t ino, const void *buf,
			  size_t size, uint64_t *off, bool append)
{
	int rc;

	w->reserved = false;
	rc = fs_inode_load(w->fs, ino, w->in);
	if (rc != 0)
		return rc;
	if (append)
		*off = w->in->size;
	if (*off >= FS_FILE_BYTES_MAX)
		return -EFBIG;
	if (size > FS_FILE_BYTES_MAX - *off)
		size = FS_FILE_BYTES_MAX - *off;
	w->end = *off + size;
	rc = write_inline(w, buf, size, *off);
	if (rc <= 0)
		return rc == 0 ? (ssize_t)size : rc;
	return write_chunks(w, buf, size, *off);
}

ssize_t fs_file_write(struct fs *fs, uint64_t ino, const void *buf, size_t size,
		      uint64_t *off, bool append, bool kill_priv)
{
	struct fs_inode in;
	struct writing w = {.fs = fs, .in = &in, .kill_priv = kill_priv};
	ssize_t rc = -ESTALE;

	if (size == 0)
		return 0;
	for (int i = 0; rc == -ESTALE && i < FS_RETRIES_MAX; i++)
		rc = write_once(&w, ino, buf, size, off, append);
	return rc == -ESTALE ? -EBUSY : rc;
}
