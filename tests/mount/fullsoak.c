/* fullsoak DIR SECONDS SEED PERCENT THREADS - a file system that stays full.
 *
 * Fills DIR to PERCENT of what statvfs(2) says is available, names and all,
 * with files of mixed sizes, by several threads; then overwrites at random
 * places and sizes, reads, removes files and makes others in their place, for
 * SECONDS; compares every byte with a model. Then: is `df` true, is all there,
 * and when all is removed, is it as empty as before? One JSON object on stdout;
 * 1 if something was wrong (it says what on stderr), 2 for a call that failed.
 *
 * The model: each sector of 512 bytes has a stamp, and its contents follow from
 * that. A thread has files of its own, so nothing is shared. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define SECTOR	    512u
#define PAGE	    4096u
#define NAME_PAGE   64u	  /* with its share of its chunk's node */
#define NAME_FILE   1024u /* inode, directory entry, tombstones */
#define FILE_MAX    (8u << 20)
#define CALL_MAX    (1u << 20)
#define FILES_MAX   4096u
#define THREADS_MAX 16u
#define WINDOWS_MAX 4096u
#define WINDOW_S    4
/* So much of the room may be in blocks that are open, or hold the pool's own
 * few keys. */
#define KEPT_SHARE 16u

struct file {
	uint32_t sectors; /* 0: there is none */
	uint32_t *stamp;
};

struct worker {
	pthread_t thread;
	unsigned no;
	uint64_t seed, held, share; /* room that it has taken, and may take */
	struct file file[FILES_MAX];
	uint32_t files, stamps;
	uint8_t *buf;
	uint64_t full; /* ENOSPC, while it did not hold its share */
};

static const char *dir;
static time_t end_s;
static uint64_t began_ns;
static uint64_t least_free; /* it is not filled further than this */
static atomic_ullong ops[WINDOWS_MAX];
static atomic_int wrong;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	atomic_store(&wrong, 1);
}

static uint64_t draw(struct worker *w)
{
	uint64_t x = w->seed += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* 1 .. @max, small ones as often as large ones. */
static uint32_t draw_size(struct worker *w, uint32_t max)
{
	uint32_t bits = 32u - (uint32_t)__builtin_clz(max);
	uint32_t top = UINT32_C(1) << (draw(w) % bits);

	return 1 + (uint32_t)(draw(w) % (top < max ? top : max));
}

/* The room that @sectors take at most: whole pages, and what names them. */
static uint64_t room_of(uint64_t sectors)
{
	uint64_t pages = (sectors * SECTOR + PAGE - 1) / PAGE;

	return sectors > 0 ? pages * (PAGE + NAME_PAGE) + NAME_FILE : 0;
}

static void path_of(const struct worker *w, uint32_t f, char *out, size_t cap)
{
	snprintf(out, cap, "%s/%u-%u", dir, w->no, f);
}

static void fill(uint8_t *to, uint32_t stamp, uint32_t sector)
{
	uint64_t x = ((uint64_t)stamp << 32 | sector) ^ 0x5bd1e995u;

	for (uint32_t i = 0; i < SECTOR; i += 8) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		memcpy(to + i, &x, 8);
	}
}

/* --- calls ---------------------------------------------------------------- */

/* All of it, or -errno. */
static int write_all(int fd, const uint8_t *from, size_t n, off_t at)
{
	while (n > 0) {
		ssize_t rc = pwrite(fd, from, n, at);

		if (rc < 0)
			return -errno;
		from += rc;
		n -= (size_t)rc;
		at += rc;
	}
	return 0;
}

/* Write @n sectors with a new stamp. After an error the old bytes or the new
 * ones are there: asked of the file itself, sector by sector. */
static void find_out(int fd, struct file *f, uint32_t from, uint32_t n,
		     uint32_t stamp)
{
	uint8_t got[SECTOR], want[SECTOR];

	for (uint32_t s = from; s < from + n; s++) {
		if (pread(fd, got, SECTOR, (off_t)s * SECTOR) != SECTOR)
			return;
		fill(want, stamp, s);
		if (memcmp(got, want, SECTOR) == 0)
			f->stamp[s] = stamp;
	}
}

