/* tests/lib/fs_own.h - a directory that one mount alone changes, and what must
 * be in it: two directories of a few names, which are files with bytes, hard
 * links among them, or empty directories. Every answer can be foretold. */
#ifndef ACESO_TESTS_LIB_FS_OWN_H
#define ACESO_TESTS_LIB_FS_OWN_H
#include <stdbool.h>
#include <stdint.h>

#define FS_OWN_DIRS  2u
#define FS_OWN_NAMES 5u
#define FS_OWN_FILES (FS_OWN_DIRS * FS_OWN_NAMES)
#define FS_OWN_BYTES (80u * 1024) /* of a file, at most */

struct fs;

struct fs_own_file {
	uint32_t links; /* 0: unused */
	uint32_t size;
	uint64_t ino;
	uint8_t data[FS_OWN_BYTES];
};

/* A name: 0 nothing, FS_OWN_DIR, or 1 + the number of a file. */
#define FS_OWN_DIR UINT32_MAX

struct fs_own {
	uint64_t dir[FS_OWN_DIRS];
	uint32_t name[FS_OWN_DIRS][FS_OWN_NAMES];
	struct fs_own_file file[FS_OWN_FILES];
};

struct fs_own_pair {
	struct fs_own now, before; /* the last change */
	uint64_t dice;
};

/* Make it under the root as @name. 0 or -errno. */
int fs_own_make(struct fs *fs, const char *name, uint64_t seed,
		struct fs_own_pair *o);

/* Do something. Returns 0, or -EPROTO with @why if the answer is not the one
 * that was foretold: then, if the mount is known to be dead, it may be that
 * @o->before still holds, or half of what lies between. */
int fs_own_act(struct fs *fs, struct fs_own_pair *o, char why[160]);

/* The same for one kind of act, at names where it has something to do. */
enum fs_own_kind {
	FS_OWN_MAKE,
	FS_OWN_MKDIR,
	FS_OWN_UNLINK,
	FS_OWN_RMDIR,
	FS_OWN_LINK,
	FS_OWN_RENAME,	 /* to a name that is not there */
	FS_OWN_REPLACE,	 /* a file by another */
	FS_OWN_EXCHANGE, /* two names */
	FS_OWN_CUT,	 /* truncate, to less */
	FS_OWN_GROW,	 /* truncate, to more */
	FS_OWN_WRITE,	 /* a few bytes */
	FS_OWN_FILL,	 /* many pages: whole rows */
	FS_OWN_MANY,	 /* some pages of each chunk of all files, at once */
	FS_OWN_VACATE,	 /* pages of all files to other places */
	FS_OWN_KINDS,
};
int fs_own_do(struct fs *fs, struct fs_own_pair *o, enum fs_own_kind kind,
	      char why[160]);

/* Is this what lies there? @half: files may be of the size, and each byte be
 * what it is, in either of the two; NULL: exactly @want. */
bool fs_own_holds(struct fs *fs, const struct fs_own *want,
		  const struct fs_own *half, char why[160]);

#endif
