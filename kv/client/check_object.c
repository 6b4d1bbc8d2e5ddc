/* kv/client/check_object.c - one record or page: are its bytes right, those in
 * the data block and those in each delta block that has a copy of it?
 *
 *   wrong -> is it named still? -> again, a little later -> damaged:
 *     right bytes from the rest of the stripe -> written back -> read again
 *
 * What is written back is what is named right before and after: a block that is
 * open uses its units again, but never those that a slot or a node names. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "ec/crc.h"
#include "kv/client/check_impl.h"
#include "kv/client/degraded.h"
#include "kv/client/member.h"

/* Read it from its own node: 1 right, 0 wrong, -errno. */
static int look(struct kv_check *c, struct check_object *o)
{
	int rc = check_read(c, fab_addr_node(o->addr), fab_addr_offset(o->addr),
			    o->buf, o->len);

	return rc != 0 ? rc : o->right(o->arg, o->buf);
}

/* 1 right; 0 wrong, each time; -ESTALE; -errno. */
static int look_well(struct kv_check *c, struct check_object *o)
{
	int rc = look(c, o), named;

	for (unsigned i = 1; rc == 0 && i < CHECK_LOOKS; i++) {
		named = o->still(o->arg);
		if (named <= 0)
			return named < 0 ? named : -ESTALE;
		fab_sleep(c->t->fab, CHECK_LOOK_NS / 4);
		rc = look(c, o);
	}
	if (rc == 0 && !check_answers(c, fab_addr_node(o->addr)))
		return -EHOSTDOWN;
	return rc;
}

static int write_back(struct kv_check *c, struct check_object *o)
{
	int rc = o->still(o->arg);

	if (rc <= 0)
		return rc < 0 ? rc : -ESTALE;
	rc = check_write(c, fab_addr_node(o->addr), fab_addr_offset(o->addr),
			 o->buf, o->len);
	if (rc != 0)
		return rc;
	rc = look(c, o);
	return rc == 0 ? -EIO : rc < 0 ? rc : 0;
}

static void tell(struct kv_check *c, const struct check_object *o,
		 enum kv_damage_kind kind, enum kv_damage_state state,
		 uint8_t node, uint64_t off, const char *which)
{
	check_tell(c, kind, state, o->key, o->klen != NULL ? *o->klen : 0,
		   "%s: %s on node %u at 0x%llx (%u bytes) are wrong%s",
		   o->what, which, node, (unsigned long long)off, o->len,
		   state == KV_DAMAGE_LOST ? ", and so is the rest" : "");
}

static int mend_data(struct kv_check *c, struct check_object *o)
{
	uint8_t node = fab_addr_node(o->addr);
	uint64_t off = fab_addr_offset(o->addr);
	int rc, named;

	rc = degraded_mend(c->kv, c->t, o->addr, o->len, o->buf, o->right,
			   o->arg, check_deadline(c));
	named = o->still(o->arg);
	if (named <= 0 || rc == -ENODATA)
		return named < 0 ? named : -ESTALE;
	if (rc == -EBADMSG || rc == -EIO) {
		tell(c, o, o->kind, KV_DAMAGE_LOST, node, off, "the bytes");
		return -EIO;
	}
	if (rc != 0)
		return rc;
	if (!c->o.mend) {
		tell(c, o, o->kind, KV_DAMAGE_FOUND, node, off, "the bytes");
		return 0;
	}
	rc = write_back(c, o);
	if (rc == -ESTALE || rc == -EHOSTDOWN)
		return rc;
	tell(c, o, o->kind, rc == 0 ? KV_DAMAGE_MENDED : KV_DAMAGE_FOUND, node,
	     off, "the bytes");
	return rc == -EIO ? 0 : rc;
}

/* --- copies -------------------------------------------------------------- */

/* The copy at a parity node is whole and at rest: where it is, or 0. */
static uint64_t copy_at(struct kv_check *c, const struct check_object *o,
			uint32_t j, uint8_t *node, struct block_rec *rec)
{
	uint32_t role, at, n, block;
	uint64_t stripe;

	if (group_locate(c->g, o->addr, &stripe, &role, &at) != 0)
		return 0;
	group_member(c->g, stripe, c->g->k + j, &n, &block);
	*node = (uint8_t)n;
	if (c->rec[n] != NULL &&
	    c->rec[n][(size_t)block * c->g->k + role].state == BLOCK_FOLDED)
		return 0; /* nothing of it is a copy, mostly */
	if (check_rec(c, stripe, role, c->g->k + j, rec) != 0)
		return 0;
	if (rec->kind == BLOCK_ROWS || rec->delta == 0 ||
	    rec->delta > c->g->deltas || rec->flags & BLOCK_F_ALIGN ||
	    (rec->state != BLOCK_OPEN && rec->state != BLOCK_SEALED))
		return 0;
	return group_delta_off(c->g, rec->delta - 1) + at;
}

