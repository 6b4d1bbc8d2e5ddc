/* tests/lib/player.c - see player.h. */
#include "tests/lib/player.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/sim.h"

#define VALUE_BYTES_MAX 8192u
#define TRIES_MAX	1000u

struct value_head {
	uint64_t value;
	uint32_t pages, zero;
	struct kv_page page[STAGE_PAGES_MAX];
};

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static size_t key_of(char key[16], uint32_t i)
{
	return (size_t)snprintf(key, 16, "key-%" PRIu32, i);
}

static void noise(void *to, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = mix(seed + i);

		memcpy((char *)to + i, &x, len - i < 8 ? len - i : 8);
	}
}

static uint64_t now(const struct player *p)
{
	return sim_now(cluster_sim(p->stage->c));
}

/* --- values -------------------------------------------------------------- */

static size_t filler_of(const struct stage *s, uint64_t value)
{
	return mix(value) % (s->value_max ? s->value_max : 1000);
}

/* The whole value into @buf (VALUE_BYTES_MAX): returns its length. */
static size_t value_of(const struct stage *s, const struct player_note *n,
		       char *buf)
{
	struct value_head head = {.value = n->value, .pages = n->pages};
	size_t len = filler_of(s, n->value);

	assert_true(sizeof(head) + len <= VALUE_BYTES_MAX);
	for (uint32_t i = 0; i < n->pages; i++) {
		head.page[i].addr = n->page[i].addr;
		head.page[i].crc = n->page[i].crc;
	}
	memcpy(buf, &head, sizeof(head));
	noise(buf + sizeof(head), len, n->value);
	return sizeof(head) + len;
}

static uint32_t pages_of(uint64_t value)
{
	return 1 +
	       (uint32_t)(mix(~value) % (value % 3 == 0 ? STAGE_PAGES_MAX : 3));
}

/* What was read is a value that somebody wrote, to the last byte. */
static void check_value(const struct stage *s, const char *buf, size_t len,
			struct player_note *n)
{
	struct value_head head;
	char *want = malloc(VALUE_BYTES_MAX);

	assert_true(len >= sizeof(head));
	memcpy(&head, buf, sizeof(head));
	n->value = head.value;
	n->pages = head.pages;
	assert_true(head.value >= 1 && head.value <= s->serial);
	assert_true(head.pages <= STAGE_PAGES_MAX);
	memcpy(n->page, head.page, sizeof(n->page));
	assert_int_equal(len, sizeof(head) + filler_of(s, n->value));
	noise(want, filler_of(s, n->value), n->value);
	assert_memory_equal(buf + sizeof(head), want, filler_of(s, n->value));
	free(want);
}

static int read_pages(struct player *p, const struct player_note *n, bool sure)
{
	char *buf = malloc((STAGE_PAGES_MAX + 1) * KV_PAGE_BYTES);
	char *want = buf + STAGE_PAGES_MAX * KV_PAGE_BYTES;
	void *to[STAGE_PAGES_MAX];
	int rc;

	for (uint32_t i = 0; i < n->pages; i++)
		to[i] = buf + i * KV_PAGE_BYTES;
	rc = kv_pages_read(p->kv, n->page, n->pages, to, sure);
	for (uint32_t i = 0; rc == 0 && i < n->pages; i++) {
		noise(want, KV_PAGE_BYTES, n->value << 8 | i);
		assert_memory_equal(to[i], want, KV_PAGE_BYTES);
	}
	free(buf);
	return rc;
}

static int write_pages(struct player *p, struct player_note *n)
{
	char *buf = malloc(STAGE_PAGES_MAX * KV_PAGE_BYTES);
	const void *from[STAGE_PAGES_MAX];
	int rc;

	n->pages = pages_of(n->value);
	if (n->pages < p->stage->pages_least)
		n->pages = p->stage->pages_least;
	for (uint32_t i = 0; i < n->pages; i++) {
		from[i] = buf + i * KV_PAGE_BYTES;
		noise(buf + i * KV_PAGE_BYTES, KV_PAGE_BYTES,
		      n->value << 8 | i);
	}
	rc = kv_pages_write(p->kv, from, n->pages, n->page);
	free(buf);
	return rc;
}

/* --- acts
 * ----------------------------------------------------------------------- */

static bool expected(int rc)
{
	return rc == 0 || rc == -ENOENT || rc == -EEXIST || rc == -ESTALE;
}

static void settle(struct player *p, uint32_t act, int rc,
		   const struct history_part *part)
{
	struct history *h = p->stage->h;

	if (p->dead || rc == -ETIMEDOUT) {
		history_unknown(h, act);
	} else if (rc == -ENOSPC) {
		p->stage->refused_for_space++;
		history_void(h, act);
	} else if (expected(rc)) {
		history_end(h, act, now(p), rc, part);
	} else {
		fail_msg("client %u, act %u on key %u: %s", p->id, act,
			 part->key, strerror(-rc));
	}
}

