/* tests/lib/fs_own.c - see fs_own.h. */
#include "tests/lib/fs_own.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/chunk.h"
#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/names.h"
#include "fs/vacate.h"

static uint32_t roll(struct fs_own_pair *o, uint32_t n)
{
	o->dice = o->dice * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(o->dice >> 33) % n;
}

static const char *name_of(uint32_t i)
{
	static const char *const name[FS_OWN_NAMES] = {"a", "b", "c", "d", "e"};

	return name[i];
}

static int make(struct fs *fs, uint64_t dir, const char *name, uint32_t mode,
		uint64_t *ino)
{
	struct fs_make how = {.mode = mode};
	struct fs_inode in;
	int rc = fs_names_make(fs, dir, name, &how, &in);

	*ino = rc == 0 ? in.ino : 0;
	return rc;
}

int fs_own_make(struct fs *fs, const char *name, uint64_t seed,
		struct fs_own_pair *o)
{
	uint64_t top;
	int rc = make(fs, FS_ROOT_INO, name, S_IFDIR | 0755, &top);

	memset(o, 0, sizeof(*o));
	o->dice = seed;
	for (uint32_t i = 0; rc == 0 && i < FS_OWN_DIRS; i++)
		rc = make(fs, top, name_of(i), S_IFDIR | 0755, &o->now.dir[i]);
	o->before = o->now;
	return rc;
}

/* --- acts: what they do, and what they must answer
 * ----------------------------- */

struct at {
	uint32_t dir, name;
};

static uint32_t *cell(struct fs_own *w, struct at a)
{
	return &w->name[a.dir][a.name];
}

static struct fs_own_file *file_at(struct fs_own *w, struct at a)
{
	uint32_t c = *cell(w, a);

	return c == 0 || c == FS_OWN_DIR ? NULL : &w->file[c - 1];
}

static struct at somewhere(struct fs_own_pair *o)
{
	return (struct at){roll(o, FS_OWN_DIRS), roll(o, FS_OWN_NAMES)};
}

static void unname(struct fs_own *w, struct at a)
{
	struct fs_own_file *f = file_at(w, a);

	if (f != NULL)
		f->links--;
	*cell(w, a) = 0;
}

static uint32_t unused(const struct fs_own *w)
{
	uint32_t i = 0;

	while (w->file[i].links != 0)
		i++;
	return i;
}

static int told(char why[160], const char *what, struct at a, struct at b,
		int got, int want)
{
	if (got == want)
		return 0;
	snprintf(why, 160, "%s %u/%s %u/%s: told %d, not %d", what, a.dir,
		 name_of(a.name), b.dir, name_of(b.name), got, want);
	return -EPROTO;
}

static int act_make(struct fs *fs, struct fs_own_pair *o, struct at a,
		    bool is_dir, char why[160])
{
	struct fs_own *w = &o->now;
	int want = *cell(w, a) != 0 ? -EEXIST : 0;
	uint32_t i = want == 0 && !is_dir ? unused(w) : 0;
	uint64_t ino;
	int rc;

	if (want == 0) {
		*cell(w, a) = is_dir ? FS_OWN_DIR : 1 + i;
		if (!is_dir)
			w->file[i] = (struct fs_own_file){.links = 1};
	}
	rc = make(fs, w->dir[a.dir], name_of(a.name),
		  is_dir ? S_IFDIR | 0700 : S_IFREG | 0600, &ino);
	if (want == 0 && !is_dir)
		w->file[i].ino = ino;
	return told(why, "make", a, a, rc, want);
}

static int act_unlink(struct fs *fs, struct fs_own_pair *o, struct at a,
		      char why[160])
{
	struct fs_own *w = &o->now;
	int want = *cell(w, a) == 0	       ? -ENOENT
		   : *cell(w, a) == FS_OWN_DIR ? -EISDIR
					       : 0;
	if (want == 0)
		unname(w, a);
	return told(why, "unlink", a, a,
		    fs_names_unlink(fs, w->dir[a.dir], name_of(a.name)), want);
}

static int act_rmdir(struct fs *fs, struct fs_own_pair *o, struct at a,
		     char why[160])
{
	struct fs_own *w = &o->now;
	int want = *cell(w, a) == 0	       ? -ENOENT
		   : *cell(w, a) != FS_OWN_DIR ? -ENOTDIR
					       : 0;
	if (want == 0)
		unname(w, a);
	return told(why, "rmdir", a, a,
		    fs_names_rmdir(fs, w->dir[a.dir], name_of(a.name)), want);
}

