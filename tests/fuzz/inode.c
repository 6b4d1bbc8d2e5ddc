/* tests/fuzz/inode.c - an inode's record, its extended attributes, and what is
 * done with the bytes of a small file; a chunk's node. */
#include <stdlib.h>
#include <string.h>

#include "fs/cnode.h"
#include "fs/file_impl.h"
#include "fs/inode.h"
#include "fs/xattr.h"
#include "tests/lib/fuzz.h"

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void use_xattrs(struct fs_inode *in)
{
	char names[2 * FS_XATTR_INLINE_MAX];

	(void)fs_xattr_list(in, names, sizeof(names), true);
	if (fs_xattr_has_caps(in))
		fs_xattr_kill_caps(in);
}

static void use_inline(struct fs_inode *in)
{
	uint8_t page[FS_PAGE_BYTES];

	if (!in->is_inline)
		return;
	must(in->data_len <= sizeof(page)); /* to leave the inode */
	memcpy(page, in->body, in->data_len);
	fs_file_inline_resize(in, FS_INLINE_BYTES_MAX);
	fs_file_inline_resize(in, 0);
}

static void look_inode(const uint8_t *data, size_t size)
{
	struct fs_inode *in = calloc(1, sizeof(*in));
	uint8_t *back = malloc(FS_INODE_BYTES_MAX);
	struct stat st;

	if (in == NULL || back == NULL)
		goto out;
	if (fs_inode_decode(data, size, in) != 0)
		goto out;
	must(fs_inode_encode(in, back) == size);
	must(memcmp(back, data, size) == 0);
	fs_inode_stat(in, &st);
	use_xattrs(in);
	use_inline(in);
out:
	free(back);
	free(in);
}

static void look_cnode(const uint8_t *data, size_t size)
{
	uint8_t back[FS_CNODE_BYTES_MAX];
	struct fs_cnode node;

	if (fs_cnode_decode(data, size, &node) != 0)
		return;
	must(fs_cnode_count(&node) <= FS_CHUNK_PAGES);
	must(fs_cnode_encode(&node, back) == size);
	must(memcmp(back, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	look_inode(data, size);
	look_cnode(data, size);
	return 0;
}
