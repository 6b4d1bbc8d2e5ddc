/* fs/file_piece.c - one piece of a write: pages out, then nodes.
 *
 *	load nodes -> read the pages on the edges -> write pages -> store nodes
 *
 * Whole pages go out from where they lie. Each node is stored on condition
 * that it is the one loaded; a chunk that another mount changed meanwhile is
 * done again alone. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs/file_impl.h"
#include "fs/file_piece.h"
#include "fs/fs_impl.h"
#include "fs/region.h"

struct piece {
	struct fs_piece_target *t;
	const uint8_t *buf;
	uint64_t off;
	size_t len;
	uint64_t chunk; /* the first */
	uint64_t page;	/* the first */
	size_t chunks, pages;
	struct fs_cnode old[FS_PIECE_CHUNKS_MAX], new[FS_PIECE_CHUNKS_MAX];
	int status[FS_PIECE_CHUNKS_MAX];
	const void *data[KV_PAGES_MAX];
	struct kv_page out[KV_PAGES_MAX];
	uint8_t edge[2][FS_PAGE_BYTES]; /* the first and the last page */
};

static void piece_init(struct piece *p, struct fs_piece_target *t,
		       const uint8_t *buf, size_t len, uint64_t off)
{
	uint64_t last = off + len - 1;

	assert(len > 0);
	p->t = t;
	p->buf = buf;
	p->off = off;
	p->len = len;
	p->chunk = off / FS_CHUNK_BYTES;
	p->chunks = last / FS_CHUNK_BYTES - p->chunk + 1;
	p->page = off / FS_PAGE_BYTES;
	p->pages = last / FS_PAGE_BYTES - p->page + 1;
	assert(p->pages <= KV_PAGES_MAX);
}

/* Where page @i of the piece is named in @node[]. */
static struct kv_page *page_of(struct piece *p, struct fs_cnode *node, size_t i)
{
	uint64_t page = p->page + i;

	return &node[page / FS_CHUNK_PAGES - p->chunk]
			.page[page % FS_CHUNK_PAGES];
}

/* The bytes [*@lo, *@hi) of page @i, as file offsets, are written. */
static bool page_span(const struct piece *p, size_t i, uint64_t *lo,
		      uint64_t *hi)
{
	uint64_t at = (p->page + i) * FS_PAGE_BYTES;

	*lo = p->off > at ? p->off : at;
	*hi = p->off + p->len;
	if (*hi > at + FS_PAGE_BYTES)
		*hi = at + FS_PAGE_BYTES;
	return *hi - *lo == FS_PAGE_BYTES;
}

/* Lay the new bytes of page @i over the old ones in @page. */
static void edge_fill(struct piece *p, size_t i, uint8_t *page)
{
	uint64_t at = (p->page + i) * FS_PAGE_BYTES, lo, hi;

	page_span(p, i, &lo, &hi);
	memcpy(page + (lo - at), p->buf + (lo - p->off), hi - lo);
}

/* Point data[] at each page's new bytes; those on the edges are made of the
 * old page and the new bytes. @sure: see kv_pages_read(). */
static int piece_gather(struct piece *p, bool sure)
{
	struct kv_page want[2];
	void *into[2];
	size_t reads = 0, edges = 0, of[2];
	uint64_t lo, hi;
	int rc;

	for (size_t i = 0; i < p->pages; i++) {
		if (page_span(p, i, &lo, &hi)) {
			p->data[i] = p->buf + (lo - p->off);
			continue;
		}
		want[reads] = *page_of(p, p->old, i);
		into[reads] = p->edge[edges];
		p->data[i] = p->edge[edges];
		of[edges] = i;
		if (want[reads].addr != 0 &&
		    (p->page + i) * FS_PAGE_BYTES < p->t->held)
			reads++;
		else
			memset(p->edge[edges], 0, FS_PAGE_BYTES);
		edges++;
	}
	if (reads > 0) {
		rc = kv_pages_read(p->t->fs->kv, want, reads, into, sure);
		if (rc != 0)
			return rc;
	}
	for (size_t e = 0; e < edges; e++)
		edge_fill(p, of[e], p->edge[e]);
	return 0;
}

