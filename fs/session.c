/* fs/session.c - three flags more in the answer to INIT. */
#include "fs/session.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/fs_impl.h"
#include "fs/timer.h"

/* Not in the headers of Linux 6.1: shared mmap of files that bypass the
 * kernel's cache. */
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ull << 36)
#endif

/* Beyond what libfuse knows or says; taken if the kernel offers it. */
#define WANTED                                                                 \
	(FUSE_HANDLE_KILLPRIV_V2 | FUSE_DIRECT_IO_ALLOW_MMAP |                 \
	 FUSE_PARALLEL_DIROPS)

/* Of struct fs.init_state: where INIT is. It comes first, and alone. */
enum { INIT_AWAITED, INIT_ASKED, INIT_OVER };

struct init_request {
	struct fuse_in_header head;
	struct fuse_init_in init;
};

/* A request came: if it is INIT, note what it offers. */
static void watch_request(struct fs *fs, const void *buf, size_t len)
{
	struct init_request r = {0};

	memcpy(&r, buf, len < sizeof(r) ? len : sizeof(r));
	if (len < sizeof(r.head) || r.head.opcode != FUSE_INIT)
		return;
	fs->init_offer = r.init.flags;
	if (r.init.flags & FUSE_INIT_EXT)
		fs->init_offer |= (uint64_t)r.init.flags2 << 32;
	atomic_store(&fs->init_state, INIT_ASKED);
}

static ssize_t session_read(int fd, void *buf, size_t len, void *userdata)
{
	struct fs *fs = userdata;
	ssize_t rc = read(fd, buf, len);

	if (rc > 0 &&
	    atomic_load_explicit(&fs->init_state, memory_order_relaxed) ==
		    INIT_AWAITED)
		watch_request(fs, buf, rc);
	return rc;
}

/* The answer to INIT, with the flags. */
static ssize_t write_init(const struct fs *fs, int fd, const struct iovec *iov)
{
	uint64_t take = fs->init_offer & WANTED;
	struct fuse_init_out out = {0};
	size_t len = iov[1].iov_len;
	struct iovec with[2] = {iov[0], {&out, len}};

	if (len > sizeof(out))
		return writev(fd, iov, 2);
	memcpy(&out, iov[1].iov_base, len);
	out.flags |= (uint32_t)take;
	if (take >> 32 != 0) {
		out.flags |= FUSE_INIT_EXT;
		out.flags2 |= take >> 32;
	}
	return writev(fd, with, 2);
}

static ssize_t session_writev(int fd, struct iovec *iov, int count,
			      void *userdata)
{
	struct fs *fs = userdata;

	if (atomic_load_explicit(&fs->init_state, memory_order_relaxed) !=
	    INIT_ASKED)
		return writev(fd, iov, count);
	/* INIT is answered before anything else is asked. An error has no
	 * second part. */
	atomic_store(&fs->init_state, INIT_OVER);
	return count == 2 ? write_init(fs, fd, iov) : writev(fd, iov, count);
}

static void shut_out(void *arg)
{
	struct fs *fs = arg;

	fs_timer_forget(fs->timer);
}

int fs_session_attach(struct fs *fs, struct fuse_session *se)
{
	static const struct fuse_custom_io io = {
		.writev = session_writev,
		.read = session_read,
	};

	fs->se = se;
	kv_on_shut_out(fs->kv, shut_out, fs);
	return fuse_session_custom_io(se, &io, fuse_session_fd(se));
}

void fs_session_detach(struct fs *fs)
{
	kv_on_shut_out(fs->kv, NULL, NULL);
	fs_timer_stop(fs->timer);
	fs->se = NULL;
}

void fs_session_doubt_attr(struct fs *fs, uint64_t ino)
{
	if (fs->se != NULL) /* -ENOENT: the kernel does not hold it */
		(void)fuse_lowlevel_notify_inval_inode(fs->se, ino, -1, 0);
}

void fs_session_doubt_pages(struct fs *fs, uint64_t ino)
{
	if (fs->se != NULL)
		(void)fuse_lowlevel_notify_inval_inode(fs->se, ino, 0, 0);
}
