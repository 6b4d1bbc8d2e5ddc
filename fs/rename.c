/* rename(2): look at both names, edit one or two leaves, and store all that
 * changes in one transaction. What is stored at most, 8 = KV_TXN_OPS_MAX:
 *
 *	leaf of the old name, leaf of the new name	always (perhaps one)
 *	moved directory (its parent)			across directories
 *	the other directory, if exchanged		likewise
 *	old parent, new parent (nlink)			if theirs changes
 *	count of moves					likewise
 *	replaced directory: its root leaf, its inode	deleted, empty still
 *
 * A directory must not move below itself. Two mounts might each move one below
 * the other's; so every move of a directory between directories reads the
 * count of moves before it walks up to the root, and writes it if unchanged.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/names.h"
#include "fs/xattr.h"

#define DEPTH_MAX (1u << 20) /* of directories; above is a loop */

/* An inode that the transaction stores. */
struct edit {
	struct fs_inode in;
	struct fs_key key;
	uint8_t buf[FS_INODE_BYTES_MAX];
};

struct rename {
	struct fs *fs;
	uint64_t olddir, newdir;
	bool exchange, noreplace;
	struct fs_dentry from, to; /* to.ino 0: no such name */
	struct fs_spot src, room;
	struct fs_spot *dst; /* &src if both names lie in one leaf */
	struct fs_spot root; /* of a replaced directory */
	struct fs_inode replaced;
	struct fs_key replaced_key, moves_key;
	struct edit moved, other, oldp, newp;
	struct kv_req req[KV_TXN_OPS_MAX];
	unsigned n;
};

static bool is_dir(const struct fs_dentry *d)
{
	return d->ino != 0 && d->type == fs_dentry_type(S_IFDIR);
}

static bool is_across(const struct rename *r)
{
	return r->olddir != r->newdir;
}

/* --- looking
 * ------------------------------------------------------------------ */

/* Find the new name's leaf: with the name, or with room for it. */
static int look_new(struct rename *r)
{
	int err;

	if (r->exchange)
		return fs_dentry_seek(r->fs, r->newdir, &r->to, &r->room);
	r->to.ino = 0;
	err = fs_dentry_vacancy(r->fs, r->newdir, &r->to, &r->room);
	return err == -EEXIST ? 0 : err;
}

/* The new name first: making room for it may move the old one. */
static int look(struct rename *r)
{
	int err = look_new(r);

	if (err == 0)
		err = fs_dentry_seek(r->fs, r->olddir, &r->from, &r->src);
	if (err != 0)
		return err;
	r->dst = &r->room;
	if (r->src.key.len != r->room.key.len ||
	    memcmp(r->src.key.byte, r->room.key.byte, r->src.key.len) != 0)
		return 0;
	r->dst = &r->src;
	return r->src.version == r->room.version ? 0 : -ESTALE;
}

/* 1: both names are one inode, and there is nothing to do. */
static int may(const struct rename *r)
{
	if (r->to.ino == 0)
		return 0;
	if (r->noreplace)
		return -EEXIST;
	if (r->to.ino == r->from.ino)
		return 1;
	if (r->exchange || is_dir(&r->from) == is_dir(&r->to))
		return 0;
	return is_dir(&r->to) ? -EISDIR : -ENOTDIR;
}

/* --- what is stored
 * ------------------------------------------------------------- */

static void add(struct rename *r, struct kv_req req)
{
	r->req[r->n++] = req;
}

static void add_inode(struct rename *r, struct edit *e)
{
	add(r, fs_names_put(&e->in, &e->key, e->buf));
}

static int edit_leaves(struct rename *r)
{
	struct fs_dentry to = r->to;
	int err = 0;

	to.ino = r->from.ino;
	to.type = r->from.type;
	if (r->exchange)
		fs_leaf_set(&r->src.node, &r->from, r->to.ino, r->to.type);
	else
		fs_leaf_drop(&r->src.node, &r->from);
	if (r->to.ino != 0)
		fs_leaf_set(&r->dst->node, &to, to.ino, to.type);
	else
		err = fs_leaf_add(&r->dst->node, &to);
	add(r, fs_trie_request(&r->src, 0));
	if (r->dst != &r->src)
		add(r, fs_trie_request(r->dst, 0));
	return err;
}

static int load(struct rename *r, uint64_t ino, struct edit *e)
{
	return fs_inode_load(r->fs, ino, &e->in);
}

/* Links of a parent: one for each directory in it. */
static int add_parent(struct rename *r, uint64_t ino, struct edit *e, int delta)
{
	int err;

	if (delta == 0)
		return 0;
	err = load(r, ino, e);
	if (err != 0)
		return err;
	if (delta > 0 && e->in.nlink >= FS_LINKS_MAX)
		return -EMLINK;
	if (delta > 0 || e->in.nlink > 2)
		e->in.nlink += delta;
	add_inode(r, e);
	return 0;
}

static int add_parents(struct rename *r)
{
	int from = is_dir(&r->from), to = is_dir(&r->to);
	int old = 0, new = 0, err;

	if (is_across(r)) {
		old -= from;
		new += from;
	}
	if (!r->exchange)
		new -= to;
	else if (is_across(r)) {
		new -= to;
		old += to;
	}
	err = add_parent(r, r->olddir, &r->oldp, old);
	return err != 0 ? err : add_parent(r, r->newdir, &r->newp, new);
}

/* A directory that goes to @parent. */
static int add_moved(struct rename *r, const struct fs_dentry *d,
		     uint64_t parent, struct edit *e)
{
	int err = load(r, d->ino, e);

	if (err != 0)
		return err;
	e->in.parent = parent;
	add_inode(r, e);
	return 0;
}