static int put(struct worker *w, int fd, struct file *f, uint32_t from,
	       uint32_t n)
{
	uint32_t stamp = ++w->stamps;
	int rc;

	for (uint32_t i = 0; i < n; i++)
		fill(w->buf + (size_t)i * SECTOR, stamp, from + i);
	rc = write_all(fd, w->buf, (size_t)n * SECTOR, (off_t)from * SECTOR);
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		f->stamp[from + i] = stamp;
	if (rc != 0)
		find_out(fd, f, from, n, stamp);
	return rc;
}

static void check(struct worker *w, int fd, uint32_t no, uint32_t from,
		  uint32_t n)
{
	struct file *f = &w->file[no];
	ssize_t rc =
		pread(fd, w->buf, (size_t)n * SECTOR, (off_t)from * SECTOR);
	uint8_t want[SECTOR];

	if (rc != (ssize_t)n * SECTOR)
		say("file %u-%u at %u: read %zd of %u: %s\n", w->no, no,
		    from * SECTOR, rc, n * SECTOR,
		    rc < 0 ? strerror(errno) : "short");
	for (uint32_t i = 0; i < n && rc > 0; i++) {
		fill(want, f->stamp[from + i], from + i);
		if (memcmp(want, w->buf + (size_t)i * SECTOR, SECTOR) != 0) {
			say("file %u-%u: sector %u is wrong\n", w->no, no,
			    from + i);
			return;
		}
	}
}

static int open_file(const struct worker *w, uint32_t no, int flags)
{
	char path[4096];
	int fd;

	path_of(w, no, path, sizeof(path));
	fd = open(path, flags, 0600);
	if (fd < 0 && errno != ENOSPC)
		say("open %s: %s\n", path, strerror(errno));
	return fd;
}

/* Bytes in use, and available. */
static uint64_t df(uint64_t *available)
{
	struct statvfs st;

	if (statvfs(dir, &st) != 0) {
		perror("statvfs");
		exit(2);
	}
	if (available != NULL)
		*available = st.f_bavail * st.f_frsize;
	return (st.f_blocks - st.f_bfree) * st.f_frsize;
}

/* --- what a worker does --------------------------------------------------- */

static void drop(struct worker *w, uint32_t no)
{
	struct file *f = &w->file[no];
	char path[4096];

	path_of(w, no, path, sizeof(path));
	if (unlink(path) != 0)
		say("unlink %s: %s\n", path, strerror(errno));
	w->held -= room_of(f->sectors);
	free(f->stamp);
	*f = (struct file){0};
}

/* A new file of about @bytes, as far as there is room: -ENOSPC. */
static int make(struct worker *w, uint32_t no, uint32_t bytes)
{
	uint32_t n = (bytes + SECTOR - 1) / SECTOR, done = 0;
	struct file *f = &w->file[no];
	int fd = open_file(w, no, O_CREAT | O_EXCL | O_RDWR), rc = 0;

	if (fd < 0)
		return -ENOSPC;
	f->stamp = calloc(n, sizeof(*f->stamp));
	while (rc == 0 && done < n) {
		uint32_t some = n - done < CALL_MAX / SECTOR
					? n - done
					: CALL_MAX / SECTOR;

		rc = put(w, fd, f, done, some);
		done += rc == 0 ? some : 0;
	}
	if (ftruncate(fd, (off_t)done * SECTOR) != 0)
		say("ftruncate: %s\n", strerror(errno));
	close(fd);
	f->sectors = done;
	w->held += room_of(done);
	if (done == 0)
		drop(w, no);
	if (rc != 0 && rc != -ENOSPC)
		say("write: %s\n", strerror(-rc));
	return rc;
}

static uint32_t free_place(const struct worker *w)
{
	uint32_t no = 0;

	while (no < FILES_MAX && w->file[no].sectors != 0)
		no++;
	return no;
}

