/* kv/kv.h - the store as its users see it: keys, values, pages.
 *
 * A pool is a set of memory nodes. A key holds one value and a 64-bit version
 * that only grows. Values are small (records); bulk bytes are pages of 4 KiB,
 * written where the store likes and remembered by whoever got the address
 * back (a file system keeps them in a value). Both are erasure coded over the
 * nodes: any m of them may die.
 *
 * Threads: every function may be called from any thread at once, unless it
 * says otherwise. Calls block, at most KV_OP_TIMEOUT_MS by default
 * (kv_opts.op_timeout_ms), and return
 * 0 or -errno. Errors common to all, not repeated below:
 *   -EIO        the bytes are lost (more than m nodes gone, by the view), or
 *               wrong and not to be mended; at once, not after the deadline
 *   -ETIMEDOUT  not to be had within the deadline (a node is slow or out of
 *               reach, but not known to be gone); may succeed later
 *   -ENOTCONN   this client was shut out, as the pool did not hear from it in
 *               its lease (pools over several hosts); for good: open another
 *   -ENOMEM     this process is out of memory
 *   -EINVAL     a length or an argument out of its limits
 * After -ETIMEDOUT or -ENOTCONN of a change it is unknown whether it took
 * place.
 */
#ifndef ACESO_KV_KV_H
#define ACESO_KV_KV_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KV_KEY_BYTES_MAX       255u
#define KV_VALUE_BYTES_MAX     (68u * 1024) /* 64 KiB and room for a header */
#define KV_TXN_VALUE_BYTES_MAX (16u * 1024)
#define KV_TXN_OPS_MAX	       8u
#define KV_RUN_OPS_MAX	       256u
#define KV_PAGE_BYTES	       4096u
#define KV_PAGES_MAX	       256u /* in one kv_pages_*() call: 1 MiB */
#define KV_OP_TIMEOUT_MS       30000u

struct kv;	/* a client of one pool */
struct fab_net; /* rdma/fabric.h */
struct fab_key;

/* --- one key -------------------------------------------------------------- */

/* Read @key's value into @buf. *@len and *@version are set on success.
 * Linearizable: what is read was the newest at some time during the call.
 * Errors: -ENOENT; -ERANGE if @cap is too small (*@len is then the need). */
int kv_get(struct kv *kv, const void *key, size_t klen, void *buf, size_t cap,
	   size_t *len, uint64_t *version);

/* Set @key, whether or not it exists. @version (may be NULL) is its new one.
 * Errors: -ENOSPC. */
int kv_put(struct kv *kv, const void *key, size_t klen, const void *val,
	   size_t vlen, uint64_t *version);

/* Set @key only if its version is still @expect.
 * Errors: -ESTALE if it is not; -ENOENT if there is no such key; -ENOSPC. */
int kv_put_if(struct kv *kv, const void *key, size_t klen, const void *val,
	      size_t vlen, uint64_t expect, uint64_t *version);

/* Set @key only if it does not exist: of many callers exactly one wins.
 * Errors: -EEXIST; -ENOSPC. */
int kv_insert(struct kv *kv, const void *key, size_t klen, const void *val,
	      size_t vlen, uint64_t *version);

/* Remove @key (only if its version is @expect; 0 means any).
 * Errors: -ENOENT; -ESTALE; -ENOSPC only if even the reserve is spent. */
int kv_del(struct kv *kv, const void *key, size_t klen, uint64_t expect);

/* --- many keys at once ---------------------------------------------------- */

enum kv_kind { KV_GET = 1, KV_PUT, KV_PUT_IF, KV_INSERT, KV_DEL };

/* For values that will be replaced soon (a directory's bucket, a chunk's
 * node): they are kept apart from those that stay, so that blocks empty. */
#define KV_HOT 1u
/* May use the reserve of space: for changes that in the end free some. */
#define KV_URGENT 2u

struct kv_req {
	uint8_t kind;  /* enum kv_kind */
	uint8_t flags; /* KV_HOT, KV_URGENT */
	uint16_t klen;
	const void *key;
	const void *val;  /* PUT, PUT_IF, INSERT: the value, @len bytes */
	void *buf;	  /* GET: room for @cap bytes */
	uint32_t len;	  /* in for changes; out for GET */
	uint32_t cap;	  /* GET */
	uint64_t expect;  /* PUT_IF; DEL (0: any) */
	uint64_t version; /* out: the value's version */
	int status;	  /* out: 0 or -errno as of the single calls */
};

/* Do all of @reqs, independently and in no order, side by side: n requests
 * cost the round trips of one. Keys should differ; two changes of one key in
 * one call race as those of two callers would.
 * Returns 0 if every status is 0, else the first bad one; look at each. */
int kv_run(struct kv *kv, struct kv_req *reqs, size_t n);

/* Do all of @reqs or none, atomically for every reader of every client: PUT_IF,
 * INSERT, DEL (expect != 0), and GET used as a check: its key must still be at
 * @expect (expect 0: must be absent). 1 <= n <= KV_TXN_OPS_MAX, keys differ,
 * values <= KV_TXN_VALUE_BYTES_MAX.
 * Errors: -ESTALE (also for EEXIST, ENOENT) if a condition failed: the status
 * of that request says which errno; nothing was changed. -ENOSPC likewise. */
