/* fs/vacate.c - see vacate.h. */
#include "fs/vacate.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/cnode.h"
#include "fs/fs_impl.h"
#include "fs/key.h"

#define CHUNKS_AT_ONCE 16u
#define PAGES_AT_ONCE  (CHUNKS_AT_ONCE * FS_CHUNK_PAGES)

_Static_assert(CHUNKS_AT_ONCE <= FS_CNODES_MAX, "one load, one store");
_Static_assert(PAGES_AT_ONCE <= KV_PAGES_MAX, "one read, one write");

struct vacate {
	struct fs *fs;
	kv_is_in *is_in;
	const void *set;
	/* the chunks that name some */
	struct fs_cnode_at *at;
	size_t n, cap;
	/* those being done: */
	struct fs_cnode old[CHUNKS_AT_ONCE], new[CHUNKS_AT_ONCE];
	int status[CHUNKS_AT_ONCE];
	struct kv_page from[PAGES_AT_ONCE], to[PAGES_AT_ONCE];
	struct kv_page *name[PAGES_AT_ONCE]; /* where @to goes */
	void *data[PAGES_AT_ONCE];
	char *buf;
};

/* --- which --------------------------------------------------------------- */

static bool names_any(const struct vacate *v, const struct fs_cnode *node)
{
	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++)
		if (node->page[i].addr != 0 &&
		    v->is_in(v->set, node->page[i].addr))
			return true;
	return false;
}

static int add(struct vacate *v, uint64_t ino, uint64_t chunk)
{
	if (v->n == v->cap) {
		size_t cap = v->cap ? 2 * v->cap : 256;
		struct fs_cnode_at *more = realloc(v->at, cap * sizeof(*more));

		if (more == NULL)
			return -ENOMEM;
		v->at = more;
		v->cap = cap;
	}
	v->at[v->n++] = (struct fs_cnode_at){ino, chunk};
	return 0;
}

static int look(void *arg, const void *key, size_t klen, const void *val,
		size_t vlen, uint64_t version)
{
	struct vacate *v = arg;
	struct fs_key_parts parts;
	struct fs_cnode node;

	(void)version;
	if (atomic_load(&v->fs->vacate_stop))
		return -ECANCELED;
	if (fs_key_parse(key, klen, &parts) != 0 ||
	    parts.kind != FS_KEY_CHUNK || parts.level != 0 ||
	    fs_cnode_decode(val, vlen, &node) != 0 || !names_any(v, &node))
		return 0;
	return add(v, parts.ino, parts.number);
}

/* --- moving -------------------------------------------------------------- */

/* The pages of all nodes that are to go: how many. */
static size_t list_pages(struct vacate *v, size_t n)
{
	size_t pages = 0;

	for (size_t i = 0; i < n; i++) {
		v->new[i] = v->old[i];
		for (unsigned p = 0; v->status[i] == 0 && p < FS_CHUNK_PAGES;
		     p++) {
			struct kv_page *page = &v->new[i].page[p];

			if (page->addr == 0 || !v->is_in(v->set, page->addr))
				continue;
			v->from[pages] = *page;
			v->data[pages] = v->buf + pages * FS_PAGE_BYTES;
			v->name[pages++] = page;
		}
		/* of fs_cnode_store_each(): whom to store */
		v->status[i] = v->status[i] == 0 && names_any(v, &v->old[i]);
	}
	return pages;
}

/* Give back the pages that no node names (B2). */
static void settle(struct vacate *v, size_t n, const int *stored)
{
	for (size_t i = 0; i < n; i++) {
		if (!stored[i])
			continue;
		if (v->status[i] == 0)
			fs_cnode_free(v->fs, &v->old[i], &v->new[i]);
		else if (v->status[i] != -ETIMEDOUT)
			fs_cnode_free(v->fs, &v->new[i], &v->old[i]);
	}
}

static int move_pages(struct vacate *v, const struct fs_cnode_at *at, size_t n,
		      size_t pages)
{
	struct kv *kv = v->fs->kv;
	int stored[CHUNKS_AT_ONCE];
	int rc = kv_pages_read(kv, v->from, pages, v->data, false);

	if (rc != 0)
		return rc;
	rc = kv_pages_write(kv, (const void *const *)v->data, pages, v->to);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < pages; i++)
		*v->name[i] = v->to[i];
	memcpy(stored, v->status, sizeof(stored));
	fs_cnode_store_each(v->fs, at, n, v->new, v->status, KV_URGENT);
	settle(v, n, stored);
	return 0;
}

/* One that is changing just now keeps the others from being read: then each by
 * itself, and that one stays. */
static int move(struct vacate *v, const struct fs_cnode_at *at, size_t n)
{
	size_t pages;
	int rc = 0;

	fs_cnode_load_each(v->fs, at, n, v->old, v->status);
	pages = list_pages(v, n);
	if (pages > 0)
		rc = move_pages(v, at, n, pages);
	if (rc != -ESTALE)
		return rc;
	rc = 0;
	for (size_t i = 0; n > 1 && rc == 0 && i < n; i++)
		rc = move(v, &at[i], 1);
	return rc;
}

int fs_vacate(void *arg, kv_is_in *is_in, const void *set)
{
	static const uint8_t room = FS_KEY_ROOM;
	struct fs *fs = arg;
	struct vacate *v = calloc(1, sizeof(*v));
	int rc = -ENOMEM;

	if (v == NULL)
		return rc;
	v->fs = fs;
	v->is_in = is_in;
	v->set = set;
	v->buf = malloc(PAGES_AT_ONCE * FS_PAGE_BYTES);
	if (v->buf != NULL)
		rc = kv_scan(fs->kv, &room, sizeof(room), look, v);
	for (size_t i = 0; rc == 0 && i < v->n; i += CHUNKS_AT_ONCE) {
		size_t n = v->n - i;

		rc = atomic_load(&fs->vacate_stop)
			     ? -ECANCELED
			     : move(v, &v->at[i],
				    n < CHUNKS_AT_ONCE ? n : CHUNKS_AT_ONCE);
	}
	free(v->buf);
	free(v->at);
	free(v);
	return rc;
}

void fs_vacate_start(struct fs *fs)
{
	kv_on_vacate(fs->kv, fs_vacate, fs);
}

void fs_vacate_stop(struct fs *fs)
{
	atomic_store(&fs->vacate_stop, true);
	kv_on_vacate(fs->kv, NULL, NULL);
}
