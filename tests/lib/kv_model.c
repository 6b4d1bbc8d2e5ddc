/* See kv_model.h. Speed is no aim, except that tests should not wait. */
#include "tests/lib/kv_model.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

#include "kv/kv.h"
#include "tests/lib/kv_model_impl.h"

static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool *pools;

/* --- pools and clients ---------------------------------------------------- */

static struct pool *pool_get(const char *name)
{
	struct pool *p;

	for (p = pools; p != NULL; p = p->next)
		if (strcmp(p->name, name) == 0)
			return p;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return NULL;
	p->name = strdup(name);
	p->limit = NO_LIMIT;
	pthread_mutex_init(&p->lock, NULL);
	p->next = pools;
	pools = p;
	return p;
}

static void pool_free(struct pool *p)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (p->cells[i] != NULL) {
			struct cell *c = p->cells[i];

			p->cells[i] = c->next;
			free(c);
		}
		while (p->page_at[i] != NULL) {
			struct page *pg = p->page_at[i];

			p->page_at[i] = pg->next;
			free(pg);
		}
	}
	pthread_mutex_destroy(&p->lock);
	free(p->name);
	free(p);
}

void kv_model_drop(const char *name)
{
	pthread_mutex_lock(&pools_lock);
	for (struct pool **at = &pools; *at != NULL; at = &(*at)->next) {
		struct pool *p = *at;

		if (strcmp(p->name, name) != 0)
			continue;
		assert(p->clients == 0);
		*at = p->next;
		pool_free(p);
		break;
	}
	pthread_mutex_unlock(&pools_lock);
}

int kv_open(const struct kv_opts *opts, struct kv **out)
{
	struct kv *kv = calloc(1, sizeof(*kv));

	if (kv == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&pools_lock);
	kv->pool = pool_get(opts->pool != NULL ? opts->pool : "model");
	assert(kv->pool != NULL);
	kv->id = ++kv->pool->client_last;
	kv->pool->clients++;
	kv->next = kv->pool->client;
	kv->pool->client = kv;
	pthread_mutex_unlock(&pools_lock);
	*out = kv;
	return 0;
}

void kv_close(struct kv *kv)
{
	if (kv == NULL)
		return;
	if (kv->areas != 0) /* somebody may free memory that it knows */
		abort();
	pthread_mutex_lock(&pools_lock);
	kv->pool->clients--;
	for (struct kv **at = &kv->pool->client; *at != NULL; at = &(*at)->next)
		if (*at == kv) {
			*at = kv->next;
			break;
		}
	pthread_mutex_unlock(&pools_lock);
	free(kv);
}

const char *kv_error(void)
{
	return "the model opens always";
}

/* Take the lock for a call; before a change, die or be meddled with if it is
 * time to. Returns 0 with the lock held, or -EIO without. */
int model_begin(struct kv *kv, bool change)
{
	pthread_mutex_lock(&kv->pool->lock);
	kv->calls++;
	if (change && !kv->dead) {
		kv->changes++;
		if (kv->changes == kv->crash_at)
			kv->dead = true;
		if (kv->changes == kv->meddle_at) {
			kv->meddle_at = 0;
			pthread_mutex_unlock(&kv->pool->lock);
			kv->meddle(kv->meddle_arg);
			pthread_mutex_lock(&kv->pool->lock);
		}
	}
	if (!kv->dead)
		return 0;
	pthread_mutex_unlock(&kv->pool->lock);
	return -EIO;
}

void model_end(struct kv *kv)
{
	pthread_mutex_unlock(&kv->pool->lock);
}

/* --- keys ---------------------------------------------------------------- */

/* The link that points at @key's cell, or at the NULL where it would go. */
static struct cell **find(struct pool *p, const void *key, size_t klen)
{
	struct cell **at = &p->cells[XXH3_64bits(key, klen) % BUCKETS];

	while (*at != NULL &&
	       ((*at)->klen != klen || memcmp((*at)->bytes, key, klen) != 0))
		at = &(*at)->next;
	return at;
}

