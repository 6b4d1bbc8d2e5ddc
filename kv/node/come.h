/* kv/node/come.h - a node of a pool over several hosts reports to whoever
 * coordinates it: once a second, for as long as it lives; more often until
 * it is let in. So a coordinator that
 * starts learns who is there, and a process that was given up learns that.
 * Threads: one of its own; open and close in any. */
#ifndef ACESO_KV_NODE_COME_H
#define ACESO_KV_NODE_COME_H
#include <stdbool.h>

#include "kv/node/node.h"

struct come;

struct come_opts {
	const char *coords;   /* as kv_opts.pool */
	struct proto_come me; /* all but epoch and pad */
	struct node *node;    /* whose view it is about; outlives it */
	bool threads;	      /* false: the caller calls come_turn() */
	/* Opens the net over which coordinators are reached. */
	int (*net)(void *arg, struct fab_net **out);
	void *arg; /* for the calls, from its thread; must not close it */
	/* This process was given up, and is to end. */
	void (*on_refused)(void *arg);
	/* The answer has another errno than the last one had (0: none). */
	void (*on_answer)(void *arg, int rc, const struct proto_came *came);
};

/* Errors: -ENAMETOOLONG; -ENOMEM; those of @net. */
int come_open(const struct come_opts *opts, struct come **out);
void come_close(struct come *c); /* NULL is fine */

/* Without a thread: report once, attaching first if need be. May block. The
 * errno of the answer. */
int come_turn(struct come *c);

#endif
