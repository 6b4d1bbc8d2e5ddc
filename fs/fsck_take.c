/* fs/fsck_take.c - every key of the file system, taken apart into tables. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fsck_impl.h"
#include "fs/orphan.h"
#include "fs/region.h"
#include "fs/trie.h"
#include "fs/xattr.h"

void *ck_push(struct ck_table *t)
{
	if (t->n == t->cap) {
		size_t cap = t->cap != 0 ? 2 * t->cap : 64;
		char *more = realloc(t->at, cap * t->size);

		if (more == NULL)
			return NULL;
		t->at = more;
		t->cap = cap;
	}
	return memset(t->at + t->n++ * t->size, 0, t->size);
}

static void *push(struct ck *ck, struct ck_table *t)
{
	void *at = ck_push(t);

	if (at == NULL)
		ck->err = -ENOMEM;
	return at;
}

static void table_drop(struct ck_table *t)
{
	free(t->at);
	t->at = NULL;
	t->n = t->cap = 0;
}

void ck_drop(struct ck *ck)
{
	for (size_t i = 0; i < ck->nodes.n; i++)
		free(((struct ck_node *)ck->nodes.at)[i].node);
	table_drop(&ck->inodes);
	table_drop(&ck->nodes);
	table_drop(&ck->chunks);
	table_drop(&ck->maps);
	table_drop(&ck->values);
	table_drop(&ck->named);
	table_drop(&ck->signs);
	table_drop(&ck->dirs);
	table_drop(&ck->faults);
	ck->super = ck->super_bad = ck->moves = false;
	ck->err = 0;
}

/* --- values -------------------------------------------------------------- */

static int note_value(void *arg, uint64_t ino, uint64_t number)
{
	struct ck *ck = arg;
	struct ck_value *v = push(ck, &ck->named);

	if (v == NULL)
		return -ENOMEM;
	v->ino = ino;
	v->number = number;
	return 0;
}

static void take_inode(struct ck *ck, const struct fs_key_parts *p,
		       const void *val, size_t len, uint64_t version)
{
	struct ck_inode *c = push(ck, &ck->inodes);
	struct fs_inode in;

	if (c == NULL)
		return;
	c->ino = p->ino;
	c->version = version;
	c->bad = fs_inode_decode(val, len, &in) != 0;
	if (c->bad)
		return;
	c->mode = in.mode;
	c->nlink = in.nlink;
	c->size = in.size;
	c->pages = in.pages;
	c->parent = in.parent;
	c->is_inline = in.is_inline;
	in.ino = p->ino;
	c->xattr_bad = fs_xattr_each_value(&in, note_value, ck) == -EBADMSG;
}

static void take_node(struct ck *ck, const struct fs_key_parts *p,
		      const void *val, size_t len, uint64_t version)
{
	struct ck_node *c = push(ck, &ck->nodes);

	if (c == NULL)
		return;
	c->ino = p->ino;
	c->gen = p->gen;
	c->depth = p->level;
	c->prefix = p->number;
	c->version = version;
	c->bad = len < FS_NODE_HEAD_BYTES || len > FS_NODE_BYTES_MAX ||
		 p->level > FS_TRIE_DEPTH_MAX;
	if (c->bad)
		return;
	c->node = malloc(offsetof(struct fs_node, bytes) + len);
	if (c->node == NULL) {
		ck->err = -ENOMEM;
		return;
	}
	c->node->len = (uint32_t)len;
	memcpy(c->node->bytes, val, len);
	c->bad = fs_node_check(c->node) != 0 ||
		 (fs_node_kind(c->node) == FS_NODE_INNER &&
		  c->depth == FS_TRIE_DEPTH_MAX);
}

static void take_chunk(struct ck *ck, const struct fs_key_parts *p,
		       const void *val, size_t len, uint64_t version)
{
	struct ck_chunk *c;
	struct fs_cnode node;
	struct ck_map *m;

	if (p->level > 0) {
		m = push(ck, &ck->maps);
		if (m == NULL)
			return;
		m->ino = p->ino;
		m->n = p->number;
		m->level = p->level;
		m->version = version;
		m->bad = fs_region_check(val, len, p->level) != 0;
		return;
	}
	c = push(ck, &ck->chunks);
	if (c == NULL)
		return;
	c->ino = p->ino;
	c->n = p->number;
	c->version = version;
	c->bad = fs_cnode_decode(val, len, &node) != 0;
	if (!c->bad)
		memcpy(c->page, node.page, sizeof(c->page));
}

