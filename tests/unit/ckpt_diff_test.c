/* Messages of a diff: what goes in comes out; nothing else ever does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "checkpoint/diff.h"
#include "ec/crc.h"
#include "tests/lib/fault_alloc.h"

#define SIZE (UINT64_C(4096) * 1000)

struct world {
	struct ckpt_pack *pack;
	uint64_t rng;
	uint64_t was[CKPT_PIECE_WORDS], is[CKPT_PIECE_WORDS];
	uint64_t scratch[CKPT_DIFF_RAW_MAX / 8];
	unsigned char msg[CKPT_DIFF_BYTES_MAX];
	size_t len;
};

static const struct ckpt_diff_head HEAD = {
	.flags = CKPT_DIFF_LAST,
	.region = 3,
	.seq = 7,
	.size = SIZE,
	.from = 0x11,
	.to = 0x12,
	.note = 0x99,
	.from_sum = 0xaabb,
	.to_sum = 0xccdd,
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
	assert_int_equal(ckpt_pack_open(&w->pack), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	ckpt_pack_close(w->pack);
	free(w);
	return 0;
}

static int decode(struct world *w, struct ckpt_diff *d)
{
	return ckpt_diff_decode(w->msg, w->len, w->scratch, d);
}

/* A message of @n pieces: 3, 6, 9, ..., of noise. */
static void make(struct world *w, uint32_t n)
{
	for (uint32_t i = 1; i <= n; i++) {
		for (uint32_t j = 0; j < CKPT_PIECE_WORDS; j++)
			w->is[j] = dice(w);
		ckpt_pack_add(w->pack, 3 * i, NULL, w->is);
	}
	w->len = ckpt_pack_end(w->pack, &HEAD, w->msg);
}

static void what_goes_in_comes_out(void **state)
{
	struct world *w = *state;
	struct ckpt_diff d;

	for (uint32_t j = 0; j < CKPT_PIECE_WORDS; j++)
		w->was[j] = w->is[j] = j;
	w->is[5] = 0x77;
	ckpt_pack_add(w->pack, 0, w->was, w->is);
	ckpt_pack_add(w->pack, 999, NULL, w->was);
	assert_int_equal(ckpt_pack_pieces(w->pack), 2);
	w->len = ckpt_pack_end(w->pack, &HEAD, w->msg);
	assert_int_equal(ckpt_pack_pieces(w->pack), 0);
	assert_int_equal(decode(w, &d), 0);
	assert_int_equal(d.head.pieces, 2);
	assert_int_equal(d.head.seq, 7);
	assert_int_equal(d.head.note, 0x99);
	assert_int_equal(d.number[0], 0);
	assert_int_equal(d.number[1], 999);
	for (uint32_t j = 0; j < CKPT_PIECE_WORDS; j++) {
		assert_int_equal(d.bytes[j], j == 5 ? 5 ^ 0x77 : 0);
		assert_int_equal(d.bytes[CKPT_PIECE_WORDS + j], j);
	}
}

static void a_full_message_of_noise_fits(void **state)
{
	struct world *w = *state;
	struct ckpt_diff d;

	make(w, CKPT_DIFF_PIECES_MAX);
	assert_true(w->len > CKPT_DIFF_PIECES_MAX * CKPT_PIECE_BYTES);
	assert_true(w->len <= CKPT_DIFF_BYTES_MAX);
	assert_int_equal(decode(w, &d), 0);
	assert_int_equal(d.head.pieces, CKPT_DIFF_PIECES_MAX);
	assert_memory_equal(d.bytes + (CKPT_DIFF_PIECES_MAX - 1) *
					      CKPT_PIECE_WORDS,
			    w->is, sizeof(w->is));
}

