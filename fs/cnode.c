/* fs/cnode.c - a chunk's node: codec, load, conditional store. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "fs/cnode.h"
#include "fs/fs_impl.h"
#include "fs/key.h"

/* The value: format, zero, bits of the pages present (le16), then for each of
 * them, lowest first, address (le64) and crc (le32). */
enum { CNODE_FORMAT = 1, CNODE_HEAD = 4, CNODE_ENTRY = 12 };

_Static_assert(FS_CHUNK_PAGES == 16, "the bits of a node are a le16");
_Static_assert(FS_CNODES_MAX <= KV_RUN_OPS_MAX, "a load is one kv_run()");

static void entry_put(uint8_t *at, const struct kv_page *page)
{
	uint64_t addr = htole64(page->addr);
	uint32_t crc = htole32(page->crc);

	memcpy(at, &addr, sizeof(addr));
	memcpy(at + sizeof(addr), &crc, sizeof(crc));
}

static void entry_get(const uint8_t *at, struct kv_page *page)
{
	uint64_t addr;
	uint32_t crc;

	memcpy(&addr, at, sizeof(addr));
	memcpy(&crc, at + sizeof(addr), sizeof(crc));
	page->addr = le64toh(addr);
	page->crc = le32toh(crc);
}

size_t fs_cnode_encode(const struct fs_cnode *node,
		       uint8_t out[FS_CNODE_BYTES_MAX])
{
	uint8_t *at = out + CNODE_HEAD;
	unsigned bits = 0;

	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++) {
		if (node->page[i].addr == 0)
			continue;
		bits |= 1u << i;
		entry_put(at, &node->page[i]);
		at += CNODE_ENTRY;
	}
	out[0] = CNODE_FORMAT;
	out[1] = 0;
	out[2] = bits & 0xff;
	out[3] = bits >> 8;
	return at - out;
}

int fs_cnode_decode(const void *val, size_t len, struct fs_cnode *out)
{
	const uint8_t *b = val, *at = b + CNODE_HEAD;
	unsigned bits, count;

	if (len < CNODE_HEAD || b[0] != CNODE_FORMAT || b[1] != 0)
		return -EBADMSG;
	bits = b[2] | (unsigned)b[3] << 8;
	count = __builtin_popcount(bits);
	if (count == 0 || len != CNODE_HEAD + CNODE_ENTRY * count)
		return -EBADMSG;
	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++) {
		out->page[i] = (struct kv_page){0};
		if ((bits & 1u << i) == 0)
			continue;
		entry_get(at, &out->page[i]);
		if (out->page[i].addr == 0)
			return -EBADMSG;
		at += CNODE_ENTRY;
	}
	return 0;
}

unsigned fs_cnode_count(const struct fs_cnode *node)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++)
		count += node->page[i].addr != 0;
	return count;
}

static int load_one(const struct kv_req *req, struct fs_cnode *out)
{
	if (req->status == -ENOENT) {
		memset(out, 0, sizeof(*out));
		return 0;
	}
	if (req->status == -ERANGE)
		return -EBADMSG;
	if (req->status != 0)
		return req->status;
	out->version = req->version;
	return fs_cnode_decode(req->buf, req->len, out);
}

void fs_cnode_load_each(struct fs *fs, const struct fs_cnode_at *at, size_t n,
			struct fs_cnode *out, int *status)
{
	struct kv_req req[FS_CNODES_MAX];
	struct fs_key key[FS_CNODES_MAX];
	uint8_t val[FS_CNODES_MAX][FS_CNODE_BYTES_MAX];

	assert(n <= FS_CNODES_MAX);
	for (size_t i = 0; i < n; i++) {
		key[i] = fs_key_chunk(at[i].ino, 0, at[i].chunk);
		req[i] = (struct kv_req){
			.kind = KV_GET,
			.klen = key[i].len,
			.key = key[i].byte,
			.buf = val[i],
			.cap = sizeof(val[i]),
		};
	}
	kv_run(fs->kv, req, n);
	for (size_t i = 0; i < n; i++)
		status[i] = load_one(&req[i], &out[i]);
}

static void run_of_chunks(struct fs_cnode_at *at, uint64_t ino, uint64_t first,
			  size_t n)
{
	assert(n <= FS_CNODES_MAX);
	for (size_t i = 0; i < n; i++)
		at[i] = (struct fs_cnode_at){ino, first + i};
}

