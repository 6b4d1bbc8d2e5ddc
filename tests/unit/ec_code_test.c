/* tests/unit/ec_code_test.c - the arithmetic against its plain definition. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ec/code.h"
#include "ec/crc.h"

#define LEN_MAX 4099u

static unsigned char data[CODE_DATA_MAX][LEN_MAX];
static unsigned char parity[CODE_PARITY_MAX][LEN_MAX];
static unsigned char rhs[CODE_PARITY_MAX][LEN_MAX];
static unsigned char solved[CODE_PARITY_MAX][LEN_MAX];

static void make_data(unsigned k, size_t len)
{
	for (unsigned i = 0; i < k; i++)
		for (size_t b = 0; b < len; b++)
			data[i][b] = (unsigned char)rand();
}

static void encode(const struct code *c, unsigned k, unsigned m, size_t len)
{
	const void *d[CODE_DATA_MAX];
	void *p[CODE_PARITY_MAX];

	for (unsigned i = 0; i < k; i++)
		d[i] = data[i];
	for (unsigned j = 0; j < m; j++)
		p[j] = parity[j];
	code_encode(c, len, d, p);
}

/* GF(2^8) over 0x11d, bit by bit. */
static unsigned char slow_mul(unsigned char a, unsigned char b)
{
	unsigned r = 0, x = a;

	for (; b != 0; b >>= 1) {
		if (b & 1)
			r ^= x;
		x <<= 1;
		if (x & 0x100)
			x ^= 0x11d;
	}
	return (unsigned char)r;
}

/* Solve for @lost with parities @rows; both sets of @n. */
static void lose_and_solve(const struct code *c, unsigned k, size_t len,
			   unsigned n, const unsigned *rows,
			   const unsigned *lost)
{
	const void *r[CODE_PARITY_MAX] = {NULL};
	void *x[CODE_PARITY_MAX] = {NULL};

	for (unsigned e = 0; e < n; e++) {
		memcpy(rhs[e], parity[rows[e]], len);
		memset(solved[e], 0xa5, len);
		r[e] = rhs[e];
		x[e] = solved[e];
		for (unsigned i = 0; i < k; i++) {
			bool known = true;

			for (unsigned t = 0; t < n; t++)
				known &= lost[t] != i;
			if (known)
				code_fold(c, rows[e], i, len, data[i], rhs[e]);
		}
	}
	assert_int_equal(code_solve(c, n, rows, lost, len, r, x), 0);
	for (unsigned t = 0; t < n; t++)
		assert_memory_equal(solved[t], data[lost[t]], len);
}

static unsigned members(unsigned set, unsigned *out)
{
	unsigned n = 0;

	for (unsigned i = 0; set != 0; i++, set >>= 1)
		if (set & 1)
			out[n++] = i;
	return n;
}

/* Every set of lost data with every set of as many parities. */
static unsigned every_erasure(unsigned k, unsigned m, size_t len)
{
	unsigned lost[CODE_DATA_MAX], rows[CODE_PARITY_MAX], cases = 0;
	struct code *c;

	assert_int_equal(code_open(k, m, &c), 0);
	make_data(k, len);
	encode(c, k, m, len);
	for (unsigned l = 1; l < 1u << k; l++) {
		if ((unsigned)__builtin_popcount(l) > m)
			continue;
		for (unsigned r = 1; r < 1u << m; r++) {
			if (__builtin_popcount(r) != __builtin_popcount(l))
				continue;
			members(l, lost);
			lose_and_solve(c, k, len, members(r, rows), rows, lost);
			cases++;
		}
	}
	code_close(c);
	return cases;
}

static void any_k_members_give_back_all(void **state)
{
	unsigned cases = 0;

	for (unsigned k = 1; k <= 8; k++)
		for (unsigned m = 1; m <= 4; m++)
			cases += every_erasure(k, m, 67);
	assert_int_equal(cases, 1956); /* sum of C(k,e) C(m,e), e >= 1 */
	every_erasure(3, 2, LEN_MAX);
}

static void the_widest_code_solves_its_ends(void **state)
{
	const unsigned lost[] = {0, 13, 26, 27}, rows[] = {0, 1, 2, 3};
	struct code *c;

	assert_int_equal(code_open(28, 4, &c), 0);
	make_data(28, 300);
	encode(c, 28, 4, 300);
	lose_and_solve(c, 28, 300, 4, rows, lost);
	code_close(c);
}

/* Encoding is linear in each source, at all lengths and alignments, and equals
 * the field's definition: the coefficient is read off a unit vector. */
static void encode_and_fold_are_the_field_s(void **state)
{
	unsigned char coef[2][3], sum[2][LEN_MAX];
	struct code *c;

	assert_int_equal(code_open(3, 2, &c), 0);
	for (unsigned i = 0; i < 3; i++) {
		memset(data, 0, sizeof(data));
		data[i][0] = 1;
		encode(c, 3, 2, 1);
		coef[0][i] = parity[0][0];
		coef[1][i] = parity[1][0];
	}
	for (size_t len = 1; len < 200; len++) {
		make_data(3, len);
		encode(c, 3, 2, len);
		for (unsigned j = 0; j < 2; j++) {
			for (size_t b = 0; b < len; b++) {
				sum[j][b] = 0;
				for (unsigned i = 0; i < 3; i++)
					sum[j][b] ^= slow_mul(coef[j][i],
							      data[i][b]);
			}
			assert_memory_equal(parity[j], sum[j], len);
		}
	}
	code_close(c);
}