static void few_changed_words_make_a_small_message(void **state)
{
	struct world *w = *state;

	w->is[17] = 1;
	for (uint32_t i = 0; i < 100; i++)
		ckpt_pack_add(w->pack, i, w->was, w->is);
	w->len = ckpt_pack_end(w->pack, &HEAD, w->msg);
	assert_true(w->len < 100 * CKPT_PIECE_BYTES / 50);
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct world *w = *state;
	struct ckpt_diff d;

	w->is[9] = 5;
	ckpt_pack_add(w->pack, 4, w->was, w->is);
	w->len = ckpt_pack_end(w->pack, &HEAD, w->msg);
	for (size_t bit = 0; bit < w->len * 8; bit++) {
		w->msg[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_equal(decode(w, &d), -EBADMSG);
		w->msg[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	assert_int_equal(decode(w, &d), 0);
}

static void every_shorter_message_is_refused(void **state)
{
	struct world *w = *state;
	struct ckpt_diff d;
	size_t whole;

	make(w, 2);
	whole = w->len;
	for (w->len = 0; w->len < whole; w->len++)
		assert_int_equal(decode(w, &d), -EBADMSG);
	w->len = whole + 1;
	assert_int_equal(decode(w, &d), -EBADMSG);
	w->len = whole;
	assert_int_equal(decode(w, &d), 0);
}

/* Somebody who knows how to make a CRC. */
static int forged(struct world *w, const struct ckpt_diff_head *h)
{
	struct ckpt_diff_head f = *h;
	struct ckpt_diff d;

	f.crc = 0;
	f.crc = crc_of(crc_of(0, &f, sizeof(f)), w->msg + sizeof(f),
		       w->len - sizeof(f));
	memcpy(w->msg, &f, sizeof(f));
	return decode(w, &d);
}

static void a_forged_head_with_a_right_crc_is_refused(void **state)
{
	struct world *w = *state;
	struct ckpt_diff_head good, h;

	make(w, 2);
	memcpy(&good, w->msg, sizeof(good));
	assert_int_equal(forged(w, &good), 0);
#define FORGED(change)                                                         \
	do {                                                                   \
		h = good;                                                      \
		change;                                                        \
		assert_int_equal(forged(w, &h), -EBADMSG);                     \
	} while (0)
	FORGED(h.magic++);
	FORGED(h.format = 2);
	FORGED(h.flags |= 2);
	FORGED(h.size = 0);
	FORGED(h.size = 4097);
	FORGED(h.size = UINT64_MAX - 4095);
	FORGED(h.size = 6 * CKPT_PIECE_BYTES); /* piece 6 is outside */
	FORGED(h.to = h.from);
	FORGED(h.from = 0);  /* but has a from_sum */
	FORGED(h.flags = 0); /* but has a to_sum */
	FORGED(h.pieces = 1);
	FORGED(h.pieces = 3; h.raw = 3 * 4100);
	FORGED(h.pieces = CKPT_DIFF_PIECES_MAX + 1);
	FORGED(h.pieces = UINT32_MAX);
	FORGED(h.pieces = 0; h.raw = 0);
	FORGED(h.raw++);
	FORGED(h.packed--);
	FORGED(h.packed = UINT32_MAX);
#undef FORGED
	assert_int_equal(forged(w, &good), 0);
}

/* Garbage behind a right CRC must not make the unpacking leave its buffers
 * (the address sanitizer looks on), nor numbers leave the region. */
static void forged_payloads_do_no_harm(void **state)
{
	struct world *w = *state;
	struct ckpt_diff_head h;
	struct ckpt_diff d;
	int right = 0;

	for (int i = 0; i < 3000; i++) {
		w->is[0] = dice(w);
		ckpt_pack_add(w->pack, 4, w->was, w->is);
		ckpt_pack_add(w->pack, 5, w->was, w->is);
		w->len = ckpt_pack_end(w->pack, &HEAD, w->msg);
		memcpy(&h, w->msg, sizeof(h));
		for (uint64_t n = dice(w) % 4 + 1; n > 0; n--)
			w->msg[sizeof(h) + dice(w) % h.packed] =
				(unsigned char)dice(w);
		if (forged(w, &h) != 0)
			continue;
		right++;
		assert_int_equal(decode(w, &d), 0);
		for (uint32_t p = 0; p < d.head.pieces; p++)
			assert_true(d.number[p] < ckpt_pieces(d.head.size));
	}
	assert_true(right > 0 && right < 3000); /* both were met */
}

/* The bytes of format 1; CRCs by another program (bitwise CRC-32C). */
static void golden_bytes(void **state)
{
	static const char want[] = "4143534f44494646010000000100000003000000070"
				   "0000000803e0000000000"
				   "1100000000000000120000000000000099000000000"
				   "00000bbaa0000ddcc0000"
				   "00000000000000000000000027e9b078";
	struct world *w = *state;
	struct ckpt_diff d;
	char hex[sizeof(want)];

	w->len = ckpt_pack_end(w->pack, &HEAD, w->msg);
	assert_int_equal(w->len, 80);
	for (size_t i = 0; i < w->len; i++)
		sprintf(hex + 2 * i, "%02x", w->msg[i]);
	assert_string_equal(hex, want);
	assert_int_equal(decode(w, &d), 0);
}

/* Another lz4 may pack otherwise, but must unpack what was packed before. */
static void golden_message_of_one_piece(void **state)
{
	static const char hex[] = "4143534f444946460100000001000000030000000700"
				  "000000803e0000000000"
				  "11000000000000001200000000000000990000000000"
				  "0000bbaa0000ddcc0000"
				  "01000000041000003900000018ba1421ff0400000000"
				  "00000000000000000000"
				  "00003412000100ffffffffffffffffffffffffffffff"
				  "ddf00100000000000000"
				  "000000000009000000";
	struct world *w = *state;
	struct ckpt_diff d;
	unsigned byte;

	w->len = (sizeof(hex) - 1) / 2;
	for (size_t i = 0; i < w->len; i++) {
		sscanf(hex + 2 * i, "%2x", &byte);
		w->msg[i] = (unsigned char)byte;
	}
	assert_int_equal(decode(w, &d), 0);
	assert_int_equal(d.number[0], 9);
	for (uint32_t j = 0; j < CKPT_PIECE_WORDS; j++)
		assert_int_equal(d.bytes[j], j == 2 ? 0x1234 : 0);
}

static void a_packer_needs_memory(void **state)
{
	struct ckpt_pack *p = NULL;

	fault_alloc(0);
	assert_int_equal(ckpt_pack_open(&p), -ENOMEM);
	assert_true(fault_alloc_off());
	assert_null(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_goes_in_comes_out),
		T(a_full_message_of_noise_fits),
		T(few_changed_words_make_a_small_message),
		T(every_flipped_bit_is_noticed),
		T(every_shorter_message_is_refused),
		T(a_forged_head_with_a_right_crc_is_refused),
		T(forged_payloads_do_no_harm),
		T(golden_bytes),
		T(golden_message_of_one_piece),
		T(a_packer_needs_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
