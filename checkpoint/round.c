/* checkpoint/round.c - see round.h. */
#include "checkpoint/round.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/diff.h"
#include "checkpoint/image.h"
#include "checkpoint/snapshot.h"

enum peer_state {
	PEER_UNKNOWN, /* what it has is to be asked */
	PEER_EVEN,    /* it has the snapshot as of the last round */
	PEER_BEHIND,  /* it has something else: send all */
};

struct peer {
	struct ckpt_peer at;
	uint8_t state; /* enum peer_state */
	bool alive;    /* in this round, so far */
	bool to;       /* the message under way is for it */
	uint32_t tries;
	struct fab_op *op; /* its CALL in the batch */
	struct ckpt_req req;
	struct ckpt_ack ack;
};

/* A state looks at what completed, and names the next one. */
typedef enum ckpt_step round_state(struct ckpt_round *r);

struct ckpt_round {
	struct ckpt_round_opts o;
	struct ckpt_snap *snap;
	struct ckpt_pack *pack;
	struct peer peer[CKPT_PEERS_MAX];
	round_state *state;
	round_state *sent; /* after the message under way */
	struct ckpt_plan plan;
	uint64_t version, note;
	uint64_t began;	   /* version when the round did */
	uint32_t from_sum; /* of the snapshot, then */
	uint32_t at;	   /* next piece to look at */
	uint32_t seq;
	struct ckpt_cost last, all;
	struct fab_op ops[2 * CKPT_PEERS_MAX];
	struct fab_batch batch;
	size_t len; /* of the message */
	char message[CKPT_DIFF_BYTES_MAX];
};

static round_state round_ask, round_asked, round_scan, round_scanned,
	round_full, round_fill, round_filled, round_end, round_idle,
	round_answers;

int ckpt_round_open(const struct ckpt_round_opts *opts, struct ckpt_round **out)
{
	struct ckpt_round *r;
	uint32_t i;
	int rc;

	if (opts->n_peers > CKPT_PEERS_MAX)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->o = *opts;
	r->state = round_idle;
	for (i = 0; i < opts->n_peers; i++)
		r->peer[i].at = opts->peer[i];
	rc = ckpt_snap_open(opts->size, &r->snap);
	if (rc != 0)
		goto err_free;
	rc = ckpt_pack_open(&r->pack);
	if (rc != 0)
		goto err_close_snap;
	*out = r;
	return 0;

err_close_snap:
	ckpt_snap_close(r->snap);
err_free:
	free(r);
	return rc;
}

void ckpt_round_close(struct ckpt_round *r)
{
	if (r == NULL)
		return;
	ckpt_pack_close(r->pack);
	ckpt_snap_close(r->snap);
	free(r);
}

/* --- peers --------------------------------------------------------------- */

/* What a peer has may be forgotten at any time; it is learned from the living.
 */
static void peer_move(struct peer *p, enum peer_state to)
{
	assert(to == PEER_UNKNOWN || p->alive);
	p->state = (uint8_t)to;
}

/* For this round; in the next one it is asked. */
static void peer_fail(struct ckpt_round *r, struct peer *p)
{
	peer_move(p, PEER_UNKNOWN);
	p->alive = false;
	r->last.failed++;
}

static uint32_t peers_in(const struct ckpt_round *r, enum peer_state state)
{
	uint32_t i, n = 0;

	for (i = 0; i < r->o.n_peers; i++)
		n += r->peer[i].alive && r->peer[i].state == state;
	return n;
}

static void call_peer(struct ckpt_round *r, struct peer *p, uint32_t len)
{
	p->req = (struct ckpt_req){
		.region = r->o.region, .len = len, .word = r->plan.word};
	memset(&p->ack, 0, sizeof(p->ack));
	p->op = &r->ops[r->batch.n++];
	fab_call(p->op, p->at.node, r->o.call, &p->req, sizeof(p->req), &p->ack,
		 sizeof(p->ack));
}

static void batch_begin(struct ckpt_round *r)
{
	uint64_t ns = r->o.timeout_ns != 0 ? r->o.timeout_ns : CKPT_ROUND_NS;

	r->batch = (struct fab_batch){
		.ops = r->ops,
		.deadline_ns = fab_now(r->o.fab) + ns,
		.user = r->batch.user,
	};
}

