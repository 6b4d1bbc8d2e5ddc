/* fs/fsck_bytes.c - faults of files' bytes: chunks, pages, bits, attributes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/fsck_impl.h"
#include "fs/region.h"

/* --- chunks -------------------------------------------------------------- */

static struct ck_fault *chunk_fault(struct ck *ck, enum fs_fault_kind kind,
				    const struct ck_chunk *c, const char *what)
{
	char path[CK_PATH_MAX];
	struct ck_fault *f;

	f = ck_fault(ck, kind, fs_key_chunk(c->ino, 0, c->n), c->version,
		     "%s: bytes from %" PRIu64 " on: %s",
		     ck_path(ck, c->ino, path), c->n * FS_CHUNK_BYTES, what);
	if (f != NULL) {
		f->ino = c->ino;
		f->value = c->n;
	}
	return f;
}

/* How many of the chunk's pages the file's size covers. */
static unsigned pages_within(const struct ck_inode *in,
			     const struct ck_chunk *c)
{
	uint64_t pages = (in->size + FS_PAGE_BYTES - 1) / FS_PAGE_BYTES,
		 first = c->n * FS_CHUNK_PAGES;

	if (in->is_inline || pages <= first)
		return 0;
	return pages - first < FS_CHUNK_PAGES ? (unsigned)(pages - first)
					      : FS_CHUNK_PAGES;
}

static void check_pages(struct ck *ck, struct ck_inode *in,
			const struct ck_chunk *c, unsigned within)
{
	bool beyond = false;
	struct ck_fault *f;

	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++) {
		if (c->page[i].addr == 0)
			continue;
		in->found_pages += i < within;
		beyond = beyond || i >= within;
	}
	if (!beyond)
		return;
	f = chunk_fault(ck, FS_FAULT_PAGE_BEYOND, c, "pages beyond the end");
	if (f != NULL)
		f->nlen = (uint8_t)within;
}

/* Is the region bit of the chunk set? Asks the store, once for each region. */
static void check_bit(struct ck *ck, const struct ck_chunk *c)
{
	uint64_t first;
	uint32_t n;
	int rc;

	if (c->n < FS_DIRECT_CHUNKS)
		return;
	rc = fs_region_next(ck->fs, c->ino, c->n, c->n + 1, &first, &n);
	if (rc == 0)
		chunk_fault(ck, FS_FAULT_MAP_CLEAR, c,
			    "they cannot be found: a bit says there are none");
	else if (rc < 0 && rc != -EBADMSG) /* that is told of the map */
		ck->err = rc;
}

static void check_chunk(struct ck *ck, const struct ck_chunk *c, bool bit)
{
	struct ck_inode *in = ck_inode_find(ck, c->ino);
	unsigned within;

	if (c->bad) {
		chunk_fault(ck, FS_FAULT_CHUNK_BAD, c,
			    "their node does not make sense");
		return;
	}
	if (in != NULL && in->bad)
		return; /* its size will be made from them */
	within = in != NULL && S_ISREG(in->mode) ? pages_within(in, c) : 0;
	if (within == 0) {
		chunk_fault(ck, FS_FAULT_CHUNK_LEAKED, c,
			    in == NULL ? "of no file"
				       : "beyond the end of the file");
		return;
	}
	check_pages(ck, in, c, within);
	if (bit)
		check_bit(ck, c);
}

static void check_chunks(struct ck *ck)
{
	const struct ck_chunk *c = (struct ck_chunk *)ck->chunks.at;

	for (size_t i = 0; ck->err == 0 && i < ck->chunks.n; i++) {
		bool first = i == 0 || c[i].ino != c[i - 1].ino ||
			     c[i].n / FS_REGION_CHUNKS !=
				     c[i - 1].n / FS_REGION_CHUNKS;

		check_chunk(ck, &c[i], first);
	}
}

/* --- pages --------------------------------------------------------------- */

static int by_addr(const void *pa, const void *pb)
{
	const struct ck_page *a = pa, *b = pb;

	if (a->addr != b->addr)
		return a->addr < b->addr ? -1 : 1;
	if (a->chunk != b->chunk)
		return a->chunk < b->chunk ? -1 : 1;
	return (a->i > b->i) - (a->i < b->i);
}

static void list_pages(struct ck *ck, struct ck_table *pages)
{
	const struct ck_chunk *c = (struct ck_chunk *)ck->chunks.at;
	struct ck_page *p;

	for (size_t n = 0; n < ck->chunks.n; n++)
		for (unsigned i = 0; i < FS_CHUNK_PAGES; i++) {
			if (c[n].bad || c[n].page[i].addr == 0)
				continue;
			p = ck_push(pages);
			if (p == NULL) {
				ck->err = -ENOMEM;
				return;
			}
			*p = (struct ck_page){c[n].page[i].addr, (uint32_t)n,
					      i};
			ck->sum->pages++;
		}
}

