#include "fs/orphan.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "fs/board.h"
#include "fs/dentry.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/itable.h"
#include "fs/timer.h"

/* While there was a question so lately the board is looked at more often. */
#define LIVELY_MS      3000u
#define LIVELY_LOOK_MS 10u
#define ASKED_MS       3u

/* An orphan that this mount made, or found. */
struct watch {
	TAILQ_ENTRY(watch) link;
	uint64_t ino;
	uint64_t next_ns;  /* when to ask for it */
	uint32_t again_ms; /* how long to wait after that */
	bool asked;	   /* it is in the question that is out */
};
TAILQ_HEAD(watches, watch);

struct fs_orphans {
	pthread_mutex_t lock;
	struct watches watches;
	_Atomic uint64_t destroyed;
	/* When it last looked for orphans that nobody may look after, how many
	 * mounts there were then, and of how many deaths it had heard. */
	uint64_t looked_ns, deaths;
	unsigned mounts;
	uint64_t lively_ns; /* when there was last a question, of anyone */
	/* The question that is out. */
	uint64_t ino[FS_BOARD_INOS_MAX];
	bool open[FS_BOARD_INOS_MAX];
	_Atomic size_t asked; /* how many; 0: none is out */
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
	w->again_ms = FS_ORPHAN_AGAIN_MS;
	pthread_mutex_lock(&o->lock);
	TAILQ_INSERT_TAIL(&o->watches, w, link);
	pthread_mutex_unlock(&o->lock);
	return 0;
}

