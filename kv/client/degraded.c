/* kv/client/degraded.c - bytes from where they are, or from their stripe. */
#include "kv/client/degraded.h"

#include <errno.h>

#include "ec/stripe.h"
#include "kv/client/client.h"
#include "kv/client/member.h"
#include "kv/log.h"
#include "kv/object.h"
#include "kv/proto.h"
#include "kv/slot.h"

#define AGAIN_NS   UINT64_C(200000)
#define AGAIN_LAST UINT64_C(5000000)
#define PLAIN_NS   UINT64_C(1000000000) /* then the rest of its stripe */
#define STRIPE_NS  UINT64_C(5000000000) /* then its own node again */
#define WANT_NS	   UINT64_C(2000000)	/* between two wishes of a client */
#define WANT_TO_NS UINT64_C(1000000)	/* the answer means nothing */

static int read_plain(struct kv_thread *t, fab_addr addr, uint32_t len,
		      void *buf, uint64_t deadline_ns)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1, .deadline_ns = deadline_ns};
	int rc;

	fab_read(&op, fab_addr_node(addr), fab_addr_offset(addr), buf, len);
	rc = fab_run(t->fab, &b);
	return rc != 0 ? rc : op.status;
}

/* How long an attempt may take that begins now. */
static uint64_t attempt(struct kv_thread *t, uint64_t ns, uint64_t deadline_ns)
{
	uint64_t until = fab_now(t->fab) + ns;

	return until < deadline_ns ? until : deadline_ns;
}

/* A node in the way failed, or is not connected: a new view will tell, or it
 * will be again. *@ns: how long the last wait was; 0: none yet. */
static int wait_view(struct kv *kv, struct kv_thread *t, uint64_t epoch,
		     uint64_t deadline_ns, uint64_t *ns)
{
	uint64_t now = fab_now(t->fab);

	if (now >= deadline_ns || member_gives_up(kv->member, now))
		return -ETIMEDOUT;
	if (member_epoch(kv->member) != epoch)
		return 0;
	*ns = *ns == 0 ? AGAIN_NS : *ns * 2;
	if (*ns > AGAIN_LAST)
		*ns = AGAIN_LAST;
	fab_sleep(t->fab, *ns);
	return 0;
}

static void suspect_down(struct kv *kv, struct kv_thread *t, uint64_t up)
{
	for (uint32_t i = 0; i < kv->layout.group.nodes; i++)
		if (up >> i & 1 && !fab_net_up(kv->net, (uint8_t)i))
			member_suspect(kv->member, t, i);
}

/* What may be asked: @up in the view, connected, and not the node itself. */
static uint64_t askable(struct kv *kv, uint64_t up, uint8_t except)
{
	up &= ~(UINT64_C(1) << except);
	for (uint32_t i = 0; i < kv->layout.group.nodes; i++)
		if (!fab_net_up(kv->net, (uint8_t)i))
			up &= ~(UINT64_C(1) << i);
	return up;
}

/* The nodes of the stripe in which @addr is. */
static uint64_t members_of(const struct group *g, fab_addr addr)
{
	uint32_t role, at, node, block;
	uint64_t stripe, bits = 0;

	if (group_locate(g, addr, &stripe, &role, &at) != 0)
		return 0;
	for (uint32_t r = 0; r < group_width(g); r++) {
		group_member(g, stripe, r, &node, &block);
		bits |= UINT64_C(1) << node;
	}
	return bits;
}

/* By the view in which @up are UP, more of its nodes are gone than the code
 * bears. Who is only not to be reached from here does not count. */
static bool is_lost(struct kv *kv, fab_addr addr, uint64_t up)
{
	const struct group *g = &kv->layout.group;
	uint64_t gone = members_of(g, addr) & ~up;

	return (uint32_t)__builtin_popcountll(gone) > g->m;
}

/* Once for a view. */
static void say_lost(struct kv *kv, uint64_t epoch)
{
	if (atomic_exchange(&client_of(kv)->lost_said, epoch) == epoch)
		return;
	LOG(LOG_ERROR,
	    "view %llu: of what was asked for, more memory nodes are away than "
	    "the code bears: it answers EIO",
	    (unsigned long long)epoch);
}

