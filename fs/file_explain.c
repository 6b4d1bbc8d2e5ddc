/* fs/file_explain.c - which keys and pages hold a file's bytes, for people. */
#include <inttypes.h>
#include <stdio.h>

#include "fs/file_impl.h"
#include "fs/fs_impl.h"
#include "fs/key.h"
#include "fs/region.h"

struct explaining {
	struct fs *fs;
	uint64_t ino;
	int (*each)(void *arg, const char *what, const void *key,
		    unsigned klen);
	int (*page)(void *arg, uint64_t offset, struct kv_page page);
	void *arg;
};

static int say_chunk(struct explaining *x, uint64_t n,
		     const struct fs_cnode *node)
{
	struct fs_key key = fs_key_chunk(x->ino, 0, n);
	uint64_t at = n * FS_CHUNK_BYTES;
	char what[80];
	int rc;

	snprintf(what, sizeof(what), "chunk %" PRIu64 ": %u pages", n,
		 fs_cnode_count(node));
	rc = x->each(x->arg, what, key.byte, key.len);
	if (x->page == NULL)
		return rc;
	for (unsigned i = 0; rc == 0 && i < FS_CHUNK_PAGES; i++)
		if (node->page[i].addr != 0)
			rc = x->page(x->arg, at + i * FS_PAGE_BYTES,
				     node->page[i]);
	return rc;
}

static int say_run(struct explaining *x, uint64_t first, uint32_t n)
{
	struct fs_cnode node[FS_CNODES_MAX];
	int rc;

	rc = fs_cnode_load(x->fs, x->ino, first, n, node);
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		if (node[i].version != 0)
			rc = say_chunk(x, first + i, &node[i]);
	return rc;
}

int fs_file_explain(struct fs *fs, const struct fs_inode *in,
		    int (*each)(void *arg, const char *what, const void *key,
				unsigned klen),
		    int (*page)(void *arg, uint64_t offset,
				struct kv_page page),
		    void *arg)
{
	struct explaining x = {fs, in->ino, each, page, arg};
	uint64_t next = 0,
		 end = (in->size + FS_CHUNK_BYTES - 1) / FS_CHUNK_BYTES;
	uint64_t first;
	uint32_t n;
	int rc;

	if (in->is_inline)
		return 0;
	while ((rc = fs_region_next(fs, in->ino, next, end, &first, &n)) == 1) {
		rc = say_run(&x, first, n);
		if (rc != 0)
			return rc;
		next = first + n;
	}
	return rc;
}
