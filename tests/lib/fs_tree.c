#include "tests/lib/fs_tree.h"

#include <errno.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/orphan.h"

struct seen {
	uint64_t ino;
	uint64_t names;
	uint64_t subdirs;
	struct fs_inode in;
};

struct walk {
	struct fs *fs;
	struct fs_tree *out;
	void *seen;	/* struct seen, by ino */
	uint64_t nodes; /* reachable nodes of tries */
	struct seen *dir;
	bool hidden; /* in the directory of orphans */
	int err;
};

__attribute__((format(printf, 2, 3))) static int fault(struct walk *w,
						       const char *fmt, ...)
{
	va_list ap;

	if (w->out->fault[0] == '\0') {
		va_start(ap, fmt);
		vsnprintf(w->out->fault, sizeof(w->out->fault), fmt, ap);
		va_end(ap);
	}
	w->err = -EBADMSG;
	return w->err;
}

static int by_ino(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

static struct seen *seen_find(struct walk *w, uint64_t ino)
{
	struct seen want = {.ino = ino}, **at = tfind(&want, &w->seen, by_ino);

	return at == NULL ? NULL : *at;
}

static struct seen *seen_add(struct walk *w, uint64_t ino)
{
	struct seen *s = calloc(1, sizeof(*s));

	if (s == NULL || fs_inode_load(w->fs, ino, &s->in) != 0) {
		free(s);
		return NULL;
	}
	s->ino = ino;
	tsearch(s, &w->seen, by_ino);
	return s;
}

/* --- names --------------------------------------------------------------- */

static int walk_dir(struct walk *w, struct seen *dir);

static int meet_dir(struct walk *w, struct seen *s, const char *name)
{
	struct seen *dir = w->dir;
	int err;

	dir->subdirs++;
	if (s->names > 1)
		return fault(w, "directory %s has two names", name);
	if (s->in.parent != dir->ino)
		return fault(w, "directory %s has parent %llx, is in %llx",
			     name, (unsigned long long)s->in.parent,
			     (unsigned long long)dir->ino);
	err = walk_dir(w, s);
	w->dir = dir;
	return err;
}

static int meet(struct walk *w, const struct fs_dentry *d, const char *name)
{
	struct seen *s = seen_find(w, d->ino);

	if (s == NULL)
		s = seen_add(w, d->ino);
	if (s == NULL)
		return fault(w, "name %s without an inode", name);
	if (fs_dentry_type(s->in.mode) != d->type)
		return fault(w, "name %s has type %u, mode %o", name, d->type,
			     s->in.mode);
	if (w->hidden) {
		w->out->orphans++;
		return s->in.nlink == 0 ? 0 : fault(w, "orphan with links");
	}
	s->names++;
	w->out->names++;
	return S_ISDIR(s->in.mode) ? meet_dir(w, s, name) : 0;
}

static int walk_leaf(struct walk *w, const struct fs_spot *s)
{
	char name[FS_NAME_BYTES_MAX + 1];
	struct fs_dentry d, check;
	uint32_t at = 0;

	while (fs_leaf_next(&s->node, &at, &d)) {
		memcpy(name, d.name, d.nlen);
		name[d.nlen] = '\0';
		if (fs_dentry_name(w->fs, name, &check) != 0 ||
		    check.hash != d.hash)
			return fault(w, "name %s has a wrong hash", name);
		if (s->depth > 0 && d.hash >> (64 - 2 * s->depth) != s->prefix)
			return fault(w, "name %s is in a wrong leaf", name);
		if (meet(w, &d, name) != 0)
			return w->err;
	}
	return 0;
}

/* --- nodes
 * -------------------------------------------------------------------- */

static int walk_node(struct walk *w, uint64_t dir, uint64_t gen, uint8_t depth,
		     uint64_t prefix)
{
	struct fs_spot *s = calloc(1, sizeof(*s));
	size_t len;

	s->key = fs_key_dir(dir, gen, depth, prefix);
	s->depth = depth;
	s->prefix = prefix;
	if (kv_get(w->fs->kv, s->key.byte, s->key.len, s->node.bytes,
		   sizeof(s->node.bytes), &len, NULL) != 0)
		fault(w, "directory %llx lacks a node at depth %u",
		      (unsigned long long)dir, depth);
	s->node.len = len;
	if (w->err == 0 && fs_node_check(&s->node) != 0)
		fault(w, "directory %llx has a bad node",
		      (unsigned long long)dir);
	w->nodes++;
	if (w->err == 0 && fs_node_kind(&s->node) == FS_NODE_LEAF)
		walk_leaf(w, s);
	if (w->err == 0 && fs_node_kind(&s->node) == FS_NODE_INNER)
		for (unsigned i = 0; w->err == 0 && i < FS_TRIE_CHILDREN; i++)
			walk_node(w, dir, fs_node_gen(&s->node), depth + 1,
				  (prefix << FS_TRIE_BITS) + i);
	free(s);
	return w->err;
}

static int walk_dir(struct walk *w, struct seen *dir)
{
	w->dir = dir;
	return walk_node(w, dir->ino, 0, 0, 0);
}

/* --- what is left over
 * ------------------------------------------------------------ */

static int count_inode(void *arg, const void *key, size_t klen, const void *val,
		       size_t vlen, uint64_t version)
{
	struct walk *w = arg;
	struct fs_key_parts p;

	if (fs_key_parse(key, klen, &p) != 0)
		return fault(w, "a key that does not parse");
	if (seen_find(w, p.ino) == NULL)
		w->out->lost_inodes++;
	return 0;
}

static int count_node(void *arg, const void *key, size_t klen, const void *val,
		      size_t vlen, uint64_t version)
{
	((struct walk *)arg)->out->lost_nodes++;
	return 0;
}

static int scan(struct walk *w, uint8_t kind,
		int (*each)(void *arg, const void *key, size_t klen,
			    const void *val, size_t vlen, uint64_t version))
{
	uint8_t prefix[2] = {FS_KEY_ROOM, kind};

	return kv_scan(w->fs->kv, prefix, sizeof(prefix), each, w);
}

static void check_links(struct walk *w, const struct seen *s)
{
	bool is_dir = S_ISDIR(s->in.mode);
	uint64_t want = is_dir ? 2 + s->subdirs : s->names;

	if (is_dir)
		w->out->dirs++;
	else if (s->names > 0)
		w->out->files++;
	if (s->in.nlink < want || (is_dir && s->in.nlink != want))
		fault(w, "inode %llx has %u links, needs %llu",
		      (unsigned long long)s->ino, s->in.nlink,
		      (unsigned long long)want);
	w->out->high_links += s->in.nlink > want;
}

static void check_seen(const void *node, VISIT when, void *arg)
{
	if (when == preorder || when == leaf)
		check_links(arg, *(struct seen *const *)node);
}

int fs_tree_check(struct fs *fs, struct fs_tree *out)
{
	struct walk w = {.fs = fs, .out = out};
	struct seen *root;
	int err;

	memset(out, 0, sizeof(*out));
	root = seen_add(&w, FS_ROOT_INO);
	if (root == NULL)
		return fault(&w, "no root");
	if (walk_dir(&w, root) == 0) {
		w.hidden = true;
		walk_node(&w, FS_ORPHANS_INO, 0, 0, 0);
	}
	err = scan(&w, FS_KEY_INODE, count_inode);
	if (err == 0)
		err = scan(&w, FS_KEY_DIR, count_node);
	out->lost_nodes -= w.nodes;
	if (w.err == 0)
		twalk_r(w.seen, check_seen, &w);
	tdestroy(w.seen, free);
	return w.err != 0 ? w.err : err;
}