static int act_link(struct fs *fs, struct fs_own_pair *o, struct at a,
		    struct at b, char why[160])
{
	struct fs_own *w = &o->now;
	struct fs_own_file *f = file_at(w, a);
	struct fs_inode out;
	int want = 0;

	if (f == NULL)
		return 0;
	if (*cell(w, b) != 0)
		want = -EEXIST;
	if (want == 0) {
		f->links++;
		*cell(w, b) = *cell(w, a);
	}
	return told(
		why, "link", a, b,
		fs_names_link(fs, f->ino, w->dir[b.dir], name_of(b.name), &out),
		want);
}

static int rename_says(struct fs_own *w, struct at a, struct at b,
		       unsigned flags)
{
	uint32_t from = *cell(w, a), to = *cell(w, b);

	if (from == 0 || (flags == RENAME_EXCHANGE && to == 0))
		return -ENOENT;
	if (flags == RENAME_EXCHANGE || to == 0)
		return 0;
	if (flags == RENAME_NOREPLACE)
		return -EEXIST;
	if (from == FS_OWN_DIR && to != FS_OWN_DIR)
		return -ENOTDIR;
	return from != FS_OWN_DIR && to == FS_OWN_DIR ? -EISDIR : 0;
}

static void rename_does(struct fs_own *w, struct at a, struct at b,
			unsigned flags)
{
	uint32_t from = *cell(w, a), to = *cell(w, b);

	if (flags == RENAME_EXCHANGE) {
		*cell(w, a) = to;
		*cell(w, b) = from;
	} else if (from != to || from == FS_OWN_DIR) { /* else: one file */
		unname(w, b);
		*cell(w, a) = 0;
		*cell(w, b) = from;
	}
}

static unsigned some_flags(struct fs_own_pair *o)
{
	static const unsigned flag[] = {0, 0, RENAME_NOREPLACE,
					RENAME_EXCHANGE};

	return flag[roll(o, 4)];
}

static int act_rename(struct fs *fs, struct fs_own_pair *o, struct at a,
		      struct at b, unsigned flags, char why[160])
{
	struct fs_own *w = &o->now;
	int want = rename_says(w, a, b, flags);

	if (a.dir == b.dir && a.name == b.name)
		return 0;
	if (want == 0)
		rename_does(w, a, b, flags);
	return told(why, "rename", a, b,
		    fs_names_rename(fs, w->dir[a.dir], name_of(a.name),
				    w->dir[b.dir], name_of(b.name), flags),
		    want);
}

static int act_write(struct fs *fs, struct fs_own_pair *o, struct at a,
		     uint64_t off, uint32_t len, char why[160])
{
	struct fs_own_file *f = file_at(&o->now, a);
	ssize_t n;

	if (f == NULL)
		return 0;
	if (off > f->size)
		memset(f->data + f->size, 0, off - f->size);
	for (uint32_t i = 0; i < len; i++)
		f->data[off + i] = (uint8_t)(roll(o, 256) + (i == 0));
	if (off + len > f->size)
		f->size = (uint32_t)off + len;
	fs_inode_lock(fs, f->ino, true);
	n = fs_file_write(fs, f->ino, f->data + off, len, &off, false, false);
	fs_inode_unlock(fs, f->ino);
	return told(why, "write", a, a, (int)n, (int)len);
}

static int act_write_somewhere(struct fs *fs, struct fs_own_pair *o,
			       struct at a, char why[160])
{
	uint64_t off = roll(o, roll(o, 2) ? 6000 : FS_OWN_BYTES / 2);
	uint32_t len = 1 + roll(o, roll(o, 2) ? 3000 : FS_OWN_BYTES / 2);

	return act_write(fs, o, a, off, len, why);
}

/* New bytes for the first pages of a chunk of @f, if it has some. */
static bool overwrite_of(struct fs_own_pair *o, struct fs_own_file *f,
			 uint32_t chunk, struct fs_overwrite *out)
{
	uint32_t off = chunk * FS_CHUNK_BYTES;
	uint32_t pages = f->size > off ? (f->size - off) / FS_PAGE_BYTES : 0;

	if (f->links == 0 || pages == 0)
		return false;
	pages = 1 + roll(o, pages < 4 ? pages : 4);
	for (uint32_t i = 0; i < pages * FS_PAGE_BYTES; i++)
		f->data[off + i] = (uint8_t)roll(o, 256);
	*out = (struct fs_overwrite){.ino = f->ino,
				     .off = off,
				     .size = pages * FS_PAGE_BYTES,
				     .buf = f->data + off};
	return true;
}

