#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dentry.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/ops/ops.h"
#include "fs/reply.h"

/* Entries of one readdirplus, whose inodes are read side by side. The room for
 * each holds nearly all records; a larger one is read again by itself. */
#define PLUS_MAX	  192u
#define PLUS_RECORD_BYTES 1024u

struct plus {
	uint64_t ino;
	uint64_t cookie;
	uint8_t type;
	bool held; /* the kernel holds it if it gets the answer */
	char name[FS_NAME_BYTES_MAX + 1];
	struct fs_key key;
	uint8_t record[PLUS_RECORD_BYTES];
};

/* An answer in the making. */
struct listing {
	fuse_req_t req;
	char *buf;
	size_t size, used;
	uint64_t cookie;   /* of the last entry */
	size_t cookie_at;  /* where the first entry with it begins */
	struct plus *plus; /* NULL: plain readdir */
	unsigned n;	   /* entries in plus */
};

/* Two names may share a cookie (once in 2^63 pairs): they go into one answer,
 * or the kernel would go on behind both having seen one. */
static void note_cookie(struct listing *l, uint64_t cookie)
{
	if (cookie == l->cookie)
		return;
	l->cookie = cookie;
	l->cookie_at = l->used;
}

static int is_full(struct listing *l, uint64_t cookie)
{
	if (cookie == l->cookie && l->cookie_at > 0)
		l->used = l->cookie_at;
	return 1;
}

/* --- plain --------------------------------------------------------------- */

static int add_plain(struct listing *l, const char *name, uint64_t ino,
		     uint8_t type, uint64_t cookie)
{
	struct stat st = {.st_ino = ino, .st_mode = (mode_t)type << 12};
	size_t left = l->size - l->used;
	size_t need = fuse_add_direntry(l->req, l->buf + l->used, left, name,
					&st, cookie);

	if (need > left)
		return is_full(l, cookie);
	note_cookie(l, cookie);
	l->used += need;
	return 0;
}

static int each_plain(void *arg, const struct fs_dentry *d, uint64_t cookie)
{
	return add_plain(arg, d->name, d->ino, d->type, cookie);
}

/* --- plus: first the names, then their inodes, then the answer ------------ */

static int each_plus(void *arg, const struct fs_dentry *d, uint64_t cookie)
{
	struct listing *l = arg;
	struct plus *p = &l->plus[l->n];
	size_t need = fuse_add_direntry_plus(l->req, NULL, 0, d->name, NULL, 0);

	if (l->n == PLUS_MAX || l->used + need > l->size) {
		while (l->n > 1 && l->plus[l->n - 1].cookie == cookie)
			l->n--; /* as is_full() */
		return 1;
	}
	p->ino = d->ino;
	p->type = d->type;
	p->cookie = cookie;
	memcpy(p->name, d->name, d->nlen + 1u);
	l->used += need;
	l->n++;
	return 0;
}

static void read_inodes(struct fs *fs, struct plus *p, unsigned n,
			struct kv_req *req)
{
	for (unsigned i = 0; i < n; i++) {
		p[i].key = fs_key_inode(p[i].ino);
		req[i] = (struct kv_req){.kind = KV_GET,
					 .key = p[i].key.byte,
					 .klen = p[i].key.len,
					 .buf = p[i].record,
					 .cap = sizeof(p[i].record)};
	}
	if (n > 0)
		(void)kv_run(fs->kv, req, n); /* each status is looked at */
}

static int finish_inode(struct fs *fs, const struct plus *p,
			const struct kv_req *req, struct fs_inode *in)
{
	int err = req->status;

	if (err == -ERANGE)
		return fs_inode_load(fs, p->ino, in);
	if (err == 0)
		err = fs_inode_decode(p->record, req->len, in);
	if (err == 0)
		fs_inode_loaded(fs, in, p->ino, req->version);
	return err;
}

