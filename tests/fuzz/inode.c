/* tests/fuzz/inode.c - an inode's record, its extended attributes, and what is
 * done with the bytes of a small file; a chunk's node. */
#include <stdlib.h>
#include <string.h>

#include "fs/cnode.h"
#include "fs/file_impl.h"
#include "fs/inode.h"
#include "fs/xattr.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

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

static size_t pack_xattr(uint8_t *at, const char *name, uint8_t where,
			 uint32_t len)
{
	size_t n = strlen(name), stored = where ? 8 : len;

	at[0] = (uint8_t)n;
	at[1] = where;
	memcpy(at + 2, &len, 4);
	memcpy(at + 6, name, n);
	memset(at + 6 + n, 7, stored);
	return 6 + n + stored;
}

void fuzz_seeds(void)
{
	struct fs_cnode node = {.page[3] = {64, 5}, .page[9] = {4160, 6}};
	struct fs_inode *in = calloc(1, sizeof(*in));
	uint8_t buf[FS_INODE_BYTES_MAX], chunk[FS_CNODE_BYTES_MAX];

	if (in == NULL)
		abort();
	in->mode = S_IFREG | 0644;
	in->is_inline = true;
	in->size = in->data_len = 100;
	in->xattr_len = pack_xattr(in->body + 100, "user.a", 0, 30);
	in->xattr_len += pack_xattr(in->body + 100 + in->xattr_len,
				    "security.capability", 1, 3000);
	fuzz_seed(buf, fs_inode_encode(in, buf));
	in->is_inline = false;
	in->size = 1 << 30;
	fuzz_seed(buf, fs_inode_encode(in, buf));
	fuzz_seed(chunk, fs_cnode_encode(&node, chunk));
	free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	look_inode(data, size);
	look_cnode(data, size);
	return 0;
}
