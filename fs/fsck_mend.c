/* fs/fsck_mend.c - mending one fault. All by changes that take place only if
 * the key is still as it was seen; what follows from one (a count, a parent) is
 * found and mended by the next round. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/dentry.h"
#include "fs/fsck_impl.h"
#include "fs/names.h"
#include "fs/orphan.h"
#include "fs/region.h"
#include "fs/xattr.h"

#define LOST_FOUND "lost+found"

static int remove_key(struct ck *ck, const struct ck_fault *f)
{
	struct kv_req req = {.kind = KV_DEL,
			     .flags = KV_URGENT,
			     .key = f->key.byte,
			     .klen = f->key.len,
			     .expect = f->version};

	return kv_run(ck->fs->kv, &req, 1);
}

/* --- directory nodes ----------------------------------------------------- */

/* An empty leaf in the place of @f's key, over what was seen there. */
static int empty_node(struct ck *ck, const struct ck_fault *f)
{
	struct fs_node node;
	struct kv_req req = {.kind = f->version != 0 ? KV_PUT_IF : KV_INSERT,
			     .flags = KV_HOT,
			     .key = f->key.byte,
			     .klen = f->key.len,
			     .val = node.bytes,
			     .expect = f->version};

	fs_node_init(&node, FS_NODE_LEAF, 0);
	req.len = node.len;
	return kv_run(ck->fs->kv, &req, 1);
}

/* Edit the entry of the leaf at @f's key that the fault is about. */
static int edit_entry(struct ck *ck, const struct ck_fault *f,
		      void (*edit)(struct fs_node *n, const struct fs_dentry *d,
				   uint8_t type),
		      uint8_t type)
{
	struct fs_spot spot = {.key = f->key};
	struct fs_dentry d;
	size_t len;
	int rc;

	rc = kv_get(ck->fs->kv, f->key.byte, f->key.len, spot.node.bytes,
		    sizeof(spot.node.bytes), &len, &spot.version);
	if (rc != 0)
		return rc;
	spot.node.len = (uint32_t)len;
	if (fs_node_check(&spot.node) != 0 ||
	    fs_node_kind(&spot.node) != FS_NODE_LEAF ||
	    !fs_leaf_find(&spot.node, f->value, f->name, f->nlen, &d) ||
	    d.ino != f->ino)
		return -ESTALE;
	d.name = f->name; /* the node's own may move */
	edit(&spot.node, &d, type);
	return fs_trie_commit(ck->fs, &spot, KV_URGENT);
}

static void edit_drop(struct fs_node *n, const struct fs_dentry *d,
		      uint8_t type)
{
	fs_leaf_drop(n, d);
}

static void edit_type(struct fs_node *n, const struct fs_dentry *d,
		      uint8_t type)
{
	fs_leaf_set(n, d, d->ino, type);
}

static int drop_name(struct ck *ck, const struct ck_fault *f)
{
	return edit_entry(ck, f, edit_drop, 0);
}

static int set_type(struct ck *ck, const struct ck_fault *f)
{
	const struct ck_inode *in = ck_inode_find(ck, f->ino);

	return edit_entry(ck, f, edit_type, fs_dentry_type(in->mode));
}

/* --- inodes -------------------------------------------------------------- */

/* Load the inode, and let it be the one that was looked at. */
static int load(struct ck *ck, const struct ck_fault *f, struct fs_inode *in)
{
	int rc = fs_inode_load(ck->fs, f->ino, in);

	if (rc == 0 && in->version != f->version)
		rc = -ESTALE;
	return rc;
}

static int set_field(struct ck *ck, const struct ck_fault *f)
{
	struct fs_inode in;
	int rc = load(ck, f, &in);

	if (rc != 0)
		return rc;
	switch (f->f.kind) {
	case FS_FAULT_PARENT:
		in.parent = f->value;
		break;
	case FS_FAULT_LINKS:
		in.nlink = (uint32_t)f->value;
		break;
	case FS_FAULT_PAGES:
		in.pages = f->value;
		break;
	case FS_FAULT_XATTR_BAD:
		in.xattr_len = 0;
		break;
	default:
		if (!fs_xattr_drop_value(&in, f->value))
			return -ESTALE;
		break;
	}
	return fs_inode_store(ck->fs, &in);
}

