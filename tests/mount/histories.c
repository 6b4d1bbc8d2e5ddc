/* tests/mount/histories.c - clients of a real pool, a process each, that may be
 * killed or stopped at any moment, write down in a file that all map what they
 * ask and are told; then all of it must have one order [I9].
 *
 *	histories make FILE
 *	histories run FILE SLOT SEED SOCKET	until the file says stop
 *	histories stop FILE
 *	histories check FILE SOCKET		reads every key, too
 *
 * Times are of CLOCK_MONOTONIC: one host. Acts are of one key each, so that
 * every key's history is checked by itself. tests/mount/test_histories.py. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kv/kv.h"
#include "tests/lib/history.h"

#define SLOTS	   64u
#define ACTS	   40000u /* of a slot */
#define KEYS	   6u
#define BURST	   40u
#define VALUE_MAX  700u
#define TIMEOUT_MS 10000u

struct act {
	uint64_t begun, ended; /* 0: never was */
	struct history_part part;
	int rc;
};

struct slot {
	_Atomic uint32_t n; /* acts begun */
	struct act act[ACTS];
};

struct book {
	_Atomic int stop;
	struct slot slot[SLOTS];
};

static int fail(const char *what, int rc)
{
	fprintf(stderr, "histories: %s: %s\n", what, strerror(-rc));
	return 2;
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct book *open_book(const char *path, int flags)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
	struct book *b = MAP_FAILED;

	if (fd >= 0 &&
	    ((flags & O_CREAT) == 0 || ftruncate(fd, (off_t)sizeof(*b)) == 0))
		b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);
	if (fd >= 0)
		close(fd);
	if (b == MAP_FAILED) {
		fail(path, -errno);
		exit(2);
	}
	return b;
}

static struct kv *open_pool(const char *sock)
{
	struct kv_opts o = {.pool = sock, .op_timeout_ms = TIMEOUT_MS};
	struct kv *kv;
	int rc;

	for (int i = 0; i < 600; i++) { /* it may be busy with a death */
		rc = kv_open(&o, &kv);
		if (rc == 0)
			return kv;
		usleep(100000);
	}
	fail(kv_error(), rc);
	exit(3);
}

/* --- values: all bytes follow from the number ----------------------------- */

static uint32_t roll(uint64_t *dice, uint32_t n)
{
	*dice = *dice * UINT64_C(6364136223846793005) + 1442695041;
	return (uint32_t)(*dice >> 33) % n;
}

static size_t value_of(char buf[VALUE_MAX], uint64_t value)
{
	size_t len = 8 + value * 37 % (VALUE_MAX - 8);

	memset(buf, (int)(value * 7 & 0xff), len);
	memcpy(buf, &value, 8);
	return len;
}

/* 0: these bytes are no value. */
static uint64_t value_in(const char *buf, size_t len)
{
	char want[VALUE_MAX];
	uint64_t value = 0;

	if (len < 8 || len > VALUE_MAX)
		return 0;
	memcpy(&value, buf, 8);
	return value_of(want, value) == len && memcmp(buf, want, len) == 0
		       ? value
		       : 0;
}

/* --- a client ------------------------------------------------------------- */

struct client {
	struct kv *kv;
	struct slot *slot;
	uint32_t id;
	uint64_t dice, serial;
	uint64_t version[KEYS]; /* last told; 0: none */
};

static int get(struct client *c, const char *key, size_t klen,
	       struct history_part *p)
{
	char buf[VALUE_MAX];
	size_t len = 0;
	int rc = kv_get(c->kv, key, klen, buf, sizeof(buf), &len, &p->version);

	p->value = rc == 0 ? value_in(buf, len) : 0;
	if (rc == 0 && p->value == 0) {
		fprintf(stderr, "histories: %s holds what nobody wrote\n", key);
		_exit(4);
	}
	return rc;
}

static int change(struct client *c, const char *key, size_t klen,
		  struct history_part *p)
{
	char buf[VALUE_MAX];
	size_t len = value_of(buf, p->value);

	switch (p->kind) {
	case KV_PUT:
		return kv_put(c->kv, key, klen, buf, len, &p->version);
	case KV_PUT_IF:
		return kv_put_if(c->kv, key, klen, buf, len, p->expect,
				 &p->version);
	case KV_INSERT:
		return kv_insert(c->kv, key, klen, buf, len, &p->version);
	default:
		return kv_del(c->kv, key, klen, p->expect);
	}
}

/* Written down before and after, so that a death shows what was begun. */
static void one_act(struct client *c, uint32_t k, uint8_t kind)
{
	uint32_t at = atomic_load(&c->slot->n);
	struct act *a = &c->slot->act[at];
	struct history_part p = {.kind = kind, .key = 0};
	char key[16];
	size_t klen = (size_t)snprintf(key, sizeof(key), "key%u", k);

	if (kind == KV_PUT_IF || (kind == KV_DEL && roll(&c->dice, 2)))
		p.expect = c->version[k];
	if (kind != KV_GET && kind != KV_DEL)
		p.value = (uint64_t)(c->id + 1) << 32 | ++c->serial;
	*a = (struct act){.part = p, .rc = (int)k};
	a->begun = now();
	atomic_store(&c->slot->n, at + 1);
	a->rc = kind == KV_GET ? get(c, key, klen, &p)
			       : change(c, key, klen, &p);
	p.key = k;
	if (a->rc == 0)
		c->version[k] = kind == KV_DEL ? 0 : p.version;
	a->part = p;
	atomic_thread_fence(memory_order_seq_cst);
	a->ended = now();
}

