/* kv/object.c - records: bytes <-> fields. */
#include "kv/object.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "ec/crc.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "records are little-endian and laid out as structs");
_Static_assert(offsetof(struct object_hdr, fate) == OBJECT_FATE_OFFSET, "");
_Static_assert(offsetof(struct object_hdr, version) == 16, "");
_Static_assert(offsetof(struct object_hdr, hash) == 40, "");
_Static_assert(offsetof(struct object_hdr, val_len) == 48, "");
_Static_assert(offsetof(struct object_hdr, units) == 52, "");
_Static_assert(offsetof(struct object_hdr, type) == 55, "");
_Static_assert(offsetof(struct object_hdr, life) == 56, "");
_Static_assert(OBJECT_BYTES_MAX / GROUP_UNIT_BYTES <= UINT16_MAX, "");

#define CRC_FROM offsetof(struct object_hdr, version)

static uint32_t crc_seed(uint64_t secret, fab_addr addr)
{
	uint64_t seed[2] = {secret, addr};

	return crc_of(0, seed, sizeof(seed));
}

void object_encode(void *buf, uint64_t secret, fab_addr addr,
		   const struct object *in)
{
	struct object_hdr hdr = in->hdr;
	size_t klen = hdr.key_len, vlen = hdr.val_len;
	size_t used = sizeof(hdr) + klen + vlen;
	char *p = buf;
	uint32_t crc;

	assert(klen > 0 && vlen <= KV_VALUE_BYTES_MAX);
	hdr.magic = OBJECT_MAGIC;
	hdr.units = (uint16_t)object_units(klen, vlen);
	hdr.reserved = 0;
	memcpy(p + sizeof(hdr), in->key, klen);
	if (vlen > 0)
		memcpy(p + sizeof(hdr) + klen, in->val, vlen);
	memset(p + used, 0, hdr.units * (size_t)GROUP_UNIT_BYTES - used);
	crc = crc_of(crc_seed(secret, addr), (char *)&hdr + CRC_FROM,
		     sizeof(hdr) - CRC_FROM);
	hdr.crc = crc_of(crc, p + sizeof(hdr), klen + vlen);
	memcpy(p, &hdr, sizeof(hdr));
}

static bool header_makes_sense(const struct object_hdr *h)
{
	return h->magic == OBJECT_MAGIC && h->type >= OBJECT_PUT &&
	       h->type <= OBJECT_INTENT && h->key_len > 0 &&
	       h->val_len <= KV_VALUE_BYTES_MAX &&
	       h->units == object_units(h->key_len, h->val_len);
}

int object_decode(const void *buf, size_t len, uint64_t secret, fab_addr addr,
		  struct object *out)
{
	const char *p = buf;
	struct object_hdr *h = &out->hdr;
	uint32_t crc;

	if (len < sizeof(*h))
		return -EBADMSG;
	memcpy(h, buf, sizeof(*h));
	if (!header_makes_sense(h))
		return -EBADMSG;
	if ((size_t)h->units * GROUP_UNIT_BYTES > len)
		return -ERANGE;
	crc = crc_of(crc_seed(secret, addr), (char *)h + CRC_FROM,
		     sizeof(*h) - CRC_FROM);
	crc = crc_of(crc, p + sizeof(*h), (size_t)h->key_len + h->val_len);
	if (crc != h->crc)
		return -EBADMSG;
	out->key = p + sizeof(*h);
	out->val = p + sizeof(*h) + h->key_len;
	return 0;
}