static void fill(struct ck *ck, struct fs_inode *in, uint64_t ino,
		 uint32_t mode)
{
	memset(in, 0, offsetof(struct fs_inode, body));
	in->ino = ino;
	in->mode = mode;
	in->uid = geteuid();
	in->gid = getegid();
	in->nlink = S_ISDIR(mode) ? 2 : 1;
	in->parent = S_ISDIR(mode) ? FS_ROOT_INO : 0;
	in->generation = kv_random(ck->fs->kv);
	in->btime_ns = kv_wall_ns(ck->fs->kv);
	in->atime_ns = in->mtime_ns = in->ctime_ns = in->btime_ns;
}

/* The size and pages that the file's chunks speak of. */
static void size_by_chunks(struct ck *ck, struct fs_inode *in)
{
	const struct ck_chunk *c = (struct ck_chunk *)ck->chunks.at;

	for (size_t n = 0; n < ck->chunks.n; n++)
		for (unsigned i = 0; i < FS_CHUNK_PAGES; i++) {
			if (c[n].ino != in->ino || c[n].bad ||
			    c[n].page[i].addr == 0)
				continue;
			in->pages++;
			in->size = c[n].n * FS_CHUNK_BYTES +
				   (i + 1) * FS_PAGE_BYTES;
		}
}

static int store_made(struct ck *ck, const struct ck_fault *f,
		      struct fs_inode *in)
{
	struct fs_key key;
	uint8_t buf[FS_INODE_BYTES_MAX];
	struct kv_req req;

	in->version = f->version;
	req = fs_names_put(in, &key, buf);
	return kv_run(ck->fs->kv, &req, 1);
}

static int make_root(struct ck *ck, const struct ck_fault *f)
{
	struct fs_inode in;

	fill(ck, &in, FS_ROOT_INO, S_IFDIR | S_ISVTX | 0777);
	return store_made(ck, f, &in);
}

/* From what is left of it: its names, its bytes. */
static int make_inode(struct ck *ck, const struct ck_fault *f)
{
	struct fs_inode in;

	fill(ck, &in, f->ino, f->value ? S_IFDIR | 0755 : S_IFREG | 0600);
	size_by_chunks(ck, &in);
	if (!S_ISDIR(in.mode) && in.pages == 0)
		return remove_key(ck, f);
	return store_made(ck, f, &in);
}

static int destroy(struct ck *ck, const struct ck_fault *f)
{
	struct fs_inode in;
	int rc = load(ck, f, &in);

	return rc != 0 ? rc : fs_inode_destroy(ck->fs, &in);
}

/* --- lost+found ---------------------------------------------------------- */

static int lost_found(struct ck *ck, uint64_t *ino)
{
	struct fs_make how = {
		.mode = S_IFDIR | 0700, .uid = geteuid(), .gid = getegid()};
	struct fs_inode in;
	uint8_t type;
	int rc;

	rc = fs_dentry_lookup(ck->fs, FS_ROOT_INO, LOST_FOUND, ino, &type);
	if (rc == 0)
		return type == fs_dentry_type(S_IFDIR) ? 0 : -ENOTDIR;
	if (rc != -ENOENT)
		return rc;
	rc = fs_names_make(ck->fs, FS_ROOT_INO, LOST_FOUND, &how, &in);
	if (rc == 0)
		*ino = in.ino;
	return rc;
}

static int name_lost(struct ck *ck, const struct ck_fault *f)
{
	const struct ck_inode *c = ck_inode_find(ck, f->ino);
	char name[24];
	uint64_t dir;
	int rc = lost_found(ck, &dir);

	if (rc != 0)
		return rc;
	snprintf(name, sizeof(name), "#%" PRIu64, f->ino);
	return fs_dentry_add(ck->fs, dir, name, f->ino,
			     fs_dentry_type(c->mode));
}

/* --- chunks -------------------------------------------------------------- */

static int load_chunk(struct ck *ck, const struct ck_fault *f,
		      struct fs_cnode *node)
{
	int rc = fs_cnode_load(ck->fs, f->ino, f->value, 1, node);

	if (rc == 0 && node->version != f->version)
		rc = -ESTALE;
	return rc;
}

static int store_chunk(struct ck *ck, const struct ck_fault *f,
		       struct fs_cnode *node)
{
	int status = 1;

	return fs_cnode_store(ck->fs, f->ino, f->value, 1, node, &status, 0);
}

