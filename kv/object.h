/* kv/object.h - a key-value pair as it lies in a block: a redo record [I2].
 *
 *     | header 64 | key | value | zeros to the next unit |
 *
 * The CRC [I1] covers the header from @version on, the key and the value, and
 * is seeded with the pool's secret and the record's own address: bytes that
 * merely look like a record (a user's file holding one, a stale copy at
 * another place) are none. It does not cover @fate, which is written later, in
 * place, in all copies.
 *
 * Fate, and why there is one: two clients may both have written a record of
 * the same key and version before one of their CASes won. Should the index
 * node die then, replay must know which. So the winner writes COMMITTED before
 * it acknowledges, and a loser writes KILLED before it reports or retries.
 * Replay takes, per key: the highest version; among equals COMMITTED before
 * PENDING; never KILLED. A lone PENDING record is rolled forward: its writer
 * finds it in the new index and goes on from there. Readers wait while it is
 * PENDING (kv/client/decide.c).
 *
 * The only client of a pool has no rival, and writes SOLO at once: as good as
 * COMMITTED where none of the same version says COMMITTED. Among those that say
 * SOLO the latest client's counts, and of its own the first (kv/client/alone.h
 * tells why). A SOLO record that did not win is KILLED like any other. */
#ifndef ACESO_KV_OBJECT_H
#define ACESO_KV_OBJECT_H
#include <stddef.h>
#include <stdint.h>

#include "ec/group.h"
#include "kv/kv.h"
#include "rdma/addr.h"

enum object_type {
	OBJECT_PUT = 1,
	OBJECT_TOMB,   /* the key was deleted; no value */
	OBJECT_INTENT, /* part of a transaction: see kv/client/txn.h */
};

#define OBJECT_PENDING	 UINT64_C(0)
#define OBJECT_COMMITTED UINT64_C(0x4554494d4d4f4321)
#define OBJECT_KILLED	 UINT64_C(0x21212144454c4c49)
#define OBJECT_SOLO	 UINT64_C(0x2121212121214f53)

#define OBJECT_MAGIC 0x31564b41u /* "AKV1" */

struct object_hdr {
	uint32_t crc;
	uint32_t magic;
	uint64_t fate;
	uint64_t version;
	uint64_t slot; /* number within its shard << 8 | shard; a hint */
	uint64_t tag;  /* client id << 32 | its operation's number */
	uint64_t hash; /* of the key */
	uint32_t val_len;
	uint16_t units; /* of the whole record */
	uint8_t key_len;
	uint8_t type;  /* enum object_type */
	uint32_t life; /* of the block, at the time: guards late marks */
	uint32_t reserved;
};
_Static_assert(sizeof(struct object_hdr) == 64, "object_hdr is one unit");

#define OBJECT_FATE_OFFSET 8u

/* The version with which a key begins that no slot names, in the @times-th try
 * to get past others' (0: the first), while the index version is @index: above
 * all that the key had under index versions before. Only such a record can have
 * been written by who then found the key there, or may say COMMITTED without
 * having been the slot's (kv/client/insert.c). */
static inline uint64_t object_first_version(uint64_t index, uint64_t times)
{
	uint64_t begun = (index << 8) + times;

	return begun << 32 | (1 + (begun & 0xff));
}

/* The next one above @version. */
static inline uint64_t object_first_above(uint64_t version)
{
	return object_first_version(0, (version >> 32) + 1);
}

static inline bool object_begins(uint64_t version)
{
	return (uint32_t)version == 1 + (version >> 32 & 0xff);
}
#define OBJECT_BYTES_MAX                                                       \
	(sizeof(struct object_hdr) + KV_KEY_BYTES_MAX + KV_VALUE_BYTES_MAX +   \
	 GROUP_UNIT_BYTES)

static inline uint32_t object_units(size_t klen, size_t vlen)
{
	return (uint32_t)((sizeof(struct object_hdr) + klen + vlen +
			   GROUP_UNIT_BYTES - 1) /
			  GROUP_UNIT_BYTES);
}

struct object {
	struct object_hdr hdr; /* a copy */
	const void *key;       /* into the buffer that was decoded */
	const void *val;
};

/* Lay out a record for @addr into @buf (object_units() units, all written,
 * zeros at the end). @in: fate, version, slot, tag, life, type, hash, key_len,
 * val_len and key, val are taken; the rest is computed. */
void object_encode(void *buf, uint64_t secret, fab_addr addr,
		   const struct object *in);

/* Read a record at @buf, of which @len bytes are at hand, lying at @addr.
 * Returns 0; -EBADMSG if that is no whole, right record; -ERANGE if its header
 * says it is longer than @len (hdr.units of @out is set; not verified). */
int object_decode(const void *buf, size_t len, uint64_t secret, fab_addr addr,
		  struct object *out);

#endif
