#include "fs/itable.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "fs/fs_impl.h"
#include "fs/inode.h"
#include "fs/timer.h"

#define STRIPES	    64u
#define BUCKETS_MIN 16u

struct entry {
	LIST_ENTRY(entry) chain;
	TAILQ_ENTRY(entry) dirty; /* if pending != 0 */
	uint64_t ino;
	uint64_t holds;	      /* replies the kernel has not forgotten */
	uint32_t opens;	      /* handles on this mount, and some to be: */
	uint32_t firm;	      /* of them: confirmed */
	uint32_t pending_seq; /* counts touches; never 0 after the first */
	unsigned pending;     /* FS_TOUCH_* */
	int64_t atime_ns, mtime_ns, ctime_ns;
	uint64_t dirty_since;  /* wall clock, ns */
	uint64_t touched;      /* likewise: the last time */
	uint64_t seen_version; /* see fs_itable_unchanged() */
	struct stat *ghost;
};

LIST_HEAD(chain, entry);
TAILQ_HEAD(dirty, entry);

struct stripe {
	pthread_mutex_t lock;
	struct chain *bucket;
	size_t buckets, entries;
	struct dirty dirty; /* oldest first */
};

struct fs_itable {
	struct stripe stripe[STRIPES];
};

/* --- entries
 * ------------------------------------------------------------------ */

static uint64_t mix(uint64_t ino)
{
	return (ino ^ ino >> 32) * 0x9e3779b97f4a7c15u;
}

static struct stripe *stripe_of(struct fs *fs, uint64_t ino)
{
	return &fs->itable->stripe[mix(ino) >> 58];
}
_Static_assert(STRIPES == 1u << (64 - 58), "the top bits choose the stripe");

static struct chain *chain_of(struct stripe *s, uint64_t ino)
{
	return &s->bucket[(mix(ino) >> 20) % s->buckets];
}

/* The stripe of @ino, locked. */
static struct stripe *enter(struct fs *fs, uint64_t ino)
{
	struct stripe *s = stripe_of(fs, ino);

	pthread_mutex_lock(&s->lock);
	return s;
}

static void leave(struct stripe *s)
{
	pthread_mutex_unlock(&s->lock);
}

static struct entry *find(struct stripe *s, uint64_t ino)
{
	struct entry *e;

	LIST_FOREACH (e, chain_of(s, ino), chain)
		if (e->ino == ino)
			return e;
	return NULL;
}

/* Twice the buckets; without memory the chains just stay long. */
static void grow(struct stripe *s)
{
	size_t n = s->buckets;
	struct chain *old = s->bucket;
	struct chain *more = calloc(n * 2, sizeof(*more));

	if (more == NULL)
		return;
	s->bucket = more;
	s->buckets = n * 2;
	for (size_t i = 0; i < n; i++) {
		struct entry *e;

		while ((e = LIST_FIRST(&old[i])) != NULL) {
			LIST_REMOVE(e, chain);
			LIST_INSERT_HEAD(chain_of(s, e->ino), e, chain);
		}
	}
	free(old);
}

static struct entry *find_or_make(struct stripe *s, uint64_t ino)
{
	struct entry *e = find(s, ino);

	if (e != NULL)
		return e;
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return NULL;
	e->ino = ino;
	if (++s->entries > s->buckets)
		grow(s);
	LIST_INSERT_HEAD(chain_of(s, ino), e, chain);
	return e;
}

static void clean(struct stripe *s, struct entry *e)
{
	if (e->pending == 0)
		return;
	e->pending = 0;
	TAILQ_REMOVE(&s->dirty, e, dirty);
}

static void drop(struct stripe *s, struct entry *e)
{
	clean(s, e);
	LIST_REMOVE(e, chain);
	s->entries--;
	free(e->ghost);
	free(e);
}

/* An entry that nothing speaks for any more goes. */
static void drop_if_idle(struct stripe *s, struct entry *e)
{
	if (e->holds == 0 && e->opens == 0 && e->pending == 0)
		drop(s, e);
}

/* --- the table
 * ------------------------------------------------------------------ */

static int stripe_init(struct stripe *s)
{
	s->bucket = calloc(BUCKETS_MIN, sizeof(*s->bucket));
	if (s->bucket == NULL)
		return -ENOMEM;
	s->buckets = BUCKETS_MIN;
	pthread_mutex_init(&s->lock, NULL);
	TAILQ_INIT(&s->dirty);
	return 0;
}

static void stripe_fini(struct stripe *s)
{
	for (size_t i = 0; i < s->buckets; i++)
		while (!LIST_EMPTY(&s->bucket[i]))
			drop(s, LIST_FIRST(&s->bucket[i]));
	free(s->bucket);
	pthread_mutex_destroy(&s->lock);
}

