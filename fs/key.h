/* fs/key.h - what the file system calls its records in the store.
 * Every key begins with the byte FS_KEY_ROOM, so that a user's own keys cannot
 * meet ours, then a kind, then big-endian numbers: keys of one inode share a
 * prefix. The table is in FORMAT.md. Pure: no I/O, no state. */
#ifndef ACESO_FS_KEY_H
#define ACESO_FS_KEY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FS_KEY_ROOM	 0x01u
#define FS_KEY_BYTES_MAX 32u

enum fs_key_kind {
	FS_KEY_SUPER = 'S',    /* one per pool */
	FS_KEY_MOVES = 'M',    /* one per pool: counts moves of directories */
	FS_KEY_INODE = 'I',    /* ino */
	FS_KEY_CHUNK = 'C',    /* ino, level, n */
	FS_KEY_DIR = 'D',      /* ino, gen, depth, prefix */
	FS_KEY_XATTR = 'X',    /* ino, number: see xattr.h */
	FS_KEY_ORPHAN = 'O',   /* ino */
	FS_KEY_BOARD = 'B',    /* one per pool: see board.h */
	FS_KEY_QUESTION = 'Q', /* mount (as ino) */
	FS_KEY_ANSWER = 'R',   /* asker (as ino), answerer (as number) */
};

struct fs_key {
	uint8_t len;
	uint8_t byte[FS_KEY_BYTES_MAX];
};

/* A key taken apart; what its kind does not have is 0. */
struct fs_key_parts {
	enum fs_key_kind kind;
	uint64_t ino;
	uint64_t gen;	 /* DIR */
	uint8_t level;	 /* CHUNK: its level; DIR: its depth */
	uint64_t number; /* CHUNK: n; DIR: prefix; XATTR: its number; ... */
};

struct fs_key fs_key_super(void);
struct fs_key fs_key_moves(void);
struct fs_key fs_key_inode(uint64_t ino);
struct fs_key fs_key_orphan(uint64_t ino);
struct fs_key fs_key_board(void);
struct fs_key fs_key_question(uint32_t mount);
struct fs_key fs_key_answer(uint32_t asker, uint32_t answerer);
struct fs_key fs_key_xattr(uint64_t ino, uint64_t number);

/* Chunk @n of a file: @level 0 is the chunk's node itself; what higher levels
 * hold, chunk.h says. */
struct fs_key fs_key_chunk(uint64_t ino, uint8_t level, uint64_t n);

/* A node of a directory's trie, see trie.h. The root is (ino, 0, 0, 0). */
struct fs_key fs_key_dir(uint64_t ino, uint64_t gen, uint8_t depth,
			 uint64_t prefix);

/* The bytes that all orphan keys begin with: for kv_scan(). */
struct fs_key fs_key_orphans(void);

/* For kv_opts.movable: whoever changes it begins again when it has become
 * another's work, so its version may grow at any time. */
bool fs_key_movable(const void *key, size_t klen);

/* Errors: -EBADMSG if @key is none of ours. */
int fs_key_parse(const void *key, size_t klen, struct fs_key_parts *out);

#endif
