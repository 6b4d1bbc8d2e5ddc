/* kv/client/check_stripes.c - parities: each parity node checks its own
 * (kv/node/check.c), a stripe at a time, when it is asked to. */
#include <errno.h>

#include "kv/client/check_impl.h"
#include "kv/client/member.h"
#include "kv/proto.h"

#define CALL_NS	  UINT64_C(10000000000)
#define TRIES_MAX 20u

static int ask(struct kv_check *c, uint32_t node, uint64_t stripe, uint32_t j,
	       bool mend, struct proto_checked *out)
{
	struct proto_check rq = {.epoch = member_epoch(c->kv->member),
				 .stripe = stripe,
				 .parity = j,
				 .mend = mend};
	struct fab_op op;
	struct fab_batch b = {.ops = &op,
			      .n = 1,
			      .deadline_ns = fab_now(c->t->fab) + CALL_NS};
	int rc;

	if (!(member_up(c->kv->member) >> node & 1))
		return -EHOSTDOWN;
	fab_call(&op, (uint8_t)node, PROTO_CHECK, &rq, sizeof(rq), out,
		 sizeof(*out));
	rc = fab_run(c->t->fab, &b);
	if (rc == 0)
		rc = op.status;
	if (rc == 0 && op.reply_len != sizeof(*out))
		rc = -EPROTO;
	return rc;
}

/* It is busy with a fold, or so: again, a little later. What is down will be
 * made anew anyway. */
static int ask_well(struct kv_check *c, uint32_t node, uint64_t stripe,
		    uint32_t j, bool mend, struct proto_checked *out)
{
	int rc = -EAGAIN;

	for (unsigned i = 0; i < TRIES_MAX && rc == -EAGAIN; i++) {
		if (i > 0)
			fab_sleep(c->t->fab, CHECK_LOOK_NS);
		rc = ask(c, node, stripe, j, mend, out);
	}
	return rc;
}

static int check_parity(struct kv_check *c, uint64_t stripe, uint32_t j)
{
	struct proto_checked done = {0};
	uint32_t node, block;
	int rc;

	group_member(c->g, stripe, c->g->k + j, &node, &block);
	rc = ask_well(c, node, stripe, j, c->o.mend, &done);
	if (rc == -EHOSTDOWN || rc == -ETIMEDOUT || rc == -EAGAIN ||
	    rc == -ENODATA)
		return 0;
	if (rc != 0)
		return rc;
	c->sum.stripes++;
	if (done.wrong > 0)
		check_tell(c, KV_DAMAGE_PARITY,
			   done.mended ? KV_DAMAGE_MENDED : KV_DAMAGE_FOUND,
			   NULL, 0,
			   "stripe %llu: %llu bytes of parity %u, on node %u, "
			   "are not those of the data",
			   (unsigned long long)stripe,
			   (unsigned long long)done.wrong, j, node);
	return kv_check_pace(c, done.bytes);
}

int kv_check_stripes(struct kv_check *c)
{
	int rc = 0;

	for (uint64_t s = 0; rc == 0 && s < group_stripes(c->g); s++)
		for (uint32_t j = 0; rc == 0 && j < c->g->m; j++)
			rc = check_parity(c, s, j);
	return rc;
}
