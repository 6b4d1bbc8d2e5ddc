/* fs/xattr.c - extended attributes: the packed list, and values of their own.
 */
#include <endian.h>
#include <errno.h>
#include <linux/xattr.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/key.h"
#include "fs/xattr.h"

/* An entry of the list: name length (1), where the value is (1), value length
 * (le32), name, then the value or the id (le64) of the key it has. */
enum { ENTRY_HEAD = 6, ENTRY_ID = 8 };
enum entry_where { VALUE_HERE = 0, VALUE_KEY = 1 };

enum { VALUE_FORMAT = 1, VALUE_HEAD = 1 }; /* a value's key: format, bytes */

enum { GET_TRIES = 64 };

static const char CAPS_NAME[] = "security.capability";

struct entry {
	const char *name; /* without 0 */
	const uint8_t *value;
	uint32_t name_len, value_len;
	enum entry_where where;
	uint64_t id;	   /* VALUE_KEY */
	uint32_t at, size; /* in the packed list */
};

/* The entry at @at of the packed list. 1: one, 0: the end, -EBADMSG. */
static int entry_at(const struct fs_inode *in, uint32_t at, struct entry *e)
{
	const uint8_t *b = in->body + in->data_len + at;
	uint32_t left = in->xattr_len - at, stored;

	if (left == 0)
		return 0;
	if (left < ENTRY_HEAD || b[0] == 0 || b[1] > VALUE_KEY)
		return -EBADMSG;
	memcpy(&e->value_len, b + 2, sizeof(e->value_len));
	e->value_len = le32toh(e->value_len);
	e->name_len = b[0];
	e->where = b[1];
	e->at = at;
	stored = e->where == VALUE_KEY ? ENTRY_ID : e->value_len;
	if (e->value_len > FS_XATTR_VALUE_MAX ||
	    left < ENTRY_HEAD + e->name_len + stored)
		return -EBADMSG;
	e->name = (const char *)b + ENTRY_HEAD;
	e->value = b + ENTRY_HEAD + e->name_len;
	e->size = ENTRY_HEAD + e->name_len + stored;
	e->id = 0;
	if (e->where == VALUE_KEY) {
		memcpy(&e->id, e->value, sizeof(e->id));
		e->id = le64toh(e->id);
	}
	return 1;
}

/* 1: found, 0: not, -EBADMSG. */
static int entry_find(const struct fs_inode *in, const char *name,
		      struct entry *e)
{
	size_t len = strlen(name);
	int rc;

	for (uint32_t at = 0; (rc = entry_at(in, at, e)) == 1; at += e->size)
		if (e->name_len == len && memcmp(e->name, name, len) == 0)
			return 1;
	return rc;
}

static void entry_cut(struct fs_inode *in, const struct entry *e)
{
	uint8_t *b = in->body + in->data_len + e->at;

	memmove(b, b + e->size, in->xattr_len - e->at - e->size);
	in->xattr_len -= e->size;
}

/* @stored: the value, or its id as le64. Values fill only half of the list:
 * the other half is for names. */
static int entry_add(struct fs_inode *in, const char *name, size_t value_len,
		     enum entry_where where, const void *stored, size_t n)
{
	size_t name_len = strlen(name), size = ENTRY_HEAD + name_len + n;
	uint8_t *b = in->body + in->data_len + in->xattr_len;
	uint32_t len = htole32(value_len);
	size_t most = FS_XATTR_INLINE_MAX;

	if (n > ENTRY_ID)
		most /= 2;
	if (in->xattr_len + size > most ||
	    in->data_len + in->xattr_len + size > FS_BODY_BYTES_MAX)
		return -ENOSPC;
	b[0] = name_len;
	b[1] = where;
	memcpy(b + 2, &len, sizeof(len));
	memcpy(b + ENTRY_HEAD, name, name_len);
	if (n > 0)
		memcpy(b + ENTRY_HEAD + name_len, stored, n);
	in->xattr_len += size;
	return 0;
}

/* "system." would be ACLs, which the kernel then would not enforce. */
static int name_check(const char *name)
{
	static const char *const known[] = {"user.", "trusted.", "security."};
	size_t len = strlen(name);

	if (len == 0 || len > FS_XATTR_NAME_MAX)
		return -ERANGE;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strncmp(name, known[i], strlen(known[i])) == 0)
			return len > strlen(known[i]) ? 0 : -EINVAL;
	return -EOPNOTSUPP;
}

/* --- values with a key --- */

