/* kv/node/fold.c - blocks in the background, a slice at a time: folding, and
 * giving the memory of free ones back. */
#include "ec/fold.h"

#include "kv/node/node_impl.h"

int fold_slice(struct node *n, uint64_t *again)
{
	uint64_t now = fab_now(n->fab), due = fold_due(n->alloc, now);
	int rc;

	if (due > now) {
		node_again(again, due);
		return 0;
	}
	if (now < n->fold_again_ns) {
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

int cool_slice(struct node *n, uint64_t *again)
{
	uint64_t moves = alloc_moves(n->alloc), now;

	if (moves == n->moves && n->cool_ns == NODE_NEVER)
		return 0; /* all is given back */
	now = fab_now(n->fab);
	if (moves != n->moves) {
		n->moves = moves;
		n->cool_ns = now + NODE_COOL_NS;
	}
	if (now < n->cool_ns) {
		node_again(again, n->cool_ns);
		return 0;
	}
	if (alloc_cool(n->alloc))
		return 1;
	n->cool_ns = NODE_NEVER;
	return 0;
}
