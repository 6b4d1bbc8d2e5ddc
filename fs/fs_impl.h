/* fs/fs_impl.h - private to fs/: what the files of this room share. */
#ifndef ACESO_FS_FS_IMPL_H
#define ACESO_FS_FS_IMPL_H
#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>

#include "fs/fs.h"
#include "kv/kv.h"

struct door;
struct fs_board;
struct fs_buffers;
struct fs_itable;
struct fs_locks;
struct fs_orphans;
struct fs_returns;
struct fs_timer;
struct ring;

struct fs {
	struct kv *kv;
	struct fs_opts opts;
	struct fs_itable *itable;   /* inodes the kernel holds here */
	struct fs_locks *locks;	    /* in-process inode locks, striped */
	struct fs_orphans *orphans; /* that this mount made */
	struct fs_board *board;	    /* the other mounts */
	struct fs_returns *returns; /* what the dead left */
	struct fs_buffers *buffers; /* of its threads */
	struct fs_timer *timer;	    /* settles times, looks after orphans */
	_Atomic bool vacate_stop;   /* vacate.h: it is to end */
	uint64_t name_seed;	    /* for name hashes; from the superblock */
	_Atomic uint64_t ino_next;  /* the next inode number of this mount */
	struct fuse_session *se;    /* NULL: none is attached */
	pthread_t attacher;	    /* session.c: who attached it */
	_Atomic int init_state;	    /* session.c: where INIT is */
	uint64_t init_offer;	    /* likewise: flags the kernel offers */
	struct door *door;	    /* NULL: whoever wants a request waits */
	struct ring *ring;	    /* NULL: requests come by /dev/fuse */
};

/* A change that lost this often to other mounts gives up with -EBUSY. */
#define FS_RETRIES_MAX 1000

/* The struct fs behind a request. */
static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
#endif
