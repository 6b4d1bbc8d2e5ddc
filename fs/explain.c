/* Looking inside, for tools: fs.h, last part. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/chunk.h"
#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"

#define WHAT_BYTES 400 /* a line for people, with a whole name */

struct explain {
	struct fs *fs;
	int (*each)(void *arg, const char *what, const void *key,
		    unsigned klen);
	void *arg;
	const char *name; /* of the component that is looked up */
};

static int say(const struct explain *x, const char *what,
	       const struct fs_key *key)
{
	return x->each == NULL ? 0 : x->each(x->arg, what, key->byte, key->len);
}

static int say_node(void *arg, const struct fs_key *key,
		    const struct fs_node *node)
{
	const struct explain *x = arg;
	char what[WHAT_BYTES];

	if (fs_node_kind(node) == FS_NODE_INNER)
		snprintf(what, sizeof(what), "directory node on the way to %s",
			 x->name);
	else
		snprintf(what, sizeof(what),
			 "directory leaf (%u names) with %s",
			 fs_node_count(node), x->name);
	return say(x, what, key);
}

static int say_inode(const struct explain *x, uint64_t ino, struct fs_inode *in)
{
	struct fs_key key = fs_key_inode(ino);
	char what[WHAT_BYTES];
	int err = fs_inode_load(x->fs, ino, in);

	if (err != 0)
		return err;
	snprintf(what, sizeof(what),
		 "inode %llu (mode %o, size %llu, links %u%s)",
		 (unsigned long long)ino, in->mode,
		 (unsigned long long)in->size, in->nlink,
		 in->is_inline ? ", data inside" : "");
	return say(x, what, &key);
}

/* Look @name up in @in, and go to what it names. */
static int step(struct explain *x, const char *name, struct fs_inode *in)
{
	struct fs_spot spot;
	struct fs_dentry d;
	int err = S_ISDIR(in->mode) ? 0 : -ENOTDIR;

	if (strcmp(name, ".") == 0)
		return err;
	if (err == 0 && strcmp(name, "..") == 0)
		return say_inode(x, in->parent, in);
	if (err == 0)
		err = fs_dentry_name(x->fs, name, &d);
	if (err == 0)
		err = fs_dentry_seek(x->fs, in->ino, &d, &spot);
	x->name = name;
	if (err == 0 && x->each != NULL)
		err = fs_trie_path(x->fs, in->ino, d.hash, say_node, x);
	return err != 0 ? err : say_inode(x, d.ino, in);
}

/* The next component of *@path into @name; 0 if there is none. */
static int component(const char **path, char name[FS_NAME_BYTES_MAX + 1])
{
	size_t len;

	*path += strspn(*path, "/");
	len = strcspn(*path, "/");
	if (len > FS_NAME_BYTES_MAX)
		return -ENAMETOOLONG;
	memcpy(name, *path, len);
	name[len] = '\0';
	*path += len;
	return len > 0;
}

static int walk(struct explain *x, const char *path, struct fs_inode *in)
{
	char name[FS_NAME_BYTES_MAX + 1];
	int err = say_inode(x, FS_ROOT_INO, in);

	while (err == 0) {
		int more = component(&path, name);

		if (more <= 0)
			return more;
		if (S_ISLNK(in->mode))
			return -ELOOP; /* not followed: say so */
		err = step(x, name, in);
	}
	return err;
}

int fs_resolve(struct fs *fs, const char *path, uint64_t *ino)
{
	struct explain x = {.fs = fs};
	struct fs_inode in;
	int err = walk(&x, path, &in);

	if (err == 0)
		*ino = in.ino;
	return err;
}

int fs_explain(struct fs *fs, const char *path,
	       int (*each)(void *arg, const char *what, const void *key,
			   unsigned klen),
	       int (*page)(void *arg, uint64_t offset, struct kv_page page),
	       void *arg)
{
	struct explain x = {.fs = fs, .each = each, .arg = arg};
	struct fs_inode in;
	int err = walk(&x, path, &in);

	if (err != 0 || !S_ISREG(in.mode) || in.is_inline)
		return err;
	return fs_file_explain(fs, &in, each, page, arg);
}
