/* mount-helper/ask.c - ask a running process of a pool about itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/hello.h"
#include "mount-helper/ask.h"
#include "mount-helper/pool_hosts.h"
#include "mount-helper/pool_key.h"
#include "rdma/fabric.h"

#define ASK_TIMEOUT_NS UINT64_C(5000000000)

/* The call itself, over a queue that is open. */
static int call(struct fab *f, json_t **out)
{
	char *text = malloc(FAB_CALL_BYTES_MAX);
	uint32_t len;
	int rc;

	if (text == NULL)
		return -ENOMEM;
	rc = fab_call_run(f, FAB_NODE_COORD, PROTO_STATUS, NULL, 0, text,
			  FAB_CALL_BYTES_MAX, &len, ASK_TIMEOUT_NS);
	if (rc == 0) {
		*out = json_loadb(text, len, 0, NULL);
		rc = *out != NULL ? 0 : -EPROTO;
	}
	free(text);
	return rc;
}

static int ask_one(struct fab_net *net, char *coords, json_t **out)
{
	struct proto_hello hello;
	struct fab *f;
	int rc;

	fab_net_cut(net, FAB_NODE_COORD);
	hello_fill(&hello, PROTO_TOOL, NULL);
	rc = hello_attach_coord(net, coords, &hello);
	if (rc == 0)
		rc = fab_open(net, &f);
	if (rc == 0) {
		rc = call(f, out);
		fab_close(f);
	}
	return rc;
}

static bool leads(const json_t *status)
{
	return json_is_true(json_object_get(status, "leads"));
}

/* The one that leads, if any does: else what another one last knew. */
static int ask_all(struct fab_net *net, char *coords, json_t **out)
{
	uint32_t tries = hello_coords(coords);
	json_t *more;
	int rc = ask_one(net, coords, out);

	while (rc == 0 && !leads(*out) && --tries > 0)
		if (ask_one(net, coords, &more) == 0) {
			json_decref(*out);
			*out = more;
		}
	return rc;
}

int ask_coords(const char *who, const struct fab_key *key, json_t **out)
{
	char *coords = strdup(who);
	struct fab_net *net;
	int rc;

	if (coords == NULL)
		return -ENOMEM;
	rc = hello_net(coords, key, &net);
	if (rc == 0) {
		rc = ask_all(net, coords, out);
		fab_net_close(net);
	}
	free(coords);
	return rc;
}

int ask_status(const char *sock, json_t **out)
{
	return ask_coords(sock, NULL, out);
}

int ask_pool(const struct pool_place *p, json_t **out)
{
	char public[POOL_PATH_BYTES];
	struct fab_key key = {0};
	int rc;

	if (pool_is_ours(p)) {
		rc = pool_key_find(p, &key);
		if (rc == 0)
			rc = ask_coords(pool_coords(p), &key, out);
		explicit_bzero(&key, sizeof(key));
		return rc;
	}
	pool_public_sock(p, public);
	return ask_status(public, out);
}
