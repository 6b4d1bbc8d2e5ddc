#include "fs/orphan.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/timer.h"

/* An orphan that this mount made, or found, and when it last saw a sign of use.
 */
struct watch {
	TAILQ_ENTRY(watch) link;
	uint64_t ino;
	uint64_t sign;	  /* version of the key 'O' ino; 0: none */
	uint64_t seen_ns; /* when it became that */
	uint64_t next_ns; /* when to look again */
};
TAILQ_HEAD(watches, watch);

struct fs_orphans {
	pthread_mutex_t lock;
	struct watches watches;
	uint64_t signed_ns; /* when this mount last signed */
	/* When it last looked for orphans that nobody may look after, and how
	 * many mounts there were then. */
	uint64_t looked_ns;
	unsigned mounts;
};

int fs_orphans_new(struct fs_orphans **out)
{
	struct fs_orphans *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return -ENOMEM;
	pthread_mutex_init(&o->lock, NULL);
	TAILQ_INIT(&o->watches);
	*out = o;
	return 0;
}

void fs_orphans_free(struct fs_orphans *o)
{
	struct watch *w;

	if (o == NULL)
		return;
	while ((w = TAILQ_FIRST(&o->watches)) != NULL) {
		TAILQ_REMOVE(&o->watches, w, link);
		free(w);
	}
	pthread_mutex_destroy(&o->lock);
	free(o);
}

/* --- the hidden directory
 * -------------------------------------------------------- */

#define NAME_BYTES 17 /* 16 hex digits and a 0 */

static void name_of(uint64_t ino, char name[NAME_BYTES])
{
	snprintf(name, NAME_BYTES, "%016llx", (unsigned long long)ino);
}

static int make_once(struct fs *fs, struct fs_inode *in, struct fs_dentry *d)
{
	uint8_t buf[FS_INODE_BYTES_MAX];
	struct fs_key key = fs_key_inode(in->ino);
	struct fs_spot spot;
	struct kv_req req[2];
	int err = fs_dentry_vacancy(fs, FS_ORPHANS_INO, d, &spot);

	if (err == 0)
		err = fs_leaf_add(&spot.node, d);
	if (err != 0)
		return err;
	req[0] = fs_trie_request(&spot, KV_URGENT);
	req[1] = (struct kv_req){.kind = KV_PUT_IF,
				 .flags = KV_URGENT,
				 .key = key.byte,
				 .klen = key.len,
				 .val = buf,
				 .len = fs_inode_encode(in, buf),
				 .expect = in->version};
	err = kv_txn(fs->kv, req, 2);
	if (err == -ESTALE && req[1].status == 0)
		return -EAGAIN; /* only the directory was busy */
	if (err == 0)
		fs_inode_stored(fs, in, req[1].version);
	return err;
}

static int watch_add(struct fs *fs, uint64_t ino)
{
	struct fs_orphans *o = fs->orphans;
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	w->ino = ino;
	w->seen_ns = kv_wall_ns(fs->kv);
	pthread_mutex_lock(&o->lock);
	TAILQ_INSERT_TAIL(&o->watches, w, link);
	pthread_mutex_unlock(&o->lock);
	return 0;
}

int fs_orphan_make(struct fs *fs, struct fs_inode *in)
{
	char name[NAME_BYTES];
	struct fs_dentry d;
	int err;

	name_of(in->ino, name);
	err = fs_dentry_name(fs, name, &d);
	assert(err == 0);
	d.ino = in->ino;
	d.type = fs_dentry_type(in->mode);
	in->nlink = 0;
	for (int i = 0; i < FS_RETRIES_MAX; i++) {
		err = make_once(fs, in, &d);
		if (err != -EAGAIN)
			break;
	}
	if (err != 0)
		return err == -EAGAIN ? -EBUSY : err;
	fs_timer_wake(fs->timer);
	/* unwatched, it is found by the next look */
	(void)watch_add(fs, in->ino);
	return 0;
}

