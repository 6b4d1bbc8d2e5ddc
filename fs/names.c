#include "fs/names.h"

#include <errno.h>
#include <string.h>

#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/orphan.h"
#include "fs/xattr.h"

#define TOUCH_DIR (FS_TOUCH_MTIME | FS_TOUCH_CTIME)

struct kv_req fs_names_put(const struct fs_inode *in, struct fs_key *key,
			   void *buf)
{
	*key = fs_key_inode(in->ino);
	return (struct kv_req){
		.kind = in->version == 0 ? KV_INSERT : KV_PUT_IF,
		.flags = S_ISDIR(in->mode) ? KV_HOT : 0,
		.key = key->byte,
		.klen = key->len,
		.val = buf,
		.len = fs_inode_encode(in, buf),
		.expect = in->version,
	};
}

static int load_dir(struct fs *fs, uint64_t ino, struct fs_inode *out)
{
	int err = fs_inode_load(fs, ino, out);

	if (err != 0)
		return err;
	return S_ISDIR(out->mode) ? 0 : -ENOTDIR;
}

/* --- making -------------------------------------------------------------- */

static int fill(struct fs *fs, const struct fs_inode *dir,
		const struct fs_make *how, struct fs_inode *in)
{
	size_t len = how->target != NULL ? strlen(how->target) : 0;

	if (len > FS_SYMLINK_BYTES_MAX)
		return -ENAMETOOLONG;
	memset(in, 0, offsetof(struct fs_inode, body));
	in->ino = fs_inode_number(fs);
	in->mode = how->mode;
	in->uid = how->uid;
	in->gid = how->gid;
	if ((dir->mode & S_ISGID) != 0) {
		in->gid = dir->gid;
		if (S_ISDIR(in->mode))
			in->mode |= S_ISGID;
	}
	in->nlink = S_ISDIR(in->mode) ? 2 : 1;
	in->rdev = how->rdev;
	in->parent = S_ISDIR(in->mode) ? dir->ino : 0;
	in->generation = kv_random(fs->kv);
	in->btime_ns = kv_wall_ns(fs->kv);
	in->atime_ns = in->mtime_ns = in->ctime_ns = in->btime_ns;
	in->is_inline = S_ISREG(in->mode);
	in->data_len = len;
	in->size = len;
	if (len > 0)
		memcpy(in->body, how->target, len);
	return 0;
}

/* A place for one more name, looked for before anything is stored. */
static int seek_vacancy(struct fs *fs, uint64_t parent, const char *name,
			struct fs_dentry *d, struct fs_spot *spot)
{
	int err = fs_dentry_name(fs, name, d);

	return err != 0 ? err : fs_dentry_vacancy(fs, parent, d, spot);
}

/* Give the inode @in its name there. */
static int fill_vacancy(struct fs *fs, uint64_t parent,
			const struct fs_inode *in, struct fs_dentry *d,
			struct fs_spot *spot)
{
	d->ino = in->ino;
	d->type = fs_dentry_type(in->mode);
	return fs_dentry_fill(fs, parent, d, spot);
}

/* The inode first, then the name that leads to it. */
static int make_file(struct fs *fs, uint64_t parent, const char *name,
		     struct fs_inode *in)
{
	struct fs_dentry d;
	struct fs_spot spot;
	int err = seek_vacancy(fs, parent, name, &d, &spot);

	if (err == 0)
		err = fs_inode_store(fs, in);
	if (err != 0)
		return err;
	err = fill_vacancy(fs, parent, in, &d, &spot);
	if (err == 0)
		fs_itable_touch(fs, parent, TOUCH_DIR);
	else if (err != -ETIMEDOUT && err != -EIO) /* no name leads to it */
		(void)fs_inode_destroy(fs, in);
	return err;
}

/* One round of mkdir; -ESTALE: again. */
static int make_dir_once(struct fs *fs, struct fs_inode *dir,
			 struct fs_dentry *d, struct fs_inode *in)
{
	uint8_t in_buf[FS_INODE_BYTES_MAX], dir_buf[FS_INODE_BYTES_MAX];
	struct fs_key key, dir_key, root_key;
	struct fs_node root;
	struct fs_spot spot;
	struct kv_req req[4];
	int err = fs_dentry_vacancy(fs, dir->ino, d, &spot);

