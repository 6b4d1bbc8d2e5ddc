/* tests/fuzz/spoil.h - a change of an answer to a CALL, in six bytes: of which
 * answers (1; the target's), how (1), where in it (2), with what (2). */
#ifndef ACESO_TESTS_FUZZ_SPOIL_H
#define ACESO_TESTS_FUZZ_SPOIL_H
#include <string.h>

#include "rdma/fabric.h"

#define SPOIL_BYTES 6u

enum spoil_how {
	SPOIL_FLIP,
	SPOIL_PUT,
	SPOIL_CUT,
	SPOIL_LONGER,
	SPOIL_STATUS,
	SPOIL_HOWS
};

static inline uint16_t spoil_word(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static inline void spoil(struct fab_op *op, const uint8_t *c)
{
	uint8_t *reply = op->reply;
	uint32_t at = op->reply_len > 0 ? spoil_word(c + 2) % op->reply_len : 0;

	if (c[1] % SPOIL_HOWS == SPOIL_STATUS)
		op->status = -(int)(spoil_word(c + 4) % 140);
	if (op->status != 0 || op->reply_cap == 0 || op->reply_len == 0)
		return;
	if (c[1] % SPOIL_HOWS == SPOIL_FLIP)
		reply[at] ^= c[4];
	else if (c[1] % SPOIL_HOWS == SPOIL_PUT)
		for (uint32_t i = at; i < at + 8 && i < op->reply_len; i++)
			reply[i] = c[4 + i % 2];
	else if (c[1] % SPOIL_HOWS == SPOIL_CUT)
		op->reply_len = at;
	else if (c[1] % SPOIL_HOWS == SPOIL_LONGER &&
		 op->reply_len < op->reply_cap)
		memset(reply + op->reply_len, c[4],
		       op->reply_cap - op->reply_len),
			op->reply_len = op->reply_cap;
}

#endif
