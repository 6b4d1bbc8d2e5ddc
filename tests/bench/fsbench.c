/* tests/bench/fsbench.c - one workload on one folder, its rate on stdout.
 *
 *     fsbench WORKLOAD DIR COUNT       prints "RATE UNIT"
 *
 * Small loops of system calls, so that what is measured is the file system.
 * The caller drops caches between workloads (see bench.py). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE  4096
#define PIECE (1 << 20)

static const char *dir;
static long count;
static char *bytes; /* PIECE random bytes, aligned */
static char path[4096], path2[4096];

static void die(const char *what)
{
	fprintf(stderr, "fsbench: %s: %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const char *name(char *buf, const char *prefix, long i)
{
	snprintf(buf, sizeof(path), "%s/%s%ld", dir, prefix, i);
	return buf;
}

static int open_or_die(const char *p, int flags)
{
	int fd = open(p, flags, 0644);

	if (fd < 0)
		die("open");
	return fd;
}

static void pwrite_or_die(int fd, size_t len, off_t at)
{
	if (pwrite(fd, bytes, len, at) != (ssize_t)len)
		die("write");
}

static void create_range(const char *prefix, long n)
{
	for (long i = 0; i < n; i++) {
		int fd = open_or_die(name(path, prefix, i),
				     O_CREAT | O_WRONLY | O_TRUNC);

		pwrite_or_die(fd, PAGE, 0);
		close(fd);
	}
}

static void unlink_range(const char *prefix, long n)
{
	for (long i = 0; i < n; i++)
		if (unlink(name(path, prefix, i)) != 0)
			die("unlink");
}

/* --- workloads: each does @count operations ------------------------------ */

static void seq_write(void)
{
	int fd = open_or_die(name(path, "big", 0), O_CREAT | O_WRONLY);

	for (long i = 0; i < count; i++)
		pwrite_or_die(fd, PIECE, (off_t)i * PIECE);
	fsync(fd);
	close(fd);
}

static void seq_read(void)
{
	int fd = open_or_die(name(path, "big", 0), O_RDONLY);

	for (long i = 0; i < count; i++)
		if (pread(fd, bytes, PIECE, (off_t)i * PIECE) != PIECE)
			die("read");
	close(fd);
}

static off_t big_size(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || st.st_size < PAGE)
		die("fstat");
	return st.st_size / PAGE;
}

static void rand_write_at(int flags, int sync)
{
	int fd = open_or_die(name(path, "big", 0), O_WRONLY | flags);
	off_t pages = big_size(fd);

	for (long i = 0; i < count; i++) {
		pwrite_or_die(fd, PAGE, random() % pages * PAGE);
		if (sync && fsync(fd) != 0)
			die("fsync");
	}
	fsync(fd);
	close(fd);
}

static void rand_write(void)
{
	rand_write_at(0, 0);
}

static void rand_write_direct(void)
{
	rand_write_at(O_DIRECT, 0);
}

static void write_fsync(void)
{
	rand_write_at(0, 1);
}

static void rand_read_direct(void)
{
	int fd = open_or_die(name(path, "big", 0), O_RDONLY | O_DIRECT);
	off_t pages = big_size(fd);

	for (long i = 0; i < count; i++)
		if (pread(fd, bytes, PAGE, random() % pages * PAGE) != PAGE)
			die("read");
	close(fd);
}

static void create(void)
{
	create_range("f", count);
}

static void stat_all(void)
{
	struct stat st;

	for (long i = 0; i < count; i++)
		if (stat(name(path, "f", i), &st) != 0)
			die("stat");
}

static void open_read(void)
{
	for (long i = 0; i < count; i++) {
		int fd = open_or_die(name(path, "f", i), O_RDONLY);

		if (read(fd, bytes, PAGE) != PAGE)
			die("read");
		close(fd);
	}
}

static void safe_write(void)
{
	for (long i = 0; i < count; i++) {
		int fd = open_or_die(name(path, "tmp", 0),
				     O_CREAT | O_WRONLY | O_TRUNC);

		pwrite_or_die(fd, PAGE, 0);
		fsync(fd);
		close(fd);
		if (rename(path, name(path2, "f", i)) != 0)
			die("rename");
	}
}

static void rename_all(void)
{
	for (long i = 0; i < count; i++)
		if (rename(name(path, "f", i), name(path2, "g", i)) != 0)
			die("rename");
	for (long i = 0; i < count; i++)
		if (rename(name(path, "g", i), name(path2, "f", i)) != 0)
			die("rename");
}

static void unlink_all(void)
{
	unlink_range("f", count);
}

static void many(void (*work)(const char *, long), int procs)
{
	for (int p = 0; p < procs; p++) {
		if (fork() == 0) {
			char prefix[16];

			snprintf(prefix, sizeof(prefix), "p%d-", p);
			work(prefix, count / procs);
			_exit(0);
		}
	}
	for (int p = 0; p < procs; p++) {
		int status;

		if (wait(&status) < 0 || status != 0)
			die("worker");
	}
}

static void create4(void)
{
	many(create_range, 4);
}

static void unlink4(void)
{
	many(unlink_range, 4);
}

static void mkdirs(void)
{
	for (long i = 0; i < count; i++)
		if (mkdir(name(path, "d", i), 0755) != 0)
			die("mkdir");
}

static void rmdirs(void)
{
	for (long i = 0; i < count; i++)
		if (rmdir(name(path, "d", i)) != 0)
			die("rmdir");
}

static long list(int with_stat)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	long n = 0;

	if (d == NULL)
		die("opendir");
	while ((e = readdir(d)) != NULL) {
		n++;
		if (with_stat &&
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			die("fstatat");
	}
	closedir(d);
	return n;
}

static void list_names(void)
{
	count = list(0);
}

static void list_stat(void)
{
	count = list(1);
}

static const struct workload {
	const char *name;
	void (*run)(void);
	double scale; /* of count, to the unit */
	const char *unit;
} workloads[] = {
	{"seq_write", seq_write, PIECE / 1e6, "MB/s"},
	{"seq_read", seq_read, PIECE / 1e6, "MB/s"},
	{"rand_write", rand_write, 1, "IOPS"},
	{"create", create, 1, "files/s"},
	{"stat", stat_all, 1, "files/s"},
	{"open_read", open_read, 1, "files/s"},
	{"safe_write", safe_write, 1, "files/s"},
	{"unlink", unlink_all, 1, "files/s"},
	{"create4", create4, 1, "files/s"},
	{"unlink4", unlink4, 1, "files/s"},
	{"mkdir", mkdirs, 1, "1/s"},
	{"rename", rename_all, 2, "1/s"},
	{"readdir", list_names, 1, "entries/s"},
	{"readdir_stat", list_stat, 1, "entries/s"},
	{"rmdir", rmdirs, 1, "1/s"},
	{"direct_write", rand_write_direct, 1, "IOPS"},
	{"direct_read", rand_read_direct, 1, "IOPS"},
	{"write_fsync", write_fsync, 1, "pairs/s"},
};

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: fsbench WORKLOAD DIR COUNT\n");
		return 2;
	}
	dir = argv[2];
	count = atol(argv[3]);
	srandom(1);
	if (posix_memalign((void **)&bytes, PAGE, PIECE) != 0)
		return 1;
	for (long i = 0; i < PIECE / (long)sizeof(int); i++)
		((int *)bytes)[i] = (int)random();
	for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++) {
		const struct workload *w = &workloads[i];
		double begin;

		if (strcmp(w->name, argv[1]) != 0)
			continue;
		begin = now();
		w->run();
		printf("%.1f %s\n", (double)count * w->scale / (now() - begin),
		       w->unit);
		return 0;
	}
	fprintf(stderr, "fsbench: no workload %s\n", argv[1]);
	return 2;
}
