/* tests/fuzz/cut.c - what a restart reads from disk: a durable cut, the file
 * that names it. CRCs are made right first, or nothing would get past.
 *
 * Input: what it is (1): a cut's file, a cut's body, a pool file; bytes. */
#include <stdlib.h>
#include <string.h>

#include "ec/block.h"
#include "ec/crc.h"
#include "kv/node/cut.h"
#include "kv/node/poolfile.h"
#include "kv/slot.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

enum { CUT_FILE, CUT_BODY, POOL_FILE, KINDS };

#define NUMBER UINT64_C(7)

static struct layout_super super_of(void)
{
	struct layout_shape shape = {.nodes = 5,
				     .k = 3,
				     .m = 2,
				     .usable = 2u << 20,
				     .block_bytes = 64u << 10,
				     .slots = 24,
				     .clients = 1};
	struct layout_super s = {.node = 2, .secret = 12345, .uuid = "0123"};

	must(layout_of(&shape, &s.layout) == 0);
	return s;
}

/* What is pointed to is all there: it is read. */
static uint64_t sum_of(const uint8_t *p, uint64_t n)
{
	uint64_t sum = 0;

	while (n > 0)
		sum += p[--n];
	return sum;
}

static void walk(const struct cut *c, const struct layout *l)
{
	struct cut_reader r = {.cut = c, .layout = l};
	struct cut_block b;
	struct cut_shard s;
	const void *at;
	uint64_t n = 0;
	int rc;

	while ((rc = cut_next_block(&r, &b, &at)) == 1) {
		must(b.block < l->group.blocks);
		must(++n <= c->head.blocks);
		if (b.state != BLOCK_FREE)
			sum_of(at, l->group.block_bytes / GROUP_UNIT_BYTES / 8);
	}
	if (rc != 0)
		return;
	while (cut_next_shard(&r, &s, &at) == 1)
		sum_of(at, s.bytes);
}

static void look_file(uint8_t *file, size_t size)
{
	struct layout_super super = super_of();
	struct cut_head h;
	struct cut c;

	if (size < sizeof(h))
		return;
	memcpy(&h, file, sizeof(h));
	h.packed = size - sizeof(h);
	h.packed_crc = crc_of(0, file + sizeof(h), (uint32_t)h.packed);
	h.raw &= (1u << 20) - 1; /* no gigabytes here */
	h.pad = 0;
	h.crc = crc_of(0, &h, offsetof(struct cut_head, crc));
	memcpy(file, &h, sizeof(h));
	if (cut_unpack(file, size, &super, NUMBER, &c) != 0)
		return;
	walk(&c, &super.layout);
	cut_free(&c);
}

static void look_body(uint8_t *body, size_t size)
{
	struct layout_super super = super_of();
	struct cut c = {.body = (char *)body, .len = size, .cap = size};
	uint32_t counts[2] = {0, 0};

	memcpy(counts, body, size < sizeof(counts) ? size : sizeof(counts));
	c.head.blocks = counts[0] % 64;
	c.head.shards = counts[1] % 8;
	walk(&c, &super.layout);
}

static void look_pool(uint8_t *file, size_t size)
{
	struct poolfile p;
	uint32_t version, crc;

	if (size >= POOLFILE_BYTES) { /* its CRC comes last */
		crc = crc_of(0, file, POOLFILE_BYTES - 8);
		memcpy(file + POOLFILE_BYTES - 8, &crc, sizeof(crc));
	}
	if (poolfile_read(file, size, &p, &version) == 0)
		must(group_check(&p.super.layout.group) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size < 1)
		return 0;
	copy = malloc(size);
	if (copy == NULL)
		return 0;
	memcpy(copy, data + 1, size - 1);
	if (data[0] % KINDS == CUT_FILE)
		look_file(copy, size - 1);
	else if (data[0] % KINDS == CUT_BODY)
		look_body(copy, size - 1);
	else
		look_pool(copy, size - 1);
	free(copy);
	return 0;
}

static void seed(uint8_t kind, const void *bytes, size_t size)
{
	uint8_t *all = malloc(size + 1);

	must(all != NULL);
	all[0] = kind;
	memcpy(all + 1, bytes, size);
	fuzz_seed(all, size + 1);
	free(all);
}

void fuzz_seeds(void)
{
	struct layout_super super = super_of();
	size_t map_bytes =
		super.layout.group.block_bytes / GROUP_UNIT_BYTES / 8;
	struct poolfile p = {.super = super, .at = {9, 8, 7, 6, 1}};
	struct cut_block b = {.block = 1,
			      .life = 3,
			      .state = BLOCK_OPEN,
			      .kind = BLOCK_RECORDS};
	uint64_t bytes = slot_shard_bytes(super.layout.index_groups);
	uint8_t *map = calloc(1, map_bytes), *slots = calloc(1, bytes);
	uint8_t pool[POOLFILE_BYTES];
	struct cut c = {.body = NULL};
	void *file;
	size_t len;

	must(map != NULL && slots != NULL);
	cut_begin(&c, &super, NUMBER);
	cut_add_block(&c, &b, map, map_bytes);
	b.block = 2;
	b.state = BLOCK_FREE;
	cut_add_block(&c, &b, NULL, 0);
	cut_add_shard(&c, 2, slots, bytes);
	seed(CUT_BODY, c.body, c.len);
	must(cut_pack(&c, &file, &len) == 0);
	seed(CUT_FILE, file, len);
	free(file);
	cut_free(&c);
	free(map);
	free(slots);
	poolfile_write(&p, pool);
	seed(POOL_FILE, pool, sizeof(pool));
}
