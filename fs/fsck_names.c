/* fs/fsck_names.c - faults of names: tries, entries, directories, links.
 *
 * Tries are walked from every directory's inode, so that what hangs below a
 * lost directory is known to be named: only its top is lost. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dentry.h"
#include "fs/fsck_impl.h"
#include "fs/orphan.h"

/* One leaf being walked. */
struct leaf {
	struct ck *ck;
	const struct ck_node *c;
	struct fs_key key;
	char name[FS_NAME_BYTES_MAX + 1]; /* of the entry */
};

/* A fault of one entry of the leaf. */
static struct ck_fault *entry_fault(const struct leaf *l,
				    enum fs_fault_kind kind,
				    const struct fs_dentry *d, const char *what)
{
	char path[CK_PATH_MAX];
	const char *dir = l->c->ino == FS_ORPHANS_INO
				  ? "(orphans)"
				  : ck_path(l->ck, l->c->ino, path);
	struct ck_fault *f;

	f = ck_fault(l->ck, kind, l->key, l->c->version, "%s%s%.*s: %s", dir,
		     strcmp(dir, "/") == 0 ? "" : "/", d->nlen, d->name, what);
	if (f == NULL)
		return NULL;
	f->ino = d->ino;
	f->value = d->hash;
	f->nlen = d->nlen;
	memcpy(f->name, d->name, d->nlen);
	return f;
}

/* Is the entry where a lookup goes? */
static bool in_place(struct leaf *l, const struct fs_dentry *d)
{
	struct fs_dentry check;

	memcpy(l->name, d->name, d->nlen);
	l->name[d->nlen] = '\0';
	if (fs_dentry_name(l->ck->fs, l->name, &check) != 0 ||
	    check.nlen != d->nlen || check.hash != d->hash)
		return false;
	return l->c->depth == 0 ||
	       d->hash >> (64 - FS_TRIE_BITS * l->c->depth) == l->c->prefix;
}

/* --- entries ------------------------------------------------------------- */

static void meet_orphan(struct leaf *l, const struct fs_dentry *d,
			struct ck_inode *in)
{
	struct ck_fault *f;

	if (in == NULL) {
		f = entry_fault(l, FS_FAULT_ORPHAN, d,
				"an orphan that is gone already");
		if (f != NULL)
			f->f.leak = true;
		return;
	}
	in->orphan = true;
	if (in->bad)
		return;
	if (in->nlink > 0)
		entry_fault(l, FS_FAULT_ORPHAN, d,
			    "listed as an orphan, but has links");
	else if (l->ck->alone)
		entry_fault(l, FS_FAULT_ORPHAN_LEFT, d,
			    "a file without a name, left by a mount that is "
			    "gone");
}

static void meet_dir(struct leaf *l, const struct fs_dentry *d)
{
	struct ck_name *n = ck_push(&l->ck->dirs);

	if (n == NULL) {
		l->ck->err = -ENOMEM;
		return;
	}
	n->ino = d->ino;
	n->dir = l->c->ino;
	n->hash = d->hash;
	n->version = l->c->version;
	n->leaf = l->key;
	n->name = d->name; /* in the node, which stays as long as the look */
	n->nlen = d->nlen;
}

static void meet(struct leaf *l, const struct fs_dentry *d)
{
	struct ck_inode *in = ck_inode_find(l->ck, d->ino);

	if (!in_place(l, d)) {
		entry_fault(l, FS_FAULT_NAME_PLACE, d,
			    "a name where no lookup finds it");
		return;
	}
	if (l->c->ino == FS_ORPHANS_INO) {
		meet_orphan(l, d, in);
		return;
	}
	if (l->ck->quiet) {
		if (in != NULL && in->is_dir)
			meet_dir(l, d);
		return;
	}
	l->ck->sum->names++;
	if (in == NULL) {
		entry_fault(l, FS_FAULT_NAME_DEAD, d,
			    "names an inode that is not there");
		return;
	}
	if (!in->bad && fs_dentry_type(in->mode) != d->type)
		entry_fault(l, FS_FAULT_NAME_TYPE, d,
			    "its type is not that of its inode");
	if (!in->is_dir && in->names++ == 0) {
		in->in_dir = l->c->ino;
		in->name = d->name;
		in->nlen = d->nlen;
	}
}

static void walk_leaf(struct ck *ck, const struct ck_node *c)
{
	struct leaf l = {.ck = ck, .c = c};
	struct fs_dentry d;
	uint32_t at = 0;

	l.key = fs_key_dir(c->ino, c->gen, c->depth, c->prefix);
	while (ck->err == 0 && fs_leaf_next(c->node, &at, &d))
		meet(&l, &d);
}

/* --- tries --------------------------------------------------------------- */

static void node_fault(struct ck *ck, enum fs_fault_kind kind, uint64_t dir,
		       const struct ck_node *c, struct fs_key key,
		       const char *what)
{
	char path[CK_PATH_MAX];

	ck_fault(ck, kind, key, c != NULL ? c->version : 0,
		 "directory %s: a node of it, at depth %u, %s",
		 dir == FS_ORPHANS_INO ? "(orphans)" : ck_path(ck, dir, path),
		 key.byte[18], what);
}

