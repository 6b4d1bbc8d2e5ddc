/* mount-helper/aceso-fuse.c - mount: options -> pool -> store -> file system ->
 * FUSE loop, and all of it back again. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fs.h"
#include "fs/key.h"
#include "fs/session.h"
#include "kv/kv.h"
#include "mount-helper/conf.h"
#include "mount-helper/daemon.h"
#include "mount-helper/exitcode.h"
#include "mount-helper/leave.h"
#include "mount-helper/mnt.h"
#include "mount-helper/pool.h"
#include "mount-helper/pool_hosts.h"
#include "mount-helper/program.h"
#include "mount-helper/say.h"
#include "mount-helper/size.h"
#include "mount-helper/start.h"
#include "mount-helper/tell.h"

/* Many more than cpus: while a shard is being rebuilt, requests that wait for
 * it must not keep others from going on. libfuse starts them when needed. */
#define THREADS_PER_CPU 4u
#define THREADS_MIN	32u
struct mount {
	struct conf conf;
	char *dir; /* absolute */
	bool named;
	struct pool_place place;
	struct daemon_link link;
	struct kv *kv;
	struct fs *fs;
	struct fuse_session *se;
	struct leave *leave;
	struct tell *tell;
	char error[CONF_ERROR_BYTES_MAX];
};

/* clang-format off */
static const char help[] =
"usage: aceso-fuse [-fdsVh] [-o OPTION,...] [POOL] DIR\n"
"Mount a file system kept in the memory of several nodes at DIR. Without a\n"
"pool, one of five memory-node processes is made on this host.\n"
"\n"
"  -f  stay in the foreground     -d  debug output (and -f)\n"
"  -s  single-threaded            -V  version        -h, --help  this text\n"
"\n"
"of a new pool:\n"
"  size=SIZE       bytes for users: 512m, 4g; 50% of free memory for the pool\n"
"                  (the default)\n"
"  code=K+M        K data and M parity blocks: M nodes may die (3+2)\n"
"  nodes=N         memory nodes (K + M)\n"
"  pool-dir=DIR    keep it on disk too: the same line mounts it again\n"
"  backing=MODE    file: blocks are files in pool-dir; memory: no pool-dir\n"
"  durable_ms=MS   make it durable so often, when something changed (5000)\n"
"  ckpt_ms=N       least time between checkpoints of the index (500)\n"
"  respawn=YESNO   nodes that die are replaced (yes)\n"
"  rebuild_rate=SIZE  bytes a second that a new node reads at most (0: any)\n"
"  readers=GROUP   its members may look at all keys (none)\n"
"  uid=UID gid=GID mode=MODE              its root directory\n"
"of any:\n"
"  sync=MODE       memory: written is in k+m memories; persist: fsync waits\n"
"                  until it is in the pool's directory\n"
"  pool=NAME       join that pool, or make it (a name made of DIR)\n"
"  cache=MODE      auto, none, or writeback (one mount only)\n"
"  attr_timeout=S  entry_timeout=S  negative_timeout=S   what the kernel keeps\n"
"  op_timeout=S    no operation takes longer (30)\n"
"  cache_size=SIZE memory for addresses and values (64m)\n"
"  lanes=N max_threads=N noclone_fd       how parallel it is\n"
"  noio_uring      requests by /dev/fuse, also where the kernel offers io_uring\n"
"  noallow_other   other users may not use it (default when not root)\n"
"  allow_other     they may (default as root)\n"
"  ro nosuid nodev noexec noatime suid dev fsname=NAME  as mount(8) has them\n"
"\n"
"Unmount with umount DIR. More: man aceso-fuse; aceso status.\n";
/* clang-format on */

static void version(void)
{
	printf("aceso-fuse %s\nlibfuse %s\n", ACESO_VERSION, fuse_pkgversion());
}

/* --- the session ---------------------------------------------------- */

