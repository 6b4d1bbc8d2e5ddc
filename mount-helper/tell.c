/* mount-helper/tell.c - what a mount tells about itself. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kv/kv.h"
#include "kv/proto.h"
#include "mount-helper/clock.h"
#include "mount-helper/tell.h"
#include "rdma/fabric.h"

struct tell {
	struct fab_server *server;
	struct kv *kv;
	const char *dir;
	char pool[CONF_POOL_BYTES_MAX + 1];
	char sock[POOL_PATH_BYTES];
	time_t since;
};

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *op_json(const struct kv_op_stats *s)
{
	return json_pack("{so,so,so,so,so,so}", "calls", number(s->calls),
			 "errors", number(s->errors), "retries",
			 number(s->retries), "batches", number(s->batches),
			 "ops", number(s->ops), "bytes", number(s->bytes));
}

static json_t *stats_json(struct kv *kv)
{
	struct kv_stats s;
	json_t *o;

	kv_stats(kv, &s);
	o = json_pack("{so,so,so,so,so,so,so}", "get", op_json(&s.get), "put",
		      op_json(&s.put), "insert", op_json(&s.insert), "del",
		      op_json(&s.del), "txn", op_json(&s.txn), "page_write",
		      op_json(&s.page_write), "page_read",
		      op_json(&s.page_read));
	json_object_set_new(o, "cache_hits", number(s.cache_hits));
	json_object_set_new(o, "cache_misses", number(s.cache_misses));
	json_object_set_new(o, "degraded_reads", number(s.degraded_reads));
	json_object_set_new(o, "crc_errors", number(s.crc_errors));
	json_object_set_new(o, "blocks_opened", number(s.blocks_opened));
	json_object_set_new(o, "blocks_sealed", number(s.blocks_sealed));
	json_object_set_new(o, "marks_sent", number(s.marks_sent));
	json_object_set_new(o, "row_pages", number(s.row_pages));
	json_object_set_new(o, "delta_pages", number(s.delta_pages));
	json_object_set_new(o, "direct", number(s.direct));
	return o;
}

static char *text_of(struct tell *t)
{
	json_t *o = json_object();
	json_t *dir = json_string(t->dir);
	char *text;

	if (dir == NULL) /* not UTF-8: JSON cannot say it */
		dir = json_string("?");
	json_object_set_new(o, "pid", number((uint64_t)getpid()));
	json_object_set_new(o, "mountpoint", dir);
	json_object_set_new(o, "pool", json_string(t->pool));
	json_object_set_new(o, "seconds",
			    number((uint64_t)(now_s() - t->since)));
	json_object_set_new(o, "stats", stats_json(t->kv));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	const struct proto_hello *h = hello;
	uint32_t uid = fab_peer_uid(peer);

	if (len != sizeof(*h) || h->magic != PROTO_MAGIC ||
	    h->version != PROTO_VERSION)
		return -EPROTO;
	return uid == geteuid() || uid == 0 ? 0 : -EACCES;
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	char *text;

	if (type != PROTO_STATUS) {
		fab_reply(rq, -EOPNOTSUPP, NULL, 0);
		return;
	}
	text = text_of(arg);
	if (text == NULL || strlen(text) > FAB_CALL_BYTES_MAX)
		fab_reply(rq, -ENOMEM, NULL, 0);
	else
		fab_reply(rq, 0, text, strlen(text));
	free(text);
}

int tell_open(const struct pool_place *place, const char *dir, struct kv *kv,
	      struct tell **out)
{
	struct fab_server_opts o = {
		.region_fd = -1, .on_hello = on_hello, .on_call = on_call};
	struct tell *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return -ENOMEM;
	t->kv = kv;
	t->dir = dir;
	t->since = now_s();
	strcpy(t->pool, place->name);
	pool_mount_sock(place, getpid(), t->sock);
	o.address = t->sock;
	o.arg = t;
	rc = fab_server_open(&o, &t->server);
	if (rc < 0)
		free(t);
	else
		*out = t;
	return rc;
}

void tell_close(struct tell *t)
{
	if (t == NULL)
		return;
	fab_server_close(t->server);
	free(t);
}