int kv_txn(struct kv *kv, struct kv_req *reqs, size_t n);

/* --- pages: bulk bytes ---------------------------------------------------- */

/* Where a page lies and what it must look like. Keep both; addr 0 = no page. */
struct kv_page {
	uint64_t addr;
	uint32_t crc;
};

/* Write @n pages of KV_PAGE_BYTES from @data[0..n-1] (each may point anywhere;
 * NULL is not allowed) and fill @out[0..n-1]. On return they are as safe as
 * code k+m makes them. Large calls take the row path, small ones the delta
 * path; the caller need not know. On error nothing is kept.
 * Errors: -ENOSPC. */
int kv_pages_write(struct kv *kv, const void *const *data, size_t n,
		   struct kv_page *out);

/* Read @n pages, each into @data[i] (KV_PAGE_BYTES), verify them, decode what
 * lies on dead nodes. Pages with addr 0 read as zeros.
 * Errors: -ESTALE if a page's bytes are not those that @pages[i].crc names and
 * a decode does not mend it: the page may have been freed and used again since
 * the caller learnt of it. The caller reads its pointer again; if that has not
 * changed, the page is bad: kv_pages_read says -EIO when @sure is true. */
int kv_pages_read(struct kv *kv, const struct kv_page *pages, size_t n,
		  void *const *data, bool sure);

/* Give pages back: call only when no value names them any more (after the
 * change that dropped them was acknowledged), or when the value that was to
 * name them was never written. Entries with addr 0 are passed over. Cannot
 * fail: space is returned in the background. */
void kv_pages_free(struct kv *kv, const struct kv_page *pages, size_t n);

/* Pages will be read into or written from [@at, +@bytes): over an adapter
 * (RDMA) they go without a copy then, if they lie in it one behind the other;
 * over anything else nothing changes. It must stay mapped until kv_deregister()
 * or kv_close(). For memory that is used often: it is pinned, which costs more
 * than a copy. Errors (pages may lie there all the same): as
 * fab_net_register(). Nobody has to look: that an adapter refuses is said once,
 * in the log. */
int kv_register(struct kv *kv, void *at, size_t bytes);
/* No call uses it any more; on return it may be unmapped. Memory that is not
 * registered is fine. */
void kv_deregister(struct kv *kv, void *at);

/* --- the pool ------------------------------------------------------------- */

struct kv_space {
	uint64_t capacity;  /* bytes a user could store, after coding */
	uint64_t used;	    /* of these, in blocks that are taken, but for
			     * what is obsolete there and can be had again */
	uint64_t available; /* capacity - used - reserve, never negative */
	uint64_t slots;	    /* keys the index can hold */
	uint64_t slots_used;
};

/* Errors: the common ones. Costs a round trip to each node; cached 0.5 s. */
int kv_space(struct kv *kv, struct kv_space *out);

/* How many clients (mounts) the pool has now, this one included. */
unsigned kv_clients(struct kv *kv);

/* Is client @id in the pool? 1 yes; 0 no, and never again: it has left, or is
 * dead and fenced. Asks the coordinator: for rare moments. Errors: -EAGAIN that
 * is away, or cannot tell now; -EROFS as a reader. */
int kv_client_lives(struct kv *kv, uint32_t id);

/* Client @id has left or is dead, and what it had begun has been cleared away:
 * but for what slots name nothing of its can come to light again. 1 yes; 0 not
 * yet. That of the dead takes about a minute. Asks the coordinator; errors as
 * of kv_client_lives(). */
int kv_client_swept(struct kv *kv, uint32_t id);

/* This client's id: unique in the pool, never used again. */
uint32_t kv_client_id(const struct kv *kv);

/* 64 random bits; seeded in the simulator, from the system elsewhere. */
uint64_t kv_random(struct kv *kv);

/* The wall clock in nanoseconds since 1970; simulated in the simulator. */
uint64_t kv_wall_ns(struct kv *kv);

struct kv_opts {
	/* Where its coordinator is: a socket's path; or, of a pool over several
	 * hosts, one or more "tcp:HOST:PORT", with commas, tried in turn. */
	const char *pool;
	/* Copied. NULL: none; of a socket, what lies beside it. */
	const struct fab_key *key;
	uint32_t op_timeout_ms; /* 0: KV_OP_TIMEOUT_MS */
	uint32_t lanes;		/* allocation contexts; 0: one per cpu, <= 8 */
	uint64_t cache_bytes;	/* address and value cache; 0: 64 MiB */
	/* Every change is refused (-EROFS). So it is with a reader's key, and
	 * in another user's pool of this host: the nodes would refuse each. */
	bool read_only;
	/* Which keys may be written again, unchanged, in another place: their
	 * versions grow then without anybody's doing, and who builds on the one
	 * that it knew is told -ESTALE. A full pool needs that: see
	 * kv/client/clean.h. NULL: none. Called by a thread of the store's. */
	bool (*movable)(const void *key, size_t klen);
};

