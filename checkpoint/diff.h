/* checkpoint/diff.h - what changed between two versions of a region, as
 * messages that each fit a landing area.
 *
 *     header | LZ4( XOR of piece, XOR of piece, ... | their numbers )
 *
 * A diff is a row of messages: seq 0, 1, ..., the last one flagged. Messages
 * are checked on their own (CRC over all of it); the sums of both versions say
 * whether the whole fitted. A diff from version 0 is against all zeros: the
 * whole region in full. Pieces that are not in it have not changed.
 *
 * Threads: one at a time per packer; the rest is pure. */
#ifndef ACESO_CHECKPOINT_DIFF_H
#define ACESO_CHECKPOINT_DIFF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "checkpoint/piece.h"

#define CKPT_DIFF_MAGIC	     UINT64_C(0x464649444f534341) /* "ACSODIFF" */
#define CKPT_DIFF_FORMAT     1u
#define CKPT_DIFF_BYTES_MAX  (1u << 20) /* a message */
#define CKPT_DIFF_PIECES_MAX 240u	/* in a message, so that it fits */
#define CKPT_DIFF_RAW_MAX    (CKPT_DIFF_PIECES_MAX * (CKPT_PIECE_BYTES + 4))

enum { CKPT_DIFF_LAST = 1 };

struct ckpt_diff_head {
	uint64_t magic;
	uint32_t format;
	uint32_t flags;	   /* CKPT_DIFF_LAST */
	uint32_t region;   /* whose image it is for: the holder's number */
	uint32_t seq;	   /* of the message in its diff */
	uint64_t size;	   /* of the region */
	uint64_t from;	   /* version; 0: all zeros */
	uint64_t to;	   /* version, > from */
	uint64_t note;	   /* the holder's word about version to */
	uint32_t from_sum; /* of the region (piece.h); 0 if from is 0 */
	uint32_t to_sum;   /* in the last message; else 0 */
	uint32_t pieces;
	uint32_t raw;	 /* bytes before packing: pieces * 4100 */
	uint32_t packed; /* bytes that follow */
	uint32_t crc;	 /* CRC32C of header (crc 0) and what follows */
};
_Static_assert(sizeof(struct ckpt_diff_head) == 80, "a head is 80 bytes");
_Static_assert(offsetof(struct ckpt_diff_head, crc) == 76, "crc is last");

/* --- making -------------------------------------------------------------- */

struct ckpt_pack;

int ckpt_pack_open(struct ckpt_pack **out); /* -ENOMEM */
void ckpt_pack_close(struct ckpt_pack *p);  /* NULL is fine */

/* Add a piece: numbers rise within a diff. @was NULL: zeros. There must be
 * room (ckpt_pack_full()). */
void ckpt_pack_add(struct ckpt_pack *p, uint32_t piece, const uint64_t *was,
		   const uint64_t *is);
bool ckpt_pack_full(const struct ckpt_pack *p);
uint32_t ckpt_pack_pieces(const struct ckpt_pack *p); /* in it so far */
void ckpt_pack_clear(struct ckpt_pack *p);

/* Make the message of what was added, and begin the next. Of @head all but
 * magic, format, pieces, raw, packed and crc is the caller's. @out has room for
 * CKPT_DIFF_BYTES_MAX. Returns its length. */
size_t ckpt_pack_end(struct ckpt_pack *p, const struct ckpt_diff_head *head,
		     void *out);

/* --- reading ------------------------------------------------------------- */

struct ckpt_diff {
	struct ckpt_diff_head head;
	const uint64_t *bytes;	/* head.pieces XORs, in the caller's scratch */
	const uint32_t *number; /* of each piece, rising, inside the region */
};

/* Check and unpack @msg. @scratch (aligned to 8) has CKPT_DIFF_RAW_MAX bytes.
 * Errors: -EBADMSG it is no message, or was damaged. Any bytes may be given;
 * they must not change meanwhile. */
int ckpt_diff_decode(const void *msg, size_t len, void *scratch,
		     struct ckpt_diff *out);

#endif