static void walk_node(struct ck *ck, uint64_t dir, uint64_t gen, uint8_t depth,
		      uint64_t prefix)
{
	struct ck_node *c = ck_node_find(ck, dir, gen, depth, prefix);
	struct fs_key key = fs_key_dir(dir, gen, depth, prefix);

	if (c == NULL) {
		node_fault(ck, FS_FAULT_NODE_MISSING, dir, c, key, "is gone");
		return;
	}
	c->reached = true;
	if (c->bad) {
		node_fault(ck, FS_FAULT_NODE_BAD, dir, c, key,
			   "does not make sense");
		return;
	}
	if (fs_node_kind(c->node) == FS_NODE_LEAF)
		walk_leaf(ck, c);
	if (fs_node_kind(c->node) != FS_NODE_INNER)
		return;
	for (unsigned i = 0; ck->err == 0 && i < FS_TRIE_CHILDREN; i++)
		walk_node(ck, dir, fs_node_gen(c->node), depth + 1,
			  (prefix << FS_TRIE_BITS) + i);
}

static void find_dirs(struct ck *ck)
{
	struct ck_inode *in;

	for (size_t i = 0; i < ck->inodes.n; i++) {
		in = ck_inode_at(ck, i);
		in->is_dir =
			in->bad ? ck_node_find(ck, in->ino, 0, 0, 0) != NULL
				: S_ISDIR(in->mode);
		in->is_dir = in->is_dir || in->ino == FS_ROOT_INO;
	}
}

/* Twice: what directories are called is learnt first, so that faults can be
 * told by path. */
static void walk_all(struct ck *ck)
{
	const struct ck_inode *in;

	for (size_t i = 0; ck->err == 0 && i < ck->inodes.n; i++) {
		in = ck_inode_at(ck, i);
		if (in->is_dir)
			walk_node(ck, in->ino, 0, 0, 0);
	}
	walk_node(ck, FS_ORPHANS_INO, 0, 0, 0);
}

static void leaked_nodes(struct ck *ck)
{
	struct ck_node *c = (struct ck_node *)ck->nodes.at;

	for (size_t i = 0; i < ck->nodes.n; i++)
		if (!c[i].reached)
			node_fault(ck, FS_FAULT_NODE_LEAKED, c[i].ino, &c[i],
				   fs_key_dir(c[i].ino, c[i].gen, c[i].depth,
					      c[i].prefix),
				   "is not part of it (any more)");
}

/* --- directories --------------------------------------------------------- */

static int by_child(const void *pa, const void *pb)
{
	const struct ck_name *a = pa, *b = pb;

	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return (a->dir > b->dir) - (a->dir < b->dir);
}

static void drop_dir(struct ck *ck, const struct ck_name *n, const char *what)
{
	char path[CK_PATH_MAX];
	const char *dir = ck_path(ck, n->dir, path);
	struct ck_fault *f;

	f = ck_fault(ck, FS_FAULT_NAME_TWICE, n->leaf, n->version,
		     "%s%s%.*s: %s", dir, strcmp(dir, "/") == 0 ? "" : "/",
		     n->nlen, n->name, what);
	if (f == NULL)
		return;
	f->ino = n->ino;
	f->value = n->hash;
	f->nlen = n->nlen;
	memcpy(f->name, n->name, n->nlen);
}

/* Of the @count names of one directory the one that its ".." knows counts. */
static void choose_dir(struct ck *ck, const struct ck_name *n, size_t count)
{
	struct ck_inode *in = ck_inode_find(ck, n->ino), *up;
	const struct ck_name *keep = n;

	if (in->ino == FS_ROOT_INO)
		keep = NULL;
	for (size_t i = 0; keep != NULL && i < count; i++)
		if (n[i].dir == in->parent && !in->bad) {
			keep = &n[i];
			break;
		}
	for (size_t i = 0; i < count; i++)
		if (&n[i] != keep)
			drop_dir(ck, &n[i], "a second name of a directory");
	if (keep == NULL || !ck->quiet)
		return;
	in->names = 1;
	in->in_dir = keep->dir;
	in->name = keep->name;
	in->nlen = keep->nlen;
	up = ck_inode_find(ck, keep->dir);
	if (up != NULL)
		up->subdirs++;
}

static void choose_dirs(struct ck *ck)
{
	const struct ck_name *n = (struct ck_name *)ck->dirs.at;
	size_t i, count;

	if (ck->dirs.n > 0)
		qsort(ck->dirs.at, ck->dirs.n, sizeof(*n), by_child);
	for (i = 0; i < ck->dirs.n; i += count) {
		for (count = 1;
		     i + count < ck->dirs.n && n[i + count].ino == n[i].ino;)
			count++;
		choose_dir(ck, n + i, count);
	}
}

