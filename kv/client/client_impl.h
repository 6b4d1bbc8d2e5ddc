/* kv/client/client_impl.h - private to kv/client: what its files share. */
#ifndef ACESO_KV_CLIENT_CLIENT_IMPL_H
#define ACESO_KV_CLIENT_CLIENT_IMPL_H
#include <stdatomic.h>
#include <stdint.h>

#include "ec/code.h"
#include "kv/kv.h"
#include "kv/layout.h"
#include "kv/view.h"
#include "rdma/fabric.h"

struct member; /* this client's place in the view: member.h */
struct space;  /* blocks and units to write into: space.h */
struct cache;  /* key -> slot, word, small value: addr_cache.h */
struct alone;  /* whether it has the pool to itself: alone.h */
struct lease;  /* whether it is a member still: lease.h */
struct clean;  /* moves records out of the way: clean.h */

struct kv {
	struct kv_opts opts;
	struct fab_net *net;
	struct layout layout;
	uint64_t secret; /* seeds record CRCs */
	uint32_t id;	 /* of this client */
	struct code *code;
	struct member *member;
	struct space *space;
	struct cache *cache;
	struct alone *alone;
	struct clean *clean;	 /* NULL: nothing may be moved */
	struct lease *lease;	 /* NULL: its process can be ended */
	_Atomic uint32_t op_seq; /* operation tags: id << 32 | op_seq */
	bool persistent;	 /* the pool makes durable checkpoints */
	/* kv_leaving(): nodes out of reach are not waited for beyond; or 0 */
	_Atomic uint64_t leave_by;
	/* Something was, since the last cut; the coordinator knows of it. */
	_Atomic bool changed, changed_told;
	/* more as client.c needs */
	void *priv;
};

/* How long one operation may take. Who made the struct by hand may have left it
 * to the default. */
static inline uint64_t kv_timeout_ns(const struct kv *kv)
{
	uint32_t ms = kv->opts.op_timeout_ms;

	return (ms != 0 ? ms : KV_OP_TIMEOUT_MS) * UINT64_C(1000000);
}

/* The calling thread's own context: its fab, scratch and counters. Made on
 * first use, freed when the thread ends or at kv_close(). NULL: -ENOMEM. */
struct kv_thread {
	struct kv *kv;
	struct fab *fab;
	uint32_t lane;	       /* which allocation context it uses */
	struct kv_stats stats; /* this thread's share */
	void *scratch;	       /* op.c's */
};
struct kv_thread *kv_thread(struct kv *kv);

/* Open a client on a net that is there already (simulator, tests): the
 * coordinator is attached as FAB_NODE_COORD, nodes may be. @threads false: no
 * background threads; the test calls kv_background() instead. Takes over @net
 * on success. */
int kv_open_on(const struct kv_opts *opts, struct fab_net *net, bool threads,
	       struct kv **out);

/* One round of what background threads do: watch the view (without waiting),
 * open blocks ahead, send marks. Returns 1 if something was done. */
int kv_background(struct kv *kv);
/* Likewise, of what keeps its lease; in a fiber of its own. */
int kv_lease_work(struct kv *kv);

#endif
