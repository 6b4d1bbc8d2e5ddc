/* tests/lib/kv_model_pages.c - the model's pages; and of kv/check.h what
 * returns those of clients that are gone. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "kv/check.h"
#include "tests/lib/kv_model_impl.h"

static struct page **page_find(struct pool *p, uint64_t addr)
{
	struct page **at = &p->page_at[addr % BUCKETS];

	while (*at != NULL && (*at)->addr != addr)
		at = &(*at)->next;
	return at;
}

static void page_drop(struct pool *p, uint64_t addr)
{
	struct page **at = page_find(p, addr);
	struct page *pg = *at;

	assert(pg !=
	       NULL); /* freed twice, or never written: the caller's bug */
	*at = pg->next;
	free(pg);
	p->pages--;
}

static int page_add(struct pool *p, uint32_t writer, const void *data,
		    struct kv_page *out)
{
	struct page *pg = malloc(sizeof(*pg));

	if (pg == NULL)
		return -ENOMEM;
	memcpy(pg->bytes, data, KV_PAGE_BYTES);
	pg->addr = ++p->clock;
	pg->writer = writer;
	pg->next = p->page_at[pg->addr % BUCKETS];
	p->page_at[pg->addr % BUCKETS] = pg;
	p->pages++;
	*out = (struct kv_page){.addr = pg->addr,
				.crc = XXH32(data, KV_PAGE_BYTES, 0)};
	return 0;
}

int kv_pages_write(struct kv *kv, const void *const *data, size_t n,
		   struct kv_page *out)
{
	size_t done = 0;
	int err;

	if (n == 0 || n > KV_PAGES_MAX)
		return -EINVAL;
	err = model_begin(kv, true);
	if (err != 0)
		return err;
	if (kv->pool->pages + n > kv->pool->limit)
		err = -ENOSPC;
	while (err == 0 && done < n) {
		err = page_add(kv->pool, kv->id, data[done], &out[done]);
		if (err == 0)
			done++;
	}
	while (err != 0 && done > 0)
		page_drop(kv->pool, out[--done].addr);
	model_end(kv);
	return err;
}

int kv_pages_read(struct kv *kv, const struct kv_page *pages, size_t n,
		  void *const *data, bool sure)
{
	int err;

	if (n == 0 || n > KV_PAGES_MAX)
		return -EINVAL;
	err = model_begin(kv, false);
	if (err != 0)
		return err;
	for (size_t i = 0; i < n; i++) {
		struct page *pg = *page_find(kv->pool, pages[i].addr);

		if (pages[i].addr == 0)
			memset(data[i], 0, KV_PAGE_BYTES);
		else if (pg == NULL ||
			 XXH32(pg->bytes, KV_PAGE_BYTES, 0) != pages[i].crc)
			err = sure ? -EIO : -ESTALE;
		else
			memcpy(data[i], pg->bytes, KV_PAGE_BYTES);
	}
	model_end(kv);
	return err;
}

void kv_pages_free(struct kv *kv, const struct kv_page *pages, size_t n)
{
	if (model_begin(kv, false) != 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (pages[i].addr != 0)
			page_drop(kv->pool, pages[i].addr);
	model_end(kv);
}

/* --- what nobody names ---------------------------------------------------- */

struct kv_check {
	struct kv *kv;
	struct kv_check_opts o;
	uint64_t *named;
	size_t n, cap;
};

int kv_check_open(struct kv *kv, const struct kv_check_opts *opts,
		  struct kv_check **out)
{
	struct kv_check *c = calloc(1, sizeof(*c));

	assert(opts->gone && opts->mend && opts->space);
	if (c == NULL)
		return -ENOMEM;
	c->kv = kv;
	c->o = *opts;
	*out = c;
	return 0;
}

void kv_check_close(struct kv_check *c)
{
	free(c->named);
	free(c);
}

int kv_check_pace(struct kv_check *c, uint64_t bytes)
{
	return c->o.going(c->o.arg) != 0 ? -ECANCELED : 0;
}

void kv_check_name_page(struct kv_check *c, struct kv_page page)
{
	if (c->n == c->cap) {
		c->cap = 2 * c->cap + 64;
		c->named = realloc(c->named, c->cap * sizeof(*c->named));
		assert(c->named != NULL);
	}
	c->named[c->n++] = page.addr;
}

static bool is_named(const struct kv_check *c, uint64_t addr)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->named[i] == addr)
			return true;
	return false;
}

int kv_check_space(struct kv_check *c)
{
	struct pool *p = c->kv->pool;
	struct page *pg, *next;
	int rc = model_begin(c->kv, false);

	for (unsigned i = 0; rc == 0 && i < BUCKETS; i++)
		for (pg = p->page_at[i]; pg != NULL; pg = next) {
			next = pg->next;
			if (!kv_client_lives(c->kv, pg->writer) &&
			    !is_named(c, pg->addr))
				page_drop(p, pg->addr);
		}
	if (rc == 0)
		model_end(c->kv);
	return rc;
}
