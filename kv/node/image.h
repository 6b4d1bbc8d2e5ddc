/* kv/node/image.h - a copy of one data block, wherever it is: read from its
 * node, or decoded from the rest of its stripe; and the records in it.
 *
 * Threads: one at a time per struct; several may be started side by side on one
 * queue, on which nothing else is posted without being run to its end. */
#ifndef ACESO_KV_NODE_IMAGE_H
#define ACESO_KV_NODE_IMAGE_H
#include <stdbool.h>
#include <stdint.h>

#include "ec/code.h"
#include "kv/node/walk.h"
#include "kv/object.h"

struct image;

int image_open(const struct group *g, const struct code *c, struct image **out);
void image_close(struct image *img); /* finished, or never started */

/* Begin to read @wb's block and, before its bytes, the marks of obsolete units
 * that the members in @up keep for it. Errors: those of fab_post(). */
int image_start(struct image *img, struct fab *f, uint64_t up,
		const struct walk_block *wb);

/* Wait for it. Errors: -EHOSTDOWN, -ETIMEDOUT a node failed: learn the view;
 * -EIO more is lost than the code bears; -ENODATA the block is FREE by now. */
int image_finish(struct image *img, struct fab *f);

const struct walk_block *image_block(const struct image *img);
uint32_t image_bytes(const struct image *img);

/* The next right record at or after unit *@at; *@at moves behind it. Between
 * records may lie anything: bits of older ones, pages, zeros.
 * Returns false at the end. */
bool image_next(const struct image *img, uint64_t secret, uint32_t *at,
		uint32_t *unit, struct object *out);

/* True if all of the units are marked obsolete by at least one member. */
bool image_dead(const struct image *img, uint32_t unit, uint32_t units);

#endif
