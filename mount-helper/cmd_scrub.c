/* mount-helper/cmd_scrub.c - aceso scrub: verify every record, page and stripe
 * of a pool in use, and mend what is wrong.
 *
 *   every slot, its record and the copies of it         (kv_check_index)
 *   every page that a chunk's node names, likewise      (fs_scrub)
 *   every parity, only looked at                        (kv_check_stripes)
 *   if some are wrong: all of the above once more, and now the parities are
 *   made anew from data that was seen to be right just before
 *
 * The work is done by this program, as a client of the pool; the coordinator
 * is told how far it is, and tells what is wanted of it. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/scrub.h"
#include "kv/check.h"
#include "kv/kv.h"
#include "mount-helper/cmd.h"
#include "mount-helper/progress.h"
#include "mount-helper/say.h"
#include "mount-helper/scrub_link.h"
#include "mount-helper/size.h"

/* What it ends with; as fsck. */
enum { SCRUB_MENDED = 1, SCRUB_LEFT = 4, SCRUB_FAILED = 8 };

#define RATE_DEFAULT (64u << 20)
#define TELL_NS	     UINT64_C(300000000)
#define PHASES	     3u

struct scrub {
	struct kv *kv;
	struct kv_check *check;
	struct scrub_link *link;
	struct progress bar;
	bool quiet; /* nobody reads what we say */
	uint64_t rate;
	uint64_t used; /* bytes in the pool, about */
	unsigned phase;
	uint64_t tell_ns, begin_ns;
	struct kv_check_sum before; /* of earlier passes */
	struct proto_scrub now;
	int end; /* why it has to end */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- telling ------------------------------------------------------------- */

/* What the last pass found lost this one meets again: it counts once. */
static uint64_t met_again(const struct scrub *s, const struct kv_check_sum *sum)
{
	return sum->lost < s->before.lost ? sum->lost : s->before.lost;
}

static void numbers(struct scrub *s)
{
	struct kv_check_sum sum;
	uint64_t done, total, at;

	kv_check_sum(s->check, &sum);
	kv_check_progress(s->check, &done, &total);
	at = s->phase == 0   ? (total != 0 ? s->used * done / total : 0)
	     : s->phase == 1 ? sum.pages * KV_PAGE_BYTES
			     : sum.bytes / 4;
	if (at > s->used)
		at = s->used;
	s->now.total = PHASES * s->used;
	if (s->now.done < s->phase * s->used + at)
		s->now.done = s->phase * s->used + at;
	s->now.objects = sum.records + sum.pages + sum.stripes;
	s->now.bytes = s->before.bytes + sum.bytes;
	s->now.wrong = s->before.wrong + sum.wrong - met_again(s, &sum);
	s->now.mended = s->before.mended + sum.mended;
	s->now.lost = s->before.lost + sum.lost - met_again(s, &sum);
	total = (now_ns() - s->begin_ns) / 1000000 + 1;
	s->now.rate = s->now.bytes * 1000 / total;
}

static void show(struct scrub *s, bool paused)
{
	char more[120];

	snprintf(more, sizeof(more),
		 " %" PRIu64 " MB/s, %" PRIu64 " wrong, %" PRIu64
		 " repaired, %" PRIu64 " lost%s",
		 s->now.rate >> 20, s->now.wrong, s->now.mended, s->now.lost,
		 paused ? ", paused" : "");
	progress_show(&s->bar, "scrub", s->now.done, s->now.total, more);
}

/* Now and then, from within the checks: tell, and do what is wanted. */
static int on_going(void *arg)
{
	struct scrub *s = arg;
	struct timespec ts = {.tv_nsec = (long)TELL_NS};
	struct proto_scrub answer;

	if (now_ns() < s->tell_ns)
		return 0;
	for (;;) {
		numbers(s);
		s->now.what = PROTO_SCRUB_TELL;
		s->end = scrub_link_call(s->link, &s->now, &answer);
		if (s->end != 0) /* the pool is going away, or so */
			return s->end;
		s->tell_ns = now_ns() + TELL_NS;
		show(s, answer.wanted == PROTO_SCRUB_PAUSED);
		if (answer.wanted == PROTO_SCRUB_STOPPED)
			return s->end = -ECANCELED;
		if (answer.wanted == PROTO_SCRUB_RUNNING)
			return 0;
		nanosleep(&ts, NULL);
	}
}

static void on_damage(void *arg, const struct kv_damage *d)
{
	static const char *const states[] = {"not mended", "mended", "LOST"};
	struct scrub *s = arg;
	char key[CMD_KEY_WORDS];

	progress_hide(&s->bar);
	say_info("%s%s%s: %s", d->words, d->klen > 0 ? "; key " : "",
		 d->klen > 0 ? cmd_key_words(d->key, d->klen, key) : "",
		 states[d->state]);
}

static void page_lost(struct scrub *s, uint64_t ino, uint64_t offset)
{
	char path[PATH_MAX];

	progress_hide(&s->bar);
	if (fs_scrub_path(s->kv, ino, path, sizeof(path)) == 0)
		say_err("%s: 4096 bytes from %" PRIu64 " on are lost", path,
			offset);
	else
		say_err("inode %" PRIu64 ": 4096 bytes from %" PRIu64
			" on are lost",
			ino, offset);
}

/* --- passes -------------------------------------------------------------- */

static int on_page(void *arg, uint64_t ino, uint64_t offset,
		   struct kv_page page, int (*still)(void *mark), void *mark)
{
	struct scrub *s = arg;
	int rc = kv_check_page(s->check, page, still, mark);