/* A record's CRC is right for whatever lay there before, too. */
static bool is_same(const struct check_object *o, const void *copy)
{
	return o->right(o->arg, copy) &&
	       (o->kind != KV_DAMAGE_RECORD ||
		memcmp(copy, o->buf, offsetof(struct object_hdr, magic)) == 0);
}

/* Still the same copy, and still wrong, each time. */
static bool copy_wrong(struct kv_check *c, struct check_object *o, uint32_t j)
{
	struct block_rec before, after;
	uint64_t off, then;
	uint8_t node;

	for (unsigned i = 0; i < CHECK_LOOKS; i++) {
		off = copy_at(c, o, j, &node, &before);
		if (off == 0 ||
		    check_read(c, node, off, c->copy, o->len) != 0 ||
		    is_same(o, c->copy))
			return false;
		then = copy_at(c, o, j, &node, &after);
		if (then != off || after.life != before.life ||
		    o->still(o->arg) != 1)
			return false;
		fab_sleep(c->t->fab, CHECK_LOOK_NS / 4);
	}
	return check_answers(c, node);
}

static int check_copy(struct kv_check *c, struct check_object *o, uint32_t j)
{
	struct block_rec rec;
	uint64_t off;
	uint8_t node;
	int rc;

	if (!copy_wrong(c, o, j))
		return 0;
	off = copy_at(c, o, j, &node, &rec);
	if (off == 0)
		return 0;
	if (!c->o.mend) {
		tell(c, o, KV_DAMAGE_COPY, KV_DAMAGE_FOUND, node, off,
		     "the copy's bytes");
		return 0;
	}
	/* As they are now: a record's fate may have been decided. */
	rc = look(c, o);
	if (rc == 1)
		rc = check_write(c, node, off, o->buf, o->len);
	if (rc == 0 && o->still(o->arg) == 1)
		tell(c, o, KV_DAMAGE_COPY, KV_DAMAGE_MENDED, node, off,
		     "the copy's bytes");
	return 0;
}

int check_object(struct kv_check *c, struct check_object *o)
{
	bool up = member_up(c->kv->member) >> fab_addr_node(o->addr) & 1;
	int rc = up ? look_well(c, o) : -EHOSTDOWN;

	if (rc == -EHOSTDOWN || rc == -ETIMEDOUT)
		return 0; /* it will be restored, and looked at then */
	if (rc == 0)
		rc = mend_data(c, o);
	else if (rc == 1)
		rc = 0;
	for (uint32_t j = 0; rc == 0 && j < c->g->m; j++)
		rc = check_copy(c, o, j);
	if (rc == -EHOSTDOWN)
		rc = 0;
	if (rc == 0 || rc == -EIO)
		return kv_check_pace(c, o->len) != 0 ? -ECANCELED : rc;
	return rc;
}

/* --- pages --------------------------------------------------------------- */

struct page_look {
	struct kv_page page;
	int (*still)(void *arg);
	void *arg;
};

static bool page_right(void *arg, const void *buf)
{
	const struct page_look *l = arg;

	return crc_of(0, buf, KV_PAGE_BYTES) == l->page.crc;
}

static int page_still(void *arg)
{
	const struct page_look *l = arg;

	return l->still(l->arg);
}

/* Whoever names it must write it anew; that is not for us to do. */
static void check_mark(struct kv_check *c, struct page_look *l)
{
	if (!check_is_marked(c, l->page.addr))
		return;
	fab_sleep(c->t->fab, CHECK_LOOK_NS);
	if (page_still(l) == 1)
		check_tell(c, KV_DAMAGE_MARKED, KV_DAMAGE_FOUND, NULL, 0,
			   "the page on node %u at 0x%llx is in use and marked "
			   "as obsolete",
			   fab_addr_node(l->page.addr),
			   (unsigned long long)fab_addr_offset(l->page.addr));
}

int kv_check_page(struct kv_check *c, struct kv_page page,
		  int (*still)(void *arg), void *arg)
{
	struct page_look l = {.page = page, .still = still, .arg = arg};
	struct check_object o = {.addr = page.addr,
				 .len = KV_PAGE_BYTES,
				 .buf = c->buf,
				 .right = page_right,
				 .still = page_still,
				 .arg = &l,
				 .kind = KV_DAMAGE_PAGE,
				 .what = "a page"};
	uint64_t stripe;
	uint32_t role, at;
	int rc;

	if (group_locate(c->g, page.addr, &stripe, &role, &at) != 0 ||
	    role >= c->g->k || at % KV_PAGE_BYTES != 0)
		return -EIO;
	c->sum.pages++;
	kv_check_name_page(c, page);
	rc = check_object(c, &o);
	if (rc == 0)
		check_mark(c, &l);
	return rc;
}
