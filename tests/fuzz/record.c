/* tests/fuzz/record.c - bytes of a block taken for a record, and its value for
 * an intent. The CRC is made right first, or nothing would get past it. */
#include <stdlib.h>
#include <string.h>

#include "ec/crc.h"
#include "kv/client/txn.h"
#include "kv/object.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define SECRET UINT64_C(0x5ec2e7)
#define ADDR   UINT64_C(0x10000)

static void use(const void *at, size_t n, const uint8_t *data, size_t size)
{
	const uint8_t *p = at;

	must(n == 0 || (p >= data && n <= size && p + n <= data + size));
}

static void look(const uint8_t *data, size_t size)
{
	struct intent in;
	struct object o;
	const void *val;

	if (object_decode(data, size, SECRET, ADDR, &o) != 0)
		return;
	use(o.key, o.hdr.key_len, data, size);
	use(o.val, o.hdr.val_len, data, size);
	must((size_t)o.hdr.units * GROUP_UNIT_BYTES <= size);
	val = intent_at(o.val, o.hdr.val_len, &in);
	if (val == NULL)
		return;
	use(intent_old(val), in.old_len, data, size);
	use(intent_new(val, &in), in.new_len, data, size);
}

static void mend_crc(uint8_t *data, size_t size)
{
	const size_t from = offsetof(struct object_hdr, version);
	uint64_t seed[2] = {SECRET, ADDR};
	uint32_t crc = crc_of(0, seed, sizeof(seed));
	struct object_hdr h;

	memcpy(&h, data, sizeof(h));
	if (sizeof(h) + h.key_len + (uint64_t)h.val_len > size)
		return;
	crc = crc_of(crc, data + from, sizeof(h) - from);
	crc = crc_of(crc, data + sizeof(h), (size_t)h.key_len + h.val_len);
	memcpy(data, &crc, sizeof(crc));
}

static void seed(uint8_t type, const void *val, uint32_t len)
{
	struct object o = {.hdr = {.version = 77,
				   .hash = 5,
				   .val_len = len,
				   .key_len = 3,
				   .type = type,
				   .life = 2},
			   .key = "key",
			   .val = val};
	uint8_t buf[1024] = {0};

	object_encode(buf, SECRET, ADDR, &o);
	fuzz_seed(buf, object_units(3, len) * GROUP_UNIT_BYTES);
}

void fuzz_seeds(void)
{
	struct intent in = {.magic = INTENT_MAGIC,
			    .old_type = OBJECT_PUT,
			    .new_type = OBJECT_PUT,
			    .old_len = 20,
			    .new_len = 30};
	uint8_t val[600] = {0};

	seed(OBJECT_PUT, val, sizeof(val));
	seed(OBJECT_TOMB, NULL, 0);
	memcpy(val, &in, sizeof(in));
	seed(OBJECT_INTENT, val, sizeof(in) + 50);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	look(data, size);
	if (size < sizeof(struct object_hdr))
		return 0;
	copy = malloc(size);
	if (copy == NULL)
		return 0;
	memcpy(copy, data, size);
	mend_crc(copy, size);
	look(copy, size);
	free(copy);
	return 0;
}
