#include "fs/inode.h"

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "fs/chunk.h"
#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/key.h"
#include "fs/xattr.h"

#define INODE_VERSION 1
#define INODE_INLINE  1u

struct inode_head {
	uint8_t version;
	uint8_t flags;
	uint16_t data_len;
	uint16_t xattr_len;
	uint16_t zero;
	uint32_t mode, uid, gid, nlink;
	uint64_t size, pages, rdev, parent, generation;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
};
_Static_assert(sizeof(struct inode_head) == FS_INODE_HEAD_BYTES, "FORMAT.md");
_Static_assert(offsetof(struct inode_head, mode) == 8, "FORMAT.md");
_Static_assert(offsetof(struct inode_head, size) == 24, "FORMAT.md");
_Static_assert(offsetof(struct inode_head, atime_ns) == 64, "FORMAT.md");

/* --- bytes --------------------------------------------------------------- */

size_t fs_inode_encode(const struct fs_inode *in, void *buf)
{
	size_t body = (size_t)in->data_len + in->xattr_len;
	struct inode_head h = {
		.version = INODE_VERSION,
		.flags = in->is_inline ? INODE_INLINE : 0,
		.data_len = htole16(in->data_len),
		.xattr_len = htole16(in->xattr_len),
		.mode = htole32(in->mode),
		.uid = htole32(in->uid),
		.gid = htole32(in->gid),
		.nlink = htole32(in->nlink),
		.size = htole64(in->size),
		.pages = htole64(in->pages),
		.rdev = htole64(in->rdev),
		.parent = htole64(in->parent),
		.generation = htole64(in->generation),
		.atime_ns = htole64(in->atime_ns),
		.mtime_ns = htole64(in->mtime_ns),
		.ctime_ns = htole64(in->ctime_ns),
		.btime_ns = htole64(in->btime_ns),
	};

	memcpy(buf, &h, sizeof(h));
	memcpy((uint8_t *)buf + sizeof(h), in->body, body);
	return sizeof(h) + body;
}

static int head_check(const struct inode_head *h, size_t len)
{
	size_t body = (size_t)le16toh(h->data_len) + le16toh(h->xattr_len);

	if (h->version != INODE_VERSION || (h->flags & ~INODE_INLINE) != 0 ||
	    h->zero != 0)
		return -EBADMSG;
	if (body > FS_BODY_BYTES_MAX || len != sizeof(*h) + body)
		return -EBADMSG;
	if (le16toh(h->xattr_len) > FS_XATTR_INLINE_MAX ||
	    le64toh(h->size) > FS_FILE_BYTES_MAX)
		return -EBADMSG;
	if ((h->flags & INODE_INLINE) != 0 &&
	    (le64toh(h->size) != le16toh(h->data_len) ||
	     le16toh(h->data_len) > FS_INLINE_BYTES_MAX))
		return -EBADMSG;
	return 0;
}

int fs_inode_decode(const void *buf, size_t len, struct fs_inode *out)
{
	struct inode_head h;

	if (len < sizeof(h))
		return -EBADMSG;
	memcpy(&h, buf, sizeof(h));
	if (head_check(&h, len) != 0)
		return -EBADMSG;
	out->is_inline = (h.flags & INODE_INLINE) != 0;
	out->data_len = le16toh(h.data_len);
	out->xattr_len = le16toh(h.xattr_len);
	out->mode = le32toh(h.mode);
	out->uid = le32toh(h.uid);
	out->gid = le32toh(h.gid);
	out->nlink = le32toh(h.nlink);
	out->size = le64toh(h.size);
	out->pages = le64toh(h.pages);
	out->rdev = le64toh(h.rdev);
	out->parent = le64toh(h.parent);
	out->generation = le64toh(h.generation);
	out->atime_ns = le64toh(h.atime_ns);
	out->mtime_ns = le64toh(h.mtime_ns);
	out->ctime_ns = le64toh(h.ctime_ns);
	out->btime_ns = le64toh(h.btime_ns);
	memcpy(out->body, (const uint8_t *)buf + sizeof(h), len - sizeof(h));
	return 0;
}

/* --- the record in the store
 * -------------------------------------------------- */

void fs_inode_loaded(struct fs *fs, struct fs_inode *in, uint64_t ino,
		     uint64_t version)
{
	in->ino = ino;
	in->version = version;
	fs_itable_merge(fs, in);
}

void fs_inode_stored(struct fs *fs, struct fs_inode *in, uint64_t version)
{
	uint64_t old = in->version;

	in->version = version;
	fs_itable_settled(fs, in, old);
}

