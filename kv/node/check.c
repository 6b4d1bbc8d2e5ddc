/* kv/node/check.c - a stripe's parity looked at (ec/check.h), for whoever
 * scrubs the pool. One at a time, in the worker, between its folds. */
#include <errno.h>
#include <stdlib.h>

#include "ec/check.h"
#include "kv/node/node_impl.h"
#include "kv/proto.h"

struct node_check {
	struct fab_request *asked; /* under the node's lock; NULL: none */
	struct proto_check what;
};

int check_open(struct node *n)
{
	n->check = calloc(1, sizeof(*n->check));
	return n->check != NULL ? 0 : -ENOMEM;
}

void check_close(struct node *n)
{
	if (n->check->asked != NULL)
		fab_reply(n->check->asked, -ECANCELED, NULL, 0);
	free(n->check);
}

int check_ask(struct node *n, struct fab_request *rq,
	      const struct proto_check *what)
{
	if (n->check->asked != NULL)
		return -EAGAIN;
	n->check->asked = rq;
	n->check->what = *what;
	return 0;
}

static struct fab_request *take(struct node *n, struct proto_check *what)
{
	struct fab_request *rq;

	pthread_mutex_lock(&n->lock);
	rq = n->check->asked;
	*what = n->check->what;
	n->check->asked = NULL;
	pthread_mutex_unlock(&n->lock);
	return rq;
}

int check_work(struct node *n)
{
	struct proto_checked out = {0};
	struct check_found found;
	struct fab_request *rq;
	struct proto_check what;
	int rc;

	rq = take(n, &what);
	if (rq == NULL)
		return 0;
	rc = check_stripe(n->alloc, n->fab, what.stripe, what.parity,
			  what.mend != 0, &found);
	out.bytes = found.bytes;
	out.wrong = found.wrong;
	out.mended = found.mended;
	fab_reply(rq, rc, &out, rc == 0 ? sizeof(out) : 0);
	return 1;
}