int fs_cnode_load(struct fs *fs, uint64_t ino, uint64_t first, size_t n,
		  struct fs_cnode *out)
{
	struct fs_cnode_at at[FS_CNODES_MAX] = {0};
	int status[FS_CNODES_MAX];

	run_of_chunks(at, ino, first, n);
	fs_cnode_load_each(fs, at, n, out, status);
	for (size_t i = 0; i < n; i++)
		if (status[i] != 0)
			return status[i];
	return 0;
}

static void store_fill(struct kv_req *req, const struct fs_cnode *node,
		       uint8_t val[FS_CNODE_BYTES_MAX], unsigned flags)
{
	req->flags = flags | KV_HOT;
	req->expect = node->version;
	if (fs_cnode_count(node) == 0) {
		req->kind = KV_DEL;
		req->flags |= KV_URGENT;
		return;
	}
	req->kind = node->version != 0 ? KV_PUT_IF : KV_INSERT;
	req->val = val;
	req->len = fs_cnode_encode(node, val);
}

/* What a status says to us: every lost race is one -ESTALE. */
static int store_done(const struct kv_req *req, struct fs_cnode *node)
{
	if (req->status == -EEXIST || req->status == -ENOENT)
		return -ESTALE;
	if (req->status == 0)
		node->version = req->kind == KV_DEL ? 0 : req->version;
	return req->status;
}

int fs_cnode_store_each(struct fs *fs, const struct fs_cnode_at *at, size_t n,
			struct fs_cnode *node, int *status, unsigned flags)
{
	struct kv_req req[FS_CNODES_MAX];
	struct fs_key key[FS_CNODES_MAX];
	uint8_t val[FS_CNODES_MAX][FS_CNODE_BYTES_MAX];
	size_t of[FS_CNODES_MAX], m = 0;
	int rc = 0;

	assert(n <= FS_CNODES_MAX);
	for (size_t i = 0; i < n; i++) {
		if (status[i] == 0)
			continue;
		status[i] = 0;
		if (node[i].version == 0 && fs_cnode_count(&node[i]) == 0)
			continue;
		key[m] = fs_key_chunk(at[i].ino, 0, at[i].chunk);
		req[m] = (struct kv_req){
			.klen = key[m].len,
			.key = key[m].byte,
		};
		store_fill(&req[m], &node[i], val[m], flags);
		of[m++] = i;
	}
	if (m == 0)
		return 0;
	kv_run(fs->kv, req, m);
	for (size_t r = 0; r < m; r++) {
		status[of[r]] = store_done(&req[r], &node[of[r]]);
		if (rc == 0)
			rc = status[of[r]];
	}
	return rc;
}

int fs_cnode_store(struct fs *fs, uint64_t ino, uint64_t first, size_t n,
		   struct fs_cnode *node, int *status, unsigned flags)
{
	struct fs_cnode_at at[FS_CNODES_MAX] = {0};

	run_of_chunks(at, ino, first, n);
	return fs_cnode_store_each(fs, at, n, node, status, flags);
}

int fs_cnode_store_with(struct fs *fs, uint64_t ino, uint64_t chunk,
			struct fs_cnode *node, struct kv_req *with)
{
	struct fs_key key = fs_key_chunk(ino, 0, chunk);
	uint8_t val[FS_CNODE_BYTES_MAX];
	struct kv_req req[2] = {*with, {.klen = key.len, .key = key.byte}};
	int rc;

	store_fill(&req[1], node, val, 0);
	rc = kv_txn(fs->kv, req, 2);
	*with = req[0];
	if (rc == 0)
		node->version = req[1].kind == KV_DEL ? 0 : req[1].version;
	return rc;
}

void fs_cnode_free(struct fs *fs, const struct fs_cnode *old,
		   const struct fs_cnode *new)
{
	struct kv_page gone[FS_CHUNK_PAGES];
	size_t n = 0;

	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++)
		if (old->page[i].addr != 0 &&
		    old->page[i].addr != new->page[i].addr)
			gone[n++] = old->page[i];
	if (n > 0)
		kv_pages_free(fs->kv, gone, n);
}