/* argv for libfuse: what conf let through, and what is always on. */
static int session_args(struct mount *m, struct fuse_args *args)
{
	const struct conf *c = &m->conf;
	char name[CONF_POOL_BYTES_MAX + 16];
	int rc;

	snprintf(name, sizeof(name), "fsname=%s", m->place.name);
	rc = fuse_opt_add_arg(args, "aceso-fuse");
	rc |= fuse_opt_add_arg(args, "-odefault_permissions");
	if (c->mount[0] != '\0') {
		rc |= fuse_opt_add_arg(args, "-o");
		rc |= fuse_opt_add_arg(args, c->mount);
	}
	if (!c->has_fsname)
		rc |= fuse_opt_add_arg(args, "-o") |
		      fuse_opt_add_arg(args, name);
	if (!c->has_subtype)
		rc |= fuse_opt_add_arg(args, "-osubtype=aceso");
	if (c->allow_other)
		rc |= fuse_opt_add_arg(args, "-oallow_other");
	if (kv_is_read_only(m->kv))
		rc |= fuse_opt_add_arg(args, "-oro");
	if (c->debug)
		rc |= fuse_opt_add_arg(args, "-d");
	return rc != 0 ? -ENOMEM : 0;
}

/* libfuse speaks in several lines and without advice; ours is one. */
static void explain_mount(struct mount *m)
{
	const char *last = say_fuse_last();
	const char *advice =
		geteuid() == 0 ? "in a container, give it --cap-add SYS_ADMIN"
			       : "run as root, or see that fusermount3 is "
				 "installed set-uid and "
				 "that you may write to the directory";

	snprintf(m->error, sizeof(m->error), "%s: cannot be mounted (%s): %s",
		 m->dir, *last != '\0' ? last : "see above", advice);
}

static int open_session(struct mount *m)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int rc = session_args(m, &args);

	say_fuse(true);
	if (rc == 0)
		m->se = fuse_session_new(&args, fs_ops(), sizeof(*fs_ops()),
					 m->fs);
	fuse_opt_free_args(&args);
	if (m->se == NULL) {
		snprintf(m->error, sizeof(m->error), "libfuse refuses: %s",
			 say_fuse_last());
		return rc != 0 ? rc : -EINVAL;
	}
	if (fuse_set_signal_handlers(m->se) != 0)
		goto err;
	if (fuse_session_mount(m->se, m->dir) != 0) {
		explain_mount(m);
		goto err_signals;
	}
	(void)fs_session_attach(m->fs, m->se); /* works without, but slower */
	say_fuse(false);
	return 0;

err_signals:
	fuse_remove_signal_handlers(m->se);
err:
	fuse_session_destroy(m->se);
	m->se = NULL;
	return -EPERM;
}

static void close_session(struct mount *m)
{
	leave_close(m->leave);
	kv_leaving(m->kv);
	fs_session_detach(m->fs);
	fuse_session_unmount(m->se);
	fuse_remove_signal_handlers(m->se);
	fuse_session_destroy(m->se);
	m->se = NULL;
}

static uint32_t threads(const struct conf *c)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t n = cpus > 0 ? (uint32_t)cpus * THREADS_PER_CPU : THREADS_MIN;

	if (c->max_threads != 0)
		return c->max_threads;
	n = n < THREADS_MIN ? THREADS_MIN : n;
	return n > CONF_THREADS_MAX ? CONF_THREADS_MAX : n;
}

/* Requests by io_uring come to each CPU's own: together they are as many. */
static uint32_t ring_entries(const struct conf *c)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t n = cpus > 0 ? threads(c) / (uint32_t)cpus : threads(c);

	if (!c->io_uring || c->single_threaded)
		return 0;
	return n > 0 ? n : 1;
}

/* Returns 0 after an unmount or a signal. */
static int loop(struct mount *m)
{
	struct fuse_loop_config *cfg;
	uint32_t max = threads(&m->conf);
	int rc;

	if (m->conf.single_threaded)
		return fuse_session_loop(m->se) < 0 ? -EIO : 0;
	cfg = fuse_loop_cfg_create();
	if (cfg == NULL)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(cfg, m->conf.clone_fd);
	fuse_loop_cfg_set_max_threads(cfg, max);
	/* none ends before the loop does: fs/session.c counts on that */
	fuse_loop_cfg_set_idle_threads(cfg, max);
	rc = fuse_session_loop_mt(m->se, cfg);
	fuse_loop_cfg_destroy(cfg);
	return rc < 0 ? -EIO : 0;
}

/* --- pool, store, file system --------------------------------------- */

/* Signals are for the main thread: those started meanwhile have them blocked.
 */
