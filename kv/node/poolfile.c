/* kv/node/poolfile.c - see poolfile.h. */
#include "kv/node/poolfile.h"

#include <errno.h>
#include <string.h>

#include "ec/crc.h"

#define MAGIC UINT64_C(0x31304c4f4f504341) /* "ACPOOL01" */

struct image {
	uint64_t magic;
	uint32_t version;
	uint32_t pad;
	uint8_t super[LAYOUT_SUPER_BYTES]; /* as at the start of a region */
	uint64_t durable;
	uint64_t epoch, index_version;
	uint32_t next_client;
	uint32_t slot;
	uint32_t region[64];
	uint32_t crc; /* of all before */
	uint32_t pad2;
};

_Static_assert(sizeof(struct image) == POOLFILE_BYTES, "a pool file");
_Static_assert(offsetof(struct image, durable) == 168, "poolfile.durable");
_Static_assert(offsetof(struct image, region) == 200, "poolfile.region");
_Static_assert(offsetof(struct image, crc) == 456, "poolfile.crc");

void poolfile_write(const struct poolfile *in, void *buf)
{
	struct layout_super super = in->super;
	struct image f = {
		.magic = MAGIC,
		.version = POOLFILE_VERSION,
		.durable = in->at.durable,
		.epoch = in->at.epoch,
		.index_version = in->at.index_version,
		.next_client = in->at.next_client,
		.slot = in->at.slot,
	};

	super.magic = LAYOUT_MAGIC;
	super.version = LAYOUT_VERSION;
	super.node = 0;
	layout_super_write(f.super, &super);
	memcpy(f.region, in->region, sizeof(f.region));
	f.crc = crc_of(0, &f, offsetof(struct image, crc));
	memcpy(buf, &f, sizeof(f));
}

static int check(const struct image *f, size_t len)
{
	if (len != sizeof(*f) || f->pad != 0 || f->pad2 != 0 || f->slot > 1)
		return -EBADMSG;
	if (f->crc != crc_of(0, f, offsetof(struct image, crc)))
		return -EBADMSG;
	return f->durable == 0 || (f->epoch != 0 && f->index_version != 0 &&
				   f->next_client != 0)
		       ? 0
		       : -EBADMSG;
}

int poolfile_read(const void *buf, size_t len, struct poolfile *out,
		  uint32_t *version)
{
	struct image f = {0};
	int rc;

	memcpy(&f, buf, len < sizeof(f) ? len : sizeof(f));
	if (f.magic != MAGIC)
		return -ENOTUNIQ;
	*version = f.version;
	if (f.version != POOLFILE_VERSION)
		return -EPROTO;
	rc = check(&f, len);
	if (rc == 0 && layout_super_read(f.super, &out->super) != 0)
		rc = -EBADMSG;
	if (rc != 0)
		return rc;
	out->at = (struct coord_counters){
		.durable = f.durable,
		.epoch = f.epoch,
		.index_version = f.index_version,
		.next_client = f.next_client,
		.slot = f.slot,
	};
	memcpy(out->region, f.region, sizeof(out->region));
	return 0;
}