int fs_itable_new(struct fs_itable **out)
{
	struct fs_itable *t = calloc(1, sizeof(*t));
	unsigned i;

	if (t == NULL)
		return -ENOMEM;
	for (i = 0; i < STRIPES; i++)
		if (stripe_init(&t->stripe[i]) != 0)
			goto err_fini_stripes;
	*out = t;
	return 0;

err_fini_stripes:
	while (i > 0)
		stripe_fini(&t->stripe[--i]);
	free(t);
	return -ENOMEM;
}

void fs_itable_free(struct fs_itable *t)
{
	if (t == NULL)
		return;
	for (unsigned i = 0; i < STRIPES; i++)
		stripe_fini(&t->stripe[i]);
	free(t);
}

/* --- holds and opens
 * --------------------------------------------------------------- */

int fs_itable_hold(struct fs *fs, uint64_t ino)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find_or_make(s, ino);

	if (e != NULL)
		e->holds++;
	leave(s);
	return e == NULL ? -ENOMEM : 0;
}

void fs_itable_forget(struct fs *fs, uint64_t ino, uint64_t n)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find(s, ino);
	bool settle = false;

	if (e != NULL) {
		e->holds -= n < e->holds ? n : e->holds;
		settle = e->holds == 0 && e->pending != 0;
		drop_if_idle(s, e);
	}
	leave(s);
	if (settle)
		(void)fs_itable_settle(fs, ino); /* else the timer tries */
}

int fs_itable_opened(struct fs *fs, uint64_t ino)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find_or_make(s, ino);

	if (e != NULL)
		e->opens++;
	leave(s);
	return e == NULL ? -ENOMEM : 0;
}

int fs_itable_confirm(struct fs *fs, uint64_t ino, bool named)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find(s, ino);
	int err = -ESTALE;

	if (e != NULL && (named || e->firm > 0)) {
		e->firm++;
		err = 0;
	} else if (e != NULL) {
		e->opens--;
		drop_if_idle(s, e);
	}
	leave(s);
	return err;
}

unsigned fs_itable_released(struct fs *fs, uint64_t ino)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find(s, ino);
	unsigned left = 0;

	if (e != NULL && e->opens > 0) {
		left = --e->opens;
		e->firm -= e->firm > 0;
		drop_if_idle(s, e);
	}
	leave(s);
	return left;
}

unsigned fs_itable_opens(struct fs *fs, uint64_t ino)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find(s, ino);
	unsigned n = e == NULL ? 0 : e->opens;

	leave(s);
	return n;
}

/* The open inodes of a stripe, in a list that the caller frees. */
static uint64_t *list_open(struct stripe *s, size_t *n)
{
	uint64_t *ino;
	struct entry *e;

	*n = 0;
	pthread_mutex_lock(&s->lock);
	ino = malloc((s->entries + 1) * sizeof(*ino));
	for (size_t i = 0; ino != NULL && i < s->buckets; i++)
		LIST_FOREACH (e, &s->bucket[i], chain)
			if (e->opens > 0)
				ino[(*n)++] = e->ino;
	pthread_mutex_unlock(&s->lock);
	return ino;
}

void fs_itable_each_open(struct fs *fs, void (*each)(struct fs *, uint64_t ino))
{
	for (unsigned i = 0; i < STRIPES; i++) {
		size_t n;
		uint64_t *ino = list_open(&fs->itable->stripe[i], &n);

		for (size_t j = 0; j < n; j++)
			each(fs, ino[j]);
		free(ino);
	}
}

/* --- pending times
 * -------------------------------------------------------------------- */

static void touch(struct stripe *s, struct entry *e, unsigned what, int64_t now)
{
	if (e->pending == 0) {
		e->dirty_since = now;
		TAILQ_INSERT_TAIL(&s->dirty, e, dirty);
	}
	e->pending |= what;
	e->touched = now;
	if (++e->pending_seq == 0)
		e->pending_seq = 1;
	if ((what & FS_TOUCH_ATIME) != 0)
		e->atime_ns = now;
	if ((what & FS_TOUCH_MTIME) != 0)
		e->mtime_ns = now;
	if ((what & FS_TOUCH_CTIME) != 0)
		e->ctime_ns = now;
}

void fs_itable_touch(struct fs *fs, uint64_t ino, unsigned what)
{
	int64_t now = kv_wall_ns(fs->kv);
	struct stripe *s = enter(fs, ino);
	struct entry *e = find_or_make(s, ino);
	bool first = false;

	if (e != NULL) {
		first = TAILQ_EMPTY(&s->dirty);
		touch(s, e, what, now);
	}
	leave(s);
	if (first)
		fs_timer_wake(fs->timer);
}

