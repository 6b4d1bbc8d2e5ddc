/* kv/node/fenced.c - who is kept out [I6]: clients that the coordinator fenced,
 * and nodes that are DOWN but may live behind a cut link. A CALL that asks for
 * it is told so when their connections are gone, -EAGAIN before: then nothing
 * that they sent can touch this node's memory any more. */
#include <errno.h>
#include <stdlib.h>

#include "kv/hello.h"
#include "kv/node/node_impl.h"

#define FENCED_MAX (1u << 20) /* ids; 4 MiB */

static bool is_fenced(const struct node *n, uint32_t client)
{
	for (size_t i = 0; i < n->fenced_n; i++)
		if (n->fenced[i] == client)
			return true;
	return false;
}

static int fenced_add(struct node *n, uint32_t client)
{
	size_t cap = n->fenced_n != 0 ? 2 * n->fenced_n : 16;
	uint32_t *more;

	if (is_fenced(n, client))
		return 0;
	if (n->fenced_n == FENCED_MAX)
		return -ENOSPC;
	if ((n->fenced_n & (n->fenced_n - 1)) == 0) { /* full, or empty */
		more = realloc(n->fenced, cap * sizeof(*more));
		if (more == NULL)
			return -ENOMEM;
		n->fenced = more;
	}
	n->fenced[n->fenced_n++] = client;
	return 0;
}

/* -EAGAIN: some were there. */
static int cut_all_of(struct node *n, uint32_t role, uint32_t client)
{
	struct node_peer *p;
	int rc = 0;

	LIST_FOREACH (p, &n->peers, link)
		if (p->role == role && p->client == client) {
			fab_peer_cut(p->peer);
			rc = -EAGAIN;
		}
	return rc;
}

int fenced_client(struct node *n, uint32_t client)
{
	int rc = fenced_add(n, client);

	return rc == 0 ? cut_all_of(n, PROTO_CLIENT, client) : rc;
}

/* Who is DOWN comes again only when all have said that they know. */
int fenced_view(struct node *n)
{
	const struct view *v = &n->view.view;
	int rc = 0;

	for (uint32_t id = 0; id < v->nodes; id++)
		if (v->node[id] == VIEW_NODE_DOWN &&
		    cut_all_of(n, PROTO_NODE, id) != 0)
			rc = -EAGAIN;
	return rc;
}

/* A new process of that number is heard when this node knows of it: were it let
 * in before, a late word of the old one's death would cut it. */
static bool is_down(const struct node *n, const struct node_peer *p)
{
	const struct view *v = &n->view.view;

	return p->role == PROTO_NODE && p->client < v->nodes &&
	       v->node[p->client] == VIEW_NODE_DOWN;
}

/* A process that was taken for dead, and goes on behind a link that was cut,
 * has no word left when another one has its number. */
static bool is_former(const struct node *n, const struct node_peer *p,
		      uint64_t self)
{
	const char *address;

	if (p->role != PROTO_NODE || p->client >= n->view.view.nodes)
		return false;
	address = n->view.address[p->client];
	return address[0] != '\0' && hello_self(address) != self;
}

int fenced_hello(struct node *n, const struct node_peer *p, uint64_t self)
{
	if (is_down(n, p))
		return -EAGAIN;
	if (is_former(n, p, self))
		return -ESTALE;
	if (p->role != PROTO_NODE &&
	    (p->role != PROTO_CLIENT || p->client == 0))
		return 0;
	if (p->role == PROTO_CLIENT && is_fenced(n, p->client))
		return -ESTALE;
	/* It lost its connection and is back: nothing that lies in the old one
	 * may take effect after this. */
	cut_all_of(n, p->role, p->client);
	return 0;
}

void fenced_close(struct node *n)
{
	free(n->fenced);
}
