/* kv/client/marks_again.c - a note that is late: the block of the record that
 * it is about was opened again since that was written.
 *
 * Then the record is there still, for what is live stays when a block is opened
 * again, or it is not: somebody else (a sweep) has marked it before, its units
 * were zeroed and may hold another one now. The record itself tells, by the
 * life in its header; read after the block's record, so that the mark is right
 * for that life (ec/again.h, A3). Pages have no such header: of theirs nobody
 * else sends notes, so they look up their block's life each time (life 0), and
 * what comes here of them may have been taken once: it is dropped. */
#include <errno.h>

#include "ec/block.h"
#include "kv/client/marks_impl.h"
#include "kv/client/member.h"
#include "kv/object.h"

#define LOOK_NS UINT64_C(500000000)

struct looking {
	struct block_rec rec;
	struct object_hdr hdr;
};

static int read_both(struct marks *m, struct kv_thread *t,
		     const struct proto_mark_one *mark, uint64_t up,
		     struct looking *l)
{
	const struct group *g = &m->kv->layout.group;
	struct fab_op ops[2];
	struct fab_batch b = {
		.ops = ops, .n = 2, .deadline_ns = fab_now(t->fab) + LOOK_NS};
	uint32_t node, block;
	int rc;

	group_member(g, mark->stripe, mark->role, &node, &block);
	if (!(up >> node & 1))
		return -EHOSTDOWN;
	fab_read(&ops[0], (uint8_t)node, group_rec_off(g, block, mark->role),
		 &l->rec, sizeof(l->rec));
	fab_read(&ops[1], (uint8_t)node,
		 group_block_off(g, block) +
			 (uint64_t)mark->at * GROUP_UNIT_BYTES,
		 &l->hdr, sizeof(l->hdr));
	rc = fab_run(t->fab, &b);
	if (rc == 0)
		rc = ops[0].status != 0 ? ops[0].status : ops[1].status;
	return rc;
}

/* The note's life is that of the block when the record was there; so what is
 * there now and not younger than that is the same. */
static bool is_there(const struct looking *l, const struct proto_mark_one *mark)
{
	return l->rec.state != BLOCK_FREE && l->rec.kind == BLOCK_RECORDS &&
	       l->rec.life != mark->life && l->hdr.magic == OBJECT_MAGIC &&
	       l->hdr.life <= mark->life && l->hdr.units != 0 &&
	       l->hdr.units <= mark->len;
}

/* A note may be about several records, side by side: one at a time. */
bool marks_look(struct marks *m, struct kv_thread *t, uint64_t up,
		struct proto_mark_one *mark)
{
	struct proto_mark_one rest = *mark;
	struct looking l;

	if (read_both(m, t, mark, up, &l) != 0)
		return false; /* its space is found by a sweep */
	if (l.rec.seq % 2 != 0)
		return true;
	if (!is_there(&l, mark))
		return false;
	mark->life = l.rec.life;
	mark->len = l.hdr.units;
	rest.at += l.hdr.units;
	rest.len -= l.hdr.units;
	if (rest.len != 0)
		marks_return(m, &rest, 1);
	return true;
}