/* What was removed a moment ago takes a little room for a while. */
static bool has_room(void)
{
	uint64_t available;

	df(&available);
	return available >= least_free;
}

/* Up to the share: files of any size, the last one of what is left. */
static int fill_up(struct worker *w)
{
	int rc = 0;

	while (rc == 0 && w->held + room_of(1) <= w->share && has_room()) {
		uint64_t left = w->share - w->held;
		uint32_t no = free_place(w);
		uint32_t size = SECTOR + draw_size(w, FILE_MAX - SECTOR);

		if (no == FILES_MAX)
			return 0;
		while (size > SECTOR && room_of(size / SECTOR) > left)
			size /= 2;
		rc = make(w, no, size);
	}
	return rc;
}

static void overwrite(struct worker *w, uint32_t no, bool look)
{
	struct file *f = &w->file[no];
	uint32_t n = draw_size(w, CALL_MAX / SECTOR), from;
	int fd = open_file(w, no, O_RDWR), rc = 0;

	if (fd < 0)
		return;
	n = n < f->sectors ? n : f->sectors;
	from = (uint32_t)(draw(w) % (f->sectors - n + 1));
	if (look)
		check(w, fd, no, from, n);
	else
		rc = put(w, fd, f, from, n);
	close(fd);
	w->full += rc == -ENOSPC;
	if (rc != 0 && rc != -ENOSPC)
		say("overwrite: %s\n", strerror(-rc));
}

static void one(struct worker *w)
{
	uint32_t no = (uint32_t)(draw(w) % FILES_MAX), kind = draw(w) % 100;

	for (uint32_t i = 0; w->file[no].sectors == 0 && i < FILES_MAX; i++)
		no = (no + 1) % FILES_MAX;
	if (w->file[no].sectors == 0)
		return;
	if (kind < 94) {
		overwrite(w, no, kind < 15);
	} else {
		drop(w, no);
		w->full += fill_up(w) == -ENOSPC;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (time(NULL) < end_s && !atomic_load(&wrong)) {
		uint64_t at = (now_ns() - began_ns) / 1000000000u / WINDOW_S;

		one(w);
		atomic_fetch_add(&ops[at < WINDOWS_MAX ? at : WINDOWS_MAX - 1],
				 1);
	}
	return NULL;
}

static void *work_fill(void *arg)
{
	struct worker *w = arg;

	w->full += fill_up(w) == -ENOSPC;
	return NULL;
}

static void *work_check(void *arg)
{
	struct worker *w = arg;

	for (uint32_t no = 0; no < FILES_MAX; no++) {
		struct file *f = &w->file[no];
		int fd = f->sectors > 0 ? open_file(w, no, O_RDONLY) : -1;

		for (uint32_t s = 0; fd >= 0 && s < f->sectors;
		     s += CALL_MAX / SECTOR)
			check(w, fd, no, s,
			      f->sectors - s < CALL_MAX / SECTOR
				      ? f->sectors - s
				      : CALL_MAX / SECTOR);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static void *work_drop(void *arg)
{
	struct worker *w = arg;

	for (uint32_t no = 0; no < FILES_MAX; no++)
		if (w->file[no].sectors > 0)
			drop(w, no);
	return NULL;
}

/* --- all of it ------------------------------------------------------------ */

static struct worker worker[THREADS_MAX];
static unsigned workers;

static void all(void *(*what)(void *arg))
{
	for (unsigned i = 0; i < workers; i++)
		if (pthread_create(&worker[i].thread, NULL, what, &worker[i]) !=
		    0)
			abort();
	for (unsigned i = 0; i < workers; i++)
		pthread_join(worker[i].thread, NULL);
}

/* The lowest that it comes to within a minute: space comes back behind
 * the backs of those that removed. */
static uint64_t df_at_rest(uint64_t wanted)
{
	const struct timespec nap = {0, 200000000};
	uint64_t least = df(NULL);

	for (unsigned i = 0; i < 300 && least > wanted; i++) {
		uint64_t now;

		nanosleep(&nap, NULL);
		now = df(NULL);
		least = now < least ? now : least;
	}
	return least;
}

static uint64_t held(bool pages)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < workers; i++)
		for (uint32_t no = 0; no < FILES_MAX; no++) {
			uint64_t n =
				(uint64_t)worker[i].file[no].sectors * SECTOR;

			sum += pages ? (n + PAGE - 1) / PAGE * PAGE : n;
		}
	return sum;
}

static uint64_t refused(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < workers; i++) {
		sum += worker[i].full;
		worker[i].full = 0;
	}
	return sum;
}

