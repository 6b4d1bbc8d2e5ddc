/* rdma/server.c - the node's side: finds the transport, checks, hands on. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "rdma/fabric_impl.h"

static struct fab_listener shm_listener = {.scheme = "",
					   .open = shm_server_open};
static struct fab_listener tcp_listener = {
	.scheme = "tcp:", .open = tcp_server_open, .next = &shm_listener};
static struct fab_listener verbs_listener = {
	.scheme = "verbs:", .open = verbs_server_open, .next = &tcp_listener};
static struct fab_listener *listeners = &verbs_listener;

void fab_listener_add(struct fab_listener *l)
{
	l->next = listeners;
	listeners = l;
}

void fab_listener_del(struct fab_listener *l)
{
	struct fab_listener **at = &listeners;

	while (*at != NULL && *at != l)
		at = &(*at)->next;
	if (*at == l)
		*at = l->next;
}

int fab_server_open(const struct fab_server_opts *opts, struct fab_server **out)
{
	struct fab_listener *l = listeners;

	assert(opts != NULL && out != NULL);
	if (opts->address == NULL || opts->on_call == NULL)
		return -EINVAL;
	if ((opts->region == NULL) != (opts->size == 0))
		return -EINVAL;
	if (opts->key != NULL && opts->key->reader)
		return -EINVAL; /* it could not tell who may write */
	while (strncmp(opts->address, l->scheme, strlen(l->scheme)) != 0)
		l = l->next; /* the last one, shm, takes everything */
	return l->open(opts, out);
}

void fab_server_close(struct fab_server *s)
{
	if (s != NULL)
		s->ops->close(s);
}

uint64_t fab_server_malformed(const struct fab_server *s)
{
	return s->ops->malformed(s);
}

void fab_reply(struct fab_request *rq, int status, const void *data, size_t len)
{
	assert(len <= FAB_CALL_BYTES_MAX);
	assert(status <= 0);
	rq->ops->reply(rq, status, data, status == 0 ? len : 0);
}

struct fab_peer *fab_request_peer(struct fab_request *rq)
{
	return rq->peer;
}

void fab_peer_set(struct fab_peer *peer, void *word)
{
	__atomic_store_n(&peer->word, word, __ATOMIC_RELEASE);
}

void *fab_peer_get(struct fab_peer *peer)
{
	return __atomic_load_n(&peer->word, __ATOMIC_ACQUIRE);
}

int32_t fab_peer_pid(const struct fab_peer *peer)
{
	return peer->pid;
}

uint32_t fab_peer_uid(const struct fab_peer *peer)
{
	return peer->uid;
}

bool fab_peer_reader(const struct fab_peer *peer)
{
	return peer->reader;
}

void fab_peer_cut(struct fab_peer *peer)
{
	peer->ops->peer_cut(peer);
}