static void block_signals(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

static int check_persist(struct mount *m)
{
	if (!m->conf.fs.persist || kv_is_persistent(m->kv))
		return 0;
	snprintf(m->error, sizeof(m->error),
		 "sync=persist: pool %s has no directory to persist in: say "
		 "pool-dir=DIR where it is made, or leave sync=persist out",
		 m->place.name);
	return -EINVAL;
}

/* Nothing says of what kind the pool is to be, but its name, and that there is
 * no file for it. */
static bool is_by_name_alone(const struct mount *m)
{
	return m->named && !m->conf.pool.shaped && m->conf.pool.dir[0] == '\0';
}

static void say_it_is_new(const struct mount *m)
{
	char path[POOLCONF_PATH_BYTES];

	if (poolconf_path(m->place.name, path) == 0)
		say_info("pool %s is made on this host: one over several hosts "
			 "would have its file, %s",
			 m->place.name, path);
}

static void say_what_was_joined(const struct mount *m, const struct start *s)
{
	if (!s->made && m->conf.pool.dir[0] != '\0' && !kv_is_persistent(m->kv))
		say_err("pool %s was made without a directory: nothing of it "
			"is kept in %s",
			m->place.name, m->conf.pool.dir);
	if (s->made && is_by_name_alone(m))
		say_it_is_new(m);
	if (s->made && m->conf.pool.readers != 0 && geteuid() != 0)
		say_err("pool %s has no readers: readers= is for root's pools, "
			"as nobody else could end a reader that is late",
			m->place.name);
	if (!s->made && m->conf.pool.shaped)
		say_info("pool %s is there already: its size, code and nodes "
			 "stay as they are",
			 m->place.name);
}

/* A format: of the pool's name, then the error's. */
static const char *why_no_fs(int rc)
{
	switch (rc) {
	case -EPROTO:
		return "pool %s holds a file system of another version: use "
		       "that version, or another pool";
	case -ENOENT: /* nor may a reader make it */
		return "pool %s holds no file system yet: mount it on a host "
		       "that has the pool's own key first";
	default:
		return "the file system in pool %s cannot be opened: %s";
	}
}

static int open_fs(struct mount *m)
{
	int rc;

	/* A reader's key: there is nothing that it could tidy up. */
	m->conf.fs.check = kv_is_read_only(m->kv);
	m->conf.fs.far = m->place.hosts;
	m->conf.fs.ring_entries = ring_entries(&m->conf);
	rc = fs_open(m->kv, &m->conf.fs, &m->fs);
	if (rc < 0)
		snprintf(m->error, sizeof(m->error), why_no_fs(rc),
			 m->place.name, strerror(-rc));
	return rc;
}

static int open_once(struct mount *m, struct start *s)
{
	int rc = start_pool(s, &m->kv);

	if (rc < 0)
		return rc;
	say_what_was_joined(m, s);
	rc = check_persist(m);
	if (rc == 0)
		rc = open_fs(m);
	if (rc < 0) {
		kv_close(m->kv);
		m->kv = NULL;
	}
	return rc;
}

static int open_store(struct mount *m)
{
	struct start s = {.place = &m->place,
			  .pool = &m->conf.pool,
			  .kv = &m->conf.kv,
			  .named = m->named,
			  .boot = m->conf.netdev,
			  .foreground = m->conf.foreground,
			  .error = m->error,
			  .cap = sizeof(m->error)};
	int rc;

	m->conf.kv.movable = fs_key_movable;
	do
		rc = open_once(m, &s);
	while (rc < 0 && start_again(&s, rc));
	return rc;
}

static void close_store(struct mount *m)
{
	if (fs_close(m->fs) != 0)
		say_err("%s: not all that was changed last could be written: "
			"see 'aceso status'",
			m->dir);
	kv_close(m->kv);
}

/* The pool's directory on this host is of its mounts alone. */
static bool is_elsewhere(const struct mount *m)
{
	return m->place.hosts || m->place.looked_at;
}

/* The last mount to leave may just be taking the directory away. */
static int open_tell(struct mount *m)
{
	int rc = -ENOENT;

	if (!is_elsewhere(m))
		return tell_open(&m->place, m->dir, m->kv, &m->tell);
	for (int i = 0; i < 10 && rc == -ENOENT; i++) {
		rc = pool_hosts_enter(&m->place);
		if (rc == 0)
			rc = tell_open(&m->place, m->dir, m->kv, &m->tell);
	}
	return rc;
}

static int serve(struct mount *m)
{
	sigset_t old;
	int rc;

	block_signals(&old);
	rc = open_store(m);
	if (rc < 0)
		return rc;
	rc = open_session(m);
	if (rc < 0)
		goto out_store;
	rc = open_tell(m);
	if (rc < 0) {
		snprintf(m->error, sizeof(m->error), "%s cannot be written: %s",
			 m->place.dir, strerror(-rc));
		goto out_session;
	}
	(void)leave_watch(m->se, m->kv, &m->leave); /* works without */
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	rc = daemon_ready(&m->link);
	if (rc == 0)
		rc = loop(m);
	if (rc < 0)
		snprintf(m->error, sizeof(m->error), "%s: %s", m->dir,
			 rc == -ECANCELED ? "given up, as its caller was killed"
					  : "the connection to the kernel "
					    "broke");
	tell_close(m->tell);
	if (is_elsewhere(m))
		pool_hosts_leave(&m->place);
out_session:
	close_session(m);
out_store:
	close_store(m);
	return rc;
}

/* --- main ----------------------------------------------------------- */

static int exit_code(int rc)
{
	switch (rc) {
	case 0:
		return EXIT_OK;
	case -ENOMEM:
	case -ENODEV:
	case -EIO:
		return EXIT_SYS;
	case -EACCES:
	case -EINVAL:
		return EXIT_USAGE;
	default:
		return EXIT_MOUNT;
	}
}

/* A pool of this host comes before one that has a file. */
static bool is_of_hosts(const struct mount *m)
{
	return m->named && poolconf_exists(m->place.name) &&
	       pool_supervisor(&m->place) == 0;
}

/* A pool of this host needs no network: who waits for it means one over
 * several, whose file was not copied here. */
static bool lacks_its_file(const struct mount *m)
{
	return m->conf.netdev && is_by_name_alone(m) && !m->place.looked_at &&
	       pool_supervisor(&m->place) == 0;
}

/* All that can be refused without starting anything. */
static int check(struct mount *m)
{
	struct conf_pool *p = &m->conf.pool;
	int rc;

	rc = mnt_check(m->conf.dir, &m->dir, m->error, sizeof(m->error));
	if (rc < 0)
		return rc;
	rc = mnt_check_fuse(m->error, sizeof(m->error));
	if (rc == 0 && m->conf.allow_other)
		rc = mnt_check_allow_other(m->error, sizeof(m->error));
	if (rc < 0)
		return rc;
	m->named = p->name[0] != '\0';
	if (!m->named)
		conf_name_of(m->dir, p->name);
	rc = pool_place(p->name, &m->place);
	if (rc < 0)
		snprintf(m->error, sizeof(m->error),
			 "no place for pool %s: "
			 "set ACESO_RUNTIME_DIR to a short path",
			 p->name);
	if (rc == 0 && is_of_hosts(m))
		rc = pool_hosts(&m->place, m->error);
	else if (rc == 0 && m->named)
		pool_look(&m->place);
	if (rc == 0 && !m->place.hosts && lacks_its_file(m))
		rc = pool_hosts(&m->place, m->error);
	return rc;
}

static int run(struct mount *m)
{
	struct stat st;
	int rc;

	rc = check(m);
	if (rc == 0 && !m->conf.foreground) {
		if (stat(m->dir, &st) < 0)
			st.st_dev = 0;
		rc = daemon_start(m->dir, st.st_dev, &m->link);
		if (rc < 0)
			snprintf(m->error, sizeof(m->error),
				 "cannot go to the background: %s",
				 strerror(-rc));
	}
	if (rc == 0) {
		program_raise_files();
		rc = serve(m);
	}
	if (rc < 0)
		say_err("%s", m->error);
	free(m->dir);
	return exit_code(rc);
}

int main(int argc, char **argv)
{
	static struct mount m = {.link.fd = -1};
	int code;

	program_open_std();
	say_init("aceso-fuse");
	if (conf_apply_vars(m.error) < 0) {
		say_err("%s", m.error);
		return EXIT_USAGE;
	}
	if (conf_read(&m.conf, argc, argv) < 0) {
		say_err("%s", m.conf.error);
		conf_free(&m.conf);
		return EXIT_USAGE;
	}
	if (m.conf.help || m.conf.version) {
		if (m.conf.help)
			fputs(help, stdout);
		else
			version();
		conf_free(&m.conf);
		return EXIT_OK;
	}
	code = run(&m);
	conf_free(&m.conf);
	return code;
}
