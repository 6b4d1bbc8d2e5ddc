/* fs/returns.c - see returns.h. */
#include "fs/returns.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fs/board.h"
#include "fs/cnode.h"
#include "fs/fs_impl.h"
#include "fs/key.h"
#include "fs/thread.h"
#include "kv/check.h"

#define MS UINT64_C(1000000)

struct fs_returns {
	/* the timer's: */
	unsigned mounts; /* of which the dead were looked for; 0: never */
	uint32_t dead[FS_RETURNS_DEAD_MAX];
	uint32_t n;
	uint64_t ask_ns; /* not before */
	pthread_t thread;
	bool started;
	/* both's: */
	_Atomic bool over, stop;
	int ended;
};

int fs_returns_new(struct fs_returns **out)
{
	struct fs_returns *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	*out = r;
	return 0;
}

void fs_returns_free(struct fs_returns *r)
{
	free(r);
}

void fs_returns_stop(struct fs_returns *r)
{
	if (r == NULL || !r->started)
		return;
	atomic_store(&r->stop, true);
	pthread_join(r->thread, NULL);
	r->started = false;
}

/* --- a pass --------------------------------------------------------------- */

struct pass {
	struct fs *fs;
	struct kv_check *check;
};

static int on_going(void *arg)
{
	const struct pass *p = arg;

	return atomic_load(&p->fs->returns->stop);
}

/* Every key comes by, so that the thread can be stopped at each. */
static int note_pages(void *arg, const void *key, size_t klen, const void *val,
		      size_t vlen, uint64_t version)
{
	struct pass *p = arg;
	struct fs_key_parts parts;
	struct fs_cnode node;
	int rc = kv_check_pace(p->check, klen + vlen);

	if (rc != 0)
		return rc;
	if (fs_key_parse(key, klen, &parts) != 0 ||
	    parts.kind != FS_KEY_CHUNK || parts.level != 0)
		return 0;
	if (fs_cnode_decode(val, vlen, &node) != 0)
		return -EBADMSG; /* who knows what it names */
	for (unsigned i = 0; i < FS_CHUNK_PAGES; i++)
		if (node.page[i].addr != 0)
			kv_check_name_page(p->check, node.page[i]);
	return 0;
}

int fs_returns_pass(struct fs *fs)
{
	static const uint8_t room = FS_KEY_ROOM;
	struct pass p = {.fs = fs};
	struct kv_check_opts o = {.mend = true,
				  .space = true,
				  .gone = true,
				  .rate = FS_RETURNS_RATE,
				  .going = on_going,
				  .arg = &p};
	int rc = kv_check_open(fs->kv, &o, &p.check);

	if (rc != 0)
		return rc;
	rc = kv_scan(fs->kv, &room, sizeof(room), note_pages, &p);
	if (rc == 0)
		rc = kv_check_space(p.check);
	kv_check_close(p.check);
	return rc;
}

static void *returns_main(void *arg)
{
	struct fs *fs = arg;

	fs->returns->ended = fs_returns_pass(fs);
	atomic_store(&fs->returns->over, true);
	return NULL;
}

/* --- when ----------------------------------------------------------------- */

void fs_returns_note(struct fs *fs, uint32_t mount)
{
	struct fs_returns *r = fs->returns;

	if (r->n < FS_RETURNS_DEAD_MAX)
		r->dead[r->n++] = mount;
}

/* While the same number is there, nobody has died, or another came meanwhile:
 * whoever comes looks, too (fs_board_join()). */
static void look_for_dead(struct fs *fs)
{
	struct fs_returns *r = fs->returns;
	unsigned mounts = kv_clients(fs->kv);

	if (mounts == r->mounts)
		return;
	if (mounts > r->mounts || fs_board_bury(fs) == 0)
		r->mounts = mounts;
}

static bool all_swept(struct fs *fs)
{
	struct fs_returns *r = fs->returns;

	for (uint32_t i = 0; i < r->n; i++)
		if (kv_client_swept(fs->kv, r->dead[i]) != 1)
			return false;
	return true;
}

static void begin(struct fs *fs)
{
	struct fs_returns *r = fs->returns;

	atomic_store(&r->over, false);
	r->started = fs_thread_start(&r->thread, returns_main, fs) == 0;
}

/* What is on the move stands still again: then once more. Who is met only now
 * has his own turn. */
static void end(struct fs_returns *r)
{
	pthread_join(r->thread, NULL);
	r->started = false;
	if (r->ended != -EAGAIN)
		r->n = 0;
}

void fs_returns_tick(struct fs *fs)
{
	struct fs_returns *r = fs->returns;
	uint64_t now = kv_wall_ns(fs->kv);

	if (fs->opts.check)
		return;
	if (r->started) {
		if (atomic_load(&r->over))
			end(r);
		return;
	}
	look_for_dead(fs);
	if (r->n == 0 || now < r->ask_ns)
		return;
	r->ask_ns = now + FS_RETURNS_ASK_MS * MS;
	if (all_swept(fs))
		begin(fs);
}