/* Operations a second. */
struct speeds {
	double first; /* in the first quarter of the windows */
	double later; /* after it: the median, as a machine that is shared may
		       */
	double least; /* take a window's time away; the slowest window */
};

static int by_number(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct speeds speeds(unsigned seconds)
{
	unsigned n = seconds / WINDOW_S, quarter = n / 4 > 0 ? n / 4 : 1;
	static double later[WINDOWS_MAX];
	struct speeds s = {0};
	unsigned after = 0;

	for (unsigned i = 0; i < n && i < WINDOWS_MAX; i++) {
		double now = (double)atomic_load(&ops[i]) / WINDOW_S;

		if (i < quarter)
			s.first += now / quarter;
		else
			later[after++] = now;
	}
	qsort(later, after, sizeof(later[0]), by_number);
	if (after > 0) {
		s.least = later[0];
		s.later = later[after / 2];
	}
	return s;
}

static unsigned long long operations(void)
{
	unsigned long long sum = 0;

	for (unsigned i = 0; i < WINDOWS_MAX; i++)
		sum += atomic_load(&ops[i]);
	return sum;
}

int main(int argc, char **argv)
{
	uint64_t empty, room, kept, full_fill, full_run, used, bytes, left;
	unsigned seconds, percent;
	struct speeds speed;

	if (argc != 6)
		return 2;
	dir = argv[1];
	seconds = (unsigned)atoi(argv[2]);
	percent = (unsigned)atoi(argv[4]);
	workers = (unsigned)atoi(argv[5]);
	if (workers == 0 || workers > THREADS_MAX)
		return 2;
	empty = df(&room);
	kept = room / KEPT_SHARE;
	least_free = room / 100 * (100 - percent) / 2;
	for (unsigned i = 0; i < workers; i++) {
		worker[i].no = i;
		worker[i].seed = strtoull(argv[3], NULL, 10) * 1000 + i;
		worker[i].share = room / 100 * percent / workers;
		worker[i].buf = malloc(CALL_MAX);
	}
	all(work_fill);
	full_fill = refused();
	began_ns = now_ns();
	end_s = time(NULL) + (time_t)seconds;
	all(work);
	full_run = refused();
	all(work_check);
	bytes = held(true);
	used = df_at_rest(empty + bytes + kept) - empty;
	speed = speeds(seconds);
	all(work_drop);
	left = df_at_rest(empty + kept) - empty;
	if (used > bytes + kept || used + kept < bytes)
		say("df: %llu in use, files of %llu\n",
		    (unsigned long long)used, (unsigned long long)bytes);
	if (left > kept)
		say("all is removed, and %llu are still in use\n",
		    (unsigned long long)left);
	printf("{\"room\": %llu, \"held\": %llu, \"used\": %llu, "
	       "\"refused_filling\": %llu, \"refused_later\": %llu, "
	       "\"operations\": %llu, "
	       "\"ops_first\": %.0f, \"ops_later\": %.0f, \"ops_least\": %.0f, "
	       "\"left\": %lld, \"windows\": [",
	       (unsigned long long)room, (unsigned long long)bytes,
	       (unsigned long long)used, (unsigned long long)full_fill,
	       (unsigned long long)full_run, operations(), speed.first,
	       speed.later, speed.least, (long long)left);
	for (unsigned i = 0; i < seconds / WINDOW_S; i++)
		printf("%s%llu", i > 0 ? ", " : "",
		       (unsigned long long)atomic_load(&ops[i]) / WINDOW_S);
	printf("]}\n");
	return atomic_load(&wrong);
}