/* Would @req's condition hold? 0 or the errno of the single call. */
static int check(struct pool *p, const struct kv_req *req)
{
	struct cell *c = *find(p, req->key, req->klen);

	if (req->klen == 0 || req->klen > KV_KEY_BYTES_MAX ||
	    (req->kind != KV_GET && req->len > KV_VALUE_BYTES_MAX))
		return -EINVAL;
	switch (req->kind) {
	case KV_GET:
		return c == NULL ? -ENOENT : 0;
	case KV_PUT:
	case KV_INSERT:
		if (req->kind == KV_INSERT && c != NULL)
			return -EEXIST;
		if (c == NULL && p->keys >= p->limit &&
		    !(req->flags & KV_URGENT))
			return -ENOSPC;
		return 0;
	case KV_PUT_IF:
		if (c == NULL)
			return -ENOENT;
		return c->version == req->expect ? 0 : -ESTALE;
	case KV_DEL:
		if (c == NULL)
			return -ENOENT;
		return req->expect == 0 || c->version == req->expect ? 0
								     : -ESTALE;
	default:
		return -EINVAL;
	}
}

static void drop(struct pool *p, struct cell **at)
{
	struct cell *c = *at;

	*at = c->next;
	free(c);
	p->keys--;
}

static int set(struct pool *p, struct kv_req *req)
{
	struct cell **at = find(p, req->key, req->klen);
	struct cell *c = malloc(sizeof(*c) + req->klen + req->len);

	if (c == NULL)
		return -ENOMEM;
	if (*at != NULL)
		drop(p, at);
	c->klen = req->klen;
	c->vlen = req->len;
	c->version = ++p->clock;
	memcpy(c->bytes, req->key, req->klen);
	if (req->len > 0)
		memcpy(c->bytes + req->klen, req->val, req->len);
	c->next = *at;
	*at = c;
	p->keys++;
	req->version = c->version;
	return 0;
}

static int get(struct pool *p, struct kv_req *req)
{
	struct cell *c = *find(p, req->key, req->klen);

	req->len = c->vlen;
	if (c->vlen > req->cap)
		return -ERANGE;
	if (c->vlen > 0)
		memcpy(req->buf, c->bytes + c->klen, c->vlen);
	req->version = c->version;
	return 0;
}

static int apply(struct pool *p, struct kv_req *req)
{
	int err = check(p, req);

	if (err != 0)
		return err;
	switch (req->kind) {
	case KV_GET:
		return get(p, req);
	case KV_DEL:
		drop(p, find(p, req->key, req->klen));
		return 0;
	default:
		return set(p, req);
	}
}

static int one(struct kv *kv, struct kv_req *req)
{
	int err = model_begin(kv, req->kind != KV_GET);

	if (err != 0)
		return err;
	err = apply(kv->pool, req);
	model_end(kv);
	return err;
}

int kv_get(struct kv *kv, const void *key, size_t klen, void *buf, size_t cap,
	   size_t *len, uint64_t *version)
{
	struct kv_req req = {.kind = KV_GET,
			     .key = key,
			     .klen = klen,
			     .buf = buf,
			     .cap = cap};
	int err = one(kv, &req);

	if (err == 0 || err == -ERANGE)
		*len = req.len;
	if (err == 0 && version != NULL)
		*version = req.version;
	return err;
}

static int change(struct kv *kv, enum kv_kind kind, const void *key,
		  size_t klen, const void *val, size_t vlen, uint64_t expect,
		  uint64_t *version)
{
	struct kv_req req = {.kind = kind,
			     .key = key,
			     .klen = klen,
			     .val = val,
			     .len = vlen,
			     .expect = expect};
	int err = one(kv, &req);

	if (err == 0 && version != NULL)
		*version = req.version;
	return err;
}

int kv_put(struct kv *kv, const void *key, size_t klen, const void *val,
	   size_t vlen, uint64_t *version)
{
	return change(kv, KV_PUT, key, klen, val, vlen, 0, version);
}

int kv_put_if(struct kv *kv, const void *key, size_t klen, const void *val,
	      size_t vlen, uint64_t expect, uint64_t *version)
{
	return change(kv, KV_PUT_IF, key, klen, val, vlen, expect, version);
}

int kv_insert(struct kv *kv, const void *key, size_t klen, const void *val,
	      size_t vlen, uint64_t *version)
{
	return change(kv, KV_INSERT, key, klen, val, vlen, 0, version);
}

