/* A directory's node: its bytes, its order, and what is not one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/leaf.h"

static struct fs_dentry entry(uint64_t hash, uint64_t ino, const char *name)
{
	return (struct fs_dentry){.hash = hash,
				  .ino = ino,
				  .name = name,
				  .nlen = strlen(name),
				  .type = 8};
}

static void add(struct fs_node *n, uint64_t hash, uint64_t ino,
		const char *name)
{
	struct fs_dentry d = entry(hash, ino, name);

	assert_int_equal(fs_leaf_add(n, &d), 0);
	assert_int_equal(fs_node_check(n), 0);
}

static void nodes_have_golden_bytes(void **state)
{
	static const uint8_t leaf[] =
		{
			1, 1, 2, 0, 0, 0, 0, 0,	   0,	0,
			0, 0, 0, 0, 0, 0, /* head */
			5, 0, 0, 0, 0, 0, 0, 0,	   7,	0,
			0, 0, 0, 0, 0, 0, 8, 2,	   'h', 'i', /* "hi" */
			6, 0, 0, 0, 0, 0, 0, 0x80, 9,	0,
			0, 0, 0, 0, 0, 0, 8, 1,	   'x', /* "x" */
		};
	static const uint8_t inner[] = {1, 2, 0, 0, 0, 0, 0, 0,
					8, 7, 6, 5, 4, 3, 2, 1};
	struct fs_node n;

	fs_node_init(&n, FS_NODE_LEAF, 0);
	add(&n, 0x8000000000000006, 9, "x");
	add(&n, 5, 7, "hi");
	assert_int_equal(n.len, sizeof(leaf));
	assert_memory_equal(n.bytes, leaf, sizeof(leaf));
	fs_node_init(&n, FS_NODE_INNER, 0x0102030405060708);
	assert_int_equal(n.len, sizeof(inner));
	assert_memory_equal(n.bytes, inner, sizeof(inner));
	assert_int_equal(fs_node_check(&n), 0);
}

static void names_with_one_hash_are_told_apart(void **state)
{
	struct fs_dentry d;
	struct fs_node n;

	fs_node_init(&n, FS_NODE_LEAF, 0);
	add(&n, 5, 1, "a");
	add(&n, 5, 2, "b");
	add(&n, 5, 3, "ab");
	assert_true(fs_leaf_find(&n, 5, "b", 1, &d));
	assert_int_equal(d.ino, 2);
	assert_true(fs_leaf_find(&n, 5, "ab", 2, &d));
	assert_int_equal(d.ino, 3);
	assert_false(fs_leaf_find(&n, 5, "c", 1, &d));
	assert_false(fs_leaf_find(&n, 6, "a", 1, &d));
	d = entry(5, 0, "b");
	fs_leaf_set(&n, &d, 9, 4);
	fs_leaf_drop(&n,
		     &(struct fs_dentry){.hash = 5, .name = "a", .nlen = 1});
	assert_int_equal(fs_node_check(&n), 0);
	assert_int_equal(fs_node_count(&n), 2);
	assert_true(fs_leaf_find(&n, 5, "b", 1, &d));
	assert_int_equal(d.ino, 9);
	assert_int_equal(d.type, 4);
	assert_false(fs_leaf_find(&n, 5, "a", 1, &d));
}

static void entries_stay_in_order(void **state)
{
	struct fs_dentry d;
	struct fs_node n;
	uint32_t at = 0;
	uint64_t last = 0, sum = 0;
	char name[8];

	srand(1);
	fs_node_init(&n, FS_NODE_LEAF, 0);
	for (unsigned i = 1; i <= 200; i++) {
		snprintf(name, sizeof(name), "%u", i);
		add(&n, (uint64_t)rand() << 33 | rand(), i, name);
	}
	for (; fs_leaf_next(&n, &at, &d); sum += d.ino) {
		assert_true(d.hash >= last);
		last = d.hash;
	}
	assert_int_equal(sum, 200 * 201 / 2);
}

static void a_leaf_has_an_end(void **state)
{
	struct fs_dentry d;
	struct fs_node n;
	char name[256];
	unsigned i = 0;
	int err;

	memset(name, 'n', 255);
	name[255] = '\0';
	fs_node_init(&n, FS_NODE_LEAF, 0);
	do {
		i++;
		d = entry(i, i, name);
		err = fs_leaf_add(&n, &d);
	} while (err == 0);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(fs_node_check(&n), 0);
	assert_int_equal(fs_node_count(&n),
			 (FS_NODE_BYTES_MAX - FS_NODE_HEAD_BYTES) /
				 (FS_DENTRY_HEAD_BYTES + 255));
}

static void what_is_no_node_is_refused(void **state)
{
	struct fs_node n, bad;
	/* each makes nonsense of the two entries below */
	static const struct {
		uint32_t at;
		uint8_t value;
	} harm[] = {{0, 2}, {1, 0}, {1, 4},  {1, 2},  {1, 3},  {2, 1},
		    {4, 1}, {8, 1}, {33, 0}, {33, 9}, {23, 9}, {24, 0}};

	fs_node_init(&n, FS_NODE_LEAF, 0);
	add(&n, 5, 1, "a");
	add(&n, 6, 2, "b");
	for (uint32_t len = 0; len < n.len; len++) {
		bad = n;
		bad.len = len;
		assert_int_equal(fs_node_check(&bad), -EBADMSG);
	}
	for (size_t i = 0; i < sizeof(harm) / sizeof(harm[0]); i++) {
		bad = n;
		bad.bytes[harm[i].at] = harm[i].value;
		assert_int_equal(fs_node_check(&bad), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_have_golden_bytes),
		cmocka_unit_test(names_with_one_hash_are_told_apart),
		cmocka_unit_test(entries_stay_in_order),
		cmocka_unit_test(a_leaf_has_an_end),
		cmocka_unit_test(what_is_no_node_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