/* --- destroying
 * ------------------------------------------------------------------- */

/* Lock: held. */
static struct watch *watch_find(struct fs_orphans *o, uint64_t ino)
{
	struct watch *w;

	TAILQ_FOREACH (w, &o->watches, link)
		if (w->ino == ino)
			return w;
	return NULL;
}

static void watch_drop(struct fs *fs, uint64_t ino)
{
	struct fs_orphans *o = fs->orphans;
	struct watch *w;

	pthread_mutex_lock(&o->lock);
	w = watch_find(o, ino);
	if (w != NULL)
		TAILQ_REMOVE(&o->watches, w, link);
	pthread_mutex_unlock(&o->lock);
	free(w);
}

/* The inode first, the entry that leads to it last. Lock: exclusive. */
static int destroy(struct fs *fs, uint64_t ino)
{
	struct fs_key sign = fs_key_orphan(ino);
	char name[NAME_BYTES];
	struct fs_inode in;
	int err = fs_inode_load(fs, ino, &in);

	if (err == 0 && in.nlink == 0)
		err = fs_inode_destroy(fs, &in);
	if (err != 0 && err != -ENOENT)
		return err;
	err = kv_del(fs->kv, sign.byte, sign.len, 0);
	if (err != 0 && err != -ENOENT)
		return err;
	name_of(ino, name);
	err = fs_dentry_remove(fs, FS_ORPHANS_INO, name, ino);
	if (err != 0 && err != -ENOENT)
		return err;
	watch_drop(fs, ino);
	return 0;
}

int fs_orphan_release(struct fs *fs, uint64_t ino)
{
	struct fs_inode in;
	int err = fs_inode_load(fs, ino, &in);

	if (err == -ENOENT || (err == 0 && in.nlink > 0))
		return 0;
	if (err != 0 || kv_clients(fs->kv) > 1)
		return err; /* left to the tick of whoever unlinked it */
	return destroy(fs, ino);
}

/* --- several mounts
 * ----------------------------------------------------------------- */

static void sign(struct fs *fs, uint64_t ino)
{
	struct fs_key key = fs_key_orphan(ino);
	struct fs_inode in;

	if (fs_inode_load(fs, ino, &in) != 0 || in.nlink > 0)
		return;
	/* a sign that fails is made up for by the next: six fit the grace */
	(void)kv_put(fs->kv, key.byte, key.len, "\1", 1, NULL);
}

static bool sign_all(struct fs *fs, uint64_t now)
{
	struct fs_orphans *o = fs->orphans;

	if (kv_clients(fs->kv) <= 1)
		return false;
	if (now - o->signed_ns < FS_ORPHAN_SIGN_MS * 1000000ull)
		return true;
	o->signed_ns = now;
	fs_itable_each_open(fs, sign);
	return true;
}

/* Has nobody signed for @w within the grace? */
static bool is_alone(struct fs *fs, struct watch *w, uint64_t now)
{
	struct fs_key key = fs_key_orphan(w->ino);
	uint64_t version = 0;
	uint8_t none;
	size_t len;
	int err;

	if (now < w->next_ns)
		return false;
	w->next_ns = now + FS_ORPHAN_SIGN_MS * 1000000ull;
	err = kv_get(fs->kv, key.byte, key.len, &none, sizeof(none), &len,
		     &version);
	if (err != 0 && err != -ENOENT)
		version = w->sign + 1; /* unknown: wait on */
	if (version != w->sign) {
		w->sign = version;
		w->seen_ns = now;
	}
	/* one that came after this round had begun was seen after @now */
	return now >= w->seen_ns + FS_ORPHAN_GRACE_MS * 1000000ull;
}

/* Several mounts may look after it: who writes the next sign destroys it, the
 * others begin to wait anew. Once more is no harm. */
