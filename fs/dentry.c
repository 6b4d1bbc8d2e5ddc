#include "fs/dentry.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fs/fs_impl.h"

int fs_dentry_name(struct fs *fs, const char *name, struct fs_dentry *out)
{
	size_t len = strnlen(name, FS_NAME_BYTES_MAX + 1);

	if (len > FS_NAME_BYTES_MAX)
		return -ENAMETOOLONG;
	if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    memchr(name, '/', len) != NULL)
		return -EINVAL;
	*out = (struct fs_dentry){
		.hash = XXH3_64bits_withSeed(name, len, fs->name_seed),
		.name = name,
		.nlen = len,
	};
	return 0;
}

uint64_t fs_dentry_cookie(uint64_t hash)
{
	uint64_t cookie = hash >> 1; /* off_t has a sign */

	return cookie < FS_COOKIE_FIRST ? FS_COOKIE_FIRST : cookie;
}

/* The least hash whose cookie is greater than @after; false if none is. */
static bool hash_behind(uint64_t after, uint64_t *hash)
{
	if (after < FS_COOKIE_FIRST)
		*hash = 0;
	else if (after >= INT64_MAX)
		return false;
	else
		*hash = (after + 1) << 1;
	return true;
}

uint8_t fs_dentry_type(uint32_t mode)
{
	return (mode & S_IFMT) >> 12; /* as IFTODT() */
}

/* Is the name in the leaf that was found? Then @d gets what it leads to, and
 * keeps the caller's name: the spot's may move. */
static bool is_there(const struct fs_spot *spot, struct fs_dentry *d)
{
	struct fs_dentry have;

	if (!fs_leaf_find(&spot->node, d->hash, d->name, d->nlen, &have))
		return false;
	d->ino = have.ino;
	d->type = have.type;
	return true;
}

int fs_dentry_seek(struct fs *fs, uint64_t dir, struct fs_dentry *d,
		   struct fs_spot *spot)
{
	int err = fs_trie_find(fs, dir, d->hash, spot);

	if (err != 0)
		return err;
	return is_there(spot, d) ? 0 : -ENOENT;
}

/* Looked for before room is made, which would be for nothing; and after, as
 * others may have been faster. */
int fs_dentry_vacancy(struct fs *fs, uint64_t dir, struct fs_dentry *d,
		      struct fs_spot *spot)
{
	int err = fs_trie_find(fs, dir, d->hash, spot);

	if (err == 0 && is_there(spot, d))
		return -EEXIST;
	if (err == 0)
		err = fs_trie_room(fs, d->hash, FS_DENTRY_HEAD_BYTES + d->nlen,
				   spot);
	if (err == 0 && is_there(spot, d))
		return -EEXIST;
	return err;
}

int fs_dentry_lookup(struct fs *fs, uint64_t dir, const char *name,
		     uint64_t *ino, uint8_t *type)
{
	struct fs_spot spot;
	struct fs_dentry d;
	int err = fs_dentry_name(fs, name, &d);

	if (err == 0)
		err = fs_dentry_seek(fs, dir, &d, &spot);
	if (err != 0)
		return err;
	*ino = d.ino;
	if (type != NULL)
		*type = d.type;
	return 0;
}

int fs_dentry_fill(struct fs *fs, uint64_t dir, struct fs_dentry *d,
		   struct fs_spot *spot)
{
	for (int i = 0; i < FS_RETRIES_MAX; i++) {
		int err = fs_leaf_add(&spot->node, d);

		if (err == 0)
			err = fs_trie_commit(fs, spot, 0);
		if (err != -ESTALE)
			return err;
		err = fs_dentry_vacancy(fs, dir, d, spot);
		if (err != 0)
			return err;
	}
	return -EBUSY;
}

int fs_dentry_add(struct fs *fs, uint64_t dir, const char *name, uint64_t ino,
		  uint8_t type)
{
	struct fs_spot spot;
	struct fs_dentry d;
	int err = fs_dentry_name(fs, name, &d);

	if (err != 0)
		return err;
	d.ino = ino;
	d.type = type;
	err = fs_dentry_vacancy(fs, dir, &d, &spot);
	return err != 0 ? err : fs_dentry_fill(fs, dir, &d, &spot);
}

static int try_remove(struct fs *fs, uint64_t dir, struct fs_dentry *d,
		      uint64_t ino, struct fs_spot *spot)
{
	int err = fs_dentry_seek(fs, dir, d, spot);

	if (err != 0)
		return err;
	if (d->ino != ino)
		return -ENOENT;
	fs_leaf_drop(&spot->node, d);
	return fs_trie_commit(fs, spot, KV_URGENT);
}

int fs_dentry_remove(struct fs *fs, uint64_t dir, const char *name,
		     uint64_t ino)
{
	struct fs_spot spot;
	struct fs_dentry d;
	int err = fs_dentry_name(fs, name, &d);

	for (int i = 0; err == 0 && i < FS_RETRIES_MAX; i++) {
		err = try_remove(fs, dir, &d, ino, &spot);
		if (err != -ESTALE)
			return err;
		err = 0;
	}
	return err != 0 ? err : -EBUSY;
}

static int list_leaf(const struct fs_node *leaf, uint64_t after,
		     fs_dentry_each *each, void *arg)
{
	char name[FS_NAME_BYTES_MAX + 1];
	struct fs_dentry d;
	uint32_t at = 0;
	int err = 0;

	while (err == 0 && fs_leaf_next(leaf, &at, &d)) {
		if (fs_dentry_cookie(d.hash) <= after)
			continue;
		memcpy(name, d.name, d.nlen);
		name[d.nlen] = '\0';
		d.name = name;
		err = each(arg, &d, fs_dentry_cookie(d.hash));
	}
	return err;
}

int fs_dentry_list(struct fs *fs, uint64_t dir, uint64_t after,
		   fs_dentry_each *each, void *arg)
{
	struct fs_spot spot;
	uint64_t hash;
	int err;

	if (!hash_behind(after, &hash))
		return 0;
	do {
		err = fs_trie_find(fs, dir, hash, &spot);
		if (err == 0)
			err = list_leaf(&spot.node, after, each, arg);
	} while (err == 0 && fs_trie_after(&spot, &hash));
	return err;
}
