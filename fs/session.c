/* fs/session.c - three flags more in the answer to INIT. */
#include "fs/session.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/answers.h"
#include "fs/buffer.h"
#include "fs/door.h"
#include "fs/fs_impl.h"
#include "fs/intake.h"
#include "fs/ring.h"
#include "fs/ring_abi.h"
#include "fs/timer.h"
#include "fs/vacate.h"

/* Not in the headers of Linux 6.1: shared mmap of files that bypass the
 * kernel's cache. */
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ull << 36)
#endif

/* Beyond what libfuse knows or says; taken if the kernel offers it. */
#define WANTED                                                                 \
	(FUSE_HANDLE_KILLPRIV_V2 | FUSE_DIRECT_IO_ALLOW_MMAP |                 \
	 FUSE_PARALLEL_DIROPS)

#define PAYLOAD_MIN 8192u /* the kernel's FUSE_MIN_READ_BUFFER */

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

/* A thread of libfuse's loop has its buffer until it ends, and ends with the
 * loop. Who attached us may be the loop itself: then it frees its buffer, and
 * goes on. */
static ssize_t session_read(int fd, void *buf, size_t len, void *userdata)
{
	struct fs *fs = userdata;
	ssize_t rc;

	if (!pthread_equal(fs->attacher, pthread_self()))
		fs_buffer_of_requests(fs->buffers, buf, len);
	rc = fs_intake_read(fs, fd, buf, len);
	if (rc > 0 &&
	    atomic_load_explicit(&fs->init_state, memory_order_relaxed) ==
		    INIT_AWAITED)
		watch_request(fs, buf, rc);
	return rc;
}

/* The most bytes of one request or answer beside its first argument. */
static size_t payload_bytes(const struct fuse_init_out *out)
{
	size_t len = out->max_write, pages = out->max_pages;

	if (!(out->flags & FUSE_MAX_PAGES) || pages < 32)
		pages = 32;
	len = len < PAYLOAD_MIN ? PAYLOAD_MIN : len;
	return len < pages * 4096 ? pages * 4096 : len;
}

/* Before the answer to INIT says so: then it has to go. */
static bool open_ring(struct fs *fs, const struct fuse_init_out *out)
{
	struct ring_opts o = {
		.se = fs->se,
		.payload = payload_bytes(out),
		.entries = fs->opts.ring_entries,
		.far = fs->opts.far,
		.kv = fs->kv,
	};

	return o.entries != 0 && fs->init_offer & FUSE_OVER_IO_URING &&
	       ring_open(&o, &fs->ring) == 0;
}

/* The answer to INIT, with the flags. */
static ssize_t write_init(struct fs *fs, int fd, const struct iovec *iov)
{
	uint64_t take = fs->init_offer & WANTED;
	struct fuse_init_out out = {0};
	size_t len = iov[1].iov_len;
	struct iovec with[2] = {iov[0], {&out, len}};
	ssize_t rc;

	if (len > sizeof(out))
		return writev(fd, iov, 2);
	memcpy(&out, iov[1].iov_base, len);
	if (open_ring(fs, &out))
		take |= FUSE_OVER_IO_URING;
	out.flags |= (uint32_t)take;
	if (take >> 32 != 0) {
		out.flags |= FUSE_INIT_EXT;
		out.flags2 |= take >> 32;
	}
	rc = writev(fd, with, 2);
	if (rc >= 0 && fs->ring != NULL)
		ring_start(fs->ring);
	return rc;
}

static ssize_t bytes_of(const struct iovec *iov, int count)
{
	ssize_t len = 0;

	for (int i = 0; i < count; i++)
		len += (ssize_t)iov[i].iov_len;
	return len;
}

static ssize_t session_writev(int fd, struct iovec *iov, int count,
			      void *userdata)
{
	struct fs *fs = userdata;

	if (atomic_load_explicit(&fs->init_state, memory_order_acquire) !=
	    INIT_ASKED) {
		if (fs->ring != NULL && ring_reply(fs->ring, iov, count))
			return bytes_of(iov, count);
		if (fs_answers_take(fd, iov, count))
			return bytes_of(iov, count);
		return writev(fd, iov, count);
	}
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

static void close_door(struct fs *fs)
{
	door_close(fs->door);
	fs->door = NULL;
}

/* A thread that computes has a processor to itself. */
static uint32_t seats(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus > 2 ? ((uint32_t)cpus + 1) / 2 : 1;
}

int fs_session_attach(struct fs *fs, struct fuse_session *se)
{
	static const struct fuse_custom_io io = {
		.writev = session_writev,
		.read = session_read,
	};
	int rc = fs->opts.far ? 0 : door_open(seats(), &fs->door);

	if (rc != 0)
		return rc;
	fs->se = se;
	fs->attacher = pthread_self();
	kv_on_shut_out(fs->kv, shut_out, fs);
	rc = fuse_session_custom_io(se, &io, fuse_session_fd(se));
	if (rc != 0)
		close_door(fs);
	else
		fs_vacate_start(fs);
	return rc;
}

void fs_session_detach(struct fs *fs)
{
	fs_vacate_stop(fs);
	kv_on_shut_out(fs->kv, NULL, NULL);
	ring_close(fs->ring);
	fs->ring = NULL;
	close_door(fs);
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