static int get_once(struct player *p, uint32_t key, struct player_note *n)
{
	char name[16], *buf = malloc(VALUE_BYTES_MAX);
	size_t len = 0;
	int rc = kv_get(p->kv, name, key_of(name, key), buf, VALUE_BYTES_MAX,
			&len, &n->version);

	if (rc == 0 && !p->dead)
		check_value(p->stage, buf, len, n);
	free(buf);
	return rc;
}

/* A value and its pages; pages that are gone have had another value since. */
static int get_whole(struct player *p, uint32_t key, struct player_note *n)
{
	uint64_t before = 0;
	int rc;

	for (unsigned i = 0; i < TRIES_MAX; i++) {
		rc = get_once(p, key, n);
		if (rc != 0 || p->dead || n->pages == 0)
			return rc;
		rc = read_pages(p, n, before == n->version);
		if (rc != -ESTALE)
			return rc;
		p->stage->looked_twice++;
		before = n->version;
	}
	fail_msg("key %u: its pages are always gone", key);
	return -EIO;
}

static int do_get(struct player *p, uint32_t key)
{
	struct history_part part = {.kind = KV_GET, .key = key};
	struct player_note n = {.value = 0};
	uint32_t act =
		history_begin(p->stage->h, p->id, now(p), &part, 1, false);
	int rc = get_whole(p, key, &n);

	part.value = rc == 0 ? n.value : 0;
	part.version = n.version;
	settle(p, act, rc, &part);
	if (rc == 0 || rc == -ENOENT)
		p->note[key] = n;
	if (rc == -ENOENT)
		p->note[key].value = 0;
	return rc;
}

static int put_one(struct player *p, struct history_part *part, const char *buf,
		   size_t len)
{
	char key[16];
	size_t klen = key_of(key, part->key);

	switch (part->kind) {
	case KV_PUT:
		return kv_put(p->kv, key, klen, buf, len, &part->version);
	case KV_PUT_IF:
		return kv_put_if(p->kv, key, klen, buf, len, part->expect,
				 &part->version);
	case KV_INSERT:
		return kv_insert(p->kv, key, klen, buf, len, &part->version);
	default:
		return kv_del(p->kv, key, klen, part->expect);
	}
}

/* Pages of values that nobody names any more, or ever did. */
static void free_pages(struct player *p, int rc, const struct player_note *old,
		       const struct player_note *new)
{
	if (rc == 0 && old->value != 0)
		kv_pages_free(p->kv, old->page, old->pages);
	else if (expected(rc) && rc != 0 && new->pages != 0)
		kv_pages_free(p->kv, new->page, new->pages);
}

static int do_change(struct player *p, uint8_t kind, uint32_t key)
{
	struct player_note old = p->note[key], n = {.value = 0};
	struct history_part part = {.kind = kind, .key = key};
	bool paged = key >= STAGE_PAGES_FROM;
	char *buf = malloc(VALUE_BYTES_MAX);
	uint32_t act;
	size_t len;
	int rc;

	if (kind != KV_DEL)
		part.value = n.value = ++p->stage->serial;
	if (kind == KV_INSERT)
		old.value = 0; /* if it succeeds there was none */
	if (kind == KV_PUT_IF || (kind == KV_DEL && paged))
		part.expect = old.version;
	act = history_begin(p->stage->h, p->id, now(p), &part, 1, false);
	rc = paged && kind != KV_DEL ? write_pages(p, &n) : 0;
	len = value_of(p->stage, &n, buf);
	if (rc == 0)
		rc = put_one(p, &part, buf, len);
	else
		n.pages = 0;
	free(buf);
	settle(p, act, rc, &part);
	if (paged && !p->dead)
		free_pages(p, rc, &old, &n);
	n.version = part.version;
	if (rc == 0)
		p->note[key] = n;
	else
		p->note[key].value = 0;
	return rc;
}

int player_do(struct player *p, uint8_t kind, uint32_t key)
{
	bool known = p->note[key].value != 0;

	if (kind == KV_PUT && key >= STAGE_PAGES_FROM)
		kind = known ? KV_PUT_IF : KV_INSERT;
	if (kind == KV_GET || (kind == KV_PUT_IF && !known) ||
	    (kind == KV_DEL && key >= STAGE_PAGES_FROM && !known))
		return do_get(p, key);
	return do_change(p, kind, key);
}

/* --- many
 * ------------------------------------------------------------------------- */

