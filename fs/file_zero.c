/* fs/file_zero.c - making a range of a file read as zeros, and giving back the
 * whole of it. Walks what region.h says may be there, never the holes. */
#include <errno.h>
#include <string.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"
#include "fs/key.h"
#include "fs/region.h"

struct zeroing {
	struct fs *fs;
	uint64_t ino;
	uint64_t from, to;
	bool sure;		/* the last try: a bad page is bad */
	struct fs_inode *guard; /* change only while this is it; NULL: always */
};

static bool is_zero(const uint8_t *b, size_t n)
{
	return n == 0 || (b[0] == 0 && memcmp(b, b + 1, n - 1) == 0);
}

/* Zero the bytes [@a, @b) of a page: it becomes another one, or none. */
static int zero_part(struct zeroing *z, struct kv_page *page, unsigned a,
		     unsigned b)
{
	uint8_t bytes[FS_PAGE_BYTES];
	void *into = bytes;
	const void *from = bytes;
	int rc;

	rc = kv_pages_read(z->fs->kv, page, 1, &into, z->sure);
	if (rc != 0)
		return rc;
	if (is_zero(bytes + a, b - a))
		return 0;
	memset(bytes + a, 0, b - a);
	if (is_zero(bytes, sizeof(bytes))) {
		*page = (struct kv_page){0};
		return 0;
	}
	return kv_pages_write(z->fs->kv, &from, 1, page);
}

/* Edit chunk @n's node in the copy. On error the copy is as it was. */
static int zero_node(struct zeroing *z, uint64_t n, struct fs_cnode *node)
{
	struct fs_cnode old = *node;
	uint64_t at = n * FS_CHUNK_BYTES, lo, hi;
	int rc;

	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++, at += FS_PAGE_BYTES) {
		lo = z->from > at ? z->from : at;
		hi = at + FS_PAGE_BYTES;
		if (z->to < hi)
			hi = z->to;
		if (lo >= hi || node->page[i].addr == 0)
			continue;
		if (hi - lo == FS_PAGE_BYTES) {
			node->page[i] = (struct kv_page){0};
			continue;
		}
		rc = zero_part(z, &node->page[i], lo - at, hi - at);
		if (rc != 0) {
			fs_cnode_free(z->fs, node, &old);
			*node = old;
			return rc;
		}
	}
	return 0;
}

/* What a store came to: give back the pages of the loser (B2). */
static void zero_done(struct zeroing *z, const struct fs_cnode *old,
		      const struct fs_cnode *new, int status, uint64_t *freed)
{
	if (status == 0) {
		*freed += fs_cnode_count(old) - fs_cnode_count(new);
		fs_cnode_free(z->fs, old, new);
	} else if (status != -ETIMEDOUT) {
		fs_cnode_free(z->fs, new, old);
	}
}

static int zero_store_guarded(struct zeroing *z, uint64_t chunk,
			      struct fs_cnode *node)
{
	struct fs_key key = fs_key_inode(z->ino);
	struct kv_req check = {.kind = KV_GET,
			       .klen = key.len,
			       .key = key.byte,
			       .expect = z->guard->version};
	int rc = fs_cnode_store_with(z->fs, z->ino, chunk, node, &check);

	if (rc == 0)
		z->guard->version = check.version;
	return rc == -ESTALE && check.status != 0 ? -ECANCELED : rc;
}

static int zero_store(struct zeroing *z, uint64_t first, uint32_t n,
		      struct fs_cnode *node, int *status)
{
	int rc = 0;

	if (z->guard == NULL)
		return fs_cnode_store(z->fs, z->ino, first, n, node, status,
				      KV_URGENT);
	for (uint32_t i = 0; i < n; i++) {
		if (status[i] == 0)
			continue;
		status[i] = rc == 0 ? zero_store_guarded(z, first + i, &node[i])
				    : -ECANCELED;
		if (rc == 0)
			rc = status[i];
	}
	return rc;
}

