/* tests/fuzz/leaf.c - a directory's node: what passes the check can be walked,
 * searched and edited, and is a node again after each. */
#include <stdlib.h>
#include <string.h>

#include "fs/leaf.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

static void edit(struct fs_node *n, struct fs_dentry d)
{
	char name[FS_NAME_BYTES_MAX];

	memcpy(name, d.name, d.nlen); /* the entry itself moves */
	d.name = name;
	fs_leaf_set(n, &d, d.ino ^ 1 ? d.ino ^ 1 : 2, d.type);
	must(fs_node_check(n) == 0);
	fs_leaf_drop(n, &d);
	must(fs_node_check(n) == 0);
	if (fs_leaf_find(n, d.hash, d.name, d.nlen, NULL))
		return; /* it was there twice */
	must(fs_leaf_add(n, &d) == 0);
	must(fs_node_check(n) == 0);
}

void fuzz_seeds(void)
{
	struct fs_node *n = malloc(sizeof(*n));

	if (n == NULL)
		abort();
	fs_node_init(n, FS_NODE_LEAF, 0);
	fuzz_seed(n->bytes, n->len);
	for (uint64_t i = 1; i <= 12; i++) {
		struct fs_dentry d = {.hash = i / 2 * 1000,
				      .ino = i,
				      .name = &"abcdefghijklmnop"[i],
				      .nlen = (uint8_t)(16 - i),
				      .type = 8};

		must(fs_leaf_add(n, &d) == 0);
	}
	fuzz_seed(n->bytes, n->len);
	fs_node_init(n, FS_NODE_INNER, 9);
	fuzz_seed(n->bytes, n->len);
	free(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fs_node *n = malloc(sizeof(*n));
	struct fs_dentry d, first = {.nlen = 0};
	uint32_t at = 0, count = 0;

	if (n == NULL || size > sizeof(n->bytes))
		goto out;
	n->len = (uint32_t)size;
	memcpy(n->bytes, data, size);
	if (fs_node_check(n) != 0 || fs_node_kind(n) != FS_NODE_LEAF)
		goto out;
	for (; fs_leaf_next(n, &at, &d); count++) {
		must(fs_leaf_find(n, d.hash, d.name, d.nlen, NULL));
		if (first.nlen == 0)
			first = d;
	}
	must(at == n->len || count == 0);
	must(count == fs_node_count(n));
	if (count > 0)
		edit(n, first);
out:
	free(n);
	return 0;
}
