/* mount-helper/cmd_fsck.c - aceso fsck: is the pool sound, and if not: mend it.
 *
 *   blocks as they are now -> (others are mounted, --repair: wait until what
 *   was under way is over) -> every slot -> every key of the file system, its
 *   pages named -> space that nobody named */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/fsck.h"
#include "kv/check.h"
#include "kv/kv.h"
#include "mount-helper/cmd.h"
#include "mount-helper/progress.h"
#include "mount-helper/say.h"

/* fsck(8)'s. */
enum { FSCK_MENDED = 1, FSCK_LEFT = 4, FSCK_FAILED = 8 };

#define SETTLE_MS      3000u /* between two looks */
#define UNDER_WAY_MS   (KV_OP_TIMEOUT_MS + 5000u)
#define TELL_LEAKS_MAX 50u /* one by one; then they are counted */

struct fsck {
	struct kv *kv;
	struct kv_check *check;
	struct progress bar;
	bool repair, json;
	json_t *list;
	uint64_t leaks_told;
};

/* --- what was found ------------------------------------------------------ */

static void tell(struct fsck *f, const char *name, const char *state, bool leak,
		 const char *words, const char *remedy)
{
	if (f->json) {
		json_array_append_new(
			f->list,
			json_pack("{s:s, s:s, s:b, s:o, s:s}", "kind", name,
				  "state", state, "leak", (int)leak, "what",
				  cmd_json_text(words), "remedy", remedy));
		return;
	}
	if (leak && f->leaks_told++ >= TELL_LEAKS_MAX)
		return;
	progress_hide(&f->bar);
	printf("%s\n", words);
	if (strcmp(state, "mended") == 0)
		printf("    mended: %s\n", remedy);
	else if (strcmp(state, "left") == 0)
		printf("    NOT mended\n");
	else
		printf("    --repair: %s\n", remedy);
}

static void on_fault(void *arg, const struct fs_fault *x)
{
	static const char *const states[] = {"found", "mended", "left"};

	tell(arg, x->name, states[x->state], x->leak, x->words, x->remedy);
}

static void on_damage(void *arg, const struct kv_damage *d)
{
	static const char *const states[] = {"found", "mended", "left"};
	char words[sizeof(d->words) + CMD_KEY_WORDS + 16], key[CMD_KEY_WORDS];

	if (d->klen > 0)
		snprintf(words, sizeof(words), "%s; key %s", d->words,
			 cmd_key_words(d->key, d->klen, key));
	else
		snprintf(words, sizeof(words), "%s", d->words);
	tell(arg, d->name, states[d->state], d->leak, words, d->remedy);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	progress_show(&((struct fsck *)arg)->bar, "names", done, total, "");
}

static int on_going(void *arg)
{
	struct fsck *f = arg;
	uint64_t done, total;

	kv_check_progress(f->check, &done, &total);
	progress_show(&f->bar, "index", done, total, "");
	return 0;
}

static void on_page(void *arg, uint64_t ino, uint64_t chunk,
		    struct kv_page page)
{
	kv_check_name_page(((struct fsck *)arg)->check, page);
}

/* --- the pass ------------------------------------------------------------ */

static void wait_ms(struct fsck *f, uint64_t ms)
{
	struct timespec ts = {.tv_nsec = 200000000};

	for (uint64_t at = 0; at < ms; at += 200) {
		progress_show(&f->bar, "others are at work: waiting", at, ms,
			      "");
		nanosleep(&ts, NULL);
	}
}

static int run(struct fsck *f, struct kv_check_sum *kvs,
	       struct fs_fsck_sum *fss)
{
	struct kv_check_opts ko = {.mend = f->repair,
				   .slots = f->repair,
				   .drop_lost = f->repair,
				   .space = true,
				   .damage = on_damage,
				   .going = on_going,
				   .arg = f};
	struct fs_fsck_opts fo = {.repair = f->repair,
				  .settle_ms = SETTLE_MS,
				  .fault = on_fault,
				  .progress = on_progress,
				  .page = on_page,
				  .arg = f};
	int rc = kv_check_open(f->kv, &ko, &f->check);