/* What could not be done with the others is done alone, as fs/gather.c does. */
static ssize_t overwritten(struct fs *fs, const struct fs_overwrite *w)
{
	uint64_t off = w->off;
	ssize_t done = w->done;

	if (done != -EAGAIN)
		return done;
	fs_inode_lock(fs, w->ino, true);
	done = fs_file_write(fs, w->ino, w->buf, w->size, &off, false, false);
	fs_inode_unlock(fs, w->ino);
	return done;
}

static int act_many(struct fs *fs, struct fs_own_pair *o, struct at a,
		    char why[160])
{
	struct fs_overwrite w[FS_OVERWRITES_MAX];
	uint32_t n = 0;
	int rc = 0;

	for (uint32_t i = 0; i < 2 * FS_OWN_FILES; i++)
		n += overwrite_of(o, &o->now.file[i / 2], i % 2, &w[n]);
	fs_file_overwrite_many(fs, w, n);
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = told(why, "write many", a, a, (int)overwritten(fs, &w[i]),
			  (int)w[i].size);
	return rc;
}

static bool is_one_of(const void *set, uint64_t addr)
{
	uint32_t of = *(const uint32_t *)set;

	return addr / FS_PAGE_BYTES % of == 0;
}

/* Every page, or some. */
static int act_vacate(struct fs *fs, struct fs_own_pair *o, struct at a,
		      char why[160])
{
	uint32_t of = 1 + roll(o, 3);

	return told(why, "vacate", a, a, fs_vacate(fs, is_one_of, &of), 0);
}

static int act_truncate(struct fs *fs, struct fs_own_pair *o, struct at a,
			uint32_t size, char why[160])
{
	struct fs_own_file *f = file_at(&o->now, a);
	struct fs_inode in;
	int rc;

	if (f == NULL)
		return 0;
	if (size > f->size)
		memset(f->data + f->size, 0, size - f->size);
	f->size = size;
	fs_inode_lock(fs, f->ino, true);
	do {
		rc = fs_inode_load(fs, f->ino, &in);
		if (rc == 0)
			rc = fs_file_truncate(fs, &in, size);
	} while (rc == -ESTALE);
	fs_inode_unlock(fs, f->ino);
	return told(why, "truncate", a, a, rc, 0);
}

int fs_own_act(struct fs *fs, struct fs_own_pair *o, char why[160])
{
	struct at a = somewhere(o), b = somewhere(o);

	o->before = o->now;
	switch (roll(o, 11)) {
	case 0:
	case 1:
		return act_make(fs, o, a, false, why);
	case 2:
		return act_make(fs, o, a, true, why);
	case 3:
		return act_unlink(fs, o, a, why);
	case 4:
		return act_rmdir(fs, o, a, why);
	case 5:
		return act_link(fs, o, a, b, why);
	case 6:
		return act_truncate(fs, o, a, roll(o, FS_OWN_BYTES), why);
	case 7:
	case 8:
		return act_rename(fs, o, a, b, some_flags(o), why);
	default:
		return act_write_somewhere(fs, o, a, why);
	}
}

/* --- acts that are asked for
 * ------------------------------------------------------------------ */

/* Is there something to do for @kind at @a, and @b? */
static bool suits(struct fs_own *w, enum fs_own_kind kind, struct at a,
		  struct at b)
{
	const struct fs_own_file *f = file_at(w, a);

	switch (kind) {
	case FS_OWN_MAKE:
	case FS_OWN_MKDIR:
		return *cell(w, a) == 0;
	case FS_OWN_RMDIR:
		return *cell(w, a) == FS_OWN_DIR;
	case FS_OWN_LINK:
		return f != NULL && *cell(w, b) == 0;
	case FS_OWN_RENAME:
		return *cell(w, a) != 0 && *cell(w, b) == 0;
	case FS_OWN_REPLACE:
		return f != NULL && file_at(w, b) != NULL && f != file_at(w, b);
	case FS_OWN_EXCHANGE:
		return *cell(w, a) != 0 && *cell(w, b) != 0 &&
		       *cell(w, a) != *cell(w, b);
	case FS_OWN_CUT:
		return f != NULL && f->size > 1;
	case FS_OWN_MANY:
	case FS_OWN_VACATE:
		return f != NULL && f->size >= FS_PAGE_BYTES;
	default:
		return f != NULL;
	}
}