static int value_write(struct fs *fs, uint64_t ino, uint64_t id,
		       const void *value, size_t size)
{
	struct fs_key key = fs_key_xattr(ino, id);
	uint8_t *val = malloc(VALUE_HEAD + size);
	int rc;

	if (val == NULL)
		return -ENOMEM;
	val[0] = VALUE_FORMAT;
	memcpy(val + VALUE_HEAD, value, size);
	rc = kv_insert(fs->kv, key.byte, key.len, val, VALUE_HEAD + size, NULL);
	free(val);
	return rc;
}

static int value_read(struct fs *fs, uint64_t ino, const struct entry *e,
		      void *buf)
{
	struct fs_key key = fs_key_xattr(ino, e->id);
	size_t cap = VALUE_HEAD + e->value_len, len;
	uint8_t *val = malloc(cap);
	uint64_t version;
	int rc;

	if (val == NULL)
		return -ENOMEM;
	rc = kv_get(fs->kv, key.byte, key.len, val, cap, &len, &version);
	if (rc == -ERANGE || (rc == 0 && (len != cap || *val != VALUE_FORMAT)))
		rc = -EBADMSG;
	if (rc == 0)
		memcpy(buf, val + VALUE_HEAD, e->value_len);
	free(val);
	return rc;
}

static int value_del(struct fs *fs, uint64_t ino, uint64_t id)
{
	struct fs_key key = fs_key_xattr(ino, id);
	struct kv_req req = {
		.kind = KV_DEL,
		.flags = KV_URGENT,
		.klen = key.len,
		.key = key.byte,
	};
	int rc = kv_run(fs->kv, &req, 1);

	return rc == -ENOENT ? 0 : rc;
}

/* --- get, list --- */

static int get_once(struct fs *fs, const struct fs_inode *in, const char *name,
		    void *buf, size_t cap, size_t *len)
{
	struct entry e;
	int rc;

	rc = entry_find(in, name, &e);
	if (rc <= 0)
		return rc < 0 ? rc : -ENODATA;
	*len = e.value_len;
	if (cap < e.value_len)
		return -ERANGE;
	if (e.where == VALUE_KEY)
		return value_read(fs, in->ino, &e, buf);
	if (e.value_len > 0)
		memcpy(buf, e.value, e.value_len);
	return 0;
}

int fs_xattr_get(struct fs *fs, struct fs_inode *in, const char *name,
		 void *buf, size_t cap, size_t *len)
{
	uint64_t version;
	int rc;

	rc = name_check(name);
	if (rc != 0)
		return rc;
	for (int i = 0; i < GET_TRIES; i++) {
		rc = get_once(fs, in, name, buf, cap, len);
		if (rc != -ENOENT)
			return rc;
		version = in->version; /* its key went: it was replaced */
		rc = fs_inode_load(fs, in->ino, in);
		if (rc != 0)
			return rc;
		if (in->version == version)
			return -EBADMSG; /* it was not: a name of nothing */
	}
	return -EBUSY;
}

ssize_t fs_xattr_list(const struct fs_inode *in, char *buf, size_t cap,
		      bool trusted)
{
	static const char hidden[] = "trusted.";
	struct entry e;
	size_t len = 0;
	int rc;

	for (uint32_t at = 0; (rc = entry_at(in, at, &e)) == 1; at += e.size) {
		if (!trusted && e.name_len >= strlen(hidden) &&
		    memcmp(e.name, hidden, strlen(hidden)) == 0)
			continue;
		if (cap > 0) {
			if (cap - len < e.name_len + 1)
				return -ERANGE;
			memcpy(buf + len, e.name, e.name_len);
			buf[len + e.name_len] = '\0';
		}
		len += e.name_len + 1;
	}
	return rc < 0 ? rc : (ssize_t)len;
}

/* --- set, remove --- */

struct setting {
	struct fs *fs;
	const char *name;
	const void *stored; /* the value, or its id */
	size_t stored_len, value_len;
	enum entry_where where;
	int flags;
	uint64_t old_id; /* out: of the key that nobody names now; 0: none */
};

static int set_change(struct fs_inode *in, void *arg)
{
	struct setting *s = arg;
	struct entry e;
	int rc;

	s->old_id = 0;
	rc = entry_find(in, s->name, &e);
	if (rc < 0)
		return rc;
	if (rc == 1 && (s->flags & XATTR_CREATE))
		return -EEXIST;
	if (rc == 0 && (s->flags & XATTR_REPLACE))
		return -ENODATA;
	if (rc == 1) {
		s->old_id = e.id;
		entry_cut(in, &e);
	}
	in->ctime_ns = kv_wall_ns(s->fs->kv);
	return entry_add(in, s->name, s->value_len, s->where, s->stored,
			 s->stored_len);
}

