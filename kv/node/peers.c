/* kv/node/peers.c - the way to the other nodes, and to this one: everything
 * below reads any node's memory in the same way. */
#include <errno.h>
#include <string.h>

#include "kv/hello.h"
#include "kv/log.h"
#include "kv/node/node_impl.h"

#define PEERS_RELINK_NS UINT64_C(1000000000)

int peer_call(struct node *n, uint32_t id, uint16_t type, const void *req,
	      uint32_t len, void *reply, uint32_t cap)
{
	uint32_t got = 0;
	int rc;

	rc = fab_call_run(n->fab, (uint8_t)id, type, req, len, reply, cap, &got,
			  NODE_CALL_NS);
	return rc == 0 && got != cap ? -EPROTO : rc;
}

/* Who has just come is not needed here yet, and could not work with the others.
 * Who was whole once stays: it is the other one that should not be there. */
static void peer_no_way(struct node *n, uint32_t id, const char *address)
{
	uint64_t bit = UINT64_C(1) << id;
	char words[HELLO_WORDS_BYTES];

	if (n->no_way & bit)
		return;
	n->no_way |= bit;
	LOG(LOG_ERROR, "memory node %u: %s", n->id,
	    hello_no_rdma(id, address, words));
	if (n->seen_epoch == 0 && n->opts.on_no_way != NULL)
		n->opts.on_no_way(n->opts.arg);
}

/* In the worker, not in the server's thread: two nodes that attach to each
 * other at once must both go on serving meanwhile. */
static int peer_attach(struct node *n, uint32_t id, const char *address)
{
	struct proto_hello hello;
	int rc;

	hello_fill(&hello, PROTO_NODE, n->super.uuid);
	hello.client = n->id;
	pthread_mutex_lock(&n->lock);
	hello.self = hello_self(n->view.address[n->id]);
	pthread_mutex_unlock(&n->lock);
	rc = hello_attach(n->net, (uint8_t)id, address, &hello);
	if (rc == -ENODEV)
		peer_no_way(n, id, address);
	return rc;
}

/* The address of @id if it should be attached now, else "". */
static void peer_wanted(struct node *n, uint32_t id, char *address)
{
	pthread_mutex_lock(&n->lock);
	memcpy(address, n->view.address[id], PROTO_ADDRESS_BYTES);
	pthread_mutex_unlock(&n->lock);
	address[PROTO_ADDRESS_BYTES - 1] = '\0';
}

/* Views may have gone by unseen: another process took the id since, and is to
 * be known by its address. */
static bool peer_is(const struct node *n, uint32_t id, const char *address)
{
	return strcmp(n->peer_address[id], address) == 0;
}

/* Nodes of one host hear of a death at once, by the next view. On others, a
 * connection that broke says nothing of the node behind it. */
static bool is_broken(const struct node *n, uint32_t id)
{
	return n->attached >> id & 1 && n->peer_address[id][0] != '/' &&
	       !fab_net_up(n->net, (uint8_t)id);
}

static void peer_forget(struct node *n, uint32_t id)
{
	fab_net_cut(n->net, (uint8_t)id);
	n->attached &= ~(UINT64_C(1) << id);
	n->broken &= ~(UINT64_C(1) << id);
}

/* --- a new view ----------------------------------------------------------- */

static int peer_update(struct node *n, uint32_t id, bool wanted)
{
	uint64_t bit = UINT64_C(1) << id;
	char address[PROTO_ADDRESS_BYTES];
	int rc;

	peer_wanted(n, id, address);
	if (!wanted)
		n->no_way &= ~bit;
	if ((n->attached | n->broken) & bit &&
	    !(wanted && peer_is(n, id, address)))
		peer_forget(n, id);
	if (!wanted || (n->attached | n->broken) & bit || address[0] == '\0')
		return 0;
	rc = peer_attach(n, id, address);
	if (rc != 0)
		return rc;
	strcpy(n->peer_address[id], address);
	n->attached |= bit;
	return 0;
}

static int peers_update(struct node *n, uint64_t *again)
{
	uint32_t id, nodes = node_group(n)->nodes;
	uint64_t epoch, members;
	bool all = true;

	node_view_up(n, &epoch);
	if (epoch == n->seen_epoch)
		return 0;
	members = node_view_members(n); /* of @epoch, or a later one */
	for (id = 0; id < nodes; id++)
		if (peer_update(n, id, members >> id & 1) != 0)
			all = false;
	if (all)
		n->seen_epoch = epoch;
	else
		node_again(again, fab_now(n->fab) + NODE_RETRY_NS);
	return all;
}

/* --- connections that broke ----------------------------------------------- */

static void note_broken(struct node *n)
{
	for (uint32_t id = 0; id < node_group(n)->nodes; id++)
		if (is_broken(n, id)) {
			peer_forget(n, id);
			n->broken |= UINT64_C(1) << id;
		}
}

static int peer_relink(struct node *n, uint32_t id)
{
	uint64_t bit = UINT64_C(1) << id;
	int rc = peer_attach(n, id, n->peer_address[id]);

	if (rc != 0)
		return rc;
	n->broken &= ~bit;
	n->attached |= bit;
	return 0;
}

/* Only that of a process which the view still names is made anew, at the
 * address that was its. A host that does not answer takes half a second to find
 * out, in which the worker does nothing else: so one of them a second at most,
 * each in its turn. */
static int peers_relink(struct node *n, uint64_t *again)
{
	uint32_t i, id, nodes = node_group(n)->nodes;
	int did = 0;

	note_broken(n);
	for (i = 0; i < nodes && n->broken != 0; i++) {
		if (fab_now(n->fab) < n->relink_ns)
			break;
		id = (n->relink_id + i) % nodes;
		if (!(n->broken >> id & 1))
			continue;
		did = 1;
		if (peer_relink(n, id) == 0)
			continue;
		n->relink_id = id + 1;
		n->relink_ns = fab_now(n->fab) + PEERS_RELINK_NS;
	}
	if (n->broken != 0)
		node_again(again, n->relink_ns);
	return did;
}

int peers_work(struct node *n, uint64_t *again)
{
	int did = peers_update(n, again);

	return did | peers_relink(n, again);
}