/* While a question is out the next one has to wait anyway. */
static void hurry(struct fs *fs)
{
	if (atomic_load(&fs->orphans->asked) == 0)
		fs_timer_hurry(fs->timer);
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
	/* unwatched, it is found by the next look */
	(void)watch_add(fs, in->ino);
	hurry(fs);
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

/* Ask for @ino now, whether or not it was known. */
static void watch_now(struct fs *fs, uint64_t ino)
{
	struct fs_orphans *o = fs->orphans;
	struct watch *w;

	pthread_mutex_lock(&o->lock);
	w = watch_find(o, ino);
	if (w != NULL)
		w->next_ns = 0;
	pthread_mutex_unlock(&o->lock);
	if (w == NULL)
		(void)watch_add(fs, ino);
	hurry(fs);
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
	atomic_fetch_add(&fs->orphans->destroyed, 1);
	return 0;
}

int fs_orphan_release(struct fs *fs, uint64_t ino)
{
	struct fs_inode in;
	int err = fs_inode_load(fs, ino, &in);

	if (err == -ENOENT || (err == 0 && in.nlink > 0))
		return 0;
	if (err != 0)
		return err;
	if (kv_clients(fs->kv) <= 1)
		return destroy(fs, ino);
	watch_now(fs, ino);
	return 0;
}

/* --- several mounts
 * ----------------------------------------------------------------- */

/* Who has claimed @ino, and the claim's version. -ENOENT nobody. */
static int claimer(struct fs *fs, uint64_t ino, uint32_t *mount,
		   uint64_t *version)
{
	struct fs_key key = fs_key_orphan(ino);
	uint32_t le;
	size_t len;
	int err = kv_get(fs->kv, key.byte, key.len, &le, sizeof(le), &len,
			 version);

	if (err == -ERANGE || (err == 0 && len != sizeof(le)))
		return -EBADMSG;
	*mount = le32toh(le);
	return err;
}

/* Claim it; or for @expect take the claim of that version over. */
static int claim_put(struct fs *fs, uint64_t ino, uint64_t expect)
{
	struct fs_key key = fs_key_orphan(ino);
	uint32_t le = htole32(kv_client_id(fs->kv));
	struct kv_req req = {.kind = expect != 0 ? KV_PUT_IF : KV_INSERT,
			     .flags = KV_URGENT,
			     .key = key.byte,
			     .klen = key.len,
			     .val = &le,
			     .len = sizeof(le),
			     .expect = expect};

	return kv_run(fs->kv, &req, 1);
}

/* Several mounts may look after it: one of them destroys it. */
static bool claim(struct fs *fs, uint64_t ino)
{
	uint64_t version;
	uint32_t mount;
	bool lives = true;
	int err = claim_put(fs, ino, 0);

	if (err != -EEXIST)
		return err == 0;
	err = claimer(fs, ino, &mount, &version);
	if (err != 0)
		return false; /* it has just been destroyed, or next time */
	if (mount == kv_client_id(fs->kv))
		return true;
	if (fs_board_has(fs, mount, &lives) != 0 || lives)
		return false;
	return claim_put(fs, ino, version) == 0;
}

/* Nobody else has it open: destroy it, unless this mount has. */
static void destroy_if_closed(struct fs *fs, uint64_t ino, bool alone)
{
	fs_inode_lock(fs, ino, true);
	if (fs_itable_opens(fs, ino) == 0 && (alone || claim(fs, ino)))
		(void)destroy(fs, ino); /* else it is asked for again */
	fs_inode_unlock(fs, ino);
}

/* Take @ino off the question; it is asked for again later. If nobody has it
 * @open that means: if destroying failed, or it is another's to do. */
static void watch_later(struct fs *fs, uint64_t ino, bool open, uint64_t now)
{
	struct fs_orphans *o = fs->orphans;
	struct watch *w;

	pthread_mutex_lock(&o->lock);
	w = watch_find(o, ino);
	if (w != NULL) {
		w->asked = false;
		w->next_ns = now + w->again_ms * UINT64_C(1000000);
		if (open && w->again_ms < FS_ORPHAN_AGAIN_MAX_MS)
			w->again_ms *= 2;
	}
	pthread_mutex_unlock(&o->lock);
}

/* What is open here is asked for after its last handle. */
static bool is_due(struct fs *fs, const struct watch *w, uint64_t now)
{
	return now >= w->next_ns && fs_itable_opens(fs, w->ino) == 0;
}

/* The orphans that are to be asked for at @now. */
static size_t collect(struct fs *fs, uint64_t now, uint64_t *ino)
{
	struct fs_orphans *o = fs->orphans;
	struct watch *w;
	size_t n = 0;

	pthread_mutex_lock(&o->lock);
	TAILQ_FOREACH (w, &o->watches, link)
		if (n < FS_BOARD_INOS_MAX && is_due(fs, w, now)) {
			w->asked = true;
			ino[n++] = w->ino;
		}
	pthread_mutex_unlock(&o->lock);
	return n;
}

/* All that nobody has open goes. */
static void hear(struct fs *fs, uint64_t now)
{
	struct fs_orphans *o = fs->orphans;
	bool asked;

	if (fs_board_heard(fs, o->open) != 0)
		return;
	for (size_t i = 0; i < o->asked; i++) {
		if (!o->open[i])
			destroy_if_closed(fs, o->ino[i], false);
		watch_later(fs, o->ino[i], o->open[i], now);
		(void)fs_board_answer(fs, &asked); /* that may take long */
	}
	o->asked = 0;
}

static void ask(struct fs *fs, uint64_t now)
{
	struct fs_orphans *o = fs->orphans;
	size_t n = collect(fs, now, o->ino);

	if (n > 0 && fs_board_ask(fs, o->ino, n) == 0)
		o->asked = n;
	for (size_t i = 0; o->asked == 0 && i < n; i++)
		watch_later(fs, o->ino[i], false, now);
	if (n > 0)
		o->lively_ns = now;
}

/* This mount is alone. (Who is left over, is met by the next tick.) */
static void destroy_all(struct fs *fs, uint64_t now)
{
	struct fs_orphans *o = fs->orphans;
	size_t n;

	o->asked = 0;
	n = collect(fs, UINT64_MAX, o->ino);
	for (size_t i = 0; i < n; i++) {
		destroy_if_closed(fs, o->ino[i], true);
		watch_later(fs, o->ino[i], false, now);
	}
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
	uint64_t deaths = fs_board_deaths(fs->board);

	if ((mounts <= 1 && o->mounts <= 1) ||
	    (mounts == o->mounts && deaths == o->deaths &&
	     now - o->looked_ns < FS_ORPHAN_LOOK_MS * UINT64_C(1000000)))
		return;
	o->looked_ns = now;
	if (fs_dentry_list(fs, FS_ORPHANS_INO, 0, adopt, fs) != 0)
		return; /* at the next look */
	o->mounts = mounts;
	o->deaths = deaths;
}

/* An answer is worth waiting for; a board that is written to is looked at more
 * often than one that is quiet. */
static uint32_t pause_ms(struct fs *fs, uint64_t now)
{
	struct fs_orphans *o = fs->orphans;

	if (kv_clients(fs->kv) <= 1)
		return UINT32_MAX;
	if (now - o->lively_ns >= LIVELY_MS * UINT64_C(1000000))
		return FS_BOARD_LOOK_MS;
	return o->asked > 0 ? ASKED_MS : LIVELY_LOOK_MS;
}

uint32_t fs_orphan_tick(struct fs *fs)
{
	struct fs_orphans *o = fs->orphans;
	uint64_t now = kv_wall_ns(fs->kv);
	bool asked = false;

	if (fs->opts.check)
		return UINT32_MAX; /* it is on no board, and changes nothing */
	adopt_all(fs, now);
	if (kv_clients(fs->kv) <= 1) {
		destroy_all(fs, now);
		return UINT32_MAX;
	}
	(void)fs_board_answer(fs, &asked); /* else the next time */
	if (asked)
		o->lively_ns = now;
	if (o->asked > 0)
		hear(fs, now);
	if (o->asked == 0)
		ask(fs, now);
	return pause_ms(fs, now);
}

uint64_t fs_orphan_count(struct fs *fs)
{
	return atomic_load(&fs->orphans->destroyed);
}

bool fs_orphan_waits(struct fs *fs)
{
	struct fs_orphans *o = fs->orphans;
	uint64_t now = kv_wall_ns(fs->kv);
	struct watch *w;
	bool waits = false;

	pthread_mutex_lock(&o->lock);
	TAILQ_FOREACH (w, &o->watches, link)
		waits = waits || w->asked || is_due(fs, w, now);
	pthread_mutex_unlock(&o->lock);
	return waits;
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
