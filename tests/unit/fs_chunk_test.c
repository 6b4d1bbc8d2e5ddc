/* tests/unit/fs_chunk_test.c - the bytes of a chunk's node: golden, there and
 * back, and every damaged one refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/cnode.h"

static void make(struct fs_cnode *node, unsigned bits)
{
	memset(node, 0, sizeof(*node));
	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++)
		if (bits & 1u << i)
			node->page[i] = (struct kv_page){
				.addr = 0x0102030405060700ull + i,
				.crc = 0xa0b0c0d0u + i,
			};
}

static void the_bytes_are_those_of_the_format(void **state)
{
	static const uint8_t golden[] = {
		1,    0,    0x04, 0x80,				/* 2 and 15 */
		0x02, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* addr */
		0xd2, 0xc0, 0xb0, 0xa0,				/* crc */
		0x0f, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* addr */
		0xdf, 0xc0, 0xb0, 0xa0,				/* crc */
	};
	uint8_t out[FS_CNODE_BYTES_MAX];
	struct fs_cnode node;

	make(&node, 1u << 2 | 1u << 15);
	assert_int_equal(fs_cnode_encode(&node, out), sizeof(golden));
	assert_memory_equal(out, golden, sizeof(golden));
}

static void every_set_of_pages_comes_back(void **state)
{
	uint8_t out[FS_CNODE_BYTES_MAX];
	struct fs_cnode node, back;
	size_t len;

	for (unsigned bits = 1; bits < 1u << FS_CHUNK_PAGES; bits += 7) {
		make(&node, bits);
		len = fs_cnode_encode(&node, out);
		memset(&back, 0xee, sizeof(back));
		assert_int_equal(fs_cnode_decode(out, len, &back), 0);
		assert_int_equal(fs_cnode_count(&back),
				 __builtin_popcount(bits));
		for (unsigned i = 0; i < FS_CHUNK_PAGES; i++) {
			assert_int_equal(back.page[i].addr, node.page[i].addr);
			assert_int_equal(back.page[i].crc, node.page[i].crc);
		}
	}
}

static void damaged_nodes_are_refused(void **state)
{
	uint8_t out[FS_CNODE_BYTES_MAX + 1] = {0};
	struct fs_cnode node;
	size_t len;

	make(&node, 0x8421);
	len = fs_cnode_encode(&node, out);
	for (size_t n = 0; n <= sizeof(out); n++)
		if (n != len)
			assert_int_equal(fs_cnode_decode(out, n, &node),
					 -EBADMSG);
	for (unsigned bit = 0; bit < 32; bit++) { /* of the head */
		out[bit / 8] ^= 1u << bit % 8;
		assert_int_equal(fs_cnode_decode(out, len, &node), -EBADMSG);
		out[bit / 8] ^= 1u << bit % 8;
	}
	memset(out + 4, 0, 8); /* a page that is present, at no address */
	assert_int_equal(fs_cnode_decode(out, len, &node), -EBADMSG);
	memcpy(out, (uint8_t[]){1, 0, 0, 0}, 4); /* such a node is absent */
	assert_int_equal(fs_cnode_decode(out, 4, &node), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bytes_are_those_of_the_format),
		cmocka_unit_test(every_set_of_pages_comes_back),
		cmocka_unit_test(damaged_nodes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
