/* fs/region.c - bits over a file: where chunks may be. See region.h. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "fs/cnode.h"
#include "fs/fs_impl.h"
#include "fs/key.h"
#include "fs/region.h"

enum {
	MAP_FORMAT = 1,
	MAP_LEVELS = 3,
	MAP_SHIFT = 12, /* each node has 4096 bits */
	MAP_BITS = 1 << MAP_SHIFT,
	MAP_WORDS = MAP_BITS / 64,
	MAP_TRIES = 64, /* lost races before -EBUSY */
};

_Static_assert(FS_CHUNKS_MAX / FS_REGION_CHUNKS ==
		       1ull << (MAP_LEVELS * MAP_SHIFT),
	       "one root covers the largest file");
_Static_assert(FS_DIRECT_CHUNKS <= FS_CNODES_MAX, "one load");
_Static_assert(FS_DIRECT_CHUNKS % FS_REGION_CHUNKS == 0, "whole regions");

/* The value as it is stored. */
struct map_val {
	uint8_t format;
	uint8_t level;
	uint8_t zero[6];
	uint64_t word[MAP_WORDS]; /* le64 */
};
_Static_assert(sizeof(struct map_val) == 520, "FORMAT.md says so");

struct map {
	uint64_t version; /* 0: absent */
	struct map_val val;
};

static int map_load(struct fs *fs, uint64_t ino, unsigned level, uint64_t idx,
		    struct map *m)
{
	struct fs_key key = fs_key_chunk(ino, level, idx);
	size_t len;
	int rc;

	rc = kv_get(fs->kv, key.byte, key.len, &m->val, sizeof(m->val), &len,
		    &m->version);
	if (rc == -ENOENT) {
		memset(m, 0, sizeof(*m));
		m->val.format = MAP_FORMAT;
		m->val.level = level;
		return 0;
	}
	if (rc == -ERANGE)
		return -EBADMSG;
	if (rc != 0)
		return rc;
	if (len != sizeof(m->val) || m->val.format != MAP_FORMAT ||
	    m->val.level != level)
		return -EBADMSG;
	return 0;
}

static int map_store(struct fs *fs, uint64_t ino, unsigned level, uint64_t idx,
		     const struct map *m)
{
	struct fs_key key = fs_key_chunk(ino, level, idx);
	struct kv_req req = {
		.kind = m->version != 0 ? KV_PUT_IF : KV_INSERT,
		.flags = KV_HOT,
		.klen = key.len,
		.key = key.byte,
		.val = &m->val,
		.len = sizeof(m->val),
		.expect = m->version,
	};

	return kv_run(fs->kv, &req, 1);
}

static bool map_test(const struct map *m, unsigned bit)
{
	return le64toh(m->val.word[bit / 64]) >> (bit % 64) & 1;
}

/* The first set bit at or after @bit; MAP_BITS if none. */
static unsigned map_find(const struct map *m, unsigned bit)
{
	uint64_t w;

	for (unsigned i = bit / 64; i < MAP_WORDS; i++) {
		w = le64toh(m->val.word[i]);
		if (i == bit / 64)
			w &= ~0ull << (bit % 64);
		if (w != 0)
			return i * 64 + __builtin_ctzll(w);
	}
	return MAP_BITS;
}

/* Set the bit of @child in the node above it; parents first (R1). */
static int map_set(struct fs *fs, uint64_t ino, unsigned level, uint64_t child)
{
	unsigned bit = child % MAP_BITS;
	uint64_t idx = child >> MAP_SHIFT;
	struct map m;
	int rc;

	for (int i = 0; i < MAP_TRIES; i++) {
		rc = map_load(fs, ino, level, idx, &m);
		if (rc != 0 || map_test(&m, bit))
			return rc;
		if (m.version == 0 && level < MAP_LEVELS) {
			rc = map_set(fs, ino, level + 1, idx);
			if (rc != 0)
				return rc;
		}
		m.val.word[bit / 64] |= htole64(1ull << (bit % 64));
		rc = map_store(fs, ino, level, idx, &m);
		if (rc != -ESTALE && rc != -EEXIST && rc != -ENOENT)
			return rc;
	}
	return -EBUSY;
}

int fs_region_mark(struct fs *fs, uint64_t ino, uint64_t chunk)
{
	assert(chunk < FS_CHUNKS_MAX);
	if (chunk < FS_DIRECT_CHUNKS)
		return 0;
	return map_set(fs, ino, 1, chunk / FS_REGION_CHUNKS);
}

