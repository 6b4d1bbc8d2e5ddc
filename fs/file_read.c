/* fs/file_read.c - reading a file's bytes: nodes in one go, pages in one go,
 * straight into the caller's buffer except where it begins or ends within a
 * page. */
#include <errno.h>
#include <string.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"

/* The bytes of a page that the caller wants in part. */
struct edge {
	uint8_t page[FS_PAGE_BYTES];
	uint8_t *to;
	uint32_t skip, len;
};

struct pages {
	struct kv_page page[KV_PAGES_MAX];
	void *data[KV_PAGES_MAX];
	size_t n;
	struct edge edge[2]; /* the first and the last page */
	unsigned edges;
};

/* Note that @len bytes, @skip into @page, shall come to @to. */
static void want(struct pages *p, const struct kv_page *page, uint8_t *to,
		 uint32_t skip, uint32_t len)
{
	struct edge *e;

	if (page->addr == 0) {
		memset(to, 0, len);
		return;
	}
	p->page[p->n] = *page;
	p->data[p->n] = to;
	if (len < FS_PAGE_BYTES) {
		e = &p->edge[p->edges++];
		e->to = to;
		e->skip = skip;
		e->len = len;
		p->data[p->n] = e->page;
	}
	p->n++;
}

static void want_all(struct pages *p, const struct fs_cnode *node, uint8_t *buf,
		     size_t size, uint64_t off)
{
	uint64_t base = off / FS_CHUNK_BYTES * FS_CHUNK_PAGES, page;
	uint32_t skip, len;

	for (size_t pos = 0; pos < size; pos += len) {
		page = (off + pos) / FS_PAGE_BYTES - base;
		skip = (off + pos) % FS_PAGE_BYTES;
		len = FS_PAGE_BYTES - skip;
		if (len > size - pos)
			len = size - pos;
		want(p,
		     &node[page / FS_CHUNK_PAGES].page[page % FS_CHUNK_PAGES],
		     buf + pos, skip, len);
	}
}

static int read_once(struct fs *fs, uint64_t ino, uint8_t *buf, size_t size,
		     uint64_t off, bool sure)
{
	uint64_t first = off / FS_CHUNK_BYTES;
	struct fs_cnode node[FS_PIECE_CHUNKS_MAX];
	struct pages p;
	int rc;

	rc = fs_cnode_load(fs, ino, first,
			   (off + size - 1) / FS_CHUNK_BYTES - first + 1, node);
	if (rc != 0)
		return rc;
	p.n = 0;
	p.edges = 0;
	want_all(&p, node, buf, size, off);
	if (p.n == 0)
		return 0;
	rc = kv_pages_read(fs->kv, p.page, p.n, p.data, sure);
	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < p.edges; i++)
		memcpy(p.edge[i].to, p.edge[i].page + p.edge[i].skip,
		       p.edge[i].len);
	return 0;
}

/* A page may be replaced, freed and used again between our reading its
 * pointer and its bytes: read the pointer again. */
static int read_piece(struct fs *fs, uint64_t ino, uint8_t *buf, size_t size,
		      uint64_t off)
{
	int rc = -ESTALE;

	for (int i = 0; rc == -ESTALE && i < FS_PAGE_TRIES; i++)
		rc = read_once(fs, ino, buf, size, off, i == FS_PAGE_TRIES - 1);
	return rc == -ESTALE ? -EIO : rc;
}

static ssize_t read_pieces(struct fs *fs, uint64_t ino, uint8_t *buf,
			   size_t size, uint64_t off)
{
	size_t done, len;
	int rc;

	for (done = 0; done < size; done += len) {
		len = fs_piece(off + done, size - done);
		rc = read_piece(fs, ino, buf + done, len, off + done);
		if (rc != 0)
			return done > 0 ? (ssize_t)done : rc;
	}
	return size;
}

ssize_t fs_file_read(struct fs *fs, const struct fs_inode *in, void *buf,
		     size_t size, uint64_t off)
{
	ssize_t rc;

	if (off >= in->size)
		return 0;
	if (size > in->size - off)
		size = in->size - off;
	if (in->is_inline) {
		memcpy(buf, in->body + off, size);
		return size;
	}
	if (size == 0)
		return 0;
	fs_range_lock(fs, in->ino, off, size, false);
	rc = read_pieces(fs, in->ino, buf, size, off);
	fs_range_unlock(fs, in->ino, off, size);
	return rc;
}
