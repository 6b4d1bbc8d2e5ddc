/* kv/node/fetch.c - see fetch.h. */
#include "kv/node/fetch.h"

#include <errno.h>

#include "ec/stripe.h"
#include "kv/slot.h"

#define FETCH_NS UINT64_C(5000000000)

static int fetch_bytes(const struct fetch *f, fab_addr addr, uint32_t len)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};
	int rc;

	if (!(f->up >> fab_addr_node(addr) & 1))
		return stripe_read_run(f->fab, f->g, f->code, addr, len, f->up,
				       f->record, fab_now(f->fab) + FETCH_NS);
	fab_read(&op, fab_addr_node(addr), fab_addr_offset(addr), f->record,
		 len);
	rc = fab_run(f->fab, &b);
	return rc != 0 ? rc : op.status;
}

/* No record crosses the end of its block. */
static uint32_t room_at(const struct group *g, fab_addr addr)
{
	uint64_t stripe;
	uint32_t role, at;

	if (group_locate(g, addr, &stripe, &role, &at) != 0)
		return 0;
	return g->block_bytes - at;
}

int fetch_record(const struct fetch *f, uint64_t word, struct object *out)
{
	uint32_t units = slot_units(word), room, len;
	fab_addr addr = slot_addr(word);
	int rc;

	room = room_at(f->g, addr);
	len = units != 0 ? units * GROUP_UNIT_BYTES : GROUP_UNIT_BYTES;
	if (len > room)
		return -EBADMSG;
	rc = fetch_bytes(f, addr, len);
	if (rc != 0)
		return rc;
	rc = object_decode(f->record, len, f->secret, addr, out);
	if (rc != -ERANGE || units != 0)
		return rc == -ERANGE ? -EBADMSG : rc;
	len = (uint32_t)out->hdr.units * GROUP_UNIT_BYTES;
	if (len > room)
		return -EBADMSG;
	rc = fetch_bytes(f, addr, len);
	if (rc != 0)
		return rc;
	return object_decode(f->record, len, f->secret, addr, out);
}