/* The first region >= *@region below node (@level, @idx), into *@region, and
 * how many follow without a gap, up to one load. 1, 0 or -errno. */
static int map_next(struct fs *fs, uint64_t ino, unsigned level, uint64_t idx,
		    uint64_t *region, uint32_t *run)
{
	unsigned shift = MAP_SHIFT * (level - 1), bit;
	uint64_t base = idx << MAP_SHIFT << shift; /* its first region */
	struct map m;
	int rc;

	rc = map_load(fs, ino, level, idx, &m);
	if (rc != 0)
		return rc;
	bit = *region > base ? (*region - base) >> shift : 0;
	while ((bit = map_find(&m, bit)) < MAP_BITS) {
		if (*region < base + ((uint64_t)bit << shift))
			*region = base + ((uint64_t)bit << shift);
		if (level == 1) {
			for (*run = 1;
			     bit + *run < MAP_BITS &&
			     *run < FS_CNODES_MAX / FS_REGION_CHUNKS &&
			     map_test(&m, bit + *run);)
				++*run;
			return 1;
		}
		rc = map_next(fs, ino, level - 1, idx << MAP_SHIFT | bit,
			      region, run);
		if (rc != 0)
			return rc;
		bit++;
	}
	return 0;
}

int fs_region_next(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to,
		   uint64_t *first, uint32_t *n)
{
	uint64_t region, end;
	uint32_t run;
	int rc;

	if (from >= to)
		return 0;
	if (from < FS_DIRECT_CHUNKS) {
		end = to < FS_DIRECT_CHUNKS ? to : FS_DIRECT_CHUNKS;
		*first = from;
		*n = end - from;
		return 1;
	}
	region = from / FS_REGION_CHUNKS;
	if (region >= FS_CHUNKS_MAX / FS_REGION_CHUNKS)
		return 0;
	rc = map_next(fs, ino, MAP_LEVELS, 0, &region, &run);
	if (rc <= 0)
		return rc;
	end = (region + run) * FS_REGION_CHUNKS;
	*first = region * FS_REGION_CHUNKS;
	if (*first < from)
		*first = from;
	if (end > to)
		end = to;
	if (*first >= end)
		return 0;
	*n = end - *first;
	return 1;
}

int fs_region_any(struct fs *fs, uint64_t ino)
{
	struct map root;
	int rc;

	rc = map_load(fs, ino, MAP_LEVELS, 0, &root);
	return rc != 0 ? rc : root.version != 0;
}

int fs_region_mend(struct fs *fs, uint64_t ino, uint64_t chunk)
{
	uint64_t region = chunk / FS_REGION_CHUNKS;
	int rc = 0;

	for (unsigned level = MAP_LEVELS; rc == 0 && level > 0; level--)
		rc = map_set(fs, ino, level,
			     region >> (MAP_SHIFT * (level - 1)));
	return rc;
}

int fs_region_check(const void *val, size_t len, unsigned level)
{
	struct map_val v;

	if (len != sizeof(v) || level > MAP_LEVELS)
		return -EBADMSG;
	memcpy(&v, val, sizeof(v));
	return v.format == MAP_FORMAT && v.level == level ? 0 : -EBADMSG;
}

/* Children before parents: what a crash leaves can still be found. */
static int map_drop(struct fs *fs, uint64_t ino, unsigned level, uint64_t idx)
{
	struct fs_key key = fs_key_chunk(ino, level, idx);
	struct kv_req req = {
		.kind = KV_DEL,
		.flags = KV_URGENT,
		.klen = key.len,
		.key = key.byte,
	};
	struct map m;
	int rc;

	rc = map_load(fs, ino, level, idx, &m);
	if (rc != 0 || m.version == 0)
		return rc;
	for (unsigned bit = 0; level > 1; bit++) {
		bit = map_find(&m, bit);
		if (bit == MAP_BITS)
			break;
		rc = map_drop(fs, ino, level - 1, idx << MAP_SHIFT | bit);
		if (rc != 0)
			return rc;
	}
	rc = kv_run(fs->kv, &req, 1);
	return rc == -ENOENT ? 0 : rc;
}

int fs_region_drop(struct fs *fs, uint64_t ino)
{
	return map_drop(fs, ino, MAP_LEVELS, 0);
}