static void burst(struct client *c)
{
	static const uint8_t kind[] = {KV_GET,	  KV_GET,    KV_PUT,	KV_PUT,
				       KV_PUT_IF, KV_PUT_IF, KV_INSERT, KV_DEL};
	uint32_t k = roll(&c->dice, KEYS), n = 1 + roll(&c->dice, BURST);

	while (n-- > 0 && atomic_load(&c->slot->n) < ACTS) {
		uint8_t what = kind[roll(&c->dice, sizeof(kind))];

		if (what == KV_PUT_IF && c->version[k] == 0)
			what = KV_GET;
		one_act(c, k, what);
	}
}

static int run(char **argv)
{
	struct book *b = open_book(argv[2], 0);
	struct client c = {.id = (uint32_t)atoi(argv[3])};

	if (c.id >= SLOTS)
		return 2;
	c.dice = strtoull(argv[4], NULL, 0);
	c.slot = &b->slot[c.id];
	c.kv = open_pool(argv[5]);
	while (!atomic_load(&b->stop) && atomic_load(&c.slot->n) < ACTS) {
		burst(&c);
		usleep(roll(&c.dice, 4000));
	}
	kv_close(c.kv);
	return 0;
}

/* --- the judge ------------------------------------------------------------ */

struct line {
	const struct act *a;
	uint32_t who;
};

static int by_time(const void *pa, const void *pb)
{
	uint64_t a = ((const struct line *)pa)->a->begun;
	uint64_t b = ((const struct line *)pb)->a->begun;

	return a < b ? -1 : a > b;
}

/* What says nothing of the key: it may have happened, now or later. */
static bool tells(const struct act *a)
{
	return a->ended != 0 && (a->rc == 0 || a->rc == -ENOENT ||
				 a->rc == -EEXIST || a->rc == -ESTALE);
}

static uint32_t key_of(const struct act *a)
{
	return a->ended != 0 ? a->part.key : (uint32_t)a->rc;
}

static bool check_key(const struct line *line, uint32_t n, uint32_t key)
{
	struct history *h = history_new();
	uint32_t known = 0, unknown;
	bool ok;

	for (uint32_t i = 0; i < n; i++) {
		const struct act *a = line[i].a;
		struct history_part p = a->part;
		uint32_t act;

		if (key_of(a) != key)
			continue;
		p.key = 0;
		p.status = a->rc;
		act = history_begin(h, line[i].who, a->begun, &p, 1, false);
		if (tells(a)) {
			history_end(h, act, a->ended, a->rc, &p);
			known++;
		} else {
			history_unknown(h, act);
		}
	}
	unknown = history_unknowns(h);
	ok = history_check(h, stderr);
	printf("key %" PRIu32 ": %" PRIu32 " acts, %" PRIu32
	       " of unknown end: %s\n",
	       key, known + unknown, unknown, ok ? "one order" : "NO ORDER");
	history_free(h);
	return ok;
}

/* An errno that no death explains. */
static bool strange(const struct act *a)
{
	return a->ended != 0 && !tells(a) && a->rc != -ETIMEDOUT;
}

static int check(char **argv)
{
	struct book *b = open_book(argv[2], 0);
	struct line *line = malloc(SLOTS * ACTS * sizeof(*line));
	struct client c = {.id = SLOTS - 1, .slot = &b->slot[SLOTS - 1]};
	uint32_t n = 0, bad = 0;

	if (line == NULL)
		return 2;
	c.kv = open_pool(argv[3]);
	for (uint32_t k = 0; k < KEYS; k++)
		one_act(&c, k, KV_GET);
	for (uint32_t s = 0; s < SLOTS; s++)
		for (uint32_t i = 0; i < atomic_load(&b->slot[s].n); i++) {
			line[n++] = (struct line){&b->slot[s].act[i], s};
			if (!strange(line[n - 1].a))
				continue;
			fprintf(stderr, "histories: client %" PRIu32 ": %s\n",
				s, strerror(-line[n - 1].a->rc));
			bad++;
		}
	qsort(line, n, sizeof(*line), by_time);
	for (uint32_t k = 0; k < KEYS; k++)
		bad += !check_key(line, n, k);
	printf("acts: %" PRIu32 "\n", n);
	kv_close(c.kv);
	free(line);
	return bad == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "make") == 0)
		return open_book(argv[2], O_CREAT | O_EXCL) == NULL;
	if (argc == 3 && strcmp(argv[1], "stop") == 0) {
		atomic_store(&open_book(argv[2], 0)->stop, 1);
		return 0;
	}
	if (argc == 6 && strcmp(argv[1], "run") == 0)
		return run(argv);
	if (argc == 4 && strcmp(argv[1], "check") == 0)
		return check(argv);
	fprintf(stderr, "histories: see the top of histories.c\n");
	return 2;
}
