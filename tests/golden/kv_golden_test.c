/* The bytes of kv's formats. If one of these fails, a pool written
 * before cannot be read after: make a new version, keep the old test. The CRCs
 * in them were computed by another program (bitwise CRC-32C). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv/client/txn.h"
#include "kv/hash.h"
#include "kv/layout.h"
#include "kv/object.h"
#include "kv/proto.h"
#include "kv/slot.h"
#include "kv/view.h"

static void assert_hex(const void *got, size_t len, const char *want)
{
	const unsigned char *p = got;
	char hex[1024];

	assert_true(2 * len < sizeof(hex));
	for (size_t i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", p[i]);
	assert_string_equal(hex, want);
}

static void hashes(void **state)
{
	assert_true(hash_of("k", 1) == UINT64_C(0xa921e3704fda881d));
	assert_true(hash_of("key:0001", 8) == UINT64_C(0x79672719b978487b));
	assert_int_equal(hash_shard(UINT64_C(0xffffff0000000000), 5), 4);
	assert_int_equal(hash_shard(UINT64_C(0x7fffff0000000000), 2), 0);
	assert_int_equal(hash_print(UINT64_C(0x000000ab00000000)), 0xab);
	assert_int_equal(hash_print(0), 1);
}

static void places(void **state)
{
	uint64_t p[2];

	slot_places(UINT64_C(0x0123456789abcdef), 1000, p);
	assert_int_equal(p[0], 12896);
	assert_int_equal(p[1], 13016);
	slot_places(UINT64_C(0xfedcba9876543210), 7, p);
	assert_int_equal(p[0], 80);
	assert_int_equal(p[1], 8);
}

static void slot(void **state)
{
	struct slot s = {.word = slot_word(fab_addr_make(3, 0x12345640), 17,
					   0x0102, 0xab, SLOT_TOMB),
			 .version = 0x0102};

	assert_hex(&s, sizeof(s),
		   "59d14800"
		   "4384c06a"
		   "0201000000000000");
}

static void record(void **state)
{
	struct object o = {
		.hdr = {.version = 0x0102030405060708,
			.slot = 0x1234 << 8 | 3,
			.tag = UINT64_C(5) << 32 | 6,
			.hash = UINT64_C(0x1122334455667788),
			.val_len = 5,
			.key_len = 3,
			.type = OBJECT_PUT,
			.life = 9},
		.key = "key",
		.val = "value",
	};
	char buf[128];

	object_encode(buf, UINT64_C(0xa1a2a3a4a5a6a7a8),
		      fab_addr_make(2, 0x40000), &o);
	assert_hex(buf, sizeof(buf),
		   "eb353c90"
		   "41"
		   "4b5631"
		   "0000000000000000"
		   "0807060504030201"
		   "0334120000000000"
		   "0600000005000000"
		   "8877665544332211"
		   "05000000"
		   "0200"
		   "03"
		   "01"
		   "09000000"
		   "00000000"
		   "6b6579"
		   "76616c7565"
		   "0000000000000000000000000000000000000000000000000000"
		   "000000000000000000000000000000000000000000000000000000"
		   "000000");
	assert_true(OBJECT_COMMITTED == UINT64_C(0x4554494d4d4f4321));
	assert_true(OBJECT_SOLO == UINT64_C(0x2121212121214f53));
	assert_true(OBJECT_KILLED == UINT64_C(0x21212144454c4c49));
}

static void superblock(void **state)
{
	struct layout_super s = {
		.node = 2,
		.secret = UINT64_C(0x1122334455667788),
		.layout = {.group = {.nodes = 5,
				     .k = 3,
				     .m = 2,
				     .block_bytes = 1 << 16,
				     .blocks = 20,
				     .deltas = 8,
				     .rec_off = 0x1000,
				     .map_off = 0x2000,
				     .delta_off = 0x80000,
				     .block_off = 0x100000},
			   .index_groups = 9,
			   .index_off = 0x50000,
			   .index_stride = 0x10000,
			   .image_off = 0x60000,
			   .image_stride = 0x10000,
			   .size = 0x240000},
	};
	uint8_t region[152];

	for (int i = 0; i < 16; i++)
		s.uuid[i] = (uint8_t)(i + 1);
	layout_super_write(region, &s);
	assert_hex(region, sizeof(region),
		   "41534543"
		   "4f533031"
		   "02000000"
		   "02000000"
		   "0102030405060708090a0b0c0d0e0f10"
		   "8877665544332211"
		   "05000000"
		   "03000000"
		   "02000000"
		   "00000100"
		   "14000000"
		   "08000000"
		   "0010000000000000"
		   "0020000000000000"
		   "0000080000000000"
		   "0000100000000000"
		   "09000000"
		   "00000000"
		   "0000050000000000"
		   "0000010000000000"
		   "0000060000000000"
		   "0000010000000000"
		   "0000240000000000"
		   "de7ee580"
		   "00000000");
}

static void intent(void **state)
{
	struct intent in = {.magic = INTENT_MAGIC,
			    .old_type = 1,
			    .new_type = 0,
			    .old_version = 7,
			    .old_len = 3,
			    .new_len = 0,
			    .seq = 9};
	struct txn_state st = {.seq = 9, .verdict = TXN_COMMITTED};

	memset(in.key, 'T', sizeof(in.key));
	assert_hex(&in, sizeof(in),
		   "54584931"
		   "01"
		   "00"
		   "0000"
		   "0700000000000000"
		   "03000000"
		   "00000000"
		   "0900000000000000"
		   "54545454545454545454545454545454");
	assert_hex(&st, sizeof(st),
		   "0900000000000000"
		   "02000000"
		   "00000000");
}

/* Messages: what either side counts on. */
static void sizes_of_messages(void **state)
{
	assert_int_equal(sizeof(struct view), 312);
	assert_int_equal(sizeof(struct proto_cut), 24);
	assert_int_equal(sizeof(struct proto_persist), 8);
	assert_int_equal(sizeof(struct proto_hello), 56);
	assert_int_equal(sizeof(struct proto_alloc), 32);
	assert_int_equal(sizeof(struct proto_grant), 32);
	assert_int_equal(sizeof(struct proto_open), 48);
	assert_int_equal(sizeof(struct proto_opened), 8);
	assert_int_equal(sizeof(struct proto_seal), 40);
	assert_int_equal(sizeof(struct proto_owned), 16);
	assert_int_equal(PROTO_OWNS_BYTES(2), 40);
	assert_int_equal(sizeof(struct proto_mark_one), 24);
	assert_int_equal(sizeof(struct proto_mark), 16);
	assert_int_equal(sizeof(struct proto_marked), 256);
	assert_int_equal(sizeof(struct proto_retire), 32);
	assert_int_equal(sizeof(struct proto_retired), 16);
	assert_int_equal(sizeof(struct proto_ready), 32);
	assert_int_equal(sizeof(struct proto_watch), 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hashes),
		cmocka_unit_test(places),
		cmocka_unit_test(slot),
		cmocka_unit_test(record),
		cmocka_unit_test(superblock),
		cmocka_unit_test(intent),
		cmocka_unit_test(sizes_of_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
