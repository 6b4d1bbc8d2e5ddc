/* kv/node/fold.c - folding in the background, a slice at a time. */
#include "ec/fold.h"

#include "kv/node/node_impl.h"

int fold_slice(struct node *n, uint64_t *again)
{
	int rc;

	if (!fold_pending(n->alloc))
		return 0;
	if (fab_now(n->fab) < n->fold_again_ns) {
		node_again(again, n->fold_again_ns);
		return 0;
	}
	rc = fold_work(n->alloc, n->fab, NODE_SLICE_BYTES);
	if (rc >= 0)
		return rc;
	/* It needed a block of a node that is away just now. */
	n->fold_again_ns = fab_now(n->fab) + NODE_RETRY_NS;
	node_again(again, n->fold_again_ns);
	return 0;
}
