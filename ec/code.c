#include "ec/code.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l/erasure_code.h>

#define GF_TABLE_BYTES 32u /* isa-l's, for one coefficient */

struct code {
	unsigned k, m;
	unsigned char coef[CODE_PARITY_MAX][CODE_DATA_MAX];
	/* encode: m rows of k tables; also one by one, for folding */
	unsigned char tables[CODE_PARITY_MAX * CODE_DATA_MAX * GF_TABLE_BYTES];
};

int code_open(unsigned k, unsigned m, struct code **out)
{
	unsigned char matrix[CODE_WIDTH_MAX * CODE_DATA_MAX];
	struct code *c;

	if (k < 1 || k > CODE_DATA_MAX || m < 1 || m > CODE_PARITY_MAX ||
	    k + m > CODE_WIDTH_MAX)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->k = k;
	c->m = m;
	gf_gen_cauchy1_matrix(matrix, (int)(k + m), (int)k);
	for (unsigned j = 0; j < m; j++)
		memcpy(c->coef[j], matrix + (size_t)(k + j) * k, k);
	ec_init_tables((int)k, (int)m, matrix + (size_t)k * k, c->tables);
	*out = c;
	return 0;
}

void code_close(struct code *c)
{
	free(c);
}

/* isa-l counts in int and takes neither const pointers nor const arrays. */
static int isal_len(size_t len)
{
	assert(len <= INT_MAX);
	return (int)len;
}

void code_encode(const struct code *c, size_t len, const void *const *data,
		 void *const *parity)
{
	ec_encode_data(isal_len(len), (int)c->k, (int)c->m,
		       (unsigned char *)c->tables, (unsigned char **)data,
		       (unsigned char **)parity);
}

void code_encode_row(const struct code *c, unsigned j, size_t len,
		     const void *const *data, void *parity)
{
	unsigned char *dst = parity;

	assert(j < c->m);
	ec_encode_data(isal_len(len), (int)c->k, 1,
		       (unsigned char *)c->tables +
			       (size_t)j * c->k * GF_TABLE_BYTES,
		       (unsigned char **)data, &dst);
}

void code_fold(const struct code *c, unsigned j, unsigned i, size_t len,
	       const void *delta, void *parity)
{
	unsigned char *table, *dst = parity;

	assert(j < c->m && i < c->k);
	table = (unsigned char *)c->tables +
		((size_t)j * c->k + i) * GF_TABLE_BYTES;
	ec_encode_data_update(isal_len(len), 1, 1, 0, table,
			      (unsigned char *)delta, &dst);
}

int code_solve(const struct code *c, unsigned nlost, const unsigned *row,
	       const unsigned *lost, size_t len, const void *const *rhs,
	       void *const *x)
{
	unsigned char a[CODE_PARITY_MAX * CODE_PARITY_MAX];
	unsigned char inv[CODE_PARITY_MAX * CODE_PARITY_MAX];
	unsigned char tables[sizeof(inv) * GF_TABLE_BYTES];

	if (nlost < 1 || nlost > c->m || len > INT_MAX)
		return -EINVAL;
	for (unsigned r = 0; r < nlost; r++) {
		for (unsigned t = 0; t < nlost; t++) {
			if (row[r] >= c->m || lost[t] >= c->k)
				return -EINVAL;
			a[r * nlost + t] = c->coef[row[r]][lost[t]];
		}
	}
	/* Square parts of a Cauchy matrix always have an inverse; only a row
	 * or an unknown named twice has none. */
	if (gf_invert_matrix(a, inv, (int)nlost) != 0)
		return -EINVAL;
	ec_init_tables((int)nlost, (int)nlost, inv, tables);
	ec_encode_data((int)len, (int)nlost, (int)nlost, tables,
		       (unsigned char **)rhs, (unsigned char **)x);
	return 0;
}

/* 32 bytes, which gcc turns into whatever registers the target has. */
typedef uint64_t xor_lane __attribute__((vector_size(32)));

void code_xor(void *dst, const void *src, size_t len)
{
	unsigned char *d = dst;
	const unsigned char *s = src;
	xor_lane a, b;
	size_t i = 0;

	for (; i + sizeof(a) <= len; i += sizeof(a)) {
		memcpy(&a, d + i, sizeof(a)); /* unaligned is fine */
		memcpy(&b, s + i, sizeof(b));
		a ^= b;
		memcpy(d + i, &a, sizeof(a));
	}
	for (; i < len; i++)
		d[i] ^= s[i];
}