int kv_del(struct kv *kv, const void *key, size_t klen, uint64_t expect)
{
	return change(kv, KV_DEL, key, klen, NULL, 0, expect, NULL);
}

int kv_run(struct kv *kv, struct kv_req *reqs, size_t n)
{
	int err = 0;

	if (n > KV_RUN_OPS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		reqs[i].status = one(kv, &reqs[i]);
		if (err == 0)
			err = reqs[i].status;
	}
	return err;
}

/* A condition of a transaction: as check(), but GET compares versions. */
static int txn_check(struct pool *p, const struct kv_req *req)
{
	struct cell *c = *find(p, req->key, req->klen);

	if (req->kind == KV_PUT || req->len > KV_TXN_VALUE_BYTES_MAX ||
	    (req->kind == KV_DEL && req->expect == 0))
		return -EINVAL;
	if (req->kind != KV_GET)
		return check(p, req);
	if (req->expect == 0)
		return c == NULL ? 0 : -EEXIST;
	if (c == NULL)
		return -ENOENT;
	return c->version == req->expect ? 0 : -ESTALE;
}

int kv_txn(struct kv *kv, struct kv_req *reqs, size_t n)
{
	int err, bad = 0;

	if (n == 0 || n > KV_TXN_OPS_MAX)
		return -EINVAL;
	err = model_begin(kv, true);
	if (err != 0)
		return err;
	for (size_t i = 0; i < n; i++) {
		reqs[i].status = txn_check(kv->pool, &reqs[i]);
		if (bad == 0)
			bad = reqs[i].status;
	}
	for (size_t i = 0; i < n && bad == 0; i++)
		if (reqs[i].kind == KV_GET)
			reqs[i].version = reqs[i].expect;
		else if (apply(kv->pool, &reqs[i]) != 0)
			abort(); /* out of memory halfway: no model any more */
	model_end(kv);
	if (bad == -EEXIST || bad == -ENOENT)
		return -ESTALE;
	return bad;
}

/* --- the pool
 * ------------------------------------------------------------------ */

int kv_space(struct kv *kv, struct kv_space *out)
{
	struct pool *p = kv->pool;
	int err = model_begin(kv, false);

	if (err != 0)
		return err;
	*out = (struct kv_space){
		.capacity = p->limit * KV_PAGE_BYTES,
		.used = p->pages * KV_PAGE_BYTES,
		.available = (p->limit - p->pages) * KV_PAGE_BYTES,
		.slots = p->limit,
		.slots_used = p->keys,
	};
	model_end(kv);
	return 0;
}

/* Who died counts as fenced, though it is a client until it is closed. */
int kv_client_lives(struct kv *kv, uint32_t id)
{
	int lives = 0;

	pthread_mutex_lock(&pools_lock);
	for (const struct kv *c = kv->pool->client; c != NULL; c = c->next)
		if (c->id == id && !c->dead)
			lives = 1;
	pthread_mutex_unlock(&pools_lock);
	return lives;
}

/* At once: it has nothing under way in between calls. */
int kv_client_swept(struct kv *kv, uint32_t id)
{
	return !kv_client_lives(kv, id);
}

unsigned kv_clients(struct kv *kv)
{
	unsigned n;

	pthread_mutex_lock(&pools_lock);
	n = kv->pool->clients;
	pthread_mutex_unlock(&pools_lock);
	return n;
}

void kv_on_shut_out(struct kv *kv, void (*fn)(void *arg), void *arg)
{
	(void)kv; /* the model shuts nobody out */
	(void)fn;
	(void)arg;
}

int kv_register(struct kv *kv, void *at, size_t bytes)
{
	if (at == NULL || bytes == 0)
		return -EINVAL;
	kv->areas++;
	return 0;
}

void kv_deregister(struct kv *kv, void *at)
{
	if (at == NULL || kv->areas == 0)
		abort();
	kv->areas--;
}

void kv_on_vacate(struct kv *kv, kv_vacate *fn, void *arg)
{
	(void)kv; /* its pages are nowhere in the way */
	(void)fn;
	(void)arg;
}

uint32_t kv_client_id(const struct kv *kv)
{
	return kv->id;
}

uint64_t kv_random(struct kv *kv)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		abort();
	return r;
}

