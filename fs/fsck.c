/* fs/fsck.c - looks, what of them is stable, and rounds of mending.
 *
 *   look -> (others are mounted: wait, look again, keep what both saw)
 *        -> mend each -> look ... until nothing is found, or nothing mended
 */
#include "fs/fsck.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/fsck_impl.h"

#define ROUNDS_MAX 12u /* lost trees come to light level by level */

/* --- one look ------------------------------------------------------------ */

static int look_once(struct ck *ck)
{
	struct kv_space space;
	int rc;

	ck_drop(ck);
	*ck->sum = (struct fs_fsck_sum){.found = ck->sum->found,
					.leaks = ck->sum->leaks,
					.mended = ck->sum->mended};
	ck->alone = kv_clients(ck->fs->kv) <= 1;
	ck->total = kv_space(ck->fs->kv, &space) == 0 ? space.slots_used : 0;
	rc = ck_take(ck);
	if (rc == 0)
		rc = ck_names(ck);
	if (rc == 0)
		rc = ck_bytes(ck);
	return rc;
}

/* The same fault: of the same key, which nobody has written since. */
static int by_fault(const void *pa, const void *pb)
{
	const struct ck_fault *a = pa, *b = pb;
	int by;

	if (a->f.kind != b->f.kind)
		return a->f.kind < b->f.kind ? -1 : 1;
	if (a->version != b->version)
		return a->version < b->version ? -1 : 1;
	by = memcmp(&a->key, &b->key, sizeof(a->key));
	if (by != 0)
		return by;
	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	if (a->nlen != b->nlen)
		return a->nlen < b->nlen ? -1 : 1;
	return memcmp(a->name, b->name, sizeof(a->name));
}

static void keep_stable(struct ck *ck, struct ck_table *before)
{
	struct ck_fault *f = (struct ck_fault *)ck->faults.at;
	size_t to = 0;

	qsort(before->at, before->n, before->size, by_fault);
	for (size_t i = 0; i < ck->faults.n; i++)
		if (bsearch(&f[i], before->at, before->n, before->size,
			    by_fault) != NULL)
			f[to++] = f[i];
	ck->faults.n = to;
}

static void settle(uint32_t ms)
{
	struct timespec ts = {.tv_sec = ms / 1000,
			      .tv_nsec = ms % 1000 * 1000000L};

	while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
}

static int look(struct ck *ck)
{
	struct ck_table before;
	int rc = look_once(ck);

	if (rc != 0 || ck->alone || ck->faults.n == 0)
		return rc;
	before = ck->faults;
	ck->faults = (struct ck_table){0};
	settle(ck->opts->settle_ms);
	rc = look_once(ck);
	if (rc == 0 && ck->faults.n > 0)
		keep_stable(ck, &before);
	free(before.at);
	return rc;
}

/* --- rounds -------------------------------------------------------------- */

static void tell(struct ck *ck, struct ck_fault *f, enum fs_fault_state state)
{
	f->f.state = state;
	ck->sum->found++;
	ck->sum->leaks += f->f.leak;
	ck->sum->mended += state == FS_FAULT_MENDED;
	ck->sum->left += state != FS_FAULT_MENDED;
	if (ck->opts->fault != NULL)
		ck->opts->fault(ck->opts->arg, &f->f);
}

/* Mend what can be; what cannot is left to a later round, which tells it if it
 * is still there then. Returns how many were. */
static size_t mend_all(struct ck *ck)
{
	struct ck_fault *f = (struct ck_fault *)ck->faults.at;
	size_t mended = 0;

	for (size_t i = 0; i < ck->faults.n; i++) {
		if (ck_mend(ck, &f[i]) != 0)
			continue;
		tell(ck, &f[i], FS_FAULT_MENDED);
		mended++;
	}
	return mended;
}

static void tell_left(struct ck *ck)
{
	struct ck_fault *f = (struct ck_fault *)ck->faults.at;

	for (size_t i = 0; i < ck->faults.n; i++)
		tell(ck, &f[i],
		     ck->opts->repair ? FS_FAULT_LEFT : FS_FAULT_FOUND);
}

static void tell_pages(struct ck *ck)
{
	const struct ck_chunk *c = (struct ck_chunk *)ck->chunks.at;

	for (size_t n = 0; ck->opts->page != NULL && n < ck->chunks.n; n++)
		for (unsigned i = 0; i < FS_CHUNK_PAGES; i++)
			if (!c[n].bad && c[n].page[i].addr != 0)
				ck->opts->page(ck->opts->arg, c[n].ino, c[n].n,
					       c[n].page[i]);
}

static int rounds(struct ck *ck)
{
	int rc = look(ck);

	for (unsigned i = 0; rc == 0 && i < ROUNDS_MAX; i++) {
		if (!ck->opts->repair || ck->faults.n == 0 || mend_all(ck) == 0)
			break;
		rc = look(ck);
	}
	if (rc == 0) {
		tell_left(ck);
		tell_pages(ck);
	}
	return rc;
}

/* --- no superblock ------------------------------------------------------- */

static int any_key(void *arg, const void *key, size_t klen, const void *val,
		   size_t vlen, uint64_t version)
{
	return 1;
}

/* Without the seed of the hashes in it no name can be looked up: there is no
 * mending that. Where there is no key at all there is no file system. */
static int no_super(struct kv *kv, const struct fs_fsck_opts *opts,
		    const char *what, struct fs_fsck_sum *out)
{
	static const uint8_t room = FS_KEY_ROOM;
	struct ck ck = {.opts = opts, .sum = out};
	struct ck_fault *f;
	int rc = kv_scan(kv, &room, 1, any_key, NULL);

	if (rc <= 0)
		return rc;
	ck.faults.size = sizeof(struct ck_fault);
	f = ck_fault(&ck, FS_FAULT_SUPER, fs_key_super(), 0,
		     "the superblock %s", what);
	if (f == NULL)
		return -ENOMEM;
	tell_left(&ck);
	ck_drop(&ck);
	return 0;
}

int fs_fsck(struct kv *kv, const struct fs_fsck_opts *opts,
	    struct fs_fsck_sum *out)
{
	struct fs_opts fo = {.attr_timeout = -1,
			     .entry_timeout = -1,
			     .negative_timeout = -1,
			     .check = true};
	struct ck ck = {.opts = opts, .sum = out};
	int rc;

	memset(out, 0, sizeof(*out));
	rc = fs_open(kv, &fo, &ck.fs);
	if (rc == -ENOENT)
		return no_super(kv, opts, "is gone", out);
	if (rc == -EBADMSG || rc == -EPROTO)
		return no_super(kv, opts, "does not make sense", out);
	if (rc != 0)
		return rc;
	rc = rounds(&ck);
	ck_drop(&ck);
	fs_close(ck.fs);
	return rc;
}