static bool answered(const struct peer *p)
{
	return p->op->status == 0 && p->op->reply_len == sizeof(p->ack);
}

/* --- ask ----------------------------------------------------------------- */

static enum ckpt_step round_ask(struct ckpt_round *r)
{
	uint32_t i;

	batch_begin(r);
	for (i = 0; i < r->o.n_peers; i++) {
		struct peer *p = &r->peer[i];

		p->to = p->alive && p->state == PEER_UNKNOWN;
		if (p->to)
			call_peer(r, p, 0);
	}
	r->state = round_asked;
	return r->batch.n > 0 ? CKPT_POST : CKPT_MORE;
}

/* A peer has an image of somebody who sent before us, and it is younger than
 * ours: whatever we send must count as newer still. */
static void go_beyond(struct ckpt_round *r, uint64_t version)
{
	uint32_t i;

	if (version <= r->version)
		return;
	r->version = version + 1;
	for (i = 0; i < r->o.n_peers; i++)
		if (r->peer[i].state == PEER_EVEN)
			peer_move(&r->peer[i], PEER_BEHIND);
}

static void learn(struct ckpt_round *r, struct peer *p)
{
	if (!answered(p) || p->ack.status != 0) {
		peer_fail(r, p);
		return;
	}
	if (p->ack.version == r->version && p->ack.sum == r->from_sum)
		peer_move(p, PEER_EVEN);
	else
		peer_move(p, PEER_BEHIND);
	go_beyond(r, p->ack.version);
}

static enum ckpt_step round_asked(struct ckpt_round *r)
{
	uint32_t i;

	for (i = 0; i < r->o.n_peers; i++)
		if (r->peer[i].to)
			learn(r, &r->peer[i]);
	r->at = r->plan.changed ? 0 : ckpt_pieces(r->o.size);
	r->seq = 0;
	r->state = round_scan;
	return CKPT_MORE;
}

/* --- a message ----------------------------------------------------------- */

static enum ckpt_step send_message(struct ckpt_round *r)
{
	uint64_t land = ckpt_area_land(r->o.size);
	uint32_t i;

	batch_begin(r);
	for (i = 0; i < r->o.n_peers; i++) {
		struct peer *p = &r->peer[i];

		if (!p->to)
			continue;
		fab_write(&r->ops[r->batch.n++], p->at.node, p->at.area + land,
			  r->message, (uint32_t)r->len);
		call_peer(r, p, (uint32_t)r->len);
		r->last.sent += r->len;
	}
	r->state = round_answers;
	return r->batch.n > 0 ? CKPT_POST : CKPT_MORE;
}

/* Choose whom the next message is for: the living in @state. */
static uint32_t address(struct ckpt_round *r, enum peer_state state)
{
	uint32_t i;

	for (i = 0; i < r->o.n_peers; i++) {
		struct peer *p = &r->peer[i];

		p->tries = 0;
		p->to = p->alive && p->state == state;
	}
	return peers_in(r, state);
}

static void make_message(struct ckpt_round *r, bool full, bool last)
{
	struct ckpt_diff_head h = {
		.flags = last ? CKPT_DIFF_LAST : 0,
		.region = r->o.region,
		.seq = r->seq,
		.size = r->o.size,
		.from = full ? 0 : r->version - 1,
		.to = r->version,
		.note = r->note,
		.to_sum = last ? ckpt_snap_sum(r->snap) : 0,
	};

	if (h.from != 0)
		h.from_sum = r->from_sum;
	r->len = ckpt_pack_end(r->pack, &h, r->message);
	r->last.messages++;
	*(full ? &r->last.full : &r->last.packed) += r->len;
}

/* Send what is packed to all that wait for it, then go on in @then. */
static enum ckpt_step message(struct ckpt_round *r, bool full, bool last,
			      round_state *then)
{
	r->sent = then;
	if (address(r, full ? PEER_BEHIND : PEER_EVEN) == 0) {
		ckpt_pack_clear(r->pack);
		r->seq++;
		r->state = then;
		return CKPT_MORE;
	}
	make_message(r, full, last);
	r->seq++;
	return send_message(r);
}