static int add_replaced_dir(struct rename *r)
{
	int err = fs_inode_load(r->fs, r->to.ino, &r->replaced);

	if (err == 0)
		err = fs_trie_prune(r->fs, r->to.ino, &r->root);
	if (err != 0)
		return err == -ENOENT ? -ESTALE : err;
	fs_inode_ghost(r->fs, &r->replaced, kv_wall_ns(r->fs->kv));
	r->replaced_key = fs_key_inode(r->to.ino);
	add(r, (struct kv_req){.kind = KV_DEL,
			       .flags = KV_URGENT,
			       .key = r->root.key.byte,
			       .klen = r->root.key.len,
			       .expect = r->root.version});
	add(r, (struct kv_req){.kind = KV_DEL,
			       .flags = KV_URGENT,
			       .key = r->replaced_key.byte,
			       .klen = r->replaced_key.len,
			       .expect = r->replaced.version});
	return 0;
}

/* --- no directory below itself
 * ---------------------------------------------------- */

static int moves_read(struct rename *r, uint64_t *version)
{
	uint8_t value;
	size_t len;

	r->moves_key = fs_key_moves();
	return kv_get(r->fs->kv, r->moves_key.byte, r->moves_key.len, &value,
		      sizeof(value), &len, version);
}

/* -EINVAL if @dir is @at or above it. */
static int check_above(struct rename *r, uint64_t dir, uint64_t at)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++) {
		int err;

		if (at == dir)
			return -EINVAL;
		if (at == FS_ROOT_INO)
			return 0;
		err = load(r, at, &r->other);
		if (err != 0)
			return err;
		at = r->other.in.parent;
	}
	return -ELOOP;
}

static int add_moves(struct rename *r)
{
	uint64_t version;
	int err = moves_read(r, &version);

	if (err == 0 && is_dir(&r->from))
		err = check_above(r, r->from.ino, r->newdir);
	if (err == 0 && r->exchange && is_dir(&r->to))
		err = check_above(r, r->to.ino, r->olddir);
	if (err != 0)
		return err;
	add(r, (struct kv_req){.kind = KV_PUT_IF,
			       .key = r->moves_key.byte,
			       .klen = r->moves_key.len,
			       .val = "\1",
			       .len = 1,
			       .expect = version});
	return 0;
}

static int add_across(struct rename *r)
{
	bool both = r->exchange && is_dir(&r->to);
	int err;

	if (!is_across(r) || (!is_dir(&r->from) && !both))
		return 0;
	err = add_moves(r);
	if (err == 0 && is_dir(&r->from))
		err = add_moved(r, &r->from, r->newdir, &r->moved);
	if (err == 0 && both)
		err = add_moved(r, &r->to, r->olddir, &r->other);
	return err;
}

/* --- doing it
 * ------------------------------------------------------------------------ */

static int commit(struct rename *r)
{
	int err;

	if (r->n > 1)
		return kv_txn(r->fs->kv, r->req, r->n);
	err = kv_run(r->fs->kv, r->req, 1);
	return err == -ENOENT ? -ESTALE : err;
}

/* One round; -ESTALE: again; 1: nothing to do. */
static int rename_once(struct rename *r)
{
	int err = look(r);

	r->n = 0;
	if (err == 0)
		err = may(r);
	if (err == 0)
		err = add_across(r);
	if (err == 0 && is_dir(&r->to) && !r->exchange)
		err = add_replaced_dir(r);
	if (err == 0)
		err = add_parents(r);
	if (err == 0)
		err = edit_leaves(r);
	return err != 0 ? err : commit(r);
}

static void settle_replaced(struct rename *r)
{
	if (!is_dir(&r->to)) {
		/* the name is gone: what else fails is fsck's */
		(void)fs_names_unlinked(r->fs, r->to.ino);
		return;
	}
	fs_itable_gone(r->fs, r->to.ino);
	(void)fs_xattr_clear(r->fs, &r->replaced);
}

/* Times alone are left to do. */
static void settle(struct rename *r)
{
	fs_itable_touch(r->fs, r->olddir, FS_TOUCH_MTIME | FS_TOUCH_CTIME);
	fs_itable_touch(r->fs, r->newdir, FS_TOUCH_MTIME | FS_TOUCH_CTIME);
	fs_itable_touch(r->fs, r->from.ino, FS_TOUCH_CTIME);
	if (r->exchange)
		fs_itable_touch(r->fs, r->to.ino, FS_TOUCH_CTIME);
	else if (r->to.ino != 0)
		settle_replaced(r);
}

int fs_names_rename(struct fs *fs, uint64_t olddir, const char *oldname,
		    uint64_t newdir, const char *newname, unsigned flags)
{
	struct rename r;
	int err;

	if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
		return -EINVAL;
	r.fs = fs;
	r.olddir = olddir;
	r.newdir = newdir;
	r.exchange = flags == RENAME_EXCHANGE;
	r.noreplace = flags == RENAME_NOREPLACE;
	err = fs_dentry_name(fs, oldname, &r.from);
	if (err == 0)
		err = fs_dentry_name(fs, newname, &r.to);
	if (err != 0)
		return err;
	err = -ESTALE;
	for (int i = 0; err == -ESTALE && i < FS_RETRIES_MAX; i++)
		err = rename_once(&r);
	if (err == 0)
		settle(&r);
	if (err == 1)
		return 0;
	return err == -ESTALE ? -EBUSY : err;
}
