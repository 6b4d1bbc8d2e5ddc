/* An image follows its region, version by version, and is never half of one. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "checkpoint/image.h"
#include "checkpoint/snapshot.h"
#include "tests/lib/fault_alloc.h"

#define PIECES 300u /* more than one message bears */
#define SIZE   ((uint64_t)PIECES * CKPT_PIECE_BYTES)
#define REGION 3u
#define MSGS   4u

struct world {
	uint64_t *live;
	struct ckpt_snap *snap;
	struct ckpt_pack *pack;
	uint64_t version, rng;
	char *area;
	struct ckpt_image *img;
	unsigned n; /* messages of the diff at hand */
	size_t len[MSGS];
	char *msg[MSGS];
};

static uint64_t dice(struct world *w)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	return w->rng ^= w->rng << 17;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->rng = 88172645463325252u;
	w->live = calloc(1, SIZE);
	w->area = calloc(1, ckpt_area_bytes(SIZE));
	assert_int_equal(ckpt_snap_open(SIZE, &w->snap), 0);
	assert_int_equal(ckpt_pack_open(&w->pack), 0);
	assert_int_equal(ckpt_image_open(w->area, REGION, SIZE, &w->img), 0);
	for (unsigned i = 0; i < MSGS; i++)
		w->msg[i] = malloc(CKPT_DIFF_BYTES_MAX);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < MSGS; i++)
		free(w->msg[i]);
	ckpt_image_close(w->img);
	ckpt_pack_close(w->pack);
	ckpt_snap_close(w->snap);
	free(w->area);
	free(w->live);
	free(w);
	return 0;
}

/* --- the sender, by hand --- */

static void change(struct world *w, unsigned words)
{
	while (words-- > 0)
		w->live[dice(w) % (SIZE / 8)] = dice(w) % 3 ? dice(w) : 0;
}

static void change_all(struct world *w)
{
	for (unsigned p = 0; p < PIECES; p++)
		w->live[p * CKPT_PIECE_WORDS + dice(w) % CKPT_PIECE_WORDS] =
			dice(w) | 1;
}

static void message(struct world *w, bool full, uint32_t from_sum, bool last)
{
	struct ckpt_diff_head h = {
		.flags = last ? CKPT_DIFF_LAST : 0,
		.region = REGION,
		.seq = w->n,
		.size = SIZE,
		.from = full ? 0 : w->version - 1,
		.to = w->version,
		.note = w->version * 10,
		.to_sum = last ? ckpt_snap_sum(w->snap) : 0,
	};

	if (h.from != 0)
		h.from_sum = from_sum;
	assert_true(w->n < MSGS);
	w->len[w->n] = ckpt_pack_end(w->pack, &h, w->msg[w->n]);
	w->n++;
}

/* The next version, as the messages of a diff. */
static void make_diff(struct world *w)
{
	uint32_t sum = ckpt_snap_sum(w->snap), p = 0;
	const uint64_t *was;

	w->n = 0;
	w->version++;
	while ((p = ckpt_snap_next(w->snap, w->live, p, PIECES, &was)) <
	       PIECES) {
		ckpt_pack_add(w->pack, p, was, ckpt_snap_piece(w->snap, p));
		if (ckpt_pack_full(w->pack))
			message(w, false, sum, false);
		p++;
	}
	message(w, false, sum, true);
}

static void make_full(struct world *w)
{
	w->n = 0;
	for (uint32_t p = 0; p < PIECES; p++) {
		ckpt_pack_add(w->pack, p, NULL, ckpt_snap_piece(w->snap, p));
		if (ckpt_pack_full(w->pack))
			message(w, true, 0, false);
	}
	message(w, true, 0, true);
}

static int send(struct world *w, unsigned i)
{
	memcpy(w->area + ckpt_area_land(SIZE), w->msg[i], w->len[i]);
	return ckpt_image_fold(w->img, (uint32_t)w->len[i]);
}