/* The WRITE precedes its CALL in the batch. */
static int message_status(const struct peer *p)
{
	if (p->op[-1].status != 0)
		return p->op[-1].status;
	if (p->op->status != 0)
		return p->op->status;
	return answered(p) ? p->ack.status : -EPROTO;
}

/* A lost answer, a torn message: the same again is harmless (image.h). */
static bool worth_again(const struct peer *p, int status)
{
	if (status != -ETIMEDOUT && status != -EBADMSG)
		return false;
	return p->tries < CKPT_ROUND_TRIES;
}

static void hear(struct ckpt_round *r, struct peer *p)
{
	int status = message_status(p);

	p->tries++;
	p->to = worth_again(p, status);
	if (p->to)
		r->last.again++;
	else if (status != 0)
		peer_fail(r, p);
}

static enum ckpt_step round_answers(struct ckpt_round *r)
{
	uint32_t i, left = 0;

	for (i = 0; i < r->o.n_peers; i++)
		if (r->peer[i].to) {
			hear(r, &r->peer[i]);
			left += r->peer[i].to;
		}
	if (left > 0)
		return send_message(r);
	r->state = r->sent;
	return CKPT_MORE;
}

/* --- the diff ------------------------------------------------------------ */

static uint32_t slice_end(const struct ckpt_round *r)
{
	uint32_t left = ckpt_pieces(r->o.size) - r->at;

	return r->at + (left < CKPT_SCAN_PIECES ? left : CKPT_SCAN_PIECES);
}

static bool scanned_all(const struct ckpt_round *r)
{
	return r->at == ckpt_pieces(r->o.size);
}

static void scan_slice(struct ckpt_round *r)
{
	uint32_t end = slice_end(r), begin = r->at, p;
	const uint64_t *was;

	while (r->at < end && !ckpt_pack_full(r->pack)) {
		p = ckpt_snap_next(r->snap, r->o.live, r->at, end, &was);
		r->at = p < end ? p + 1 : end;
		if (p == end)
			break;
		ckpt_pack_add(r->pack, p, was, ckpt_snap_piece(r->snap, p));
		r->last.changed += CKPT_PIECE_BYTES;
	}
	r->last.scanned += (uint64_t)(r->at - begin) * CKPT_PIECE_BYTES;
}

/* The first message names the version that the round makes. */
static void new_version(struct ckpt_round *r)
{
	if (r->seq > 0)
		return;
	r->version++;
	r->note = r->plan.note;
}

static enum ckpt_step round_scan(struct ckpt_round *r)
{
	scan_slice(r);
	if (!scanned_all(r) && !ckpt_pack_full(r->pack))
		return CKPT_MORE;
	/* nothing new, not even the note */
	if (scanned_all(r) && r->seq == 0 && ckpt_pack_pieces(r->pack) == 0 &&
	    r->note == r->plan.note) {
		r->state = round_full;
		return CKPT_MORE;
	}
	new_version(r);
	return message(r, false, scanned_all(r), round_scanned);
}

static enum ckpt_step round_scanned(struct ckpt_round *r)
{
	r->state = scanned_all(r) ? round_full : round_scan;
	return CKPT_MORE;
}

/* --- all of it, for those behind ----------------------------------------- */

static enum ckpt_step round_full(struct ckpt_round *r)
{
	r->at = 0;
	r->seq = 0;
	/* version 0 is nothing, and nobody need be told */
	r->state = r->version > 0 && peers_in(r, PEER_BEHIND) > 0 ? round_fill
								  : round_end;
	return CKPT_MORE;
}

static bool is_zero(const uint64_t *piece)
{
	uint32_t i;

	for (i = 0; i < CKPT_PIECE_WORDS; i++)
		if (piece[i] != 0)
			return false;
	return true;
}

static enum ckpt_step round_fill(struct ckpt_round *r)
{
	const uint64_t *piece;
	uint32_t end = slice_end(r);

	for (; r->at < end && !ckpt_pack_full(r->pack); r->at++) {
		piece = ckpt_snap_piece(r->snap, r->at);
		if (!is_zero(piece))
			ckpt_pack_add(r->pack, r->at, NULL, piece);
	}
	if (!scanned_all(r) && !ckpt_pack_full(r->pack))
		return CKPT_MORE;
	return message(r, true, scanned_all(r), round_filled);
}