static void take_value(struct ck *ck, const struct fs_key_parts *p,
		       uint64_t version)
{
	struct ck_value *v = push(ck, &ck->values);

	if (v == NULL)
		return;
	v->ino = p->ino;
	v->number = p->number;
	v->version = version;
}

static void take_sign(struct ck *ck, const struct fs_key_parts *p,
		      uint64_t version)
{
	struct ck_sign *s = push(ck, &ck->signs);

	if (s == NULL)
		return;
	s->ino = p->ino;
	s->version = version;
}

static void take_unknown(struct ck *ck, const void *key, size_t klen,
			 uint64_t version)
{
	struct fs_key k = {.len = (uint8_t)klen};

	/* A longer one is not ours to remove: its key would not fit. */
	if (klen > sizeof(k.byte))
		return;
	memcpy(k.byte, key, klen);
	ck_fault(ck, FS_FAULT_KEY, k, version,
		 "a key of %zu bytes that is of no kind the file system has",
		 klen);
}

static int take(void *arg, const void *key, size_t klen, const void *val,
		size_t vlen, uint64_t version)
{
	struct ck *ck = arg;
	struct fs_key_parts p;

	ck->sum->keys++;
	if (ck->opts->progress != NULL && ck->sum->keys % 512 == 0)
		ck->opts->progress(ck->opts->arg, ck->sum->keys, ck->total);
	if (fs_key_parse(key, klen, &p) != 0) {
		take_unknown(ck, key, klen, version);
		return ck->err;
	}
	switch (p.kind) {
	case FS_KEY_SUPER:
		ck->super = true;
		break;
	case FS_KEY_MOVES:
		ck->moves = true;
		break;
	case FS_KEY_INODE:
		take_inode(ck, &p, val, vlen, version);
		break;
	case FS_KEY_DIR:
		take_node(ck, &p, val, vlen, version);
		break;
	case FS_KEY_CHUNK:
		take_chunk(ck, &p, val, vlen, version);
		break;
	case FS_KEY_XATTR:
		take_value(ck, &p, version);
		break;
	case FS_KEY_ORPHAN:
		take_sign(ck, &p, version);
		break;
	case FS_KEY_BOARD: /* mounts look after these themselves */
	case FS_KEY_QUESTION:
	case FS_KEY_ANSWER:
		break;
	}
	return ck->err;
}

/* --- order, and finding -------------------------------------------------- */

#define CMP(a, b) (((a) > (b)) - ((a) < (b)))

static int by_ino(const void *pa, const void *pb)
{
	const struct ck_inode *a = pa, *b = pb;

	return CMP(a->ino, b->ino);
}

static int by_place(const void *pa, const void *pb)
{
	const struct ck_node *a = pa, *b = pb;

	if (a->ino != b->ino)
		return CMP(a->ino, b->ino);
	if (a->gen != b->gen)
		return CMP(a->gen, b->gen);
	if (a->depth != b->depth)
		return CMP(a->depth, b->depth);
	return CMP(a->prefix, b->prefix);
}

static int by_chunk(const void *pa, const void *pb)
{
	const struct ck_chunk *a = pa, *b = pb;

	return a->ino != b->ino ? CMP(a->ino, b->ino) : CMP(a->n, b->n);
}

static int by_value(const void *pa, const void *pb)
{
	const struct ck_value *a = pa, *b = pb;

	return a->ino != b->ino ? CMP(a->ino, b->ino)
				: CMP(a->number, b->number);
}

static void sort(struct ck_table *t, int (*cmp)(const void *, const void *))
{
	if (t->n > 0)
		qsort(t->at, t->n, t->size, cmp);
}

/* A key that moved during the scan may have been met twice: of such keep the
 * later version. */
