#include "fs/itable.h"
#include "fs/ops/ops.h"
#include "fs/timer.h"

#define WRITE_BYTES_MAX (1u << 20)
#define BACKGROUND_MAX	64u /* read-ahead and asynchronous I/O at once */

static void want(struct fuse_conn_info *conn, unsigned cap)
{
	conn->want |= conn->capable & cap;
}

static void refuse(struct fuse_conn_info *conn, unsigned cap)
{
	conn->want &= ~cap;
}

/* The kernel's offers, one by one. Not taken:
 * - AUTO_INVAL_DATA drops a file's pages when its mtime moves, also after our
 *   own writes; close-to-open is kept by open.c, which knows whose they were.
 * - SPLICE_*: our bytes are in memory; a pipe would only add system calls.
 * - EXPORT_SUPPORT: there is no lookup of "..".
 * - POSIX_ACL, POSIX_LOCKS, FLOCK_LOCKS: not served; the kernel keeps locks.
 * - DONT_MASK: the kernel applies the umask. */
void fs_op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	want(conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC |
			   FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
			   FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ASYNC_DIO |
			   FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_CACHE_SYMLINKS);
	refuse(conn, FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
			     FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			     FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_POSIX_ACL |
			     FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
			     FUSE_CAP_DONT_MASK | FUSE_CAP_WRITEBACK_CACHE);
	if (fs->opts.cache == FS_CACHE_WRITEBACK)
		want(conn, FUSE_CAP_WRITEBACK_CACHE);
	conn->max_write = WRITE_BYTES_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	conn->time_gran = 1;
	(void)fs_timer_start(fs); /* without it, see timer.h */
}

void fs_op_destroy(void *userdata)
{
	struct fs *fs = userdata;

	fs_timer_stop(fs->timer);
	fs_itable_settle_all(fs, 0);
}