static void send_all(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++)
		assert_int_equal(send(w, i), 0);
}

static void assert_even(struct world *w)
{
	assert_int_equal(ckpt_image_version(w->img), w->version);
	assert_int_equal(ckpt_image_note(w->img), w->version * 10);
	assert_memory_equal(ckpt_image_bytes(w->img),
			    ckpt_snap_piece(w->snap, 0), SIZE);
	assert_int_equal(ckpt_image_verify(w->img), 0);
}

static unsigned heads_right(struct world *w)
{
	unsigned n = 0;

	for (uint32_t b = 0; b < 2; b++)
		n += ckpt_head_check(
			     (struct ckpt_image_head *)(w->area +
							ckpt_area_head(b)),
			     REGION, SIZE) == 0;
	return n;
}

static void reopen(struct world *w)
{
	ckpt_image_close(w->img);
	assert_int_equal(ckpt_image_open(w->area, REGION, SIZE, &w->img), 0);
}

/* --- tests --- */

static void a_new_image_is_version_0_and_sums_up_as_zeros(void **state)
{
	struct world *w = *state;
	struct ckpt_ack ack;

	assert_int_equal(ckpt_image_version(w->img), 0);
	assert_null(ckpt_image_bytes(w->img));
	ckpt_image_serve(w->img, &(struct ckpt_req){.region = REGION}, &ack);
	assert_int_equal(ack.status, 0);
	assert_int_equal(ack.version, 0);
	assert_int_equal(ack.sum, ckpt_snap_sum(w->snap));
}

static void a_snapshot_takes_only_what_changed(void **state)
{
	struct world *w = *state;
	const uint64_t *was;

	w->live[7 * CKPT_PIECE_WORDS + 3] = 9;
	w->live[299 * CKPT_PIECE_WORDS + 511] = 8;
	assert_int_equal(ckpt_snap_next(w->snap, w->live, 0, PIECES, &was), 7);
	assert_int_equal(was[3], 0);
	assert_int_equal(ckpt_snap_piece(w->snap, 7)[3], 9);
	assert_int_equal(ckpt_snap_next(w->snap, w->live, 8, 299, &was), 299);
	assert_int_equal(ckpt_snap_piece(w->snap, 299)[511], 0);
	assert_int_equal(ckpt_snap_next(w->snap, w->live, 8, PIECES, &was),
			 299);
	assert_int_equal(ckpt_snap_next(w->snap, w->live, 0, PIECES, &was),
			 PIECES);
}

struct fire {
	uint64_t *word; /* PIECES of them, far from each other */
	bool stop;
};

/* Word i goes i, i + 2^32, i + 2 * 2^32, ...: its halves must fit. */
static void *fire(void *arg)
{
	struct fire *f = arg;
	uint64_t was;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		for (uint64_t i = 0; i < PIECES; i++) {
			uint64_t *w = &f->word[i * CKPT_PIECE_WORDS];

			was = __atomic_load_n(w, __ATOMIC_RELAXED);
			__atomic_compare_exchange_n(
				w, &was, was + (1 + i) * 0x100000001, false,
				__ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		}
	return NULL;
}

static void words_are_whole_while_others_cas_them(void **state)
{
	struct world *w = *state;
	struct fire f = {.word = w->live};
	uint64_t now, changes = 0;
	const uint64_t *was;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, fire, &f), 0);
	for (unsigned i = 0; i < 200 || changes < 1000; i++) {
		uint32_t p = 0;

		while ((p = ckpt_snap_next(w->snap, w->live, p, PIECES, &was)) <
		       PIECES) {
			now = ckpt_snap_piece(w->snap, p)[0];
			assert_true(now > was[0]);
			assert_int_equal(now >> 32, now & UINT32_MAX);
			assert_int_equal((now >> 32) % (p + 1), 0);
			changes++;
			p++;
		}
	}
	__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	make_diff(w);
	make_full(w);
	send_all(w);
	assert_even(w);
}