void fs_itable_merge(struct fs *fs, struct fs_inode *in)
{
	struct stripe *s = enter(fs, in->ino);
	const struct entry *e = find(s, in->ino);

	in->pending_seq = 0;
	if (e != NULL && e->pending != 0) {
		in->pending_seq = e->pending_seq;
		if ((e->pending & FS_TOUCH_ATIME) != 0)
			in->atime_ns = e->atime_ns;
		if ((e->pending & FS_TOUCH_MTIME) != 0)
			in->mtime_ns = e->mtime_ns;
		if ((e->pending & FS_TOUCH_CTIME) != 0)
			in->ctime_ns = e->ctime_ns;
	}
	leave(s);
}

/* What @seq stands for is stored. What came after it waits its own time: else
 * a file that is always written would be settled without a pause. */
static void settled(struct stripe *s, struct entry *e, uint32_t seq)
{
	if (e->pending_seq == seq) {
		clean(s, e);
	} else if (e->pending != 0) {
		e->dirty_since = e->touched;
		TAILQ_REMOVE(&s->dirty, e, dirty);
		TAILQ_INSERT_TAIL(&s->dirty, e, dirty);
	}
}

void fs_itable_settled(struct fs *fs, const struct fs_inode *in,
		       uint64_t old_version)
{
	struct stripe *s = enter(fs, in->ino);
	struct entry *e = find(s, in->ino);

	if (e != NULL) {
		if (e->seen_version == old_version)
			e->seen_version = in->version;
		if (in->pending_seq != 0)
			settled(s, e, in->pending_seq);
		drop_if_idle(s, e);
	}
	leave(s);
}

void fs_itable_gone(struct fs *fs, uint64_t ino)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find(s, ino);

	if (e != NULL) {
		clean(s, e);
		drop_if_idle(s, e);
	}
	leave(s);
}

/* Store it only if loading merged something. */
static int has_pending(struct fs_inode *in, void *arg)
{
	return in->pending_seq != 0 ? 0 : 1;
}

static bool is_pending(struct fs *fs, uint64_t ino)
{
	struct stripe *s = enter(fs, ino);
	const struct entry *e = find(s, ino);
	bool pending = e != NULL && e->pending != 0;

	leave(s);
	return pending;
}

int fs_itable_settle(struct fs *fs, uint64_t ino)
{
	int err;

	if (!is_pending(fs, ino))
		return 0;
	err = fs_inode_update(fs, ino, has_pending, NULL, NULL);
	if (err != -ENOENT)
		return err;
	fs_itable_gone(fs, ino); /* it is gone, and its times with it */
	return 0;
}

/* The oldest pending inode of a stripe, if it is old enough; else 0. */
static uint64_t oldest(struct stripe *s, uint64_t before, bool *remain)
{
	const struct entry *e;
	uint64_t ino = 0;

	pthread_mutex_lock(&s->lock);
	e = TAILQ_FIRST(&s->dirty);
	if (e != NULL && e->dirty_since <= before)
		ino = e->ino;
	else if (e != NULL)
		*remain = true;
	pthread_mutex_unlock(&s->lock);
	return ino;
}

bool fs_itable_settle_all(struct fs *fs, uint32_t older_than_ms)
{
	uint64_t before = kv_wall_ns(fs->kv) - older_than_ms * 1000000ull;
	bool remain = false;

	for (unsigned i = 0; i < STRIPES; i++) {
		struct stripe *s = &fs->itable->stripe[i];
		uint64_t ino;

		while ((ino = oldest(s, before, &remain)) != 0)
			if (fs_itable_settle(fs, ino) != 0) {
				remain = true; /* next time */
				break;
			}
	}
	return remain;
}

/* --- what the kernel may keep
 * ----------------------------------------------------------- */

bool fs_itable_unchanged(struct fs *fs, const struct fs_inode *in)
{
	struct stripe *s = enter(fs, in->ino);
	struct entry *e = find(s, in->ino);
	bool same = false;

	if (e != NULL) {
		same = e->seen_version == in->version;
		e->seen_version = in->version;
	}
	leave(s);
	return same;
}

void fs_itable_ghost_set(struct fs *fs, uint64_t ino, const struct stat *st)
{
	struct stripe *s = enter(fs, ino);
	struct entry *e = find(s, ino);

	if (e != NULL && e->holds > 0) {
		if (e->ghost == NULL)
			e->ghost = malloc(sizeof(*e->ghost));
		if (e->ghost != NULL)
			*e->ghost = *st;
	}
	leave(s);
}

bool fs_itable_ghost_get(struct fs *fs, uint64_t ino, struct stat *st)
{
	struct stripe *s = enter(fs, ino);
	const struct entry *e = find(s, ino);
	bool found = e != NULL && e->ghost != NULL;

	if (found)
		*st = *e->ghost;
	leave(s);
	return found;
}