struct many {
	struct history_part part[HISTORY_PARTS_MAX];
	struct kv_req rq[HISTORY_PARTS_MAX];
	struct player_note note[HISTORY_PARTS_MAX];
	char key[HISTORY_PARTS_MAX][16];
	char buf[HISTORY_PARTS_MAX][VALUE_BYTES_MAX];
};

static void fill_one(struct player *p, struct many *m, uint32_t i, uint8_t kind,
		     uint32_t key, bool txn)
{
	const struct player_note *old = &p->note[key];
	struct kv_req *rq = &m->rq[i];

	m->part[i] = (struct history_part){.kind = kind, .key = key};
	*rq = (struct kv_req){.kind = kind, .key = m->key[i]};
	rq->klen = (uint16_t)key_of(m->key[i], key);
	m->note[i] = (struct player_note){.value = 0};
	if (kind != KV_GET && kind != KV_DEL) {
		m->note[i].value = ++p->stage->serial;
		m->part[i].value = m->note[i].value;
		rq->val = m->buf[i];
		rq->len = (uint32_t)value_of(p->stage, &m->note[i], m->buf[i]);
	} else if (kind == KV_GET && !txn) {
		rq->buf = m->buf[i];
		rq->cap = VALUE_BYTES_MAX;
	}
	if (kind == KV_PUT_IF || (txn && kind == KV_DEL))
		rq->expect = old->version;
	else if (txn && kind == KV_GET && old->value != 0)
		rq->expect = old->version;
	m->part[i].expect = rq->expect;
}

static void take_answer(struct player *p, struct many *m, uint32_t i, bool txn,
			int rc)
{
	struct kv_req *rq = &m->rq[i];
	struct history_part *part = &m->part[i];
	struct player_note *note = &p->note[part->key];

	part->status = rq->status;
	part->version = rc == 0 && part->kind != KV_DEL ? rq->version : 0;
	if (part->kind == KV_GET && !txn && rc == 0) {
		check_value(p->stage, m->buf[i], rq->len, &m->note[i]);
		part->value = m->note[i].value;
	}
	m->note[i].version = part->version;
	if (txn && part->kind == KV_GET) {
		part->version = 0;
		note->value = 0;
	} else if (rc == 0) {
		*note = m->note[i];
	} else {
		note->value = 0;
	}
}

/* INSERT where a key is known to be, and so on: what can be asked. */
static uint8_t txn_kind(const struct player *p, uint8_t kind, uint32_t key)
{
	bool known = p->note[key].value != 0;

	if (kind == KV_INSERT || kind == KV_GET)
		return kind;
	return known ? kind : KV_INSERT;
}

int player_txn(struct player *p, const uint8_t *kind, const uint32_t *key,
	       uint32_t n)
{
	struct many *m = malloc(sizeof(*m));
	uint32_t act;
	int rc;

	assert_true(n <= HISTORY_PARTS_MAX);
	for (uint32_t i = 0; i < n; i++)
		fill_one(p, m, i, txn_kind(p, kind[i], key[i]), key[i], true);
	act = history_begin(p->stage->h, p->id, now(p), m->part, n, true);
	rc = kv_txn(p->kv, m->rq, n);
	if (!p->dead)
		for (uint32_t i = 0; i < n; i++)
			take_answer(p, m, i, true, rc);
	settle(p, act, rc, m->part);
	free(m);
	return rc;
}

void player_run(struct player *p, const uint8_t *kind, const uint32_t *key,
		uint32_t n)
{
	struct many *m = malloc(sizeof(*m));
	uint32_t act[HISTORY_PARTS_MAX];

	assert_true(n <= HISTORY_PARTS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t k = kind[i] == KV_PUT_IF && p->note[key[i]].value == 0
				    ? KV_GET
				    : kind[i];

		fill_one(p, m, i, k, key[i], false);
		act[i] = history_begin(p->stage->h, p->id, now(p), &m->part[i],
				       1, false);
	}
	kv_run(p->kv, m->rq, n);
	for (uint32_t i = 0; i < n; i++) {
		if (!p->dead)
			take_answer(p, m, i, false, m->rq[i].status);
		settle(p, act[i], m->rq[i].status, &m->part[i]);
	}
	free(m);
}

void player_read_all(struct player *p, uint32_t keys, uint32_t page_keys)
{
	for (uint32_t i = 0; i < keys; i++)
		player_do(p, KV_GET, i);
	for (uint32_t i = 0; i < page_keys; i++)
		player_do(p, KV_GET, STAGE_PAGES_FROM + i);
}

void player_init(struct player *p, struct stage *s, uint32_t id)
{
	memset(p, 0, sizeof(*p));
	p->stage = s;
	p->id = id;
	p->kv = cluster_client(s->c);
}
