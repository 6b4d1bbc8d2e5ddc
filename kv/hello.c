/* kv/hello.c - see hello.h. */
#include "kv/hello.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/hash.h"

#define INSTANCE_DIGITS 16u
#define RDMA		"verbs:"

void hello_fill(struct proto_hello *h, uint32_t role, const uint8_t *uuid)
{
	*h = (struct proto_hello){
		.magic = PROTO_MAGIC, .version = PROTO_VERSION, .role = role};
	if (uuid != NULL)
		memcpy(h->uuid, uuid, sizeof(h->uuid));
}

uint64_t hello_self(const char address[PROTO_ADDRESS_BYTES])
{
	return hash_of(address, strnlen(address, PROTO_ADDRESS_BYTES));
}

int hello_address(const char *address, uint64_t instance, char *out, size_t cap)
{
	int n = snprintf(out, cap, "%s#%016" PRIx64, address, instance);

	return n >= 0 && (size_t)n < cap ? 0 : -ENAMETOOLONG;
}

int hello_split(const char *address, char bare[PROTO_ADDRESS_BYTES],
		uint64_t *instance)
{
	const char *mark = address[0] != '/' ? strchr(address, '#') : NULL;
	size_t len = mark != NULL ? (size_t)(mark - address) : strlen(address);

	if (len >= PROTO_ADDRESS_BYTES)
		return -EINVAL;
	memcpy(bare, address, len);
	bare[len] = '\0';
	*instance = 0;
	if (mark == NULL)
		return 0;
	if (strlen(++mark) != INSTANCE_DIGITS ||
	    strspn(mark, "0123456789abcdef") != INSTANCE_DIGITS)
		return -EINVAL;
	*instance = strtoull(mark, NULL, 16);
	return *instance != 0 ? 0 : -EINVAL;
}

int hello_attach(struct fab_net *net, uint8_t id, const char *address,
		 const struct proto_hello *h)
{
	char bare[PROTO_ADDRESS_BYTES];
	struct proto_hello hello = *h;
	int rc = hello_split(address, bare, &hello.instance);

	if (rc != 0)
		return rc;
	return fab_net_attach(net, id, bare, &hello, sizeof(hello));
}

bool hello_is_rdma(const char *address)
{
	return strncmp(address, RDMA, strlen(RDMA)) == 0;
}

const char *hello_no_rdma(uint32_t id, const char *address,
			  char out[HELLO_WORDS_BYTES])
{
	const char *at =
		hello_is_rdma(address) ? address + strlen(RDMA) : address;

	snprintf(out, HELLO_WORDS_BYTES,
		 "node-%" PRIu32 " (%.*s) listens by RDMA, and this host has "
		 "no RDMA device that leads there (or one that bears too "
		 "little): say transport = tcp in the pool's file on all hosts "
		 "and start its nodes again, or use a host with RDMA (aceso "
		 "doctor)",
		 id, (int)strcspn(at, "#"), at);
	return out;
}

int hello_net(const char *pool, const struct fab_key *key, struct fab_net **out)
{
	return pool[0] == '/' ? fab_shm_open(key, out) : fab_any_open(key, out);
}

/* What says most about why nobody let us in. */
static int worse(int a, int b)
{
	static const int order[] = {-EACCES, -EPROTO, -EAGAIN};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		if (a == order[i] || b == order[i])
			return order[i];
	return b;
}

/* @which has its address then. */
static int attach_first(struct fab_net *net, const char *coords,
			const struct proto_hello *h,
			char which[PROTO_ADDRESS_BYTES])
{
	int rc = -ENOENT, bad = 0;

	for (const char *at = coords; *at != '\0'; at += *at == ',') {
		size_t len = strcspn(at, ",");

		if (len >= PROTO_ADDRESS_BYTES)
			return -EINVAL;
		memcpy(which, at, len);
		which[len] = '\0';
		at += len;
		rc = fab_net_attach(net, FAB_NODE_COORD, which, h, sizeof(*h));
		if (rc == 0)
			return 0;
		bad = worse(bad, rc);
	}
	return bad != 0 ? bad : rc;
}

/* Move @which to the end of the list: "a,b,c" becomes "a,c,b". */
static void put_last(char *coords, const char *which)
{
	size_t len = strlen(which), all = strlen(coords);
	char *at = coords;

	while (strncmp(at, which, len) != 0 ||
	       (at[len] != ',' && at[len] != '\0'))
		at += strcspn(at, ",") + 1;
	if (at[len] == '\0')
		return;
	memmove(at, at + len + 1, all - (size_t)(at - coords) - len - 1);
	coords[all - len - 1] = ',';
	memcpy(coords + all - len, which, len);
}

int hello_attach_coord(struct fab_net *net, char *coords,
		       const struct proto_hello *h)
{
	char which[PROTO_ADDRESS_BYTES];
	int rc;

	if (coords[0] == '/')
		return fab_net_attach(net, FAB_NODE_COORD, coords, h,
				      sizeof(*h));
	rc = attach_first(net, coords, h, which);
	if (rc == 0)
		put_last(coords, which);
	return rc;
}

uint32_t hello_coords(const char *coords)
{
	uint32_t n = 1;

	if (coords[0] == '/')
		return 1;
	for (; *coords != '\0'; coords++)
		n += *coords == ',';
	return n;
}
