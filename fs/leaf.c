#include "fs/leaf.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define NODE_VERSION 1

struct node_head {
	uint8_t version;
	uint8_t kind;
	uint16_t count;
	uint32_t zero;
	uint64_t gen;
};
_Static_assert(sizeof(struct node_head) == FS_NODE_HEAD_BYTES, "FORMAT.md");
_Static_assert(offsetof(struct node_head, gen) == 8, "FORMAT.md");

static struct node_head head_get(const struct fs_node *n)
{
	struct node_head h;

	memcpy(&h, n->bytes, sizeof(h));
	return h;
}

void fs_node_init(struct fs_node *n, enum fs_node_kind kind, uint64_t gen)
{
	struct node_head h = {
		.version = NODE_VERSION, .kind = kind, .gen = htole64(gen)};

	memcpy(n->bytes, &h, sizeof(h));
	n->len = sizeof(h);
}

enum fs_node_kind fs_node_kind(const struct fs_node *n)
{
	return n->bytes[1];
}

uint64_t fs_node_gen(const struct fs_node *n)
{
	return le64toh(head_get(n).gen);
}

uint16_t fs_node_count(const struct fs_node *n)
{
	return le16toh(head_get(n).count);
}

static void count_set(struct fs_node *n, uint16_t count)
{
	uint16_t le = htole16(count);

	memcpy(n->bytes + offsetof(struct node_head, count), &le, sizeof(le));
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t le;

	memcpy(&le, at, sizeof(le));
	return le64toh(le);
}

static void put64(uint8_t *at, uint64_t v)
{
	uint64_t le = htole64(v);

	memcpy(at, &le, sizeof(le));
}

bool fs_leaf_next(const struct fs_node *n, uint32_t *at, struct fs_dentry *out)
{
	const uint8_t *e;

	if (*at == 0)
		*at = FS_NODE_HEAD_BYTES;
	if (*at >= n->len)
		return false;
	e = n->bytes + *at;
	*out = (struct fs_dentry){.hash = get64(e),
				  .ino = get64(e + 8),
				  .type = e[16],
				  .nlen = e[17],
				  .name = (const char *)e +
					  FS_DENTRY_HEAD_BYTES};
	*at += FS_DENTRY_HEAD_BYTES + out->nlen;
	return true;
}

static int check_entries(const struct fs_node *n)
{
	uint32_t at = FS_NODE_HEAD_BYTES, count = 0;
	uint64_t last = 0;

	for (; at < n->len; count++) {
		const uint8_t *e = n->bytes + at;

		if (n->len - at < FS_DENTRY_HEAD_BYTES || e[17] == 0 ||
		    n->len - at < FS_DENTRY_HEAD_BYTES + e[17])
			return -EBADMSG;
		if (get64(e) < last || get64(e + 8) == 0)
			return -EBADMSG;
		last = get64(e);
		at += FS_DENTRY_HEAD_BYTES + e[17];
	}
	return count == fs_node_count(n) ? 0 : -EBADMSG;
}

int fs_node_check(const struct fs_node *n)
{
	struct node_head h;

	if (n->len < sizeof(h) || n->len > FS_NODE_BYTES_MAX)
		return -EBADMSG;
	h = head_get(n);
	if (h.version != NODE_VERSION || h.zero != 0)
		return -EBADMSG;
	switch (h.kind) {
	case FS_NODE_LEAF:
		return h.gen == 0 ? check_entries(n) : -EBADMSG;
	case FS_NODE_INNER:
		if (h.gen == 0)
			return -EBADMSG;
		break;
	case FS_NODE_DEAD:
		if (h.gen != 0)
			return -EBADMSG;
		break;
	default:
		return -EBADMSG;
	}
	return n->len == sizeof(h) && h.count == 0 ? 0 : -EBADMSG;
}

bool fs_leaf_find(const struct fs_node *n, uint64_t hash, const char *name,
		  uint8_t nlen, struct fs_dentry *out)
{
	struct fs_dentry d;
	uint32_t at = 0;

	while (fs_leaf_next(n, &at, &d) && d.hash <= hash) {
		if (d.hash != hash || d.nlen != nlen ||
		    memcmp(d.name, name, nlen) != 0)
			continue;
		if (out != NULL)
			*out = d;
		return true;
	}
	return false;
}

/* Where an entry with @hash goes: behind all that are not greater. */
static uint32_t place_of(const struct fs_node *n, uint64_t hash)
{
	uint32_t at = FS_NODE_HEAD_BYTES;

	while (at < n->len && get64(n->bytes + at) <= hash)
		at += FS_DENTRY_HEAD_BYTES + n->bytes[at + 17];
	return at;
}

int fs_leaf_add(struct fs_node *n, const struct fs_dentry *d)
{
	uint32_t need = FS_DENTRY_HEAD_BYTES + d->nlen;
	uint32_t at = place_of(n, d->hash);
	uint8_t *e = n->bytes + at;

	assert(fs_node_kind(n) == FS_NODE_LEAF && d->nlen > 0);
	if (n->len + need > FS_NODE_BYTES_MAX)
		return -ENOSPC;
	memmove(e + need, e, n->len - at);
	put64(e, d->hash);
	put64(e + 8, d->ino);
	e[16] = d->type;
	e[17] = d->nlen;
	memcpy(e + FS_DENTRY_HEAD_BYTES, d->name, d->nlen);
	n->len += need;
	count_set(n, fs_node_count(n) + 1);
	return 0;
}

/* The bytes of the entry that has @d's hash and name. */
static uint8_t *entry_of(struct fs_node *n, const struct fs_dentry *d)
{
	struct fs_dentry have;
	bool found = fs_leaf_find(n, d->hash, d->name, d->nlen, &have);

	assert(found);
	return n->bytes + ((const uint8_t *)have.name - n->bytes) -
	       FS_DENTRY_HEAD_BYTES;
}

void fs_leaf_drop(struct fs_node *n, const struct fs_dentry *d)
{
	uint8_t *e = entry_of(n, d);
	uint32_t size = FS_DENTRY_HEAD_BYTES + e[17];
	uint32_t at = e - n->bytes;

	memmove(e, e + size, n->len - at - size);
	n->len -= size;
	count_set(n, fs_node_count(n) - 1);
}

void fs_leaf_set(struct fs_node *n, const struct fs_dentry *d, uint64_t ino,
		 uint8_t type)
{
	uint8_t *e = entry_of(n, d);

	put64(e + 8, ino);
	e[16] = type;
}