static int set_small(struct setting *s, uint64_t ino)
{
	int rc;

	rc = fs_inode_update(s->fs, ino, set_change, s, NULL);
	if (rc == 0 && s->old_id != 0)
		value_del(s->fs, ino, s->old_id);
	return rc;
}

static int set_large(const struct setting *s, uint64_t ino)
{
	struct setting named = *s;
	uint64_t id, id_le;
	int rc;

	do
		id = kv_random(s->fs->kv);
	while (id == 0);
	rc = value_write(s->fs, ino, id, s->stored, s->value_len);
	if (rc != 0)
		return rc;
	id_le = htole64(id);
	named.where = VALUE_KEY;
	named.stored = &id_le;
	named.stored_len = sizeof(id_le);
	rc = set_small(&named, ino);
	if (rc != 0 && rc != -ETIMEDOUT)
		value_del(s->fs, ino, id);
	return rc;
}

int fs_xattr_set(struct fs *fs, uint64_t ino, const char *name,
		 const void *value, size_t size, int flags)
{
	struct setting s = {
		.fs = fs,
		.name = name,
		.stored = value,
		.stored_len = size,
		.value_len = size,
		.flags = flags,
	};
	int rc;

	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	rc = name_check(name);
	if (rc != 0)
		return rc;
	if (size > FS_XATTR_VALUE_MAX)
		return -E2BIG;
	if (strcmp(name, CAPS_NAME) == 0)
		return size > FS_XATTR_SMALL_MAX ? -EINVAL : set_small(&s, ino);
	if (size > FS_XATTR_SMALL_MAX)
		return set_large(&s, ino);
	rc = set_small(&s, ino);
	if (rc == -ENOSPC && size > ENTRY_ID)
		rc = set_large(&s, ino); /* no room here: only the name */
	return rc;
}

static int remove_change(struct fs_inode *in, void *arg)
{
	struct setting *s = arg;
	struct entry e;
	int rc;

	rc = entry_find(in, s->name, &e);
	if (rc <= 0)
		return rc < 0 ? rc : -ENODATA;
	s->old_id = e.id;
	entry_cut(in, &e);
	in->ctime_ns = kv_wall_ns(s->fs->kv);
	return 0;
}

int fs_xattr_remove(struct fs *fs, uint64_t ino, const char *name)
{
	struct setting s = {.fs = fs, .name = name};
	int rc;

	rc = name_check(name);
	if (rc != 0)
		return rc;
	rc = fs_inode_update(fs, ino, remove_change, &s, NULL);
	if (rc == 0 && s.old_id != 0)
		value_del(fs, ino, s.old_id);
	return rc;
}

bool fs_xattr_has_caps(const struct fs_inode *in)
{
	struct entry e;

	return in->xattr_len > 0 && entry_find(in, CAPS_NAME, &e) == 1;
}

/* Never under a key, see fs_xattr_set(): so cutting the entry is all. */
void fs_xattr_kill_caps(struct fs_inode *in)
{
	struct entry e;

	if (in->xattr_len > 0 && entry_find(in, CAPS_NAME, &e) == 1)
		entry_cut(in, &e);
}

int fs_xattr_each_value(const struct fs_inode *in,
			int (*each)(void *arg, uint64_t ino, uint64_t number),
			void *arg)
{
	struct entry e;
	int rc, err;

	for (uint32_t at = 0; (rc = entry_at(in, at, &e)) == 1; at += e.size) {
		err = e.id != 0 ? each(arg, in->ino, e.id) : 0;
		if (err != 0)
			return err;
	}
	return rc;
}

bool fs_xattr_drop_value(struct fs_inode *in, uint64_t number)
{
	struct entry e;

	for (uint32_t at = 0; entry_at(in, at, &e) == 1; at += e.size)
		if (e.id == number) {
			entry_cut(in, &e);
			return true;
		}
	return false;
}

int fs_xattr_clear(struct fs *fs, const struct fs_inode *in)
{
	struct entry e;
	int rc, err = 0;

	for (uint32_t at = 0; (rc = entry_at(in, at, &e)) == 1; at += e.size) {
		if (e.id == 0)
			continue;
		rc = value_del(fs, in->ino, e.id);
		if (rc != 0)
			err = rc;
	}
	return rc < 0 ? rc : err;
}