/* R1, for each chunk that is about to be made. */
static int piece_mark(struct piece *p)
{
	int rc;

	for (size_t i = 0; i < p->chunks; i++) {
		if (p->old[i].version != 0)
			continue;
		fs_record_lock(p->t->fs, p->t->ino); /* neighbours share bits */
		rc = fs_region_mark(p->t->fs, p->t->ino, p->chunk + i);
		fs_record_unlock(p->t->fs, p->t->ino);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* A chunk failed for good: put back those that did not. What cannot be put
 * back stays new. */
static void piece_undo(struct piece *p)
{
	struct fs_cnode back[FS_PIECE_CHUNKS_MAX];
	int status[FS_PIECE_CHUNKS_MAX];

	for (size_t i = 0; i < p->chunks; i++) {
		back[i] = p->old[i];
		back[i].version = p->new[i].version;
		status[i] = p->status[i] == 0;
	}
	fs_cnode_store(p->t->fs, p->t->ino, p->chunk, p->chunks, back, status,
		       KV_URGENT);
	for (size_t i = 0; i < p->chunks; i++)
		if (p->status[i] == 0 && status[i] == 0)
			p->status[i] = -ECANCELED;
}

/* Give back the pages that no node names (B2), count those gained. */
static void piece_settle(struct piece *p)
{
	for (size_t i = 0; i < p->chunks; i++) {
		if (p->status[i] == 0) {
			p->t->gained += (int)fs_cnode_count(&p->new[i]) -
					(int)fs_cnode_count(&p->old[i]);
			fs_cnode_free(p->t->fs, &p->old[i], &p->new[i]);
		} else if (p->status[i] != -ETIMEDOUT) {
			fs_cnode_free(p->t->fs, &p->new[i], &p->old[i]);
		}
	}
}

/* Store the nodes. 0: look at each status, it is 0 or -ESTALE. */
static int piece_store(struct piece *p)
{
	int rc = 0;

	memcpy(p->new, p->old, p->chunks * sizeof(p->new[0]));
	for (size_t i = 0; i < p->pages; i++)
		*page_of(p, p->new, i) = p->out[i];
	for (size_t i = 0; i < p->chunks; i++)
		p->status[i] = 1;
	fs_cnode_store(p->t->fs, p->t->ino, p->chunk, p->chunks, p->new,
		       p->status, 0);
	for (size_t i = 0; i < p->chunks; i++)
		if (rc == 0 && p->status[i] != -ESTALE)
			rc = p->status[i];
	if (rc != 0)
		piece_undo(p);
	piece_settle(p);
	return rc;
}

/* One try. *@lost has a bit for each chunk to be done again. */
static int piece_once(struct piece *p, bool sure, uint32_t *lost)
{
	struct fs *fs = p->t->fs;
	int rc;

	rc = fs_cnode_load(fs, p->t->ino, p->chunk, p->chunks, p->old);
	if (rc != 0)
		return rc;
	*lost = (1u << p->chunks) - 1;
	rc = piece_gather(p, sure);
	if (rc != 0)
		return rc == -ESTALE ? 0 : rc;
	rc = piece_mark(p);
	if (rc != 0)
		return rc;
	rc = kv_pages_write(fs->kv, p->data, p->pages, p->out);
	if (rc != 0)
		return rc;
	rc = piece_store(p);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < p->chunks; i++)
		if (p->status[i] == 0)
			*lost &= ~(1u << i);
	return 0;
}

/* The part of the piece that lies in chunk @i, until it is done. */
static int chunk_write(struct fs_piece_target *t, const struct piece *p,
		       size_t i)
{
	uint64_t from = (p->chunk + i) * FS_CHUNK_BYTES;
	uint64_t to = from + FS_CHUNK_BYTES;
	struct piece one;
	uint32_t lost = 1;
	int rc = 0;

	if (from < p->off)
		from = p->off;
	if (to > p->off + p->len)
		to = p->off + p->len;
	piece_init(&one, t, p->buf + (from - p->off), to - from, from);
	for (int tries = 0; lost != 0 && tries < FS_RETRIES_MAX; tries++) {
		rc = piece_once(&one, tries >= FS_PAGE_TRIES, &lost);
		if (rc != 0)
			return rc;
	}
	return lost != 0 ? -EBUSY : 0;
}

int fs_piece_write(struct fs_piece_target *t, const uint8_t *buf, size_t len,
		   uint64_t off)
{
	struct piece p;
	uint32_t lost;
	int rc;

	piece_init(&p, t, buf, len, off);
	rc = piece_once(&p, false, &lost);
	for (size_t i = 0; rc == 0 && i < p.chunks; i++)
		if (lost & 1u << i)
			rc = chunk_write(t, &p, i);
	return rc;
}
