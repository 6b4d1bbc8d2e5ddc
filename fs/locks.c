#include "fs/locks.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fs/chunk.h"
#include "fs/fs_impl.h"
#include "fs/inode.h"

#define STRIPES 1024u /* two inodes meet in one seldom, and only wait then */

struct fs_locks {
	pthread_rwlock_t stripe[STRIPES];
	pthread_mutex_t record[STRIPES];
	pthread_rwlock_t chunk[STRIPES];
};

/* Who must wait for all others is not kept waiting by those who come later. */
static void lock_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

int fs_locks_new(struct fs_locks **out)
{
	struct fs_locks *locks = malloc(sizeof(*locks));

	if (locks == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < STRIPES; i++) {
		lock_init(&locks->stripe[i]);
		lock_init(&locks->chunk[i]);
		pthread_mutex_init(&locks->record[i], NULL);
	}
	*out = locks;
	return 0;
}

void fs_locks_free(struct fs_locks *locks)
{
	if (locks == NULL)
		return;
	for (unsigned i = 0; i < STRIPES; i++) {
		pthread_rwlock_destroy(&locks->stripe[i]);
		pthread_rwlock_destroy(&locks->chunk[i]);
		pthread_mutex_destroy(&locks->record[i]);
	}
	free(locks);
}

/* Numbers made one after the other lie in different stripes. */
static unsigned stripe_of(uint64_t ino)
{
	return (ino ^ ino >> 40) % STRIPES;
}

static pthread_rwlock_t *lock_of(struct fs *fs, uint64_t ino)
{
	return &fs->locks->stripe[stripe_of(ino)];
}

void fs_inode_lock(struct fs *fs, uint64_t ino, bool exclusive)
{
	if (exclusive)
		pthread_rwlock_wrlock(lock_of(fs, ino));
	else
		pthread_rwlock_rdlock(lock_of(fs, ino));
}

bool fs_inode_trylock(struct fs *fs, uint64_t ino)
{
	return pthread_rwlock_tryrdlock(lock_of(fs, ino)) == 0;
}

void fs_inode_unlock(struct fs *fs, uint64_t ino)
{
	pthread_rwlock_unlock(lock_of(fs, ino));
}

void fs_inode_lock2(struct fs *fs, uint64_t a, uint64_t b)
{
	unsigned sa = stripe_of(a), sb = stripe_of(b);

	fs_inode_lock(fs, sa <= sb ? a : b, true);
	if (sa != sb)
		fs_inode_lock(fs, sa <= sb ? b : a, true);
}

void fs_inode_unlock2(struct fs *fs, uint64_t a, uint64_t b)
{
	fs_inode_unlock(fs, a);
	if (stripe_of(a) != stripe_of(b))
		fs_inode_unlock(fs, b);
}

void fs_record_lock(struct fs *fs, uint64_t ino)
{
	pthread_mutex_lock(&fs->locks->record[stripe_of(ino)]);
}

void fs_record_unlock(struct fs *fs, uint64_t ino)
{
	pthread_mutex_unlock(&fs->locks->record[stripe_of(ino)]);
}

/* --- ranges --------------------------------------------------------------- */

/* A run of stripes that may go round: [from, from + n), then [0, wrapped).
 * Locked in the order of their numbers, whoever does it. */
struct run {
	unsigned from, n, wrapped;
};

static struct run run_of(uint64_t ino, uint64_t off, uint64_t size)
{
	uint64_t first = off / FS_CHUNK_BYTES;
	uint64_t n = (off + size - 1) / FS_CHUNK_BYTES - first + 1;
	struct run r = {.from = (ino * 31 + first) % STRIPES};

	if (n >= STRIPES)
		return (struct run){.from = 0, .n = STRIPES};
	r.n = n < STRIPES - r.from ? n : STRIPES - r.from;
	r.wrapped = n - r.n;
	return r;
}

static void lock_chunks(struct fs *fs, unsigned from, unsigned n,
			bool exclusive)
{
	for (unsigned i = from; i < from + n; i++)
		if (exclusive)
			pthread_rwlock_wrlock(&fs->locks->chunk[i]);
		else
			pthread_rwlock_rdlock(&fs->locks->chunk[i]);
}

static void unlock_chunks(struct fs *fs, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++)
		pthread_rwlock_unlock(&fs->locks->chunk[i]);
}

void fs_range_lock(struct fs *fs, uint64_t ino, uint64_t off, uint64_t size,
		   bool exclusive)
{
	struct run r = run_of(ino, off, size);

	lock_chunks(fs, 0, r.wrapped, exclusive);
	lock_chunks(fs, r.from, r.n, exclusive);
}

bool fs_range_trylock(struct fs *fs, uint64_t ino, uint64_t off)
{
	struct run r = run_of(ino, off, 1);

	return pthread_rwlock_trywrlock(&fs->locks->chunk[r.from]) == 0;
}

void fs_range_unlock(struct fs *fs, uint64_t ino, uint64_t off, uint64_t size)
{
	struct run r = run_of(ino, off, size);

	unlock_chunks(fs, 0, r.wrapped);
	unlock_chunks(fs, r.from, r.n);
}