static void folds_in_any_order_make_the_parity(void **state)
{
	static const size_t lens[] = {1, 15, 16, 31, 33, 64, 4096, 4099};
	unsigned char built[LEN_MAX + 1];
	struct code *c;

	assert_int_equal(code_open(5, 3, &c), 0);
	for (unsigned n = 0; n < sizeof(lens) / sizeof(lens[0]); n++) {
		size_t len = lens[n];

		make_data(5, len);
		encode(c, 5, 3, len);
		for (unsigned j = 0; j < 3; j++) {
			memset(built, 0, sizeof(built));
			for (unsigned i = 5; i-- > 0;)
				code_fold(c, j, i, len, data[i], built);
			assert_memory_equal(built, parity[j], len);
			assert_int_equal(built[len], 0); /* not a byte more */
			for (unsigned i = 0; i < 5; i++) /* and undone */
				code_fold(c, j, i, len, data[i], built);
			for (size_t b = 0; b < len; b++)
				assert_int_equal(built[b], 0);
		}
	}
	code_close(c);
}

static void a_row_alone_is_that_parity(void **state)
{
	unsigned char alone[LEN_MAX + 1];
	const void *d[5] = {data[0], data[1], data[2], data[3], data[4]};
	struct code *c;

	assert_int_equal(code_open(5, 3, &c), 0);
	make_data(5, LEN_MAX);
	encode(c, 5, 3, LEN_MAX);
	for (unsigned j = 0; j < 3; j++) {
		memset(alone, 0xa5, sizeof(alone));
		code_encode_row(c, j, LEN_MAX, d, alone);
		assert_memory_equal(alone, parity[j], LEN_MAX);
		assert_int_equal(alone[LEN_MAX], 0xa5);
	}
	code_close(c);
}

static void xor_is_xor_at_any_alignment(void **state)
{
	unsigned char a[200], b[200], want[200];

	for (size_t off = 0; off < 33; off++) {
		for (size_t len = 0; len < 100; len += 7) {
			for (size_t i = 0; i < sizeof(a); i++) {
				a[i] = want[i] = (unsigned char)rand();
				b[i] = (unsigned char)rand();
			}
			for (size_t i = 0; i < len; i++)
				want[off + i] ^= b[i + 1];
			code_xor(a + off, b + 1, len);
			assert_memory_equal(a, want, sizeof(a));
		}
	}
}

static void a_bad_shape_is_refused(void **state)
{
	const unsigned same[] = {1, 1}, rows[] = {0, 1}, far[] = {0, 9};
	const void *r[] = {rhs[0], rhs[1]};
	void *x[] = {solved[0], solved[1]};
	struct code *c;

	assert_int_equal(code_open(0, 2, &c), -EINVAL);
	assert_int_equal(code_open(3, 0, &c), -EINVAL);
	assert_int_equal(code_open(3, 5, &c), -EINVAL);
	assert_int_equal(code_open(29, 4, &c), -EINVAL);
	assert_int_equal(code_open(32, 1, &c), -EINVAL);
	assert_int_equal(code_open(31, 1, &c), 0);
	code_close(c);
	assert_int_equal(code_open(3, 2, &c), 0);
	assert_int_equal(code_solve(c, 2, rows, same, 8, r, x), -EINVAL);
	assert_int_equal(code_solve(c, 2, same, rows, 8, r, x), -EINVAL);
	assert_int_equal(code_solve(c, 2, rows, far, 8, r, x), -EINVAL);
	assert_int_equal(code_solve(c, 3, rows, far, 8, r, x), -EINVAL);
	assert_int_equal(code_solve(c, 0, rows, far, 8, r, x), -EINVAL);
	code_close(c);
	code_close(NULL);
}

static void crc_is_castagnoli_s_and_goes_on(void **state)
{
	const char *digits = "123456789";
	uint32_t part;

	assert_int_equal(crc_of(0, digits, 9), 0xe3069283u);
	assert_int_equal(crc_of(0, digits, 0), 0);
	part = crc_of(0, digits, 4);
	assert_int_equal(crc_of(part, digits + 4, 5), 0xe3069283u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_k_members_give_back_all),
		cmocka_unit_test(the_widest_code_solves_its_ends),
		cmocka_unit_test(encode_and_fold_are_the_field_s),
		cmocka_unit_test(folds_in_any_order_make_the_parity),
		cmocka_unit_test(a_row_alone_is_that_parity),
		cmocka_unit_test(xor_is_xor_at_any_alignment),
		cmocka_unit_test(a_bad_shape_is_refused),
		cmocka_unit_test(crc_is_castagnoli_s_and_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
