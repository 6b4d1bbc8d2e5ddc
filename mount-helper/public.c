/* mount-helper/public.c - the status for everybody. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kv/node/coord.h"
#include "kv/node/refused.h"
#include "kv/proto.h"
#include "mount-helper/public.h"
#include "rdma/fabric.h"

struct public
{
	struct coord *coord;
	struct fab_server *server;
};

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	const struct proto_hello *h = hello;

	if (len != sizeof(*h) || h->magic != PROTO_MAGIC ||
	    h->version != PROTO_VERSION)
		return -EPROTO;
	return h->role == PROTO_TOOL ? 0 : -EACCES;
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	struct public *p = arg;
	char *text = NULL;
	int rc = -EACCES;

	if (type == PROTO_STATUS)
		rc = coord_status(p->coord, &text);
	if (rc == 0 && strlen(text) > FAB_CALL_BYTES_MAX)
		rc = -EMSGSIZE;
	fab_reply(rq, rc, text, rc == 0 ? strlen(text) : 0);
	free(text);
}

int public_open(const struct pool_place *place, struct coord *coord,
		struct public **out)
{
	char sock[POOL_PATH_BYTES];
	struct fab_server_opts o = {.region_fd = -1,
				    .address = sock,
				    .on_hello = on_hello,
				    .on_call = on_call,
				    .on_refused = refused_say};
	struct public *p = calloc(1, sizeof(*p));
	int rc;

	if (p == NULL)
		return -ENOMEM;
	p->coord = coord;
	o.arg = p;
	pool_public_sock(place, sock);
	rc = fab_server_open(&o, &p->server);
	if (rc < 0)
		goto err_free;
	if (chmod(sock, 0666) < 0) {
		rc = -errno;
		goto err_server;
	}
	*out = p;
	return 0;

err_server:
	fab_server_close(p->server);
err_free:
	free(p);
	return rc;
}

void public_close(struct public *p)
{
	if (p == NULL)
		return;
	fab_server_close(p->server);
	free(p);
}
