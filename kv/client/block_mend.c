/* kv/client/block_mend.c - units that may differ between the copies of a block
 * are made alike before it is sealed: after the fold, data and parity must
 * agree there too, or a neighbour in the stripe could not be decoded ([I5]).
 *
 * They are zeroed, so that nobody finds what was given up. But what was whole
 * at a cut, and was given up afterwards, a restart may need: it is killed, in
 * all copies, and else stays what it is on the data node.
 *
 * So are units that held something once: nothing names them, so nobody who
 * verifies what is named (scrub) would see that a copy's memory went bad there,
 * and nobody but us may write to them while the block is open. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/client/member.h"
#include "kv/client/space_impl.h"
#include "kv/object.h"

#define PIECE_BYTES 4096u
#define COPY_BYTES  65536u
#define MEND_OPS    256u

static const uint8_t zeros[PIECE_BYTES];

struct mend {
	struct space *sp;
	struct kv_thread *t;
	const struct space_block *b;
	uint64_t nodes;
	struct fab_op ops[MEND_OPS];
	uint32_t n;
};

static int run_ops(struct mend *m)
{
	struct fab_batch batch = {
		.ops = m->ops,
		.n = m->n,
		.deadline_ns = fab_now(m->t->fab) + SPACE_CALL_NS,
	};
	int rc = fab_run(m->t->fab, &batch);

	for (uint32_t i = 0; rc == 0 && i < m->n; i++)
		if (m->ops[i].status != 0) {
			member_suspect(m->sp->kv->member, m->t, m->ops[i].node);
			rc = -EAGAIN;
		}
	m->n = 0;
	return rc;
}

/* WRITEs of the same bytes to all copies, @at bytes into the block. */
static void add_writes(struct mend *m, uint32_t at, const void *buf,
		       uint32_t len)
{
	for (uint32_t i = 0; i < m->b->members; i++)
		if (m->nodes >> m->b->member[i].node & 1)
			fab_write(&m->ops[m->n++], m->b->member[i].node,
				  m->b->member[i].offset + at, buf, len);
}

/* Every record in @buf, of @len bytes: it lost. */
static void kill_records(const struct mend *m, uint8_t *buf, uint32_t at,
			 uint32_t len)
{
	static const uint64_t fate = OBJECT_KILLED;
	struct object o;
	uint32_t u;

	for (u = 0; u < len; u += o.hdr.units * GROUP_UNIT_BYTES) {
		if (object_decode(buf + u, len - u, m->sp->kv->secret,
				  m->b->addr + at + u, &o) != 0)
			o.hdr.units = 1;
		else
			memcpy(buf + u + OBJECT_FATE_OFFSET, &fate,
			       sizeof(fate));
	}
}

static int keep_run(struct mend *m, uint32_t at, uint32_t len, bool kill)
{
	const struct space_member *data = &m->b->member[0];
	uint8_t *buf = malloc(len);
	int rc;

	if (buf == NULL)
		return -ENOMEM;
	fab_read(&m->ops[m->n++], data->node, data->offset + at, buf, len);
	rc = run_ops(m);
	if (rc == 0) {
		if (kill && m->b->kind == BLOCK_RECORDS)
			kill_records(m, buf, at, len);
		add_writes(m, at, buf, len);
		rc = run_ops(m);
	}
	free(buf);
	return rc;
}

static int zero_run(struct mend *m, uint32_t at, uint32_t left)
{
	uint32_t len;
	int rc = 0;

	for (; left > 0 && rc == 0; at += len, left -= len) {
		len = left < PIECE_BYTES ? left : PIECE_BYTES;
		add_writes(m, at, zeros, len);
		if (m->n > MEND_OPS - SPACE_COPIES_MAX)
			rc = run_ops(m);
	}
	return rc;
}

static int mend_run(struct mend *m, const struct units_run *run)
{
	uint32_t at = run->at * GROUP_UNIT_BYTES;
	uint32_t len = run->len * GROUP_UNIT_BYTES;
	int rc;

	if (!units_hold_cuts(&m->b->units, run->at, run->len))
		return zero_run(m, at, len);
	rc = m->n > 0 ? run_ops(m) : 0;
	return rc != 0 ? rc : keep_run(m, at, len, true);
}

static int mend_torn(struct mend *m)
{
	struct units_run run = {0, 0};
	int rc = 0;

	while (rc == 0 && units_next_torn(&m->b->units, run.at + run.len, &run))
		rc = mend_run(m, &run);
	return rc;
}

/* As the data node has it: a restart may go back to when it was alive. If that
 * node is down, there is nothing to make the copies equal to. */
static int copy_run(struct mend *m, uint32_t at, uint32_t left)
{
	uint32_t len;
	int rc;

	if (!(m->nodes >> m->b->member[0].node & 1))
		return 0;
	rc = m->n > 0 ? run_ops(m) : 0;
	for (; left > 0 && rc == 0; at += len, left -= len) {
		len = left < COPY_BYTES ? left : COPY_BYTES;
		rc = keep_run(m, at, len, false);
	}
	return rc;
}

static int mend_given(struct mend *m)
{
	struct units_run run = {0, 0};
	uint32_t at, len;
	int rc = 0;

	if (m->b->kind == BLOCK_ROWS) /* has no copies */
		return 0;
	while (rc == 0 &&
	       units_next_given(&m->b->units, run.at + run.len, &run)) {
		at = run.at * GROUP_UNIT_BYTES;
		len = run.len * GROUP_UNIT_BYTES;
		rc = m->b->units.hold == NULL ? zero_run(m, at, len)
					      : copy_run(m, at, len);
	}
	return rc;
}

int block_mend(struct space *sp, struct kv_thread *t, struct space_block *b,
	       uint64_t nodes)
{
	struct mend *m;
	int rc;

	if (nodes == 0 || (b->units.torn_n == 0 && b->units.free == 0))
		return 0;
	m = malloc(sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	*m = (struct mend){.sp = sp, .t = t, .b = b, .nodes = nodes};
	rc = mend_torn(m);
	if (rc == 0)
		rc = mend_given(m);
	if (rc == 0 && m->n > 0)
		rc = run_ops(m);
	free(m);
	if (rc == 0)
		units_mend(&b->units);
	return rc;
}