	if (err == 0)
		err = fs_leaf_add(&spot.node, d);
	if (err != 0)
		return err;
	if (dir->nlink >= FS_LINKS_MAX)
		return -EMLINK;
	dir->nlink++;
	dir->mtime_ns = dir->ctime_ns = in->btime_ns;
	req[0] = fs_trie_request(&spot, 0);
	req[1] = fs_names_put(dir, &dir_key, dir_buf);
	req[2] = fs_names_put(in, &key, in_buf);
	req[3] = fs_trie_create(in->ino, &root_key, &root);
	err = kv_txn(fs->kv, req, 4);
	if (err != 0)
		return err;
	fs_inode_stored(fs, dir, req[1].version);
	fs_inode_stored(fs, in, req[2].version);
	return 0;
}

static int make_dir(struct fs *fs, struct fs_inode *dir, const char *name,
		    struct fs_inode *in)
{
	struct fs_dentry d;
	int err = fs_dentry_name(fs, name, &d);

	d.ino = in->ino;
	d.type = fs_dentry_type(in->mode);
	for (int i = 0; err == 0 && i < FS_RETRIES_MAX; i++) {
		err = make_dir_once(fs, dir, &d, in);
		if (err != -ESTALE)
			return err;
		err = load_dir(fs, dir->ino, dir);
	}
	return err != 0 ? err : -EBUSY;
}

int fs_names_make(struct fs *fs, uint64_t parent, const char *name,
		  const struct fs_make *how, struct fs_inode *out)
{
	struct fs_inode dir;
	int err = load_dir(fs, parent, &dir);

	if (err == 0)
		err = fill(fs, &dir, how, out);
	if (err != 0)
		return err;
	if (S_ISDIR(out->mode))
		return make_dir(fs, &dir, name, out);
	return make_file(fs, parent, name, out);
}

/* --- linking
 * ------------------------------------------------------------------- */

static int count_up(struct fs_inode *in, void *arg)
{
	if (S_ISDIR(in->mode))
		return -EPERM;
	if (in->nlink == 0)
		return -ENOENT; /* its last name is gone: no way back */
	if (in->nlink >= FS_LINKS_MAX)
		return -EMLINK;
	in->nlink++;
	in->ctime_ns = *(const int64_t *)arg;
	return 0;
}

static int count(struct fs *fs, uint64_t ino, struct fs_inode *out)
{
	int64_t now = kv_wall_ns(fs->kv);
	int err;

	fs_inode_lock(fs, ino, true);
	err = fs_inode_update(fs, ino, count_up, &now, out);
	fs_inode_unlock(fs, ino);
	return err;
}

/* The count first, then the name. */
int fs_names_link(struct fs *fs, uint64_t ino, uint64_t parent,
		  const char *name, struct fs_inode *out)
{
	struct fs_dentry d;
	struct fs_spot spot;
	int err = seek_vacancy(fs, parent, name, &d, &spot);

	if (err == 0)
		err = count(fs, ino, out);
	if (err != 0)
		return err;
	err = fill_vacancy(fs, parent, out, &d, &spot);
	if (err == 0)
		fs_itable_touch(fs, parent, TOUCH_DIR);
	else if (err != -ETIMEDOUT && err != -EIO) /* counted, not named */
		(void)fs_names_unlinked(fs, ino);
	return err;
}

/* --- unlinking
 * ------------------------------------------------------------------- */

static bool may_be_open(struct fs *fs, uint64_t ino)
{
	return fs_itable_opens(fs, ino) > 0 || kv_clients(fs->kv) > 1;
}

static int unlinked_once(struct fs *fs, uint64_t ino)
{
	struct fs_inode in;
	int err = fs_inode_load(fs, ino, &in);

	if (err != 0)
		return err == -ENOENT ? 0 : err;
	in.ctime_ns = kv_wall_ns(fs->kv);
	if (in.nlink > 1) {
		in.nlink--;
		return fs_inode_store(fs, &in);
	}
	if (may_be_open(fs, ino))
		return fs_orphan_make(fs, &in);
	return fs_inode_destroy(fs, &in);
}