static enum ckpt_step round_filled(struct ckpt_round *r)
{
	uint32_t i;

	if (peers_in(r, PEER_BEHIND) > 0 && !scanned_all(r)) {
		r->state = round_fill;
		return CKPT_MORE;
	}
	for (i = 0; i < r->o.n_peers; i++)
		if (r->peer[i].alive && r->peer[i].state == PEER_BEHIND)
			peer_move(&r->peer[i], PEER_EVEN);
	r->state = round_end;
	return CKPT_MORE;
}

/* --- the round ----------------------------------------------------------- */

static void cost_add(struct ckpt_cost *sum, const struct ckpt_cost *c)
{
	sum->rounds += c->rounds;
	sum->skipped += c->skipped;
	sum->scanned += c->scanned;
	sum->changed += c->changed;
	sum->packed += c->packed;
	sum->full += c->full;
	sum->sent += c->sent;
	sum->messages += c->messages;
	sum->again += c->again;
	sum->failed += c->failed;
	sum->work_ns += c->work_ns;
}

static enum ckpt_step round_end(struct ckpt_round *r)
{
	r->last.rounds = 1;
	r->last.skipped = r->last.messages == 0 && r->version == r->began;
	r->state = round_idle;
	return CKPT_DONE;
}

static enum ckpt_step round_idle(struct ckpt_round *r)
{
	return CKPT_DONE;
}

/* Given up half-way, the snapshot is of no version: make a new one of it, and
 * ask no peer what it has. */
static void give_up(struct ckpt_round *r)
{
	uint32_t i;

	if (r->state == round_idle)
		return;
	ckpt_pack_clear(r->pack);
	r->version++;
	for (i = 0; i < r->o.n_peers; i++)
		peer_move(&r->peer[i], PEER_UNKNOWN);
}

void ckpt_round_begin(struct ckpt_round *r, const struct ckpt_plan *plan)
{
	uint32_t i;

	give_up(r);
	r->plan = *plan;
	r->plan.changed |= r->state != round_idle;
	r->began = r->version;
	r->from_sum = ckpt_snap_sum(r->snap);
	memset(&r->last, 0, sizeof(r->last));
	for (i = 0; i < r->o.n_peers; i++) {
		r->peer[i].alive = plan->alive >> i & 1;
		if (!r->peer[i].alive)
			peer_move(&r->peer[i], PEER_UNKNOWN);
	}
	r->state = round_ask;
}

enum ckpt_step ckpt_round_step(struct ckpt_round *r, struct fab_batch **next)
{
	uint64_t begin = fab_now(r->o.fab);
	enum ckpt_step s = r->state(r);

	r->last.work_ns += fab_now(r->o.fab) - begin;
	if (s == CKPT_POST)
		*next = &r->batch;
	else if (s == CKPT_DONE && r->last.rounds > 0) {
		cost_add(&r->all, &r->last);
		r->last.rounds = 0;
	}
	return s;
}

void ckpt_round_run(struct ckpt_round *r, struct fab *f)
{
	struct fab_batch *b;
	enum ckpt_step s;
	uint32_t i;
	int rc;

	while ((s = ckpt_round_step(r, &b)) != CKPT_DONE) {
		if (s != CKPT_POST)
			continue;
		rc = fab_run(f, b);
		for (i = 0; rc != 0 && i < b->n; i++)
			b->ops[i].status = rc;
	}
}

void ckpt_round_outcome(const struct ckpt_round *r, struct ckpt_outcome *out)
{
	uint32_t i;

	*out = (struct ckpt_outcome){.version = r->version, .note = r->note};
	for (i = 0; i < r->o.n_peers; i++)
		if (r->peer[i].alive && r->peer[i].state == PEER_EVEN)
			out->has |= UINT64_C(1) << i;
}

void ckpt_round_cost(const struct ckpt_round *r, struct ckpt_cost *last,
		     struct ckpt_cost *all)
{
	if (last != NULL)
		*last = r->last;
	if (all != NULL)
		*all = r->all;
}