static uint64_t peek(struct kv *kv, const uint64_t *number)
{
	uint64_t v;

	pthread_mutex_lock(&kv->pool->lock);
	v = *number;
	model_end(kv);
	return v;
}

uint64_t kv_wall_ns(struct kv *kv)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (ts.tv_sec + peek(kv, &kv->pool->passed)) * 1000000000u +
	       ts.tv_nsec;
}

bool kv_is_persistent(const struct kv *kv)
{
	(void)kv;
	return false;
}

int kv_persist(struct kv *kv)
{
	(void)kv;
	return -EOPNOTSUPP;
}

int kv_sync(struct kv *kv)
{
	return 0;
}

/* --- looking inside
 * -------------------------------------------------------------- */

int kv_where(struct kv *kv, const void *key, size_t klen, struct kv_where *out)
{
	struct cell *c;
	int err = model_begin(kv, false);

	if (err != 0)
		return err;
	c = *find(kv->pool, key, klen);
	if (c != NULL)
		*out = (struct kv_where){.hash = XXH3_64bits(key, klen),
					 .version = c->version,
					 .length = c->vlen,
					 .state = "model"};
	model_end(kv);
	return c == NULL ? -ENOENT : 0;
}

int kv_where_page(struct kv *kv, struct kv_page page, struct kv_where *out)
{
	*out = (struct kv_where){.offset = page.addr, .state = "model"};
	return 0;
}

/* A copy of all cells with the prefix, so that @each may call the store. */
static struct cell *snapshot(struct pool *p, const void *prefix, size_t plen)
{
	struct cell *all = NULL;

	for (size_t i = 0; i < BUCKETS; i++)
		for (struct cell *c = p->cells[i]; c != NULL; c = c->next) {
			size_t size = sizeof(*c) + c->klen + c->vlen;
			struct cell *copy;

			if (c->klen < plen || memcmp(c->bytes, prefix, plen))
				continue;
			copy = malloc(size);
			if (copy == NULL)
				abort();
			memcpy(copy, c, size);
			copy->next = all;
			all = copy;
		}
	return all;
}

int kv_scan(struct kv *kv, const void *prefix, size_t plen,
	    int (*each)(void *arg, const void *key, size_t klen,
			const void *val, size_t vlen, uint64_t version),
	    void *arg)
{
	struct cell *c, *next;
	int err = model_begin(kv, false);

	if (err != 0)
		return err;
	c = snapshot(kv->pool, prefix, plen);
	model_end(kv);
	for (; c != NULL; c = next) {
		next = c->next;
		if (err == 0)
			err = each(arg, c->bytes, c->klen, c->bytes + c->klen,
				   c->vlen, c->version);
		free(c);
	}
	return err;
}

void kv_stats(struct kv *kv, struct kv_stats *out)
{
	*out = (struct kv_stats){0};
}

/* --- for tests
 * --------------------------------------------------------------------- */

void kv_model_limit(struct kv *kv, uint64_t pages)
{
	pthread_mutex_lock(&kv->pool->lock);
	kv->pool->limit = pages;
	model_end(kv);
}

void kv_model_pass(struct kv *kv, unsigned seconds)
{
	pthread_mutex_lock(&kv->pool->lock);
	kv->pool->passed += seconds;
	model_end(kv);
}

void kv_model_crash_at(struct kv *kv, uint64_t n)
{
	pthread_mutex_lock(&kv->pool->lock);
	kv->dead = false;
	kv->crash_at = n == 0 ? 0 : kv->changes + n;
	model_end(kv);
}

void kv_model_meddle_at(struct kv *kv, uint64_t n, void (*meddle)(void *arg),
			void *arg)
{
	pthread_mutex_lock(&kv->pool->lock);
	kv->meddle = meddle;
	kv->meddle_arg = arg;
	kv->meddle_at = n == 0 ? 0 : kv->changes + n;
	model_end(kv);
}

uint64_t kv_model_changes(struct kv *kv)
{
	return peek(kv, &kv->changes);
}

uint64_t kv_model_calls(struct kv *kv)
{
	return peek(kv, &kv->calls);
}

uint64_t kv_model_keys(struct kv *kv)
{
	return peek(kv, &kv->pool->keys);
}

uint64_t kv_model_pages(struct kv *kv)
{
	return peek(kv, &kv->pool->pages);
}