static int do_at(struct fs *fs, struct fs_own_pair *o, enum fs_own_kind kind,
		 struct at a, struct at b, char why[160])
{
	switch (kind) {
	case FS_OWN_MAKE:
	case FS_OWN_MKDIR:
		return act_make(fs, o, a, kind == FS_OWN_MKDIR, why);
	case FS_OWN_UNLINK:
		return act_unlink(fs, o, a, why);
	case FS_OWN_RMDIR:
		return act_rmdir(fs, o, a, why);
	case FS_OWN_LINK:
		return act_link(fs, o, a, b, why);
	case FS_OWN_RENAME:
	case FS_OWN_REPLACE:
		return act_rename(fs, o, a, b, 0, why);
	case FS_OWN_EXCHANGE:
		return act_rename(fs, o, a, b, RENAME_EXCHANGE, why);
	case FS_OWN_CUT:
		return act_truncate(fs, o, a, file_at(&o->now, a)->size / 3,
				    why);
	case FS_OWN_GROW:
		return act_truncate(fs, o, a, FS_OWN_BYTES - 1, why);
	case FS_OWN_MANY:
		return act_many(fs, o, a, why);
	case FS_OWN_VACATE:
		return act_vacate(fs, o, a, why);
	case FS_OWN_WRITE:
		return act_write(fs, o, a, roll(o, 9000), 1 + roll(o, 3000),
				 why);
	default:
		return act_write(fs, o, a, 0, FS_OWN_BYTES, why);
	}
}

int fs_own_do(struct fs *fs, struct fs_own_pair *o, enum fs_own_kind kind,
	      char why[160])
{
	struct at a, b;

	o->before = o->now;
	for (uint32_t i = 0; i < 1000; i++) {
		a = somewhere(o);
		b = somewhere(o);
		if (suits(&o->now, kind, a, b))
			return do_at(fs, o, kind, a, b, why);
	}
	snprintf(why, 160, "there is nothing to do for kind %u", kind);
	return -EPROTO;
}

/* --- looking
 * -------------------------------------------------------------------------- */

static bool byte_fits(uint8_t got, const struct fs_own_file *f,
		      const struct fs_own_file *g, uint32_t i)
{
	if (i < f->size && got == f->data[i])
		return true;
	return g != NULL && (i < g->size ? got == g->data[i] : got == 0);
}

static bool bytes_fit(struct fs *fs, const struct fs_inode *in,
		      const struct fs_own_file *f, const struct fs_own_file *g,
		      char why[160])
{
	uint8_t *got = malloc(FS_OWN_BYTES + 1);
	ssize_t n;
	uint32_t i = 0;

	fs_inode_lock(fs, in->ino, false);
	n = fs_file_read(fs, in, got, FS_OWN_BYTES + 1, 0);
	fs_inode_unlock(fs, in->ino);
	if (n == f->size || (g != NULL && n == g->size))
		while (i < n && byte_fits(got[i], f, g, i))
			i++;
	if (n < 0 || i != n || !(n == f->size || (g != NULL && n == g->size))) {
		snprintf(why, 160,
			 "inode %llx: read %zd of %u bytes, byte %u is wrong",
			 (unsigned long long)in->ino, n, f->size, i);
		free(got);
		return false;
	}
	free(got);
	return true;
}

static bool name_holds(struct fs *fs, const struct fs_own *want,
		       const struct fs_own *half, uint32_t d, uint32_t n,
		       char why[160])
{
	uint32_t c = want->name[d][n];
	const struct fs_own_file *f, *g = NULL;
	struct fs_inode in;
	uint64_t ino = 0;
	uint8_t type = 0;
	int rc = fs_dentry_lookup(fs, want->dir[d], name_of(n), &ino, &type);

	snprintf(why, 160, "%u/%s: told %d, type %u", d, name_of(n), rc, type);
	if (c == 0)
		return rc == -ENOENT;
	if (rc != 0 || (c == FS_OWN_DIR) != (type == fs_dentry_type(S_IFDIR)))
		return false;
	if (c == FS_OWN_DIR)
		return true;
	f = &want->file[c - 1];
	/* What was being made when its maker died has a number of its own. */
	if (half != NULL && half->file[c - 1].links != 0)
		g = &half->file[c - 1];
	if (f->ino != 0 && f->ino != ino)
		return false;
	rc = fs_inode_load(fs, ino, &in);
	snprintf(why, 160, "%u/%s: inode %d, %u links, not %u", d, name_of(n),
		 rc, in.nlink, f->links);
	if (rc != 0 || in.nlink < f->links ||
	    (half == NULL && in.nlink != f->links))
		return false;
	return bytes_fit(fs, &in, f, g, why);
}

bool fs_own_holds(struct fs *fs, const struct fs_own *want,
		  const struct fs_own *half, char why[160])
{
	for (uint32_t d = 0; d < FS_OWN_DIRS; d++)
		for (uint32_t n = 0; n < FS_OWN_NAMES; n++)
			if (!name_holds(fs, want, half, d, n, why))
				return false;
	return true;
}
