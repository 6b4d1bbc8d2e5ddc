/* mount-helper/scrub_link.c - see scrub_link.h. */
#include "mount-helper/scrub_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kv/hello.h"
#include "mount-helper/pool_hosts.h"
#include "mount-helper/pool_key.h"
#include "rdma/fabric.h"

#define CALL_NS UINT64_C(10000000000)

struct scrub_link {
	struct fab_net *net;
	struct fab *f;
};

/* The coordinator that leads: others may answer, too. */
static int find(struct scrub_link *l, char *coords)
{
	struct proto_scrub rq = {.what = PROTO_SCRUB_ASK};
	uint32_t tries = hello_coords(coords);
	struct proto_hello hello;
	int rc;

	hello_fill(&hello, PROTO_TOOL, NULL);
	do {
		fab_net_cut(l->net, FAB_NODE_COORD);
		rc = hello_attach_coord(l->net, coords, &hello);
		if (rc == 0)
			rc = scrub_link_call(l, &rq, &rq);
	} while (rc == -EAGAIN && --tries > 0);
	return rc;
}

int scrub_link_open(const struct pool_place *p, struct scrub_link **out)
{
	struct scrub_link *l = calloc(1, sizeof(*l));
	char *coords = strdup(pool_coords(p));
	struct fab_key key = {0};
	int rc = -ENOMEM;

	if (l == NULL || coords == NULL)
		goto err_free;
	rc = pool_key_find(p, &key);
	if (rc == 0)
		rc = hello_net(coords, &key, &l->net);
	explicit_bzero(&key, sizeof(key));
	if (rc < 0)
		goto err_free;
	rc = fab_open(l->net, &l->f);
	if (rc < 0)
		goto err_net;
	rc = find(l, coords);
	if (rc < 0)
		goto err_fab;
	*out = l;
	free(coords);
	return 0;

err_fab:
	fab_close(l->f);
err_net:
	fab_net_close(l->net);
err_free:
	free(coords);
	free(l);
	return rc;
}

void scrub_link_close(struct scrub_link *l)
{
	fab_close(l->f);
	fab_net_close(l->net);
	free(l);
}

int scrub_link_call(struct scrub_link *l, const struct proto_scrub *rq,
		    struct proto_scrub *out)
{
	struct proto_scrub ask = *rq, answer;
	uint32_t len;
	int rc = fab_call_run(l->f, FAB_NODE_COORD, PROTO_SCRUB, &ask,
			      sizeof(ask), &answer, sizeof(answer), &len,
			      CALL_NS);

	if (rc == 0 && len != sizeof(answer))
		rc = -EPROTO;
	if (rc == 0)
		*out = answer;
	return rc;
}
