/* ec/code.h - Reed-Solomon RS(k,m) over GF(2^8), Cauchy matrix (isa-l), on
 * plain buffers. parity[j] = sum over i of c[j][i] * data[i]. Any k of the
 * k + m give back all. No I/O; a code is read-only once open: any thread. */
#ifndef ACESO_EC_CODE_H
#define ACESO_EC_CODE_H
#include <stddef.h>
#include <stdint.h>

#define CODE_DATA_MAX	31u
#define CODE_PARITY_MAX 4u
#define CODE_WIDTH_MAX	32u

struct code;

/* 1 <= m <= CODE_PARITY_MAX, 1 <= k, k + m <= CODE_WIDTH_MAX.
 * Errors: -EINVAL; -ENOMEM. */
int code_open(unsigned k, unsigned m, struct code **out);
void code_close(struct code *c); /* NULL is fine */

/* All m parities of @len bytes of k data buffers. */
void code_encode(const struct code *c, size_t len, const void *const *data,
		 void *const *parity);

/* Parity @j alone. */
void code_encode_row(const struct code *c, unsigned j, size_t len,
		     const void *const *data, void *parity);

/* parity ^= c[j][i] * delta, for parity @j (0..m-1) and data @i. Adding the
 * same delta twice gives back what was: a fold undone is a fold again. */
void code_fold(const struct code *c, unsigned j, unsigned i, size_t len,
	       const void *delta, void *parity);

/* Solve for lost data. For each of the @rows equations r:
 *    sum over lost u of c[row[r]][lost[u]] * x[u]  ==  rhs[r]
 * where rhs[r] is parity row[r] with all known data already folded out of it.
 * @nlost unknowns, @nlost equations; fills x[0..nlost-1] (@len bytes each),
 * which must not overlap rhs. Errors: -EINVAL. */
int code_solve(const struct code *c, unsigned nlost, const unsigned *row,
	       const unsigned *lost, size_t len, const void *const *rhs,
	       void *const *x);

/* dst ^= src. */
void code_xor(void *dst, const void *src, size_t len);

#endif