	if (rc != 0)
		return rc;
	if (f->repair && kv_clients(f->kv) > 1)
		wait_ms(f, UNDER_WAY_MS);
	rc = kv_check_index(f->check);
	if (rc == 0)
		rc = fs_fsck(f->kv, &fo, fss);
	if (rc == 0)
		rc = kv_check_space(f->check);
	kv_check_sum(f->check, kvs);
	kv_check_close(f->check);
	return rc;
}

static int exit_code(const struct kv_check_sum *k, const struct fs_fsck_sum *s)
{
	uint64_t found = k->wrong + k->leaks + s->found;
	uint64_t mended = k->mended + k->returned + s->mended;
	int code = 0;

	if (mended > 0)
		code |= FSCK_MENDED;
	if (found > mended)
		code |= FSCK_LEFT;
	return code;
}

static void print_sums(const struct fsck *f, const struct kv_check_sum *k,
		       const struct fs_fsck_sum *s)
{
	uint64_t found = k->wrong + k->leaks + s->found;
	uint64_t mended = k->mended + k->returned + s->mended;

	if (f->leaks_told > TELL_LEAKS_MAX)
		printf("... and %" PRIu64 " leaks more\n",
		       f->leaks_told - TELL_LEAKS_MAX);
	printf("%" PRIu64 " directories, %" PRIu64 " files, %" PRIu64
	       " pages, %" PRIu64 " records: ",
	       s->dirs, s->files, s->pages, k->records);
	if (found == 0)
		puts("sound");
	else
		printf("%" PRIu64 " faults (%" PRIu64
		       " only cost space), %" PRIu64 " mended\n",
		       found, k->leaks + s->leaks, mended);
}

static void print_json(const struct fsck *f, const struct kv_check_sum *k,
		       const struct fs_fsck_sum *s)
{
	json_t *o = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "directories",
		(json_int_t)s->dirs, "files", (json_int_t)s->files, "pages",
		(json_int_t)s->pages, "records", (json_int_t)k->records,
		"found", (json_int_t)(k->wrong + k->leaks + s->found), "leaks",
		(json_int_t)(k->leaks + s->leaks), "mended",
		(json_int_t)(k->mended + k->returned + s->mended), "faults",
		f->list);

	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
}

static int options(struct fsck *f, int argc, char **argv)
{
	static const struct option longs[] = {
		{"repair", no_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "rj", longs, NULL)) != -1) {
		if (letter == '?')
			return -EINVAL;
		f->repair = f->repair || letter == 'r';
		f->json = f->json || letter == 'j';
	}
	return optind == argc ? 0 : -EINVAL;
}

/* What is lost keeps the rest from being seen. */
static const char *why_lost(const struct fsck *f)
{
	return f->repair
		       ? " (if aceso status says that parts of the index are "
			 "lost, only their nodes, come back with their "
			 "memory, can mend that)"
		       : " (what is lost keeps the rest from being seen: "
			 "--repair lets go of it, but for parts of the index: "
			 "see aceso status)";
}

int cmd_fsck(const char *pool, int argc, char **argv)
{
	struct kv_check_sum k = {0};
	struct fs_fsck_sum s = {0};
	struct fsck f = {0};
	struct pool_place p;
	int rc;

	if (options(&f, argc, argv) != 0)
		return cmd_usage("fsck");
	rc = cmd_find(pool, &p);
	if (rc == 0)
		rc = cmd_open(&p, &f.kv);
	if (rc != 0)
		return rc;
	f.list = json_array();
	progress_open(&f.bar);
	rc = run(&f, &k, &s);
	progress_hide(&f.bar);
	kv_close(f.kv);
	if (rc == 0 && f.json)
		print_json(&f, &k, &s);
	else if (rc == 0)
		print_sums(&f, &k, &s);
	else
		say_err("the pool cannot be checked: %s%s", strerror(-rc),
			rc == -EIO ? why_lost(&f) : "");
	json_decref(f.list);
	return rc == 0 ? exit_code(&k, &s) : FSCK_FAILED;
}
