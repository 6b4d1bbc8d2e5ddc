/* fs/scrub.c - see scrub.h. */
#include "fs/scrub.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "fs/cnode.h"
#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/key.h"

#define PATH_DEPTH_MAX 200u

/* --- pages --------------------------------------------------------------- */

struct scrub {
	struct kv *kv;
	int (*page)(void *arg, uint64_t ino, uint64_t offset,
		    struct kv_page page, int (*still)(void *mark), void *mark);
	void *arg;
};

struct mark {
	struct kv *kv;
	struct fs_key key;
	unsigned i;
	struct kv_page page;
};

static int is_still(void *arg)
{
	const struct mark *m = arg;
	uint8_t val[FS_CNODE_BYTES_MAX];
	struct fs_cnode node;
	size_t len;
	int rc = kv_get(m->kv, m->key.byte, m->key.len, val, sizeof(val), &len,
			NULL);

	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return rc;
	if (fs_cnode_decode(val, len, &node) != 0)
		return 0;
	return node.page[m->i].addr == m->page.addr &&
	       node.page[m->i].crc == m->page.crc;
}

static int scrub_chunk(void *arg, const void *key, size_t klen, const void *val,
		       size_t vlen, uint64_t version)
{
	const struct scrub *s = arg;
	struct mark m = {.kv = s->kv};
	struct fs_key_parts p;
	struct fs_cnode node;
	int rc = 0;

	if (fs_key_parse(key, klen, &p) != 0 || p.level != 0 ||
	    fs_cnode_decode(val, vlen, &node) != 0)
		return 0; /* bits; or fsck's */
	m.key = fs_key_chunk(p.ino, 0, p.number);
	for (m.i = 0; rc == 0 && m.i < FS_CHUNK_PAGES; m.i++) {
		m.page = node.page[m.i];
		if (m.page.addr != 0)
			rc = s->page(s->arg, p.ino,
				     p.number * FS_CHUNK_BYTES +
					     m.i * FS_PAGE_BYTES,
				     m.page, is_still, &m);
	}
	return rc;
}

int fs_scrub(struct kv *kv,
	     int (*page)(void *arg, uint64_t ino, uint64_t offset,
			 struct kv_page page, int (*still)(void *mark),
			 void *mark),
	     void *arg)
{
	static const uint8_t prefix[2] = {FS_KEY_ROOM, FS_KEY_CHUNK};
	struct scrub s = {kv, page, arg};

	return kv_scan(kv, prefix, sizeof(prefix), scrub_chunk, &s);
}

/* --- paths --------------------------------------------------------------- */

struct search {
	struct fs *fs;
	uint64_t ino;
	char *out;
	size_t size, len;
	unsigned depth;
};

static int search_dir(struct search *s, uint64_t dir);

static int search_entry(void *arg, const struct fs_dentry *d, uint64_t cookie)
{
	struct search *s = arg;
	size_t was = s->len;
	int rc = 0;

	if (s->len + d->nlen + 2 > s->size)
		return 0;
	s->len += (size_t)snprintf(s->out + s->len, s->size - s->len, "/%s",
				   d->name);
	if (d->ino == s->ino)
		return 1;
	if (d->type == fs_dentry_type(S_IFDIR) && s->depth < PATH_DEPTH_MAX) {
		s->depth++;
		rc = search_dir(s, d->ino);
		s->depth--;
	}
	if (rc != 1) {
		s->len = was;
		s->out[was] = '\0';
	}
	return rc;
}

/* What is wrong on the way is passed over. */
static int search_dir(struct search *s, uint64_t dir)
{
	return fs_dentry_list(s->fs, dir, 0, search_entry, s) == 1;
}

int fs_scrub_path(struct kv *kv, uint64_t ino, char *out, size_t size)
{
	struct fs_opts o = {.check = true};
	struct search s = {.ino = ino, .out = out, .size = size};
	int rc = fs_open(kv, &o, &s.fs);

	if (rc != 0)
		return rc;
	out[0] = '\0';
	rc = search_dir(&s, FS_ROOT_INO);
	fs_close(s.fs);
	return rc == 1 ? 0 : -ENOENT;
}