/* An entry whose inode cannot be had is shown by name alone (e.ino 0): the
 * kernel will ask for it, and get the error. */
static void add_plus(struct listing *l, struct plus *p,
		     const struct kv_req *req)
{
	struct fs *fs = fs_of(l->req);
	struct fuse_entry_param e;
	struct fs_inode in;

	p->held = finish_inode(fs, p, req, &in) == 0 &&
		  fs_itable_hold(fs, p->ino) == 0;
	if (p->held)
		fs_reply_fill(fs, &in, &e);
	else
		e = (struct fuse_entry_param){.attr.st_ino = p->ino,
					      .attr.st_mode = (mode_t)p->type
							      << 12};
	l->used += fuse_add_direntry_plus(l->req, l->buf + l->used,
					  l->size - l->used, p->name, &e,
					  p->cookie);
}

static void add_all_plus(struct listing *l, size_t from)
{
	struct kv_req req[PLUS_MAX];

	read_inodes(fs_of(l->req), l->plus, l->n, req);
	l->used = from;
	for (unsigned i = 0; i < l->n; i++)
		add_plus(l, &l->plus[i], &req[i]);
}

/* The kernel did not get the answer: it holds none of it. */
static void drop_all_plus(struct listing *l)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->plus[i].held)
			fs_itable_forget(fs_of(l->req), l->plus[i].ino, 1);
}

/* --- both ----------------------------------------------------------------- */

/* "." and ".." are not stored. In a plus answer they have no attributes. */
static int add_dot(struct listing *l, const char *name, uint64_t ino,
		   uint64_t cookie)
{
	struct fuse_entry_param e = {.attr.st_ino = ino,
				     .attr.st_mode = S_IFDIR};
	size_t left = l->size - l->used, need;

	if (l->plus == NULL)
		return add_plain(l, name, ino, fs_dentry_type(S_IFDIR), cookie);
	need = fuse_add_direntry_plus(l->req, l->buf + l->used, left, name, &e,
				      cookie);
	if (need > left)
		return 1;
	l->used += need;
	return 0;
}

static int add_dots(struct listing *l, uint64_t ino, uint64_t after)
{
	struct fs_inode in;
	int err;

	if (after >= FS_COOKIE_DOTDOT)
		return 0;
	err = fs_inode_load(fs_of(l->req), ino, &in);
	if (err == 0 && after < FS_COOKIE_DOT)
		err = add_dot(l, ".", ino, FS_COOKIE_DOT);
	if (err == 0)
		err = add_dot(l, "..", in.parent, FS_COOKIE_DOTDOT);
	return err;
}

static int fill(struct listing *l, uint64_t ino, uint64_t after)
{
	struct fs *fs = fs_of(l->req);
	size_t from;
	int err = add_dots(l, ino, after);

	from = l->used;
	if (err == 0)
		err = fs_dentry_list(fs, ino, after,
				     l->plus != NULL ? each_plus : each_plain,
				     l);
	if (err >= 0 && l->plus != NULL)
		add_all_plus(l, from);
	return err == -ENOENT ? 0 : err; /* removed: it has no entries */
}

static void list(struct listing *l, uint64_t ino, uint64_t after)
{
	int err = -ENOMEM;

	l->buf = malloc(l->size);
	if (l->buf != NULL)
		err = fill(l, ino, after);
	if (err < 0)
		fs_reply_ino_err(l->req, err);
	else if (fuse_reply_buf(l->req, l->buf, l->used) != 0)
		drop_all_plus(l);
	free(l->buf);
}

void fs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		   struct fuse_file_info *fi)
{
	struct listing l = {.req = req, .size = size};

	list(&l, ino, off);
}

void fs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct plus plus[PLUS_MAX];
	struct listing l = {.req = req, .size = size, .plus = plus};

	list(&l, ino, off);
}

/* Handles of directories have no state: cookies say it all. */
void fs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_open(req, fi);
}

void fs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fs_reply_err(req, 0);
}