/* Its node is coming: what is read is to be brought back first. A hint: it is
 * not repeated, few are sent, and nobody waits long for one. */
static void want(struct kv *kv, struct kv_thread *t, fab_addr addr)
{
	uint8_t node = fab_addr_node(addr);
	_Atomic uint64_t *at = &client_of(kv)->wanted_at;
	uint64_t now, was;
	struct proto_want rq = {.pad = 0};
	uint32_t byte;

	if (!(member_all(kv->member) >> node & 1))
		return;
	now = fab_now(t->fab);
	was = atomic_load_explicit(at, memory_order_relaxed);
	if (now - was < WANT_NS ||
	    !atomic_compare_exchange_strong(at, &was, now))
		return;
	if (group_locate(&kv->layout.group, addr, &rq.stripe, &rq.role,
			 &byte) != 0)
		return;
	fab_call_run(t->fab, node, PROTO_WANT, &rq, sizeof(rq), NULL, 0, NULL,
		     WANT_TO_NS);
}

/* From the rest of its stripe, of those who are @up: 0; -EIO it is lost;
 * -EAGAIN not now. */
static int read_stripe(struct kv *kv, struct kv_thread *t, fab_addr addr,
		       uint32_t len, void *buf, uint64_t up,
		       uint64_t deadline_ns)
{
	uint64_t may = askable(kv, up, fab_addr_node(addr));
	int rc;

	rc = stripe_read_run(t->fab, &kv->layout.group, kv->code, addr, len,
			     may, buf, attempt(t, STRIPE_NS, deadline_ns));
	switch (rc) {
	case -EBADMSG: /* no record that makes sense */
		return -EIO;
	case -EIO:
		return is_lost(kv, addr, up) ? -EIO : -EAGAIN;
	case -EHOSTDOWN:
	case -ETIMEDOUT:
		return -EAGAIN;
	default:
		return rc;
	}
}

int degraded_read(struct kv *kv, struct kv_thread *t, fab_addr addr,
		  uint32_t len, void *buf, bool force, uint64_t deadline_ns)
{
	uint8_t node = fab_addr_node(addr);
	uint64_t epoch, up, ns = 0;
	int rc;

	if (!(member_up(kv->member) >> node & 1))
		want(kv, t, addr);
	for (;; force = false) {
		epoch = member_epoch(kv->member);
		up = member_up(kv->member);
		if (!force && (up >> node & 1)) {
			rc = read_plain(t, addr, len, buf,
					attempt(t, PLAIN_NS, deadline_ns));
			if (rc == 0)
				return 0;
		}
		suspect_down(kv, t, up);
		rc = read_stripe(kv, t, addr, len, buf, up, deadline_ns);
		if (rc == -EIO && member_epoch(kv->member) != epoch)
			continue; /* another view, another answer */
		if (rc == -EIO && is_lost(kv, addr, up))
			say_lost(kv, epoch);
		if (rc != -EAGAIN)
			return rc;
		rc = wait_view(kv, t, epoch, deadline_ns, &ns);
		if (rc != 0)
			return rc;
	}
}

/* --- from members any of which may be wrong ------------------------------- */

struct mending {
	struct kv *kv;
	struct kv_thread *t;
	fab_addr addr;
	uint32_t len;
	void *buf;
	bool (*right)(void *arg, const void *buf);
	void *arg;
	uint64_t deadline_ns;
	uint64_t up;	 /* members that may be asked */
	uint64_t member; /* all of the stripe but the one in question */
	bool unasked;	 /* one that is UP could not be */
};

/* One choice of members: 0; -EBADMSG it gives wrong bytes, or none now. */
static int mend_from(struct mending *m, uint64_t up)
{
	struct kv *kv = m->kv;
	int rc;

	rc = stripe_read_run(m->t->fab, &kv->layout.group, kv->code, m->addr,
			     m->len, up, m->buf,
			     attempt(m->t, STRIPE_NS, m->deadline_ns));
	switch (rc) {
	case 0:
		return m->right(m->arg, m->buf) ? 0 : -EBADMSG;
	case -ETIMEDOUT:
		if (fab_now(m->t->fab) >= m->deadline_ns)
			return rc;
		m->unasked = true;
		return -EBADMSG;
	case -EAGAIN:
	case -EHOSTDOWN:
		m->unasked = true;
		return -EBADMSG;
	case -EIO: /* too few are left */
		return -EBADMSG;
	default:
		return rc;
	}
}