static void an_image_follows_2000_versions(void **state)
{
	struct world *w = *state;
	struct ckpt_image_stats st;

	for (unsigned i = 0; i < 2000; i++) {
		change(w, (unsigned)(dice(w) % 4));
		if (i % 200 == 500)
			change_all(w);
		make_diff(w);
		assert_int_equal(w->n, i % 200 == 500 ? 2 : 1);
		send_all(w);
		if (i % 100 == 0)
			reopen(w); /* forgets where the buffers differ */
		if (i % 50 < 2)
			assert_even(w);
	}
	assert_even(w);
	reopen(w);
	assert_even(w);
	ckpt_image_stats(w->img, &st);
	assert_int_equal(st.bad + st.stale + st.damaged, 0);
}

static void a_gap_is_stale_and_a_full_image_heals_it(void **state)
{
	struct world *w = *state;
	struct ckpt_image_stats st;

	change(w, 50);
	make_diff(w);
	send_all(w);
	change(w, 50);
	make_diff(w); /* never sent */
	change(w, 50);
	make_diff(w);
	assert_int_equal(send(w, 0), -ESTALE);
	assert_int_equal(ckpt_image_version(w->img), 1);
	assert_int_equal(ckpt_image_verify(w->img), 0);
	make_full(w);
	send_all(w);
	assert_even(w);
	change(w, 50);
	make_diff(w);
	send_all(w);
	assert_even(w);
	ckpt_image_stats(w->img, &st);
	assert_int_equal(st.stale, 1);
	assert_int_equal(st.fulls, 2); /* the first version is one, too */
}

/* Same version numbers, other bytes: the sums tell. */
static void another_history_is_stale(void **state)
{
	struct world *w = *state;
	struct ckpt_snap *mine = w->snap;

	for (unsigned i = 0; i < 2; i++) {
		change(w, 50);
		make_diff(w);
		send_all(w);
	}
	assert_int_equal(ckpt_snap_open(SIZE, &w->snap), 0);
	w->version = 1;
	change(w, 50);
	make_diff(w); /* its version 2 */
	change(w, 50);
	make_diff(w); /* its 2 -> 3 */
	assert_int_equal(send(w, 0), -ESTALE);
	assert_int_equal(heads_right(w), 2); /* not even begun */
	ckpt_snap_close(w->snap);
	w->snap = mine;
	w->version = 2;
	assert_even(w);
}

static void a_message_that_comes_twice_counts_once(void **state)
{
	struct world *w = *state;

	change_all(w);
	make_diff(w);
	assert_int_equal(w->n, 2);
	assert_int_equal(send(w, 1), -ESTALE); /* too early */
	assert_int_equal(send(w, 0), 0);
	assert_int_equal(send(w, 0), 0);
	assert_int_equal(ckpt_image_version(w->img), 0);
	assert_int_equal(send(w, 1), 0);
	assert_int_equal(send(w, 1), 0);
	assert_even(w);
	assert_int_equal(send(w, 0), -ESTALE); /* long past */
	assert_even(w);
}

/* Its sender died; the next one sends something else. */
static void half_a_diff_leaves_the_version_before(void **state)
{
	struct world *w = *state;
	char *before = malloc(SIZE);

	for (unsigned again = 0; again < 6; again++) {
		change(w, 30);
		make_diff(w);
		send_all(w);
		memcpy(before, ckpt_snap_piece(w->snap, 0), SIZE);
		change_all(w);
		make_diff(w);
		assert_int_equal(send(w, 0), 0);
		assert_int_equal(heads_right(w), 1); /* M1 */
		assert_int_equal(ckpt_image_version(w->img), w->version - 1);
		assert_memory_equal(ckpt_image_bytes(w->img), before, SIZE);
		if (again % 2)
			reopen(w);
		assert_int_equal(ckpt_image_verify(w->img), 0);
		w->version++;
		make_full(w);
		send_all(w);
		assert_even(w);
	}
	free(before);
}

