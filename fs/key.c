#include "fs/key.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static struct fs_key key_begin(enum fs_key_kind kind)
{
	return (struct fs_key){.len = 2, .byte = {FS_KEY_ROOM, kind}};
}

static void key_add8(struct fs_key *k, uint8_t v)
{
	k->byte[k->len++] = v;
}

static void key_add64(struct fs_key *k, uint64_t v)
{
	uint64_t be = htobe64(v);

	memcpy(k->byte + k->len, &be, sizeof(be));
	k->len += sizeof(be);
}

struct fs_key fs_key_super(void)
{
	return key_begin(FS_KEY_SUPER);
}

struct fs_key fs_key_moves(void)
{
	return key_begin(FS_KEY_MOVES);
}

struct fs_key fs_key_orphans(void)
{
	return key_begin(FS_KEY_ORPHAN);
}

struct fs_key fs_key_board(void)
{
	return key_begin(FS_KEY_BOARD);
}

struct fs_key fs_key_question(uint32_t mount)
{
	struct fs_key k = key_begin(FS_KEY_QUESTION);

	key_add64(&k, mount);
	return k;
}

struct fs_key fs_key_answer(uint32_t asker, uint32_t answerer)
{
	struct fs_key k = key_begin(FS_KEY_ANSWER);

	key_add64(&k, asker);
	key_add64(&k, answerer);
	return k;
}

struct fs_key fs_key_inode(uint64_t ino)
{
	struct fs_key k = key_begin(FS_KEY_INODE);

	key_add64(&k, ino);
	return k;
}

struct fs_key fs_key_orphan(uint64_t ino)
{
	struct fs_key k = key_begin(FS_KEY_ORPHAN);

	key_add64(&k, ino);
	return k;
}

struct fs_key fs_key_xattr(uint64_t ino, uint64_t number)
{
	struct fs_key k = key_begin(FS_KEY_XATTR);

	key_add64(&k, ino);
	key_add64(&k, number);
	return k;
}

struct fs_key fs_key_chunk(uint64_t ino, uint8_t level, uint64_t n)
{
	struct fs_key k = key_begin(FS_KEY_CHUNK);

	key_add64(&k, ino);
	key_add8(&k, level);
	key_add64(&k, n);
	return k;
}

struct fs_key fs_key_dir(uint64_t ino, uint64_t gen, uint8_t depth,
			 uint64_t prefix)
{
	struct fs_key k = key_begin(FS_KEY_DIR);

	key_add64(&k, ino);
	key_add64(&k, gen);
	key_add8(&k, depth);
	key_add64(&k, prefix);
	return k;
}

static size_t key_length(uint8_t kind)
{
	switch (kind) {
	case FS_KEY_SUPER:
	case FS_KEY_MOVES:
	case FS_KEY_BOARD:
		return 2;
	case FS_KEY_INODE:
	case FS_KEY_ORPHAN:
	case FS_KEY_QUESTION:
		return 10;
	case FS_KEY_XATTR:
	case FS_KEY_ANSWER:
		return 18;
	case FS_KEY_CHUNK:
		return 19;
	case FS_KEY_DIR:
		return 27;
	default:
		return 0;
	}
}

_Static_assert(27 <= FS_KEY_BYTES_MAX, "the longest key fits");

static uint64_t get64(const uint8_t **at)
{
	uint64_t be;

	memcpy(&be, *at, sizeof(be));
	*at += sizeof(be);
	return be64toh(be);
}

int fs_key_parse(const void *key, size_t klen, struct fs_key_parts *out)
{
	const uint8_t *at = key;

	if (klen < 2 || at[0] != FS_KEY_ROOM || klen != key_length(at[1]))
		return -EBADMSG;
	*out = (struct fs_key_parts){.kind = at[1]};
	at += 2;
	if (klen > 2)
		out->ino = get64(&at);
	if (out->kind == FS_KEY_DIR)
		out->gen = get64(&at);
	if (out->kind == FS_KEY_DIR || out->kind == FS_KEY_CHUNK)
		out->level = *at++;
	if (klen > 10)
		out->number = get64(&at);
	return 0;
}

bool fs_key_movable(const void *key, size_t klen)
{
	struct fs_key_parts parts;

	if (fs_key_parse(key, klen, &parts) != 0)
		return false;
	switch (parts.kind) {
	case FS_KEY_INODE:
	case FS_KEY_CHUNK:
	case FS_KEY_DIR:
	case FS_KEY_XATTR:
		return true;
	default:
		return false;
	}
}