static bool claim(struct fs *fs, struct watch *w)
{
	struct fs_key key = fs_key_orphan(w->ino);
	struct kv_req req = {.kind = w->sign != 0 ? KV_PUT_IF : KV_INSERT,
			     .flags = KV_URGENT,
			     .key = key.byte,
			     .klen = key.len,
			     .val = "\2",
			     .len = 1,
			     .expect = w->sign};

	if (kv_run(fs->kv, &req, 1) != 0 || req.status != 0)
		return false;
	w->sign = req.version;
	return true;
}

/* True if it is gone. */
static bool watch_step(struct fs *fs, struct watch *w, uint64_t now)
{
	bool gone = false;

	fs_inode_lock(fs, w->ino, true);
	if (fs_itable_opens(fs, w->ino) == 0 &&
	    (kv_clients(fs->kv) <= 1 || (is_alone(fs, w, now) && claim(fs, w))))
		gone = destroy(fs, w->ino) == 0;
	fs_inode_unlock(fs, w->ino);
	return gone;
}

static void watches_take(struct fs_orphans *o, struct watches *to)
{
	TAILQ_INIT(to);
	pthread_mutex_lock(&o->lock);
	TAILQ_CONCAT(to, &o->watches, link);
	pthread_mutex_unlock(&o->lock);
}

static void watches_give(struct fs_orphans *o, struct watches *from)
{
	pthread_mutex_lock(&o->lock);
	TAILQ_CONCAT(&o->watches, from, link);
	pthread_mutex_unlock(&o->lock);
}

static int adopt(void *arg, const struct fs_dentry *d, uint64_t cookie)
{
	struct fs *fs = arg;
	bool known;

	pthread_mutex_lock(&fs->orphans->lock);
	known = watch_find(fs->orphans, d->ino) != NULL;
	pthread_mutex_unlock(&fs->orphans->lock);
	return known ? 0 : watch_add(fs, d->ino);
}

/* Who was to look after them may have died. While nobody comes or goes, a mount
 * that is alone knows all there are. */
static void adopt_all(struct fs *fs, uint64_t now)
{
	struct fs_orphans *o = fs->orphans;
	unsigned mounts = kv_clients(fs->kv);

	if ((mounts <= 1 && o->mounts <= 1) ||
	    now - o->looked_ns < FS_ORPHAN_LOOK_MS * 1000000ull)
		return;
	o->looked_ns = now;
	if (fs_dentry_list(fs, FS_ORPHANS_INO, 0, adopt, fs) == 0)
		o->mounts = mounts;
}

/* The list is taken out meanwhile. An orphan that its last handle destroys in
 * this time is met again by the next round, which finds it gone. */
bool fs_orphan_tick(struct fs *fs)
{
	uint64_t now = kv_wall_ns(fs->kv);
	bool again = sign_all(fs, now);
	struct watches all, rest;
	struct watch *w;

	adopt_all(fs, now);
	watches_take(fs->orphans, &all);
	TAILQ_INIT(&rest);
	while ((w = TAILQ_FIRST(&all)) != NULL) {
		TAILQ_REMOVE(&all, w, link);
		if (watch_step(fs, w, now))
			free(w);
		else
			TAILQ_INSERT_TAIL(&rest, w, link);
	}
	again = again || !TAILQ_EMPTY(&rest);
	watches_give(fs->orphans, &rest);
	return again;
}

/* --- after a death
 * ------------------------------------------------------------------ */

static int reap_one(void *arg, const struct fs_dentry *d, uint64_t cookie)
{
	struct fs *fs = arg;
	int err;

	fs_inode_lock(fs, d->ino, true);
	err = destroy(fs, d->ino);
	fs_inode_unlock(fs, d->ino);
	return err;
}

int fs_orphan_reap(struct fs *fs)
{
	if (kv_clients(fs->kv) > 1)
		return 0;
	return fs_dentry_list(fs, FS_ORPHANS_INO, 0, reap_one, fs);
}