/* All choices that leave out @less members more, of those from @first on. */
static int mend_without(struct mending *m, uint64_t up, uint32_t first,
			uint32_t less)
{
	int rc;

	if (less == 0)
		return mend_from(m, up);
	for (uint32_t i = first; i < m->kv->layout.group.nodes; i++) {
		if (!(m->member & up & UINT64_C(1) << i))
			continue;
		rc = mend_without(m, up & ~(UINT64_C(1) << i), i + 1, less - 1);
		if (rc != -EBADMSG)
			return rc;
	}
	return -EBADMSG;
}

/* All choices. That none was right is so only if everyone was asked who is UP:
 * else -EAGAIN. */
static int mend_now(struct mending *m)
{
	uint64_t up = member_up(m->kv->member);
	int rc = -EBADMSG;

	suspect_down(m->kv, m->t, up);
	m->up = askable(m->kv, up, fab_addr_node(m->addr));
	m->unasked = (m->member & up & ~m->up) != 0;
	for (uint32_t less = 0; less < m->kv->layout.group.m && rc == -EBADMSG;
	     less++)
		rc = mend_without(m, m->up, 0, less);
	return rc == -EBADMSG && m->unasked ? -EAGAIN : rc;
}

int degraded_mend(struct kv *kv, struct kv_thread *t, fab_addr addr,
		  uint32_t len, void *buf,
		  bool (*right)(void *arg, const void *buf), void *arg,
		  uint64_t deadline_ns)
{
	struct mending m = {
		.kv = kv,
		.t = t,
		.addr = addr,
		.len = len,
		.buf = buf,
		.right = right,
		.arg = arg,
		.deadline_ns = deadline_ns,
		.member = members_of(&kv->layout.group, addr) &
			  ~(UINT64_C(1) << fab_addr_node(addr)),
	};
	uint64_t epoch, ns = 0;
	int rc;

	do {
		epoch = member_epoch(kv->member);
		rc = mend_now(&m);
		if (rc != -EAGAIN)
			return rc;
		rc = wait_view(kv, t, epoch, deadline_ns, &ns);
	} while (rc == 0);
	return rc;
}

struct right_record {
	struct kv *kv;
	uint64_t word;
	uint32_t len;
	struct object *out;
	bool longer; /* a header that makes sense says so */
};

static bool is_right(void *arg, const void *buf)
{
	struct right_record *r = arg;
	int rc = object_decode(buf, r->len, r->kv->secret, slot_addr(r->word),
			       r->out);

	r->longer = rc == -ERANGE;
	return r->longer || (rc == 0 && (uint8_t)r->out->hdr.version ==
						slot_version8(r->word));
}

/* A long record's header has no CRC of its own: its length is believed, and
 * the whole judged. So of a wrong length only the header's own choices of
 * members are tried; its bytes are few. */
int degraded_record(struct kv *kv, struct kv_thread *t, uint64_t word,
		    void *buf, size_t cap, struct object *out,
		    uint64_t deadline_ns)
{
	struct right_record r = {.kv = kv, .word = word, .out = out};
	uint32_t units = slot_units(word), at, role;
	uint64_t stripe;
	int rc;

	if (group_locate(&kv->layout.group, slot_addr(word), &stripe, &role,
			 &at) != 0)
		return -EBADMSG;
	do {
		r.len = (units ? units : 1) * GROUP_UNIT_BYTES;
		if (r.len > cap || r.len > kv->layout.group.block_bytes - at)
			return -EBADMSG;
		rc = degraded_mend(kv, t, slot_addr(word), r.len, buf, is_right,
				   &r, deadline_ns);
		if (rc != 0 || !r.longer)
			return rc;
		if (out->hdr.units <= units)
			return -EBADMSG;
		units = out->hdr.units;
	} while (true);
}
