#include "fs/fs.h"

#include <endian.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/board.h"
#include "fs/buffer.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/locks.h"
#include "fs/orphan.h"
#include "fs/returns.h"
#include "fs/timer.h"
#include "fs/trie.h"

#define SUPER_VERSION	 1
#define INO_CLIENT_SHIFT 40
#define INO_CLIENT_MAX	 ((1u << 24) - 1)

struct super {
	char magic[8]; /* "acesofs\0" */
	uint8_t version;
	uint8_t zero[7];
	uint64_t name_seed;
};
_Static_assert(sizeof(struct super) == 24, "FORMAT.md");

static const char super_magic[8] = "acesofs";

/* --- making one ---------------------------------------------------------- */

static void root_fill(struct fs *fs, struct fs_inode *root)
{
	const struct fs_opts *o = &fs->opts;
	int64_t now = kv_wall_ns(fs->kv);

	memset(root, 0, offsetof(struct fs_inode, body));
	root->ino = FS_ROOT_INO;
	root->mode =
		S_IFDIR | (o->has_root_mode ? o->root_mode : S_ISVTX | 0777);
	root->uid = o->has_root_uid ? o->root_uid : geteuid();
	root->gid = o->has_root_gid ? o->root_gid : getegid();
	root->nlink = 2;
	root->parent = FS_ROOT_INO;
	root->generation = kv_random(fs->kv);
	root->atime_ns = root->mtime_ns = now;
	root->ctime_ns = root->btime_ns = now;
}

static int insert(struct fs *fs, struct kv_req req)
{
	int err = kv_run(fs->kv, &req, 1);

	return err == -EEXIST ? 0 : err; /* somebody formats with us */
}

static int make_dir(struct fs *fs, uint64_t ino)
{
	struct fs_node node;
	struct fs_key key;

	return insert(fs, fs_trie_create(ino, &key, &node));
}

static int make_root(struct fs *fs)
{
	struct fs_inode root;
	int err;

	root_fill(fs, &root);
	err = fs_inode_store(fs, &root);
	return err == -EEXIST ? 0 : err;
}

static int make_moves(struct fs *fs)
{
	struct fs_key key = fs_key_moves();

	return insert(fs, (struct kv_req){.kind = KV_INSERT,
					  .key = key.byte,
					  .klen = key.len,
					  .val = "\1",
					  .len = 1});
}

/* The superblock last: a pool that has one has all. */
static int format(struct fs *fs)
{
	struct fs_key key = fs_key_super();
	struct super sb = {.version = SUPER_VERSION,
			   .name_seed = htole64(kv_random(fs->kv))};
	int err = make_root(fs);

	memcpy(sb.magic, super_magic, sizeof(sb.magic));
	if (err == 0)
		err = make_dir(fs, FS_ROOT_INO);
	if (err == 0)
		err = make_dir(fs, FS_ORPHANS_INO);
	if (err == 0)
		err = make_moves(fs);
	if (err == 0)
		err = insert(fs, (struct kv_req){.kind = KV_INSERT,
						 .key = key.byte,
						 .klen = key.len,
						 .val = &sb,
						 .len = sizeof(sb)});
	return err;
}

static int super_load(struct fs *fs)
{
	struct fs_key key = fs_key_super();
	struct super sb;
	size_t len;
	int err =
		kv_get(fs->kv, key.byte, key.len, &sb, sizeof(sb), &len, NULL);

	if (err == -ERANGE)
		return -EPROTO;
	if (err != 0)
		return err;
	if (len != sizeof(sb) || memcmp(sb.magic, super_magic, 8) != 0)
		return -EBADMSG;
	if (sb.version != SUPER_VERSION)
		return -EPROTO;
	fs->name_seed = le64toh(sb.name_seed);
	return 0;
}

static int super_load_or_format(struct fs *fs)
{
	int err = super_load(fs);

	if (err != -ENOENT)
		return err;
	err = format(fs);
	return err != 0 ? err : super_load(fs); /* the winner's */
}

/* --- opening
 * ------------------------------------------------------------------- */

/* 1 and 2 are taken, whatever the client's id is. */
static int numbers_init(struct fs *fs)
{
	uint64_t id = kv_client_id(fs->kv);

	if (id > INO_CLIENT_MAX)
		return -EOVERFLOW;
	fs->ino_next = (id << INO_CLIENT_SHIFT) + FS_ORPHANS_INO + 1;
	return 0;
}

static int tables_init(struct fs *fs)
{
	int err = fs_itable_new(&fs->itable);

	if (err == 0)
		err = fs_locks_new(&fs->locks);
	if (err == 0)
		err = fs_orphans_new(&fs->orphans);
	if (err == 0)
		err = fs_board_new(&fs->board);
	if (err == 0)
		err = fs_returns_new(&fs->returns);
	if (err == 0)
		err = fs_buffers_new(fs->kv, &fs->buffers);
	if (err == 0)
		err = fs_timer_new(&fs->timer);
	return err;
}

static void fs_free(struct fs *fs)
{
	fs_timer_free(fs->timer);
	fs_buffers_free(fs->buffers);
	fs_returns_free(fs->returns);
	fs_board_free(fs->board);
	fs_orphans_free(fs->orphans);
	fs_locks_free(fs->locks);
	fs_itable_free(fs->itable);
	free(fs);
}

int fs_open(struct kv *kv, const struct fs_opts *opts, struct fs **out)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int err;

	if (fs == NULL)
		return -ENOMEM;
	fs->kv = kv;
	fs->opts = *opts;
	err = tables_init(fs);
	if (err == 0)
		err = numbers_init(fs);
	if (err == 0)
		err = opts->check ? super_load(fs) : super_load_or_format(fs);
	if (err == 0 && !opts->check)
		err = fs_board_join(fs);
	if (err == 0 && !opts->check)
		err = fs_orphan_reap(fs);
	if (err != 0) {
		fs_free(fs);
		return err;
	}
	*out = fs;
	return 0;
}

int fs_close(struct fs *fs)
{
	bool remain;

	if (fs == NULL)
		return 0;
	assert(fs->se == NULL);
	fs_timer_stop(fs->timer);
	fs_returns_stop(fs->returns);
	remain = fs_itable_settle_all(fs, 0);
	fs_orphan_tick(fs);
	if (!fs->opts.check)
		fs_board_leave(fs);
	fs_free(fs);
	return remain ? -EIO : 0;
}