/* Keep the first @keep pages of the chunk. */
static int cut_chunk(struct ck *ck, const struct ck_fault *f, unsigned keep)
{
	struct fs_cnode old, node;
	int rc = load_chunk(ck, f, &old);

	if (rc != 0)
		return rc;
	node = old;
	for (unsigned i = keep; i < FS_CHUNK_PAGES; i++)
		node.page[i] = (struct kv_page){0};
	rc = store_chunk(ck, f, &node);
	if (rc == 0)
		fs_cnode_free(ck->fs, &old, &node);
	return rc;
}

/* The page stays the other's. */
static int copy_page(struct ck *ck, const struct ck_fault *f)
{
	struct fs_cnode node;
	struct kv_page copy;
	uint8_t bytes[KV_PAGE_BYTES];
	const void *from = bytes;
	void *to = bytes;
	int rc = load_chunk(ck, f, &node);

	if (rc == 0)
		rc = kv_pages_read(ck->fs->kv, &node.page[f->nlen], 1, &to,
				   true);
	if (rc == 0)
		rc = kv_pages_write(ck->fs->kv, &from, 1, &copy);
	if (rc != 0)
		return rc;
	node.page[f->nlen] = copy;
	rc = store_chunk(ck, f, &node);
	if (rc != 0 && rc != -ETIMEDOUT)
		kv_pages_free(ck->fs->kv, &copy, 1);
	return rc;
}

/* --- what to do ---------------------------------------------------------- */

static int make_moves(struct ck *ck, const struct ck_fault *f)
{
	return kv_insert(ck->fs->kv, f->key.byte, f->key.len, "\1", 1, NULL);
}

static int cut_beyond(struct ck *ck, const struct ck_fault *f)
{
	return cut_chunk(ck, f, f->nlen);
}

static int cut_all(struct ck *ck, const struct ck_fault *f)
{
	return cut_chunk(ck, f, 0);
}

static int set_bit(struct ck *ck, const struct ck_fault *f)
{
	return fs_region_mend(ck->fs, f->ino, f->value);
}

static int reap(struct ck *ck, const struct ck_fault *f)
{
	return fs_orphan_reap(ck->fs);
}

static int cannot(struct ck *ck, const struct ck_fault *f)
{
	return -EOPNOTSUPP;
}

int ck_mend(struct ck *ck, const struct ck_fault *f)
{
	static int (*const mend[FS_FAULT_KINDS])(struct ck * ck,
						 const struct ck_fault *f) = {
		[FS_FAULT_SUPER] = cannot,
		[FS_FAULT_MOVES] = make_moves,
		[FS_FAULT_KEY] = remove_key,
		[FS_FAULT_INODE_BAD] = make_inode,
		[FS_FAULT_NO_ROOT] = make_root,
		[FS_FAULT_NODE_BAD] = empty_node,
		[FS_FAULT_NODE_MISSING] = empty_node,
		[FS_FAULT_NODE_LEAKED] = remove_key,
		[FS_FAULT_NAME_PLACE] = drop_name,
		[FS_FAULT_NAME_TWICE] = drop_name,
		[FS_FAULT_NAME_DEAD] = drop_name,
		[FS_FAULT_NAME_TYPE] = set_type,
		[FS_FAULT_PARENT] = set_field,
		[FS_FAULT_LINKS] = set_field,
		[FS_FAULT_LOST] = name_lost,
		[FS_FAULT_UNUSED] = destroy,
		[FS_FAULT_ORPHAN] = drop_name,
		[FS_FAULT_ORPHAN_LEFT] = reap,
		[FS_FAULT_SIGN] = remove_key,
		[FS_FAULT_CHUNK_BAD] = remove_key,
		[FS_FAULT_CHUNK_LEAKED] = cut_all,
		[FS_FAULT_PAGE_BEYOND] = cut_beyond,
		[FS_FAULT_PAGE_TWICE] = copy_page,
		[FS_FAULT_PAGES] = set_field,
		[FS_FAULT_MAP_BAD] = remove_key,
		[FS_FAULT_MAP_LEAKED] = remove_key,
		[FS_FAULT_MAP_CLEAR] = set_bit,
		[FS_FAULT_XATTR_BAD] = set_field,
		[FS_FAULT_XATTR_DEAD] = set_field,
		[FS_FAULT_XATTR_LEAKED] = remove_key,
	};

	return mend[f->f.kind](ck, f);
}
