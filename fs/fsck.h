/* fs/fsck.h - is what the store holds a sound file system, and if not: make it
 * one. Looks at every key of the file system, never trusting one.
 *
 * While others are mounted a single look sees halves of what they are doing:
 * then a fault is one only if a second look, fs_fsck_opts.settle_ms later,
 * finds the very same one and nobody has touched its key meanwhile. Mending is
 * by conditional changes alone, so it loses against whoever is at work, and
 * looks again.
 * Threads: one at a time per kv; it opens the file system for itself. */
#ifndef ACESO_FS_FSCK_H
#define ACESO_FS_FSCK_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/kv.h"

#define FS_FAULT_WORDS_MAX 512u

enum fs_fault_kind {
	FS_FAULT_SUPER = 1,    /* the superblock is wrong or gone */
	FS_FAULT_MOVES,	       /* the count of moves is gone */
	FS_FAULT_KEY,	       /* a key of no kind that we have */
	FS_FAULT_INODE_BAD,    /* does not parse */
	FS_FAULT_NO_ROOT,      /* no inode 1 that is a directory */
	FS_FAULT_NODE_BAD,     /* a directory node does not parse */
	FS_FAULT_NODE_MISSING, /* of a directory: named, and not there */
	FS_FAULT_NODE_LEAKED,  /* there, and not named */
	FS_FAULT_NAME_PLACE,   /* a name where no lookup finds it */
	FS_FAULT_NAME_TWICE,   /* a second name of a directory, or a loop */
	FS_FAULT_NAME_DEAD,    /* a name without an inode */
	FS_FAULT_NAME_TYPE,    /* a name's type is not its inode's */
	FS_FAULT_PARENT,       /* ".." leads elsewhere */
	FS_FAULT_LINKS,	       /* the link count is wrong */
	FS_FAULT_LOST,	       /* an inode without a name */
	FS_FAULT_UNUSED,       /* likewise, and there is nothing in it */
	FS_FAULT_ORPHAN,       /* an entry of the orphans that is none */
	FS_FAULT_ORPHAN_LEFT,  /* of a mount that is gone */
	FS_FAULT_SIGN,	       /* a sign of use of no orphan */
	FS_FAULT_CHUNK_BAD,    /* a chunk's node does not parse */
	FS_FAULT_CHUNK_LEAKED, /* of no file, or beyond its end */
	FS_FAULT_PAGE_BEYOND,  /* a chunk's pages beyond the end */
	FS_FAULT_PAGE_TWICE,   /* two places of files name one page */
	FS_FAULT_PAGES,	       /* the count of pages is wrong */
	FS_FAULT_MAP_BAD,      /* region bits do not parse */
	FS_FAULT_MAP_LEAKED,   /* of no file */
	FS_FAULT_MAP_CLEAR,    /* a chunk is there, its bit says no */
	FS_FAULT_XATTR_BAD,    /* the list does not parse */
	FS_FAULT_XATTR_DEAD,   /* an attribute whose value is gone */
	FS_FAULT_XATTR_LEAKED, /* a value that no attribute names */
	FS_FAULT_KINDS
};

enum fs_fault_state {
	FS_FAULT_FOUND,
	FS_FAULT_MENDED,
	FS_FAULT_LEFT, /* mending failed, or cannot be */
};

struct fs_fault {
	enum fs_fault_kind kind;
	enum fs_fault_state state;
	bool leak;			/* costs space, and nothing else */
	const char *name;		/* of the kind, for programs */
	const char *remedy;		/* what mending does, for people */
	char words[FS_FAULT_WORDS_MAX]; /* what is wrong, by path or key */
};

struct fs_fsck_opts {
	bool repair;
	uint32_t settle_ms; /* between two looks if others are mounted */
	/* Any may be NULL. @fault: once for each, when its state is known.
	 * @page: every page that is named, in the last look. */
	void (*fault)(void *arg, const struct fs_fault *f);
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void (*page)(void *arg, uint64_t ino, uint64_t chunk,
		     struct kv_page page);
	void *arg;
};

struct fs_fsck_sum {
	uint64_t keys, dirs, files, names, pages; /* seen by the last look */
	uint64_t found, leaks, mended, left;	  /* leaks: of those found */
};

/* Look, tell, and mend if asked to. Returns 0 whatever was found (@out tells);
 * -errno if it could not look: those of kv.h, -ENOMEM. A pool without any key
 * of a file system is sound. */
int fs_fsck(struct kv *kv, const struct fs_fsck_opts *opts,
	    struct fs_fsck_sum *out);

#endif