static void a_wrong_sum_at_the_end_is_refused(void **state)
{
	struct world *w = *state;
	struct ckpt_diff_head h = {.flags = CKPT_DIFF_LAST,
				   .region = REGION,
				   .size = SIZE,
				   .to = 1,
				   .to_sum = 0x1234};

	w->n = 1;
	w->len[0] = ckpt_pack_end(w->pack, &h, w->msg[0]);
	assert_int_equal(send(w, 0), -ESTALE);
	assert_int_equal(ckpt_image_version(w->img), 0);
	change(w, 9);
	make_diff(w);
	send_all(w);
	assert_even(w);
}

static void others_messages_and_garbage_are_refused(void **state)
{
	struct world *w = *state;
	struct ckpt_image *other;
	char *area = calloc(1, ckpt_area_bytes(SIZE));

	change(w, 50);
	make_diff(w);
	assert_int_equal(ckpt_image_open(area, REGION + 1, SIZE, &other), 0);
	memcpy(area + ckpt_area_land(SIZE), w->msg[0], w->len[0]);
	assert_int_equal(ckpt_image_fold(other, (uint32_t)w->len[0]), -EBADMSG);
	assert_int_equal(ckpt_image_fold(other, UINT32_MAX), -EBADMSG);
	assert_int_equal(ckpt_image_fold(other, 0), -EBADMSG);
	ckpt_image_close(other);
	free(area);
	w->msg[0][w->len[0] - 1] ^= 1;
	assert_int_equal(send(w, 0), -EBADMSG);
	w->msg[0][w->len[0] - 1] ^= 1;
	send_all(w);
	assert_even(w);
}

/* Any mixture, sector by sector, of the area before a fold and after it: what
 * a power loss can leave of it in a file. */
static void torn_anyhow_it_is_one_version_or_the_other(void **state)
{
	struct world *w = *state;
	size_t bytes = ckpt_area_land(SIZE), mixed[2] = {0, 0};
	char *before = malloc(bytes), *after = malloc(bytes);
	char *was = malloc(SIZE);

	change_all(w);
	make_diff(w);
	send_all(w);
	for (unsigned i = 0; i < 300; i++) {
		memcpy(before, w->area, bytes);
		memcpy(was, ckpt_snap_piece(w->snap, 0), SIZE);
		change(w, 3);
		make_diff(w);
		send_all(w);
		memcpy(after, w->area, bytes);
		for (size_t at = 0; at < bytes; at += 512)
			if (dice(w) % 8 < i % 9)
				memcpy(w->area + at, before + at, 512);
		reopen(w);
		if (ckpt_image_verify(w->img) != 0)
			assert_int_equal(ckpt_image_verify(w->img), 0);
		if (ckpt_image_version(w->img) == w->version) {
			assert_even(w);
			mixed[1]++;
		} else if (ckpt_image_version(w->img) != 0) {
			assert_int_equal(ckpt_image_version(w->img),
					 w->version - 1);
			assert_memory_equal(ckpt_image_bytes(w->img), was,
					    SIZE);
			mixed[0]++;
		} else {
			fail_msg("both versions lost");
		}
		memcpy(w->area, after, bytes);
		reopen(w);
	}
	assert_true(mixed[0] > 20 && mixed[1] > 20); /* it bit both ways */
	free(was);
	free(after);
	free(before);
}

static char *newest_bytes(struct world *w)
{
	return (char *)ckpt_image_bytes(w->img);
}

static void damage_is_found_and_the_version_before_taken(void **state)
{
	struct world *w = *state;

	change(w, 50);
	make_diff(w);
	send_all(w);
	change(w, 50);
	make_diff(w);
	send_all(w);
	newest_bytes(w)[SIZE / 2] ^= 1;
	assert_int_equal(ckpt_image_verify(w->img), -EBADMSG);
	assert_int_equal(ckpt_image_version(w->img), 1);
	assert_int_equal(ckpt_image_verify(w->img), 0);
	newest_bytes(w)[0] ^= 1;
	assert_int_equal(ckpt_image_verify(w->img), -EBADMSG);
	assert_int_equal(ckpt_image_version(w->img), 0);
	make_full(w);
	send_all(w);
	assert_even(w);
}