static void sort_nodes(struct ck *ck)
{
	struct ck_node *c;
	size_t to = 0;

	sort(&ck->nodes, by_place);
	c = (struct ck_node *)ck->nodes.at;
	for (size_t i = 0; i < ck->nodes.n; i++) {
		if (to > 0 && by_place(&c[to - 1], &c[i]) == 0) {
			free(c[to - 1].node);
			c[to - 1] = c[i];
		} else {
			c[to++] = c[i];
		}
	}
	ck->nodes.n = to;
}

static void sort_unique(struct ck_table *t,
			int (*cmp)(const void *, const void *))
{
	size_t to = 0;

	sort(t, cmp);
	for (size_t i = 0; i < t->n; i++) {
		if (to > 0 &&
		    cmp(t->at + (to - 1) * t->size, t->at + i * t->size) == 0)
			to--;
		memmove(t->at + to++ * t->size, t->at + i * t->size, t->size);
	}
	t->n = to;
}

struct ck_inode *ck_inode_find(struct ck *ck, uint64_t ino)
{
	struct ck_inode want = {.ino = ino};

	return ck->inodes.n == 0 ? NULL
				 : bsearch(&want, ck->inodes.at, ck->inodes.n,
					   sizeof(want), by_ino);
}

struct ck_node *ck_node_find(struct ck *ck, uint64_t ino, uint64_t gen,
			     uint8_t depth, uint64_t prefix)
{
	struct ck_node want = {
		.ino = ino, .gen = gen, .depth = depth, .prefix = prefix};

	return ck->nodes.n == 0 ? NULL
				: bsearch(&want, ck->nodes.at, ck->nodes.n,
					  sizeof(want), by_place);
}

bool ck_value_has(const struct ck_table *t, uint64_t ino, uint64_t number)
{
	struct ck_value want = {.ino = ino, .number = number};

	return t->n > 0 &&
	       bsearch(&want, t->at, t->n, sizeof(want), by_value) != NULL;
}

/* The root is always looked at, there or not. */
static int take_root(struct ck *ck)
{
	struct ck_inode *c;

	for (size_t i = 0; i < ck->inodes.n; i++)
		if (ck_inode_at(ck, i)->ino == FS_ROOT_INO)
			return 0;
	c = push(ck, &ck->inodes);
	if (c == NULL)
		return -ENOMEM;
	c->ino = FS_ROOT_INO;
	c->bad = true;
	return 0;
}

int ck_take(struct ck *ck)
{
	static const uint8_t room = FS_KEY_ROOM;
	int rc;

	ck->inodes.size = sizeof(struct ck_inode);
	ck->nodes.size = sizeof(struct ck_node);
	ck->chunks.size = sizeof(struct ck_chunk);
	ck->maps.size = sizeof(struct ck_map);
	ck->values.size = ck->named.size = sizeof(struct ck_value);
	ck->signs.size = sizeof(struct ck_sign);
	ck->dirs.size = sizeof(struct ck_name);
	ck->faults.size = sizeof(struct ck_fault);
	rc = kv_scan(ck->fs->kv, &room, 1, take, ck);
	if (rc != 0)
		return rc;
	rc = take_root(ck);
	if (rc != 0)
		return rc;
	sort_unique(&ck->inodes, by_ino);
	sort_nodes(ck);
	sort_unique(&ck->chunks, by_chunk);
	sort_unique(&ck->values, by_value);
	sort(&ck->named, by_value);
	return 0;
}

/* --- faults -------------------------------------------------------------- */