static const struct ck_name *name_of(struct ck *ck, const struct ck_inode *in)
{
	const struct ck_name *n = (struct ck_name *)ck->dirs.at;

	for (size_t i = 0; i < ck->dirs.n; i++)
		if (n[i].ino == in->ino && n[i].dir == in->in_dir)
			return &n[i];
	return NULL;
}

/* Up from @in until what is known: a directory that is met twice on one way is
 * inside itself, and one of its names must go. */
static void climb(struct ck *ck, struct ck_inode *in, uint32_t stamp)
{
	struct ck_inode *at = in;

	while (at != NULL && at->names > 0 && at->stamp == 0) {
		at->stamp = stamp;
		at = ck_inode_find(ck, at->in_dir);
	}
	if (at != NULL && at->names > 0 && at->stamp == stamp)
		drop_dir(ck, name_of(ck, at), "a directory inside itself");
}

static void find_loops(struct ck *ck)
{
	for (size_t i = 0; i < ck->inodes.n; i++)
		if (ck_inode_at(ck, i)->is_dir)
			climb(ck, ck_inode_at(ck, i), (uint32_t)i + 1);
}

/* --- inodes -------------------------------------------------------------- */

static struct ck_fault *inode_fault(struct ck *ck, enum fs_fault_kind kind,
				    const struct ck_inode *in, uint64_t right,
				    const char *what)
{
	char path[CK_PATH_MAX];
	struct ck_fault *f;

	f = ck_fault(ck, kind, fs_key_inode(in->ino), in->version, "%s: %s",
		     ck_path(ck, in->ino, path), what);
	if (f != NULL) {
		f->ino = in->ino;
		f->value = right;
	}
	return f;
}

static void check_links(struct ck *ck, const struct ck_inode *in, uint64_t want)
{
	struct ck_fault *f;
	char what[80];

	if (in->nlink == want)
		return;
	snprintf(what, sizeof(what),
		 "its link count is %u and should be %" PRIu64, in->nlink,
		 want);
	f = inode_fault(ck, FS_FAULT_LINKS, in, want, what);
	if (f != NULL)
		f->f.leak = in->nlink > want;
}

static void check_dir(struct ck *ck, const struct ck_inode *in)
{
	uint64_t up = in->ino == FS_ROOT_INO ? FS_ROOT_INO : in->in_dir;

	ck->sum->dirs++;
	if (in->names == 0 && in->ino != FS_ROOT_INO) {
		inode_fault(ck, FS_FAULT_LOST, in, 0,
			    "a directory without a name");
		return;
	}
	if (in->parent != up)
		inode_fault(ck, FS_FAULT_PARENT, in, up,
			    "its \"..\" leads elsewhere");
	check_links(ck, in, 2 + in->subdirs);
}

static void check_file(struct ck *ck, const struct ck_inode *in)
{
	bool empty = in->nlink == 0 || (S_ISREG(in->mode) && in->size == 0);

	if (in->names > 0) {
		ck->sum->files++;
		check_links(ck, in, in->names);
		return;
	}
	if (in->orphan)
		return;
	if (empty)
		inode_fault(ck, FS_FAULT_UNUSED, in, 0,
			    "a file without a name, and empty");
	else
		inode_fault(ck, FS_FAULT_LOST, in, 0, "a file without a name");
}

static void check_inode(struct ck *ck, const struct ck_inode *in)
{
	if (in->ino == FS_ROOT_INO && (in->bad || !S_ISDIR(in->mode)))
		inode_fault(ck, FS_FAULT_NO_ROOT, in, 0,
			    "there is no root directory's inode");
	else if (in->bad)
		inode_fault(ck, FS_FAULT_INODE_BAD, in, in->is_dir,
			    "its inode does not make sense");
	else if (in->is_dir)
		check_dir(ck, in);
	else
		check_file(ck, in);
}

static void check_sign(struct ck *ck, const struct ck_sign *s)
{
	const struct ck_inode *in = ck_inode_find(ck, s->ino);

	if (in == NULL || !in->orphan)
		ck_fault(ck, FS_FAULT_SIGN, fs_key_orphan(s->ino), s->version,
			 "a sign that inode %" PRIu64
			 " is in use, which is no orphan",
			 s->ino);
}

int ck_names(struct ck *ck)
{
	const struct ck_sign *s;

	ck->quiet = true;
	find_dirs(ck);
	walk_all(ck);
	choose_dirs(ck);
	ck->quiet = false;
	walk_all(ck);
	choose_dirs(ck);
	find_loops(ck);
	for (size_t i = 0; ck->err == 0 && i < ck->inodes.n; i++)
		check_inode(ck, ck_inode_at(ck, i));
	leaked_nodes(ck);
	s = (const struct ck_sign *)ck->signs.at;
	for (size_t i = 0; i < ck->signs.n; i++)
		check_sign(ck, &s[i]);
	if (!ck->moves)
		ck_fault(ck, FS_FAULT_MOVES, fs_key_moves(), 0,
			 "the count of directory moves is gone");
	return ck->err;
}