/* Folding onto a rotten piece must not give it a right CRC. */
static void no_diff_is_folded_onto_damage(void **state)
{
	struct world *w = *state;
	struct ckpt_image_stats st;

	change(w, 50);
	make_diff(w);
	send_all(w);
	newest_bytes(w)[40 * CKPT_PIECE_BYTES] ^= 1;
	w->live[40 * CKPT_PIECE_WORDS + 1]++;
	make_diff(w);
	assert_int_equal(send(w, 0), -ESTALE);
	assert_int_equal(ckpt_image_version(w->img), 0);
	ckpt_image_stats(w->img, &st);
	assert_int_equal(st.damaged, 1);
	make_full(w);
	send_all(w);
	assert_even(w);
}

static void opening_survives_every_failed_allocation(void **state)
{
	struct world *w = *state;
	struct ckpt_image *img = NULL;
	struct ckpt_snap *s = NULL;
	int failed = -1, rc;

	do {
		fault_alloc(++failed);
		rc = ckpt_image_open(w->area, REGION, SIZE, &img);
		fault_alloc_off();
		assert_true(rc == 0 || (rc == -ENOMEM && img == NULL));
	} while (rc != 0);
	assert_int_equal(failed, 6);
	ckpt_image_close(img);
	failed = -1;
	do {
		fault_alloc(++failed);
		rc = ckpt_snap_open(SIZE, &s);
		fault_alloc_off();
		assert_true(rc == 0 || (rc == -ENOMEM && s == NULL));
	} while (rc != 0);
	assert_int_equal(failed, 3);
	ckpt_snap_close(s);
	assert_int_equal(ckpt_snap_open(0, &s), -EINVAL);
	assert_int_equal(ckpt_snap_open(100, &s), -EINVAL);
	assert_int_equal(ckpt_image_open(w->area, 0, 8, &img), -EINVAL);
}

/* The bytes of format 1; the CRC by another program (bitwise CRC-32C). */
static void golden_head(void **state)
{
	static const unsigned char want[64] = {
		0x41, 0x43, 0x53, 0x4f, 0x49, 0x4d, 0x41, 0x47, 0x01, 0x00,
		0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x80, 0x3e, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x99, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0xdd, 0xcc, 0xbb, 0xaa, 0x82, 0xc0, 0x8e, 0x55, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00,
	};
	struct ckpt_image_head h;

	ckpt_head_write(&h, 3, 4096000, 0x12, 0x99, 0xaabbccdd);
	assert_memory_equal(&h, want, sizeof(want));
	assert_int_equal(ckpt_head_check(&h, 3, 4096000), 0);
	assert_int_equal(ckpt_head_check(&h, 2, 4096000), -EBADMSG);
	assert_int_equal(ckpt_head_check(&h, 3, 4096), -EBADMSG);
	h.note++;
	assert_int_equal(ckpt_head_check(&h, 3, 4096000), -EBADMSG);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_new_image_is_version_0_and_sums_up_as_zeros),
		T(a_snapshot_takes_only_what_changed),
		T(words_are_whole_while_others_cas_them),
		T(an_image_follows_2000_versions),
		T(a_gap_is_stale_and_a_full_image_heals_it),
		T(another_history_is_stale),
		T(a_message_that_comes_twice_counts_once),
		T(half_a_diff_leaves_the_version_before),
		T(a_wrong_sum_at_the_end_is_refused),
		T(others_messages_and_garbage_are_refused),
		T(torn_anyhow_it_is_one_version_or_the_other),
		T(damage_is_found_and_the_version_before_taken),
		T(no_diff_is_folded_onto_damage),
		T(opening_survives_every_failed_allocation),
		T(golden_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