int fs_names_unlinked(struct fs *fs, uint64_t ino)
{
	int err = -ESTALE;

	fs_inode_lock(fs, ino, true);
	for (int i = 0; err == -ESTALE && i < FS_RETRIES_MAX; i++)
		err = unlinked_once(fs, ino);
	fs_inode_unlock(fs, ino);
	return err;
}

int fs_names_unlink(struct fs *fs, uint64_t parent, const char *name)
{
	uint64_t ino;
	uint8_t type;
	int err = fs_dentry_lookup(fs, parent, name, &ino, &type);

	if (err != 0)
		return err;
	if (type == fs_dentry_type(S_IFDIR))
		return -EISDIR;
	err = fs_dentry_remove(fs, parent, name, ino);
	if (err != 0)
		return err;
	fs_itable_touch(fs, parent, TOUCH_DIR);
	/* the name is gone: what else fails leaks space, and is fsck's */
	(void)fs_names_unlinked(fs, ino);
	return 0;
}

/* --- removing directories
 * ------------------------------------------------------------ */

struct rmdir {
	struct fs_spot spot, root; /* the name; the directory's only leaf */
	struct fs_inode dir, in;
	struct fs_key key, dir_key;
	uint8_t buf[FS_INODE_BYTES_MAX];
};

static int rmdir_commit(struct fs *fs, struct rmdir *r)
{
	struct kv_req req[4];
	int err;

	r->key = fs_key_inode(r->in.ino);
	req[0] = fs_trie_request(&r->spot, KV_URGENT);
	req[1] = fs_names_put(&r->dir, &r->dir_key, r->buf);
	req[1].flags |= KV_URGENT;
	req[2] = (struct kv_req){.kind = KV_DEL,
				 .flags = KV_URGENT,
				 .key = r->root.key.byte,
				 .klen = r->root.key.len,
				 .expect = r->root.version};
	req[3] = (struct kv_req){.kind = KV_DEL,
				 .flags = KV_URGENT,
				 .key = r->key.byte,
				 .klen = r->key.len,
				 .expect = r->in.version};
	err = kv_txn(fs->kv, req, 4);
	if (err == 0)
		fs_inode_stored(fs, &r->dir, req[1].version);
	return err;
}

/* One round; -ESTALE: again. */
static int rmdir_once(struct fs *fs, uint64_t parent, struct fs_dentry *d,
		      struct rmdir *r)
{
	int err = load_dir(fs, parent, &r->dir);

	if (err == 0)
		err = fs_dentry_seek(fs, parent, d, &r->spot);
	if (err != 0)
		return err;
	if (d->type != fs_dentry_type(S_IFDIR))
		return -ENOTDIR;
	err = load_dir(fs, d->ino, &r->in);
	if (err == 0)
		err = fs_trie_prune(fs, d->ino, &r->root);
	if (err != 0)
		return err == -ENOENT ? -ESTALE : err;
	fs_leaf_drop(&r->spot.node, d);
	r->dir.nlink -= r->dir.nlink > 2;
	r->dir.mtime_ns = r->dir.ctime_ns = kv_wall_ns(fs->kv);
	fs_inode_ghost(fs, &r->in, r->dir.ctime_ns);
	return rmdir_commit(fs, r);
}

int fs_names_rmdir(struct fs *fs, uint64_t parent, const char *name)
{
	struct rmdir r;
	struct fs_dentry d;
	int err = fs_dentry_name(fs, name, &d);

	if (err != 0)
		return err;
	err = -ESTALE;
	for (int i = 0; err == -ESTALE && i < FS_RETRIES_MAX; i++)
		err = rmdir_once(fs, parent, &d, &r);
	if (err == 0) {
		fs_itable_gone(fs, r.in.ino);
		(void)fs_xattr_clear(fs, &r.in); /* else it is fsck's */
	}
	return err == -ESTALE ? -EBUSY : err;
}