	if (rc == -EIO)
		page_lost(s, ino, offset);
	return rc == -EIO || rc == -ESTALE ? 0 : rc;
}

static int open_check(struct scrub *s, bool mend)
{
	struct kv_check_opts o = {.mend = mend,
				  .rate = s->rate,
				  .damage = mend ? on_damage : NULL,
				  .going = on_going,
				  .arg = s};

	return kv_check_open(s->kv, &o, &s->check);
}

static void close_check(struct scrub *s, bool count)
{
	struct kv_check_sum sum;

	kv_check_sum(s->check, &sum);
	s->before.bytes += sum.bytes;
	if (count) {
		uint64_t again = met_again(s, &sum);

		s->before.wrong += sum.wrong - again;
		s->before.mended += sum.mended;
		s->before.lost += sum.lost - again;
	}
	kv_check_close(s->check);
	s->check = NULL;
}

/* All that has a CRC; then, if @parities, these, too. */
static int check_data(struct scrub *s, bool parities)
{
	int rc = open_check(s, true);

	if (rc != 0)
		return rc;
	s->phase = 0;
	rc = kv_check_index(s->check);
	s->phase = 1;
	if (rc == 0)
		rc = fs_scrub(s->kv, on_page, s);
	s->phase = 2;
	if (rc == 0 && parities)
		rc = kv_check_stripes(s->check);
	close_check(s, true);
	return rc;
}

static int look_at_parities(struct scrub *s, bool *wrong)
{
	struct kv_check_sum sum;
	int rc = open_check(s, false);

	if (rc != 0)
		return rc;
	rc = kv_check_stripes(s->check);
	kv_check_sum(s->check, &sum);
	*wrong = sum.wrong > 0;
	close_check(s, false);
	return rc;
}

static int scrub_all(struct scrub *s)
{
	bool wrong = false;
	int rc = check_data(s, false);

	if (rc == 0)
		rc = look_at_parities(s, &wrong);
	if (rc == 0 && wrong)
		rc = check_data(s, true);
	return rc;
}

static int run(struct scrub *s)
{
	struct kv_space space;
	int rc, told;

	s->used = kv_space(s->kv, &space) == 0 ? space.used + 1 : 1;
	s->begin_ns = now_ns();
	progress_open(&s->bar);
	rc = scrub_all(s);
	progress_hide(&s->bar);
	if (rc == 0)
		s->now.done = s->now.total = PHASES * s->used;
	s->now.bytes = s->before.bytes;
	s->now.wrong = s->before.wrong;
	s->now.mended = s->before.mended;
	s->now.lost = s->before.lost;
	s->now.what = PROTO_SCRUB_END;
	/* Without this it counts as stopped, which it is if it failed. */
	told = rc == 0 || rc == -ECANCELED
		       ? scrub_link_call(s->link, &s->now, &s->now)
		       : 0;
	return rc != 0 ? rc : told;
}

/* --- start --------------------------------------------------------------- */

static int code_of(uint64_t wrong, uint64_t mended)
{
	return (mended > 0 ? SCRUB_MENDED : 0) |
	       (wrong > mended ? SCRUB_LEFT : 0);
}

static void say_why(int rc)
{
	say_err("scrub: %s", rc == -EAGAIN ? "none of the pool's coordinators "
					     "leads now: try again"
					   : strerror(-rc));
}

static int ended(const struct scrub *s, int rc)
{
	if (rc == -ECANCELED)
		say_info("scrub: stopped");
	else if (rc < 0)
		say_why(rc);
	if (rc != 0)
		return SCRUB_FAILED;
	say_info("scrub: %" PRIu64 " MB looked at, %" PRIu64 " wrong, %" PRIu64
		 " repaired, %" PRIu64 " lost",
		 s->now.bytes >> 20, s->now.wrong, s->now.mended, s->now.lost);
	return code_of(s->now.wrong, s->now.mended);
}

/* From here on in a process of its own. Never returns there. */
static int go_behind(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid < 0 ? -errno : 1;
	setsid();
	if (freopen("/dev/null", "r", stdin) == NULL ||
	    freopen("/dev/null", "w", stdout) == NULL ||
	    freopen("/dev/null", "w", stderr) == NULL)
		_exit(SCRUB_FAILED);
	say_to_syslog();
	return 0;
}

static int begin(struct scrub *s, const struct pool_place *p)
{
	struct proto_scrub rq = {.what = PROTO_SCRUB_BEGIN}, answer;
	int rc = scrub_link_open(p, &s->link);

	if (rc == 0)
		rc = scrub_link_call(s->link, &rq, &answer);
	return rc;
}

static int work(struct scrub *s, const struct pool_place *p)
{
	int rc = begin(s, p);

	if (rc != 0) {
		say_why(rc);
		return SCRUB_FAILED;
	}
	rc = cmd_open(p, &s->kv);
	if (rc != 0)
		return SCRUB_FAILED;
	rc = run(s);
	kv_close(s->kv);
	scrub_link_close(s->link);
	return ended(s, rc);
}

static int want(const struct pool_place *p, uint32_t state, int missing)
{
	struct proto_scrub rq = {.what = PROTO_SCRUB_WANT, .wanted = state};
	struct scrub_link *link;
	int rc = scrub_link_open(p, &link);

	if (rc == 0) {
		rc = scrub_link_call(link, &rq, &rq);
		scrub_link_close(link);
	}
	if (rc == -ENOENT)
		return missing;
	if (rc < 0)
		say_why(rc);
	return rc < 0 ? SCRUB_FAILED : CMD_OK;
}

/* Wait until the process behind has begun, or has not. */
static int began(const struct pool_place *p)
{
	struct timespec ts = {.tv_nsec = 20000000};
	struct proto_scrub rq = {.what = PROTO_SCRUB_ASK};
	struct scrub_link *link;
	int rc = scrub_link_open(p, &link);

	for (unsigned i = 0; rc == 0 && i < 250; i++) {
		rc = scrub_link_call(link, &rq, &rq);
		if (rc == 0 && rq.state != PROTO_SCRUB_NONE &&
		    rq.state != PROTO_SCRUB_STOPPED)
			break;
		rq.what = PROTO_SCRUB_ASK;
		nanosleep(&ts, NULL);
	}
	if (rc == 0)
		scrub_link_close(link);
	return rc == 0 ? CMD_OK : SCRUB_FAILED;
}

static int start(const struct pool_place *p, uint64_t rate, bool wait)
{
	struct scrub s = {.rate = rate};
	int rc;

	/* One that is paused goes on. */
	rc = want(p, PROTO_SCRUB_RUNNING, -1);
	if (rc >= 0) {
		if (rc == CMD_OK)
			say_info("scrub: it is running already");
		return rc;
	}
	if (!wait) {
		rc = go_behind();
		if (rc > 0)
			return began(p);
		if (rc < 0)
			return SCRUB_FAILED;
		_exit(work(&s, p));
	}
	return work(&s, p);
}

/* --- status -------------------------------------------------------------- */

static int status(const struct pool_place *p)
{
	json_t *o, *s;
	uint64_t total;
	int rc = cmd_ask(p, &o);

	if (rc != 0)
		return rc;
	s = json_object_get(o, "scrub");
	total = cmd_number(s, "total");
	printf("scrub: %s, %u %%, %" PRIu64 " MB looked at, %" PRIu64
	       " wrong, %" PRIu64 " repaired, %" PRIu64 " lost\n",
	       cmd_text(s, "state"),
	       total != 0 ? (unsigned)(cmd_number(s, "done") * 100 / total) : 0,
	       cmd_number(s, "bytes") >> 20, cmd_number(s, "wrong"),
	       cmd_number(s, "repaired"), cmd_number(s, "lost"));
	rc = code_of(cmd_number(s, "wrong"), cmd_number(s, "repaired"));
	json_decref(o);
	return rc;
}

static int stop_it(const struct pool_place *p, uint32_t state)
{
	int rc = want(p, state, -1);

	if (rc < 0)
		say_err("scrub: nobody scrubs this pool now");
	return rc < 0 ? CMD_FAIL : rc;
}

static int verb(const struct pool_place *p, const char *what, uint64_t rate,
		bool wait)
{
	if (strcmp(what, "start") == 0)
		return start(p, rate, wait);
	if (strcmp(what, "status") == 0)
		return status(p);
	if (strcmp(what, "pause") == 0)
		return stop_it(p, PROTO_SCRUB_PAUSED);
	if (strcmp(what, "resume") == 0)
		return stop_it(p, PROTO_SCRUB_RUNNING);
	if (strcmp(what, "stop") == 0)
		return stop_it(p, PROTO_SCRUB_STOPPED);
	return cmd_usage("scrub");
}

int cmd_scrub(const char *pool, int argc, char **argv)
{
	static const struct option longs[] = {
		{"wait", no_argument, NULL, 'w'},
		{"rate", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	uint64_t rate = RATE_DEFAULT;
	struct pool_place p;
	bool wait = false;
	int letter, rc;

	while ((letter = getopt_long(argc, argv, "wr:", longs, NULL)) != -1) {
		if (letter == '?' ||
		    (letter == 'r' && size_parse(optarg, &rate) != 0))
			return cmd_usage("scrub");
		wait = wait || letter == 'w';
	}
	if (argc - optind != 1)
		return cmd_usage("scrub");
	rc = cmd_find(pool, &p);
	return rc != 0 ? rc : verb(&p, argv[optind], rate, wait);
}