/* One try at chunks @first .. + @n - 1. -ESTALE: again, no harm done. */
static int zero_once(struct zeroing *z, uint64_t first, uint32_t n,
		     uint64_t *freed)
{
	struct fs_cnode old[FS_CNODES_MAX], new[FS_CNODES_MAX];
	int dirty[FS_CNODES_MAX], status[FS_CNODES_MAX];
	uint32_t done;
	int rc, edit = 0;

	rc = fs_cnode_load(z->fs, z->ino, first, n, old);
	if (rc != 0)
		return rc;
	memcpy(new, old, n * sizeof(new[0]));
	for (done = 0; done < n; done++) {
		edit = zero_node(z, first + done, &new[done]);
		if (edit != 0)
			break;
		dirty[done] = memcmp(old[done].page, new[done].page,
				     sizeof(old[done].page)) != 0;
		status[done] = dirty[done];
	}
	rc = zero_store(z, first, done, new, status);
	for (uint32_t i = 0; i < done; i++)
		if (dirty[i])
			zero_done(z, &old[i], &new[i], status[i], freed);
	return edit != 0 ? edit : rc;
}

static int zero_run(struct zeroing *z, uint64_t first, uint32_t n,
		    uint64_t *freed)
{
	int rc = -ESTALE;

	for (int i = 0; rc == -ESTALE && i < FS_RETRIES_MAX; i++) {
		z->sure = i >= FS_PAGE_TRIES;
		rc = zero_once(z, first, n, freed);
	}
	return rc == -ESTALE ? -EBUSY : rc;
}

static int zero_all(struct zeroing *z, uint64_t *freed)
{
	uint64_t next = z->from / FS_CHUNK_BYTES, first;
	uint64_t end = z->to / FS_CHUNK_BYTES + (z->to % FS_CHUNK_BYTES != 0);
	uint32_t n;
	int rc;

	if (z->from >= z->to)
		return 0;
	while ((rc = fs_region_next(z->fs, z->ino, next, end, &first, &n)) ==
	       1) {
		rc = zero_run(z, first, n, freed);
		if (rc != 0)
			return rc;
		next = first + n;
	}
	return rc;
}

int fs_file_zero(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to,
		 uint64_t *freed)
{
	struct zeroing z = {.fs = fs, .ino = ino, .from = from, .to = to};

	return zero_all(&z, freed);
}

/* What goes is garbage that no count has, or one that a crash left wrong. */
int fs_file_zero_beyond(struct fs *fs, struct fs_inode *in, uint64_t to)
{
	struct zeroing z = {
		.fs = fs, .ino = in->ino, .from = in->size, .to = to};
	uint64_t freed = 0;
	int rc;

	if (kv_clients(fs->kv) > 1)
		z.guard = in;
	rc = zero_all(&z, &freed);
	return rc == -ECANCELED ? -ESTALE : rc;
}

/* What lies behind the direct part: few files have any. */
static int clear_mapped(struct fs *fs, uint64_t ino, uint64_t from,
			uint64_t *freed)
{
	int rc;

	rc = fs_region_any(fs, ino);
	if (rc <= 0)
		return rc;
	rc = fs_file_zero(fs, ino, from, FS_FILE_BYTES_MAX, freed);
	return rc != 0 ? rc : fs_region_drop(fs, ino);
}

/* The direct part is asked for only as far as the size says, unless the count
 * of pages tells that a crash left something behind the end. */
int fs_file_clear(struct fs *fs, struct fs_inode *in)
{
	const uint64_t direct = FS_DIRECT_CHUNKS * (uint64_t)FS_CHUNK_BYTES;
	uint64_t size = in->is_inline ? 0 : in->size, freed = 0;
	uint64_t end = size < direct ? size : direct;
	int rc;

	end += -end % FS_CHUNK_BYTES;
	rc = fs_file_zero(fs, in->ino, 0, end, &freed);
	if (rc == 0)
		rc = clear_mapped(fs, in->ino, direct, &freed);
	if (rc == 0 && freed < in->pages)
		rc = fs_file_zero(fs, in->ino, end, direct, &freed);
	fs_file_uncount(in, freed);
	return rc;
}
