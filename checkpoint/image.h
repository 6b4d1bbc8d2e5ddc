/* checkpoint/image.h - the newest copy of another node's region, kept in an
 * area of this node's memory where any peer may read it.
 *
 *     +-------+---------+---------+-----------+-----------+----------+
 *     | heads | table 0 | table 1 |  bytes 0  |  bytes 1  | landing  |
 *     +-------+---------+---------+-----------+-----------+----------+
 *       4 KiB   CRCs of the pieces   two versions           a message
 *
 * M1. The buffer that the newest right head names is whole, and is not written
 *     to. A diff goes into the other one; that one's head is cleared before its
 *     first byte changes and written after its last one: a crash at any moment
 *     leaves the version before, or the new one.
 * M2. A new head is written only when the sum of what was folded is the one
 *     that the sender had (diff.h).
 *
 * Threads: one at a time per image; two images share nothing. */
#ifndef ACESO_CHECKPOINT_IMAGE_H
#define ACESO_CHECKPOINT_IMAGE_H
#include <stddef.h>
#include <stdint.h>

#include "checkpoint/diff.h"

#define CKPT_IMAGE_MAGIC  UINT64_C(0x47414d494f534341) /* "ACSOIMAG" */
#define CKPT_IMAGE_FORMAT 1u

struct ckpt_image_head {
	uint64_t magic;
	uint32_t format;
	uint32_t region; /* whose */
	uint64_t size;
	uint64_t version; /* >= 1 */
	uint64_t note;	  /* the sender's word about it */
	uint32_t sum;	  /* of the table, and so of the bytes */
	uint32_t crc;	  /* of the head, this being 0 */
	uint64_t reserved[2];
};
_Static_assert(sizeof(struct ckpt_image_head) == 64, "a head is 64 bytes");

/* --- the area; offsets from its start, which is a multiple of 4096
 * ------------
 */

uint64_t ckpt_area_bytes(uint64_t size); /* for a region of @size bytes */
uint64_t ckpt_area_head(uint32_t buffer);
uint64_t ckpt_area_table(uint64_t size, uint32_t buffer);
uint64_t ckpt_area_buffer(uint64_t size, uint32_t buffer);
uint64_t ckpt_area_land(uint64_t size);

/* Make, spoil, or check, a head. Errors: -EBADMSG: no head of this region. */
void ckpt_head_write(struct ckpt_image_head *to, uint32_t region, uint64_t size,
		     uint64_t version, uint64_t note, uint32_t sum);
void ckpt_head_clear(struct ckpt_image_head *h);
int ckpt_head_check(const struct ckpt_image_head *h, uint32_t region,
		    uint64_t size);

/* --- what a sender CALLs
 * --------------------------------------------------------
 */

struct ckpt_req {
	uint32_t region;
	uint32_t len;  /* of the message that has landed; 0: just tell */
	uint64_t word; /* the caller's (an epoch); not looked at here */
};
_Static_assert(sizeof(struct ckpt_req) == 16, "a request is 16 bytes");

struct ckpt_ack {
	int32_t status;	  /* of the message: as ckpt_image_fold() */
	uint32_t sum;	  /* of the version it has now */
	uint64_t version; /* 0: none */
	uint64_t note;
};
_Static_assert(sizeof(struct ckpt_ack) == 24, "an answer is 24 bytes");

/* --- the image
 * ------------------------------------------------------------------
 */

struct ckpt_image;

struct ckpt_image_stats {
	uint64_t messages, diffs, fulls; /* messages right; diffs folded */
	uint64_t bad, stale;		 /* messages refused */
	uint64_t damaged;		 /* times the newest was found so */
};

/* Take what is in @area (ckpt_area_bytes(@size) of memory that stays, zeroed or
 * once another's image's): the version its newest head tells, or version 0.
 * Sets *@out on success only. Errors: -EINVAL for a bad @size; -ENOMEM. */
int ckpt_image_open(void *area, uint32_t region, uint64_t size,
		    struct ckpt_image **out);
void ckpt_image_close(struct ckpt_image *img); /* area stays. NULL is fine */

/* Fold the message of @len bytes that has landed. Nobody is trusted: it may
 * change while it is read. A message that came before is taken as done.
 * Errors, the image being as it was: -EBADMSG it is damaged, or not ours: send
 * it again; -ESTALE it does not follow on what is here: look at the version. */
int ckpt_image_fold(struct ckpt_image *img, uint32_t len);

/* Serve @req, its region having been used to find @img. */
void ckpt_image_serve(struct ckpt_image *img, const struct ckpt_req *req,
		      struct ckpt_ack *out);

/* Read all of the newest version and compare it with its sums. Errors:
 * -EBADMSG it was damaged: the image is now at the version before if that is
 * whole, or at 0. */
int ckpt_image_verify(struct ckpt_image *img);

uint64_t ckpt_image_version(const struct ckpt_image *img); /* 0: none */
uint64_t ckpt_image_note(const struct ckpt_image *img);
/* The newest version's bytes, until the next fold but one; NULL: version 0. */
const void *ckpt_image_bytes(const struct ckpt_image *img);
void ckpt_image_stats(const struct ckpt_image *img,
		      struct ckpt_image_stats *out);

#endif