int fs_inode_load(struct fs *fs, uint64_t ino, struct fs_inode *out)
{
	uint8_t buf[FS_INODE_BYTES_MAX];
	struct fs_key key = fs_key_inode(ino);
	uint64_t version;
	size_t len;
	int err = kv_get(fs->kv, key.byte, key.len, buf, sizeof(buf), &len,
			 &version);

	if (err == 0)
		err = fs_inode_decode(buf, len, out);
	if (err != 0)
		return err == -ERANGE ? -EBADMSG : err;
	fs_inode_loaded(fs, out, ino, version);
	return 0;
}

int fs_inode_store(struct fs *fs, struct fs_inode *in)
{
	uint8_t buf[FS_INODE_BYTES_MAX];
	struct fs_key key = fs_key_inode(in->ino);
	struct kv_req req = {
		.kind = in->version == 0 ? KV_INSERT : KV_PUT_IF,
		.flags = S_ISDIR(in->mode) ? KV_HOT : 0,
		.key = key.byte,
		.klen = key.len,
		.val = buf,
		.len = fs_inode_encode(in, buf),
		.expect = in->version,
	};
	int err = kv_run(fs->kv, &req, 1);

	if (err == 0)
		fs_inode_stored(fs, in, req.version);
	return err;
}

static int update_once(struct fs *fs, uint64_t ino,
		       int (*change)(struct fs_inode *in, void *arg), void *arg,
		       struct fs_inode *in)
{
	int err = fs_inode_load(fs, ino, in);

	if (err == 0)
		err = change(in, arg);
	if (err != 0)
		return err > 0 ? 0 : err;
	return fs_inode_store(fs, in);
}

int fs_inode_update(struct fs *fs, uint64_t ino,
		    int (*change)(struct fs_inode *in, void *arg), void *arg,
		    struct fs_inode *out)
{
	struct fs_inode room;

	if (out == NULL)
		return fs_inode_update(fs, ino, change, arg, &room);
	for (int i = 0; i < FS_RETRIES_MAX; i++) {
		int err = update_once(fs, ino, change, arg, out);

		if (err != -ESTALE)
			return err;
	}
	return -EBUSY;
}

uint64_t fs_inode_number(struct fs *fs)
{
	return atomic_fetch_add(&fs->ino_next, 1);
}

/* --- what it shows
 * -------------------------------------------------------------- */

static struct timespec timespec_of(int64_t ns)
{
	int64_t sec = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) { /* before 1970 */
		sec--;
		rest += 1000000000;
	}
	return (struct timespec){.tv_sec = sec, .tv_nsec = rest};
}

void fs_inode_stat(const struct fs_inode *in, struct stat *st)
{
	*st = (struct stat){
		.st_ino = in->ino,
		.st_mode = in->mode,
		.st_nlink = in->nlink,
		.st_uid = in->uid,
		.st_gid = in->gid,
		.st_rdev = in->rdev,
		.st_size = in->size,
		.st_blksize = FS_PAGE_BYTES,
		.st_blocks = in->pages * (FS_PAGE_BYTES / 512),
		.st_atim = timespec_of(in->atime_ns),
		.st_mtim = timespec_of(in->mtime_ns),
		.st_ctim = timespec_of(in->ctime_ns),
	};
	if (S_ISDIR(in->mode))
		st->st_size = FS_PAGE_BYTES;
	if (in->is_inline && in->size > 0)
		st->st_blocks =
			8; /* its record: du and tar want no hole here */
}

/* As the kernel does: set-gid without group execution is no privilege. */
void fs_inode_kill_priv(struct fs_inode *in)
{
	in->mode &= ~S_ISUID;
	if ((in->mode & S_IXGRP) != 0)
		in->mode &= ~S_ISGID;
}

void fs_inode_ghost(struct fs *fs, const struct fs_inode *in, int64_t now)
{
	struct stat st;

	fs_inode_stat(in, &st);
	st.st_nlink = 0;
	st.st_ctim = timespec_of(now);
	fs_itable_ghost_set(fs, in->ino, &st);
}

int fs_inode_destroy(struct fs *fs, struct fs_inode *in)
{
	struct fs_key key = fs_key_inode(in->ino);
	struct kv_req req = {.kind = KV_DEL,
			     .flags = KV_URGENT,
			     .key = key.byte,
			     .klen = key.len};
	int err;

	/* the inode last: as long as it is there, the rest can be found */
	err = S_ISREG(in->mode) ? fs_file_clear(fs, in) : 0;
	if (err == 0)
		err = fs_xattr_clear(fs, in);
	if (err == 0) {
		fs_inode_ghost(fs, in, in->ctime_ns);
		err = kv_run(fs->kv, &req, 1);
	}
	if (err != 0 && err != -ENOENT)
		return err;
	fs_itable_gone(fs, in->ino);
	return 0;
}