static const struct {
	const char *name, *remedy;
	bool leak;
} kinds[FS_FAULT_KINDS] = {
	[FS_FAULT_SUPER] = {"superblock", "nothing can be done", false},
	[FS_FAULT_MOVES] = {"moves", "it is made anew", false},
	[FS_FAULT_KEY] = {"unknown-key", "it is removed", true},
	[FS_FAULT_INODE_BAD] = {"inode-bad", "it is removed", false},
	[FS_FAULT_NO_ROOT] = {"root", "an empty one is made", false},
	[FS_FAULT_NODE_BAD] = {"node-bad",
			       "it is emptied; what it named goes to "
			       "lost+found",
			       false},
	[FS_FAULT_NODE_MISSING] = {"node-missing",
				   "an empty one is made; what it named goes "
				   "to lost+found",
				   false},
	[FS_FAULT_NODE_LEAKED] = {"node-leaked", "it is removed", true},
	[FS_FAULT_NAME_PLACE] = {"name-misplaced",
				 "the name is dropped; its inode goes to "
				 "lost+found",
				 false},
	[FS_FAULT_NAME_TWICE] = {"directory-twice", "this name is dropped",
				 false},
	[FS_FAULT_NAME_DEAD] = {"name-dead", "the name is dropped", false},
	[FS_FAULT_NAME_TYPE] = {"name-type", "it is set right", false},
	[FS_FAULT_PARENT] = {"parent", "it is set right", false},
	[FS_FAULT_LINKS] = {"links", "it is set right", true},
	[FS_FAULT_LOST] = {"lost", "it gets a name in lost+found", true},
	[FS_FAULT_UNUSED] = {"unused", "it is removed", true},
	[FS_FAULT_ORPHAN] = {"orphan-entry", "the entry is dropped", false},
	[FS_FAULT_ORPHAN_LEFT] = {"orphan-left", "it is removed", true},
	[FS_FAULT_SIGN] = {"orphan-sign", "it is removed", true},
	[FS_FAULT_CHUNK_BAD] = {"chunk-bad",
				"it is removed: 64 KiB of the file become a "
				"hole",
				false},
	[FS_FAULT_CHUNK_LEAKED] = {"chunk-leaked", "it is removed", true},
	[FS_FAULT_PAGE_BEYOND] = {"pages-beyond-end", "they are given back",
				  true},
	[FS_FAULT_PAGE_TWICE] = {"page-twice",
				 "the second place gets a copy of its own",
				 false},
	[FS_FAULT_PAGES] = {"page-count", "it is set right", true},
	[FS_FAULT_MAP_BAD] = {"map-bad", "it is removed, and made anew", false},
	[FS_FAULT_MAP_LEAKED] = {"map-leaked", "it is removed", true},
	[FS_FAULT_MAP_CLEAR] = {"map-clear", "its bit is set", false},
	[FS_FAULT_XATTR_BAD] = {"xattr-bad", "the list is emptied", false},
	[FS_FAULT_XATTR_DEAD] = {"xattr-dead", "the attribute is removed",
				 false},
	[FS_FAULT_XATTR_LEAKED] = {"xattr-leaked", "it is removed", true},
};

struct ck_fault *ck_fault(struct ck *ck, enum fs_fault_kind kind,
			  struct fs_key key, uint64_t version, const char *fmt,
			  ...)
{
	struct ck_fault *c;
	va_list ap;

	if (ck->quiet || ck->faults.n >= CK_FAULTS_MAX)
		return NULL;
	c = push(ck, &ck->faults);
	if (c == NULL)
		return NULL;
	c->key = key;
	c->version = version;
	c->f.kind = kind;
	c->f.name = kinds[kind].name;
	c->f.remedy = kinds[kind].remedy;
	c->f.leak = kinds[kind].leak;
	va_start(ap, fmt);
	vsnprintf(c->f.words, sizeof(c->f.words), fmt, ap);
	va_end(ap);
	return c;
}

/* --- paths --------------------------------------------------------------- */

/* Put "/name" in front of what is in @out from @at on; the new @at. */
static size_t prepend(char *out, size_t at, const struct ck_inode *in)
{
	if (in->nlen + 1u > at)
		return 0; /* no room: the end of it is told */
	at -= in->nlen + 1u;
	out[at] = '/';
	memcpy(out + at + 1, in->name, in->nlen);
	return at;
}

const char *ck_path(struct ck *ck, uint64_t ino, char out[CK_PATH_MAX])
{
	size_t at = CK_PATH_MAX - 1;
	struct ck_inode *in = ck_inode_find(ck, ino);

	out[at] = '\0';
	if (ino == FS_ROOT_INO)
		return "/";
	for (unsigned i = 0; i < CK_PATH_MAX; i++) {
		if (in == NULL || in->name == NULL)
			break;
		at = prepend(out, at, in);
		if (in->in_dir == FS_ROOT_INO || at == 0)
			return at != 0 ? out + at : "/...";
		in = ck_inode_find(ck, in->in_dir);
	}
	snprintf(out, CK_PATH_MAX, "inode %" PRIu64, ino);
	return out;
}