static void find_twice(struct ck *ck)
{
	const struct ck_chunk *c = (struct ck_chunk *)ck->chunks.at;
	struct ck_table pages = {.size = sizeof(struct ck_page)};
	const struct ck_page *p;
	struct ck_fault *f;

	list_pages(ck, &pages);
	if (pages.n > 0)
		qsort(pages.at, pages.n, pages.size, by_addr);
	p = (const struct ck_page *)pages.at;
	for (size_t i = 1; ck->err == 0 && i < pages.n; i++) {
		if (p[i].addr != p[i - 1].addr)
			continue;
		f = chunk_fault(ck, FS_FAULT_PAGE_TWICE, &c[p[i].chunk],
				"a page that is named elsewhere, too");
		if (f != NULL)
			f->nlen = (uint8_t)p[i].i;
	}
	free(pages.at);
}

static void check_count(struct ck *ck, const struct ck_inode *in)
{
	char path[CK_PATH_MAX];
	struct ck_fault *f;

	if (in->bad || !S_ISREG(in->mode) || in->pages == in->found_pages)
		return;
	f = ck_fault(ck, FS_FAULT_PAGES, fs_key_inode(in->ino), in->version,
		     "%s: is said to hold %" PRIu64
		     " pages, and holds %" PRIu64,
		     ck_path(ck, in->ino, path), in->pages, in->found_pages);
	if (f != NULL) {
		f->ino = in->ino;
		f->value = in->found_pages;
	}
}

/* --- bits, attributes ---------------------------------------------------- */

static void check_map(struct ck *ck, const struct ck_map *m)
{
	const struct ck_inode *in = ck_inode_find(ck, m->ino);
	struct fs_key key = fs_key_chunk(m->ino, m->level, m->n);
	char path[CK_PATH_MAX];

	if (m->bad)
		ck_fault(ck, FS_FAULT_MAP_BAD, key, m->version,
			 "%s: bits of it (level %u) do not make sense",
			 ck_path(ck, m->ino, path), m->level);
	else if (in == NULL || (!in->bad && !S_ISREG(in->mode)))
		ck_fault(ck, FS_FAULT_MAP_LEAKED, key, m->version,
			 "bits of inode %" PRIu64 ", which is no file", m->ino);
}

static void check_values(struct ck *ck)
{
	const struct ck_value *v = (struct ck_value *)ck->values.at,
			      *n = (struct ck_value *)ck->named.at;
	const struct ck_inode *in;
	char path[CK_PATH_MAX];
	struct ck_fault *f;

	for (size_t i = 0; i < ck->values.n; i++) {
		in = ck_inode_find(ck, v[i].ino);
		if (in != NULL && (in->bad || in->xattr_bad))
			continue;
		if (!ck_value_has(&ck->named, v[i].ino, v[i].number))
			ck_fault(ck, FS_FAULT_XATTR_LEAKED,
				 fs_key_xattr(v[i].ino, v[i].number),
				 v[i].version,
				 "%s: an attribute's value that none has",
				 ck_path(ck, v[i].ino, path));
	}
	for (size_t i = 0; i < ck->named.n; i++) {
		if (ck_value_has(&ck->values, n[i].ino, n[i].number))
			continue;
		in = ck_inode_find(ck, n[i].ino);
		f = ck_fault(ck, FS_FAULT_XATTR_DEAD, fs_key_inode(n[i].ino),
			     in->version, "%s: an attribute's value is gone",
			     ck_path(ck, n[i].ino, path));
		if (f != NULL) {
			f->ino = n[i].ino;
			f->value = n[i].number;
		}
	}
}

int ck_bytes(struct ck *ck)
{
	const struct ck_map *m = (struct ck_map *)ck->maps.at;
	const struct ck_inode *in;
	char path[CK_PATH_MAX];
	struct ck_fault *f;

	check_chunks(ck);
	find_twice(ck);
	for (size_t i = 0; ck->err == 0 && i < ck->inodes.n; i++) {
		in = ck_inode_at(ck, i);
		check_count(ck, in);
		if (!in->xattr_bad)
			continue;
		f = ck_fault(ck, FS_FAULT_XATTR_BAD, fs_key_inode(in->ino),
			     in->version,
			     "%s: its list of attributes does not make sense",
			     ck_path(ck, in->ino, path));
		if (f != NULL)
			f->ino = in->ino;
	}
	for (size_t i = 0; i < ck->maps.n; i++)
		check_map(ck, &m[i]);
	check_values(ck);
	return ck->err;
}