/* Join the pool. Errors: -ECONNREFUSED or -ENOENT if none answers there,
 * -EPROTO if it speaks another version, -EACCES (another user's, another key),
 * -EAGAIN it is not whole yet: its nodes are still coming. kv_error() tells
 * more. */
int kv_open(const struct kv_opts *opts, struct kv **out);

/* Call @fn(@arg, @is_in, @set) when room is wanted that is free between pages
 * only: it is to write every page of this client's that is in @set once more,
 * elsewhere, and give back the old one; other clients' and what is being
 * changed may stay. It returns 0 or -errno. @fn runs in the thread that calls
 * kv_opts.movable, and without that it is not called. NULL: no more, and on
 * return it is not being called. */
typedef bool kv_is_in(const void *set, uint64_t addr);
typedef int kv_vacate(void *arg, kv_is_in *is_in, const void *set);
void kv_on_vacate(struct kv *kv, kv_vacate *fn, void *arg);

/* Call @fn(@arg), once, when this client has been shut out (-ENOTCONN) and so
 * knows nothing any more: whoever keeps what it read must forget it. At once if
 * it has been already. @fn runs in a thread of the store's: it must not call
 * the store nor wait for who does. NULL: nobody is told any more, and on return
 * nobody is being told. Pools of one host shut nobody out: they end processes.
 */
void kv_on_shut_out(struct kv *kv, void (*fn)(void *arg), void *arg);

/* What comes now is the last, up to kv_close(): while more nodes than the code
 * bears are cut off from this client, or have not answered it for KV_LEAVE_MS,
 * no operation of its waits for them beyond that time from now, under way or to
 * come (-ETIMEDOUT). Nor if for KV_LEAVE_LEASE_MS neither a coordinator nor all
 * nodes have said that this client is a member; another coordinator may take
 * its place within that. Else nothing changes. The first call counts. */
#define KV_LEAVE_MS	  5000u
#define KV_LEAVE_LEASE_MS 10000u
void kv_leaving(struct kv *kv);

/* Leave it: seals what is open, waits for acknowledgements. NULL is fine. */
void kv_close(struct kv *kv);

/* One line for a person about the last kv_open() that failed in this thread:
 * the cause and the remedy. Never NULL. */
const char *kv_error(void);

/* Make everything acknowledged so far as safe as it gets in memory: all is
 * already, so this only flushes background notes (obsolete marks). */
int kv_sync(struct kv *kv);

/* Wait until all that was acknowledged before is durable: on the disks of a
 * pool that has a directory. Group commit: many callers cost one checkpoint.
 * Errors: -EOPNOTSUPP it has none (kv_is_persistent()); -ETIMEDOUT, also while
 * a node is away. */
int kv_persist(struct kv *kv);
bool kv_is_persistent(const struct kv *kv);

/* It was opened read_only, or as a reader. */
bool kv_is_read_only(const struct kv *kv);

/* --- looking inside: aceso explain, tests --------------------------------- */

#define KV_PARITIES_MAX 4u

struct kv_where {
	uint64_t hash;	/* of the key */
	uint32_t shard; /* home of the key */
	uint32_t host;	/* node that serves the shard now */
	uint64_t slot;	/* byte offset of the slot in @host's region */
	uint64_t version;
	uint32_t length; /* bytes of the value */
	/* below: of the record; kv_where_page() fills only these */
	uint32_t node; /* node, and offset in its region */
	uint64_t offset;
	uint64_t stripe;
	uint32_t role;	   /* 0..k-1 */
	uint32_t parities; /* how many entries of parity_node count */
	uint32_t parity_node[KV_PARITIES_MAX];
	char state[16]; /* of the block: "open", "sealed", "folded", ... */
};

int kv_where(struct kv *kv, const void *key, size_t klen, struct kv_where *out);
int kv_where_page(struct kv *kv, struct kv_page page, struct kv_where *out);

/* Call @each for every key that begins with @prefix, in no order, until it
 * returns non-zero (which is then returned). Reads every slot of every shard:
 * for tools and checkers. Keys changed meanwhile may be met or not. */
int kv_scan(struct kv *kv, const void *prefix, size_t plen,
	    int (*each)(void *arg, const void *key, size_t klen,
			const void *val, size_t vlen, uint64_t version),
	    void *arg);

/* --- counters ------------------------------------------------------------- */

struct kv_op_stats {
	uint64_t calls, errors, retries;
	uint64_t batches; /* round trips */
	uint64_t ops;	  /* one-sided operations */
	uint64_t bytes;	  /* moved over the fabric, both ways */
};

struct kv_stats {
	struct kv_op_stats get, put, insert, del, txn, page_write, page_read;
	uint64_t cache_hits, cache_misses;
	uint64_t degraded_reads; /* decoded because a node was away */
	uint64_t crc_errors;	 /* bytes that were not what they should be */
	uint64_t blocks_opened, blocks_sealed, marks_sent;
	uint64_t row_pages, delta_pages;
	uint64_t direct; /* READs and WRITEs of pages that an adapter did in
			  * registered memory, without a copy */
};

/* Sum over all threads since kv_open(). */
void kv_stats(struct kv *kv, struct kv_stats *out);

#endif
