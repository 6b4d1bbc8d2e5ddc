/* tests/lib/ec_pool.h - a pool of memory nodes without kv/: regions in this
 * process, a struct alloc on each, and a fabric that executes at once. It plays
 * the client's part (tell every member, write data and deltas) and the driver's
 * (retire), plainly, and knows what every block should hold. */
#ifndef ACESO_TESTS_LIB_EC_POOL_H
#define ACESO_TESTS_LIB_EC_POOL_H
#include "ec/again.h"
#include "ec/alloc.h"
#include "ec/fold.h"
#include "ec/stripe.h"
#include "rdma/fabric_impl.h"

#define EC_POOL_OWNER 7u

struct ec_block {
	uint64_t stripe;
	uint32_t role, life;
	uint8_t kind;
	uint32_t delta[CODE_PARITY_MAX]; /* + 1; 0: that parity was down */
};

struct ec_pool {
	struct fab fab; /* first: the fabric's ops find the pool by it */
	struct group g;
	struct code *c;
	uint64_t size;
	uint32_t reserve;
	uint32_t rest;
	uint64_t rest_ns;
	char *region[FAB_NODES_MAX];
	struct alloc *a[FAB_NODES_MAX];
	struct former *former[FAB_NODES_MAX]; /* NULL: zeroed */
	char **truth; /* [stripe * k + role] block_bytes, or NULL when FREE */
	uint64_t up;
	uint64_t coming; /* replaced, being rebuilt: members, never read */
	struct ec_leaving {
		bool on, freeing; /* freeing: members no longer agree */
		struct ec_block b;
		uint32_t next; /* who is freed */
	} leaving;	       /* ec_pool_retire_step() */
	uint64_t now;
	/* Called before each operation that the fabric executes. */
	void (*between)(struct ec_pool *p, const struct fab_op *op);
	int depth; /* of between: its own operations call it no more */
	void *arg;
	unsigned ops; /* executed */
};

extern const struct fab_ops ec_pool_ops; /* of its fab */

void ec_pool_open(struct ec_pool *p, uint32_t n, uint32_t k, uint32_t m,
		  uint32_t block_bytes, uint32_t periods, uint32_t deltas,
		  uint32_t reserve);
void ec_pool_close(struct ec_pool *p);
/* Of a pool that is new: sealed blocks rest (alloc_opts.rest). */
void ec_pool_rest(struct ec_pool *p, uint32_t blocks, uint64_t ns);

/* Nodes outside @up are not to be reached; allocs that are up hear of it. */
void ec_pool_set_up(struct ec_pool *p, uint64_t up);
uint32_t ec_pool_node(const struct ec_pool *p, uint64_t stripe, uint32_t role);
bool ec_pool_is_up(const struct ec_pool *p, uint32_t node);
bool ec_pool_is_member(const struct ec_pool *p, uint32_t node);

/* @node dies, up or coming. What is open there is lost: ec_pool_forget(). */
void ec_pool_kill(struct ec_pool *p, uint32_t node);
/* Another takes its place, all zeros: coming. */
void ec_pool_replace(struct ec_pool *p, uint32_t node);
/* It comes back itself, with what is left in its memory (former.h). */
void ec_pool_return(struct ec_pool *p, uint32_t node);
/* It is rebuilt: up. */
void ec_pool_whole(struct ec_pool *p, uint32_t node);
/* @b, open, has no delta at @node any more. */
void ec_pool_forget(const struct ec_pool *p, struct ec_block *b, uint32_t node);

/* The first parity node up; UINT32_MAX if none. */
uint32_t ec_pool_leader(const struct ec_pool *p, uint64_t stripe);

/* Ask node @leader, then open on the others. alloc_block()'s errors. */
int ec_pool_take(struct ec_pool *p, uint32_t leader, uint8_t kind, bool urgent,
		 struct ec_block *b);
/* Open the rest of a grant made by hand. */
int ec_pool_open_others(struct ec_pool *p, const struct alloc_grant *grant,
			uint32_t leader, uint8_t kind, struct ec_block *b);

/* Write as a client does: data and m deltas. Bit 0 of @copies: the data, bit
 * 1 + j: the delta at parity j; a torn write leaves some out. Truth follows the
 * data. */
void ec_pool_write(struct ec_pool *p, const struct ec_block *b, uint32_t at,
		   const void *bytes, uint32_t len, unsigned copies);
#define EC_POOL_ALL_COPIES 0x1fu

/* Fill [at, at+len) with noise from @seed; ROWS: of every role, and parity. */
void ec_pool_fill(struct ec_pool *p, const struct ec_block *b, uint32_t at,
		  uint32_t len, uint64_t seed);

void ec_pool_seal(struct ec_pool *p, const struct ec_block *b, uint32_t used);
void ec_pool_cancel(struct ec_pool *p, const struct ec_block *b);
void ec_pool_orphan(struct ec_pool *p, const struct ec_block *b);
/* Units [at, +len) of (b->stripe, @role) on every member. */
void ec_pool_mark(struct ec_pool *p, const struct ec_block *b, uint32_t role,
		  uint32_t at, uint32_t len);

/* fold_work() everywhere until nothing is left to do. */
void ec_pool_fold(struct ec_pool *p);

/* Give back all that can be, by the protocol of fold_retire.c; how many. */
unsigned ec_pool_retire(struct ec_pool *p);

/* One step, each on all members that are up, of making @b (its life: now) ready
 * to be opened again, by again.h; @leader: the driver's node. 0, or what kept
 * it. The bitmap is left in @map (block / 512 bytes). */
int ec_pool_again_retire(struct ec_pool *p, const struct ec_block *b);
int ec_pool_again_ready(struct ec_pool *p, const struct ec_block *b,
			uint64_t *map);
/* The same, but nothing is zeroed yet: a durable cut may need it. */
int ec_pool_again_wait(struct ec_pool *p, const struct ec_block *b,
		       uint64_t *map);
int ec_pool_again_resume(struct ec_pool *p, const struct ec_block *b,
			 uint32_t life);
/* Truth follows: @map's units are zero. */
void ec_pool_again_zeroed(struct ec_pool *p, const struct ec_block *b,
			  const uint64_t *map);
/* Open it, from grant on: at all others, at the leader last; only the first
 * @members of them (a client that dies on the way). */
int ec_pool_again_open(struct ec_pool *p, const struct alloc_grant *grant,
		       uint8_t kind, unsigned members, struct ec_block *b);
/* The same a message at a time: 0 if there is nothing to do, 1 if it went on,
 * 2 if a block was given back. Not with the other. */
unsigned ec_pool_retire_step(struct ec_pool *p);
/* Is it half freed, so that nothing holds of it? */
bool ec_pool_is_leaving(const struct ec_pool *p, uint64_t stripe,
			uint32_t role);

/* Assert D1, D2 and S1 on all nodes that are up, byte by byte; S1 also at
 * those that are coming. */
void ec_pool_check(struct ec_pool *p);

/* What stripe.h's reader makes of a range; its return value. */
int ec_pool_read(struct ec_pool *p, uint64_t stripe, uint32_t role, uint32_t at,
		 uint32_t len, void *buf);

struct block_rec ec_pool_rec(const struct ec_pool *p, uint32_t node,
			     uint64_t stripe, uint32_t role);
char *ec_pool_truth(const struct ec_pool *p, uint64_t stripe, uint32_t role);

static inline uint64_t ec_pool_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif
