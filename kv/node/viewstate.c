/* kv/node/viewstate.c - see viewstate.h. A head, then as many addresses, notes,
 * clients and orphans as it says, then a CRC of all before. */
#include "kv/node/viewstate.h"

#include <errno.h>
#include <string.h>

#include "ec/crc.h"

#define MAGIC UINT64_C(0x3130574549564341) /* "ACVIEW01" */

struct head {
	uint64_t magic;
	uint32_t version;
	uint32_t bytes; /* of all, the crc included */
	uint8_t uuid[16];
	struct view view;
	uint32_t next_client;
	uint32_t clients, orphans;
	uint32_t pad;
};

_Static_assert(offsetof(struct head, view) == 32, "viewstate.view");
_Static_assert(sizeof(struct view) == 312, "viewstate.view");
_Static_assert(offsetof(struct head, next_client) == 344, "viewstate.next");
_Static_assert(sizeof(struct head) == 360, "viewstate.head");
_Static_assert(sizeof(struct viewstate_client) == 8, "viewstate.client");

size_t viewstate_bytes_max(void)
{
	return sizeof(struct head) +
	       FAB_NODES_MAX * (PROTO_ADDRESS_BYTES + sizeof(uint64_t)) +
	       VIEWSTATE_CLIENTS_MAX * sizeof(struct viewstate_client) +
	       VIEWSTATE_ORPHANS_MAX * sizeof(uint32_t) + sizeof(uint32_t);
}

static size_t bytes_of(const struct head *h)
{
	return sizeof(*h) +
	       h->view.nodes * (PROTO_ADDRESS_BYTES + sizeof(uint64_t)) +
	       h->clients * sizeof(struct viewstate_client) +
	       h->orphans * sizeof(uint32_t) + sizeof(uint32_t);
}

/* --- writing -------------------------------------------------------------- */

static uint8_t *put(uint8_t *at, const void *from, size_t len)
{
	memcpy(at, from, len);
	return at + len;
}

size_t viewstate_write(const struct viewstate *in, void *buf)
{
	struct head h = {
		.magic = MAGIC,
		.version = VIEWSTATE_VERSION,
		.view = in->set.view,
		.next_client = in->next_client,
		.clients = in->clients,
		.orphans = in->orphans,
	};
	uint32_t crc, nodes = in->set.view.nodes;
	uint8_t *at = buf;

	h.bytes = (uint32_t)bytes_of(&h);
	memcpy(h.uuid, in->uuid, sizeof(h.uuid));
	at = put(at, &h, sizeof(h));
	at = put(at, in->set.address, nodes * PROTO_ADDRESS_BYTES);
	at = put(at, in->least, nodes * sizeof(in->least[0]));
	at = put(at, in->client, in->clients * sizeof(in->client[0]));
	at = put(at, in->orphan, in->orphans * sizeof(in->orphan[0]));
	crc = crc_of(0, buf, (size_t)(at - (uint8_t *)buf));
	put(at, &crc, sizeof(crc));
	return h.bytes;
}

/* --- reading -------------------------------------------------------------- */

static const uint8_t *get(void *to, const uint8_t *at, size_t len)
{
	memcpy(to, at, len);
	return at + len;
}

/* Enough of it to know how long it is, and that it is whole. */
static int head_read(const uint8_t *buf, size_t len, struct head *h)
{
	uint32_t crc;

	memset(h, 0, sizeof(*h));
	memcpy(h, buf, len < sizeof(*h) ? len : sizeof(*h));
	if (h->magic != MAGIC)
		return -ENOTUNIQ;
	if (h->version != VIEWSTATE_VERSION)
		return -EPROTO;
	if (len < sizeof(*h) || h->bytes != len ||
	    h->view.nodes > FAB_NODES_MAX ||
	    h->clients > VIEWSTATE_CLIENTS_MAX ||
	    h->orphans > VIEWSTATE_ORPHANS_MAX || bytes_of(h) != len)
		return -EBADMSG;
	memcpy(&crc, buf + len - sizeof(crc), sizeof(crc));
	return crc == crc_of(0, buf, len - sizeof(crc)) ? 0 : -EBADMSG;
}

static int check(const struct head *h, const struct viewstate *s)
{
	if (view_check(&h->view) != 0 || h->pad != 0 || h->next_client == 0)
		return -EBADMSG;
	for (uint32_t i = 0; i < h->view.nodes; i++)
		if (memchr(s->set.address[i], '\0', PROTO_ADDRESS_BYTES) ==
		    NULL)
			return -EBADMSG;
	for (uint32_t i = 0; i < h->clients; i++)
		if (s->client[i].id == 0 || s->client[i].fenced > 1 ||
		    s->client[i].id >= h->next_client)
			return -EBADMSG;
	for (uint32_t i = 0; i < h->orphans; i++)
		if (s->orphan[i] == 0 || s->orphan[i] >= h->next_client)
			return -EBADMSG;
	return 0;
}

int viewstate_read(const void *buf, size_t len, struct viewstate *out)
{
	const uint8_t *at = buf;
	struct head h;
	int rc = head_read(buf, len, &h);

	if (rc != 0)
		return rc;
	memset(out, 0, sizeof(*out));
	memcpy(out->uuid, h.uuid, sizeof(h.uuid));
	out->set.view = h.view;
	out->next_client = h.next_client;
	out->clients = h.clients;
	out->orphans = h.orphans;
	at += sizeof(h);
	at = get(out->set.address, at, h.view.nodes * PROTO_ADDRESS_BYTES);
	at = get(out->least, at, h.view.nodes * sizeof(out->least[0]));
	at = get(out->client, at, h.clients * sizeof(out->client[0]));
	get(out->orphan, at, h.orphans * sizeof(out->orphan[0]));
	return check(&h, out);
}
