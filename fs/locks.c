#include "fs/locks.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fs/fs_impl.h"
#include "fs/inode.h"

#define STRIPES 1024u /* two inodes meet in one seldom, and only wait then */

struct fs_locks {
	pthread_rwlock_t stripe[STRIPES];
};

int fs_locks_new(struct fs_locks **out)
{
	struct fs_locks *locks = malloc(sizeof(*locks));

	if (locks == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_init(&locks->stripe[i], NULL);
	*out = locks;
	return 0;
}

void fs_locks_free(struct fs_locks *locks)
{
	if (locks == NULL)
		return;
	for (unsigned i = 0; i < STRIPES; i++)
		pthread_rwlock_destroy(&locks->stripe[i]);
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
