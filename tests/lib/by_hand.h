/* tests/lib/by_hand.h - a client of a cluster that does nothing by itself: each
 * step of the protocols of kv/proto.h is one call here, so that a test can put
 * the pool into any state a real client might leave behind.
 * Not for several fibers or threads at once. */
#ifndef ACESO_TESTS_LIB_BY_HAND_H
#define ACESO_TESTS_LIB_BY_HAND_H
#include "ec/block.h"
#include "kv/object.h"
#include "kv/proto.h"
#include "tests/lib/cluster.h"

struct hand {
	struct cluster *c;
	struct fab_net *net;
	struct fab *fab;
	struct proto_joined joined; /* its view is the one it goes by */
};

/* A block it has open. */
struct hand_block {
	uint64_t stripe;
	uint32_t role, life;
	uint8_t kind;
	uint32_t node;	 /* of the data */
	uint32_t copies; /* data first, then deltas */
	struct {
		uint32_t node;
		uint64_t offset;
	} copy[1 + KV_PARITIES_MAX];
	uint32_t at; /* bytes written */
};

struct hand_record {
	const char *key, *val;
	uint64_t version, fate;
	uint8_t type; /* enum object_type */
};

void hand_open(struct cluster *c, struct hand *h);
void hand_leave(struct hand *h); /* says so and closes */
void hand_die(struct hand *h);	 /* hangs up */

/* Adopt what the coordinator has now; waits @ms for something newer. */
void hand_watch(struct hand *h, uint32_t ms);

/* A CALL to a node; returns its status. */
int hand_call(struct hand *h, uint32_t node, uint16_t type, const void *req,
	      uint32_t len, void *reply, uint32_t cap);

/* ALLOC at @leader, then OPEN everywhere. Returns ALLOC's status. */
int hand_alloc(struct hand *h, uint32_t leader, uint8_t kind,
	       struct hand_block *b);
/* Write a record, in all copies or those in @copies (bit i: copy[i]). Returns
 * its slot word. */
uint64_t hand_write(struct hand *h, struct hand_block *b,
		    const struct hand_record *r, uint64_t copies);
/* Say how the record that @word names, in @b, ended: in all its copies. */
void hand_fate(struct hand *h, const struct hand_block *b, uint64_t word,
	       uint64_t fate);
void hand_seal(struct hand *h, const struct hand_block *b);
void hand_mark(struct hand *h, const struct hand_block *b, uint64_t word);

/* The slot of @key by its record: node and offset of the slot; its words. False
 * if there is none. */
bool hand_find(struct hand *h, const char *key, uint32_t *node, uint64_t *slot,
	       uint64_t *word, uint64_t *version);
/* Have @key's slot hold @word: its own, or the first empty one. */
void hand_point(struct hand *h, const char *key, uint64_t word,
		uint64_t version);
/* Write @r and point to it. */
uint64_t hand_put(struct hand *h, struct hand_block *b,
		  const struct hand_record *r);

/* --- many at once --------------------------------------------------------- */

struct hand_record hand_committed(const char *key, const char *val,
				  uint64_t version);
/* The i-th key of those below; good until the next call. */
const char *hand_key(unsigned i);
/* Put keys 0..n-1, key i at version i + 1; find them so. */
void hand_put_many(struct hand *h, struct hand_block *b, unsigned n);
void hand_expect_many(struct hand *h, unsigned n);
/* Adopt what comes until all that was lost serves again. */
void hand_follow(struct hand *h);
struct proto_stats hand_stats(struct hand *h, uint32_t node);
#endif
