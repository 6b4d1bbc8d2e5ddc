/* rdma/fabric.h - one-sided operations on the memory of other nodes.
 *
 * A process opens one net (its connections and mapped or registered memory),
 * and each of its threads one fab (a queue) on it. A batch of operations goes
 * to all the nodes it names at once; the poster then waits, or polls for many.
 *
 * What is promised, by every transport (tests/contract runs the same on all):
 *  - CAS and FAA are atomic on 8 aligned bytes against each other, and reads
 *    and writes of aligned 8 bytes are never torn. Nothing else is atomic.
 *  - Of a *loose* READ (fab_read_loose) not even that: beside a concurrent
 *    writer any byte may be old or new, an aligned word torn. Its reader checks
 *    a sum of all it uses before it believes a byte. All else holds for it as
 *    for any READ, also the order in its batch.
 *  - Operations of one batch to one node take effect in the order given; there
 *    is no other order, not between nodes and not between batches in flight.
 *  - A WRITE that completed with 0 is seen by every later READ of anyone.
 *  - Every operation completes, at the latest at its batch's deadline:
 *      0            done
 *      -EHOSTDOWN   the node is down or cut off (fab_net_cut); may or may not
 *                   have taken effect, a WRITE also in part
 *      -ETIMEDOUT   no answer by the deadline; the same
 *      -EREMOTEIO   the node refused it (outside its region, misaligned)
 *      -ECANCELED   an earlier operation of this batch to this node failed;
 *                   this one was not done
 *    A CALL ends with the node's own answer (0 or -errno), or -EMSGSIZE if
 *    that is longer than reply_cap: reply_len tells, reply is untouched.
 *    A CALL is sent after what precedes it to its node in the batch is done;
 *    what follows it does not wait for the answer.
 *  - Time and dice come from here, so that a simulator can own them.
 *
 * Two-sided messages (CALL) travel in batches too; the node's answer is a
 * status and bytes. They are served by the node's processor, the rest is not.
 */
#ifndef ACESO_RDMA_FABRIC_H
#define ACESO_RDMA_FABRIC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#define FAB_NODES_MAX	   63u /* ids 0..62 */
#define FAB_NODE_COORD	   63u /* the coordinator: CALL only */
#define FAB_BATCH_OPS_MAX  4096u
#define FAB_OP_BYTES_MAX   (4u << 20)
#define FAB_CALL_BYTES_MAX 65536u		/* request or answer */
#define FAB_TIMEOUT_NS	   UINT64_C(5000000000) /* without a deadline */
#define FAB_REGISTERED_MAX 256u			/* areas of a net's user */
#define FAB_DIRECT_MIN	   512u /* bytes; fewer are copied sooner */

struct fab_net; /* a process's view of all nodes; any thread */
struct fab;	/* one thread's queue on a net; that thread only */

enum fab_opcode { FAB_READ = 1, FAB_WRITE, FAB_CAS, FAB_FAA, FAB_CALL };

struct fab_op {
	uint8_t opcode;
	uint8_t node;
	uint16_t call;	    /* CALL: type of the message */
	int32_t status;	    /* out; -EINPROGRESS while under way */
	uint64_t offset;    /* in the node's region; CAS, FAA: multiple of 8 */
	void *buf;	    /* READ: into; WRITE, CALL: from */
	uint32_t len;	    /* of buf; WRITE and READ may be 0 */
	uint32_t reply_cap; /* CALL: room at reply */
	void *reply;	    /* CALL: the answer's bytes */
	uint32_t reply_len; /* CALL: out */
	uint16_t under_way; /* the transport's, from post to its end */
	bool loose;	    /* READ: words may be torn, see above */
	uint64_t expect;    /* CAS */
	uint64_t arg;	    /* CAS: the new value; FAA: what is added */
	uint64_t old;	    /* CAS, FAA: out, what was there before */
};

struct fab_batch {
	struct fab_op *ops; /* the poster's, untouched until complete */
	uint32_t n;
	uint32_t left;	      /* not yet complete; the transport counts */
	uint64_t deadline_ns; /* by fab_now(); 0: now + FAB_TIMEOUT_NS */
	void *user;	      /* the poster's */
	void *priv;	      /* the transport's, from post to completion */
	TAILQ_ENTRY(fab_batch) link; /* likewise */
	/* A word that a batch after this one will touch; 0: none. A hint: where
	 * memory is at hand, it is fetched meanwhile. */
	uint64_t soon; /* its offset */
	uint8_t soon_node;
};

/* Fill one operation. Memory at @buf must stay until the batch completes. */
static inline void fab_read(struct fab_op *op, uint8_t node, uint64_t offset,
			    void *buf, uint32_t len)
{
	*op = (struct fab_op){.opcode = FAB_READ,
			      .node = node,
			      .offset = offset,
			      .buf = buf,
			      .len = len};
}

/* As fab_read(), for bytes whose sum is checked before they are used: words of
 * them may be torn by a writer. Cheaper where a node's processor sends them. */
static inline void fab_read_loose(struct fab_op *op, uint8_t node,
				  uint64_t offset, void *buf, uint32_t len)
{
	fab_read(op, node, offset, buf, len);
	op->loose = true;
}

static inline void fab_write(struct fab_op *op, uint8_t node, uint64_t offset,
			     const void *buf, uint32_t len)
{
	*op = (struct fab_op){.opcode = FAB_WRITE,
			      .node = node,
			      .offset = offset,
			      .buf = (void *)buf,
			      .len = len};
}

static inline void fab_cas(struct fab_op *op, uint8_t node, uint64_t offset,
			   uint64_t expect, uint64_t swap)
{
	*op = (struct fab_op){.opcode = FAB_CAS,
			      .node = node,
			      .offset = offset,
			      .expect = expect,
			      .arg = swap};
}

static inline void fab_faa(struct fab_op *op, uint8_t node, uint64_t offset,
			   uint64_t add)
{
	*op = (struct fab_op){
		.opcode = FAB_FAA, .node = node, .offset = offset, .arg = add};
}

static inline void fab_call(struct fab_op *op, uint8_t node, uint16_t type,
			    const void *req, uint32_t len, void *reply,
			    uint32_t reply_cap)
{
	*op = (struct fab_op){.opcode = FAB_CALL,
			      .node = node,
			      .call = type,
			      .buf = (void *)req,
			      .len = len,
			      .reply = reply,
			      .reply_cap = reply_cap};
}

/* --- a thread's queue ---------------------------------------------------- */

int fab_open(struct fab_net *net, struct fab **out);
void fab_close(struct fab *f); /* no batch may be under way; NULL is fine */

/* Start @b. Errors (nothing was started, statuses untouched): -EINVAL for a
 * batch that breaks the limits above; -ENOMEM. A batch of 0 operations is
 * complete at once. */
int fab_post(struct fab *f, struct fab_batch *b);

/* Take up to @max complete batches, waiting up to @timeout_ns for the first
 * (0: not at all). Returns how many. */
size_t fab_poll(struct fab *f, struct fab_batch **done, size_t max,
		uint64_t timeout_ns);

/* Post @b and wait until it is complete, whatever else completes meanwhile
 * (fab_poll hands that out later). Returns fab_post()'s error, else 0: look at
 * the statuses. */
int fab_run(struct fab *f, struct fab_batch *b);

/* As fab_run for one CALL: returns its status; *reply_len (may be NULL). */
int fab_call_run(struct fab *f, uint8_t node, uint16_t type, const void *req,
		 uint32_t len, void *reply, uint32_t reply_cap,
		 uint32_t *reply_len, uint64_t timeout_ns);

uint64_t fab_now(struct fab *f);	    /* nanoseconds, monotonic */
uint64_t fab_wall(struct fab *f);	    /* nanoseconds since 1970 */
uint64_t fab_random(struct fab *f);	    /* 64 bits */
void fab_sleep(struct fab *f, uint64_t ns); /* simulated in a simulator */

/* --- the net: which nodes there are -------------------------------------- */

/* Connect node @id at @address (transport's own words: for shm the path of
 * the node's Unix socket). @hello (len <= FAB_CALL_BYTES_MAX) is handed to the
 * node's on_hello, which may refuse. For FAB_NODE_COORD there is no region.
 * A node that is up cannot be attached again; one that is down or cut can.
 * Errors: -ECONNREFUSED, -ENOENT, -EPROTO, -ETIMEDOUT; what on_hello said, or
 * -EACCES (refused); -EALREADY. */
int fab_net_attach(struct fab_net *net, uint8_t id, const char *address,
		   const void *hello, size_t len);

/* Cut node @id off: operations under way and later ones fail with -EHOSTDOWN,
 * and on return no operation of this process touches its memory any more
 * ([I6]; waits for the microseconds such an operation may take). */
void fab_net_cut(struct fab_net *net, uint8_t id);

/* True if attached and neither cut nor known to be dead. */
bool fab_net_up(struct fab_net *net, uint8_t id);

/* Bytes of node @id's region; 0 if not attached. */
uint64_t fab_net_size(struct fab_net *net, uint8_t id);

/* Call @down(arg, id) once, from some thread, when a node is found dead. It
 * may cut and attach nodes, but not close the net. Set it before attaching:
 * a death before is not told again. */
void fab_net_on_down(struct fab_net *net, void (*down)(void *arg, uint8_t id),
		     void *arg);

/* READs and WRITEs will have their bytes in [@at, +@bytes). An adapter gets to
 * know this memory then (its pages are pinned): an operation of FAB_DIRECT_MIN
 * bytes or more that lies in it as a whole is not copied on its way. All others
 * are, and where there is no adapter nothing changes. It belongs to the poster
 * between operations as ever; it must not be unmapped, or get other pages,
 * before fab_net_deregister() or fab_net_close(). From any thread, at any time;
 * also before nodes are attached: adapters that come later know it too, if they
 * take it. Not to be done for each operation: it costs more than a copy.
 * Errors (it is not registered, operations work as ever): -EINVAL @at is NULL,
 * or there are no such bytes; -EEXIST some of them are registered; -ENOSPC
 * FAB_REGISTERED_MAX are; -ENOMEM or else what an adapter says that does not
 * take it (RLIMIT_MEMLOCK). */
int fab_net_register(struct fab_net *net, void *at, size_t bytes);

/* No operation is under way in what was registered at @at: on return nobody but
 * its owner knows it. One that is not registered is fine. */
void fab_net_deregister(struct fab_net *net, void *at);

void fab_net_close(struct fab_net *net); /* after all its fabs; NULL is fine */

struct fab_counters {
	uint64_t batches, ops[6]; /* by opcode */
	uint64_t bytes_read, bytes_written, bytes_called;
	uint64_t failed;
	uint64_t direct; /* READs and WRITEs between an adapter and registered
			  * memory: not copied; 0 where there is none */
};
void fab_counters(struct fab *f, struct fab_counters *out); /* of this queue */

/* Round trips: a client counts its batches. */

/* --- the other side: a node ---------------------------------------------- */

struct fab_server;  /* serves one region and CALLs */
struct fab_request; /* one CALL to be answered, once */
struct fab_peer;    /* who asks: one process's connection */

struct fab_server_opts {
	void *region; /* as from fab_region_open(); NULL: CALLs only */
	uint64_t size;
	int region_fd;		   /* shm: its memfd; -1 if none */
	const char *address;	   /* as for fab_net_attach() */
	const struct fab_key *key; /* see fab_key; copied. NULL: none */
	/* shm: members of this group may connect, to look (0: nobody). They and
	 * whoever else is neither the owner nor root are readers: they are
	 * handed the region for reading only. */
	uint32_t readers;
	void *arg;
	/* All run in the server's one thread, one at a time. */
	int (*on_hello)(void *arg, struct fab_peer *peer, const void *hello,
			size_t len); /* 0, or -errno to refuse */
	void (*on_call)(void *arg, struct fab_request *rq, uint16_t type,
			const void *req, size_t len);
	void (*on_gone)(void *arg, struct fab_peer *peer); /* it hung up */
	/* A connection was ended by this side, and nothing of what came last
	 * over it done: -EACCES it proved no key, or another one, or is not
	 * the pool's; -EPROTO it broke the rules; -ETIME it did not say who it
	 * is. @address tells people where it came from. As often as anyone
	 * outside likes: who prints it is to set a limit. */
	void (*on_refused)(void *arg, const char *address, int why);
};

int fab_server_open(const struct fab_server_opts *opts,
		    struct fab_server **out);
/* Hangs up on everyone (on_gone is called for each, in the server's thread),
 * then returns. Requests not yet answered may still be. NULL is fine. */
void fab_server_close(struct fab_server *s);

/* How many connections were refused for what came over them (-EACCES, -EPROTO
 * of on_refused); it cost its sender the connection, and nobody else anything.
 */
uint64_t fab_server_malformed(const struct fab_server *s);

/* Answer @rq, from any thread, now or later; it is gone afterwards. @status is
 * 0 or -errno; bytes only with 0. The asker may be gone: that is fine. */
void fab_reply(struct fab_request *rq, int status, const void *data,
	       size_t len);
struct fab_peer *fab_request_peer(struct fab_request *rq);

/* A peer lives from on_hello (returning 0) until on_gone has returned and its
 * last request is answered. It has a word of the server's, NULL at first. */
void fab_peer_set(struct fab_peer *peer, void *word);
void *fab_peer_get(struct fab_peer *peer);
int32_t fab_peer_pid(const struct fab_peer *peer); /* 0 if not on this host */
uint32_t fab_peer_uid(const struct fab_peer *peer);
/* Has the reader's key only; shm: or is neither the owner nor root. */
bool fab_peer_reader(const struct fab_peer *peer);
/* Hang up on it: soon, and then on_gone is called. Nothing that it sent takes
 * effect after that (but by shm, as memory cannot be taken back). */
void fab_peer_cut(struct fab_peer *peer);

/* --- keys (rdma/key.c) --------------------------------------------------- */

#define FAB_KEY_BYTES_MIN 16u
#define FAB_KEY_BYTES_MAX 48u

/* The pool's key: who has it is let in. Who has its reader's key alone is let
 * in too, but may only look: nodes refuse its WRITE, CAS and FAA (-EREMOTEIO),
 * and its CALLs are told apart by fab_peer_reader(). */
struct fab_key {
	size_t len;
	uint8_t bytes[FAB_KEY_BYTES_MAX];
	bool reader; /* it is a reader's; not for servers */
};

/* The reader's key that belongs to @key: follows from it, and not the other way
 * round. Errors: -EINVAL @key is none, or a reader's itself; -EIO. */
int fab_key_reader(const struct fab_key *key, struct fab_key *out);

/* A key in a file is FAB_KEY_FILE_BYTES in hexadecimal, after
 * FAB_KEY_FILE_READER if it is a reader's. That of a pool of one host lies
 * beside its socket; there may be its reader's, too, for a group. */
#define FAB_KEY_FILE_BYTES   32u
#define FAB_KEY_FILE_READER  "reader:"
#define FAB_KEY_FILE	     "pool.key"
#define FAB_KEY_FILE_READERS "readers.key"

/* Read it from @fd, or the file @path, which nobody may do with what is not in
 * @most (0600, 0640). Errors: -EPERM its mode is wider; -EINVAL it is no key;
 * those of open(2), read(2). */
int fab_key_read(int fd, mode_t most, struct fab_key *out);
int fab_key_load(const char *path, mode_t most, struct fab_key *out);

/* The key beside the socket @sock, or the reader's if that is all that we may
 * read. Errors: as above; -ENOENT there is none. */
int fab_key_beside(const char *sock, struct fab_key *out);

/* --- shared memory on one host (rdma/shm*.c) ----------------------------- */

/* A net whose nodes are processes of this host. With a key (copied) both ends
 * of every connection prove that they have it before anything is handed over;
 * the socket's mode and the kernel's word on who is at the other end count
 * besides. With a reader's key, what is handed over is for reading only.
 * fab_net_attach() fails with -EACCES if the keys differ, or one has none. A
 * queue's first CALL to a node goes when the node has answered: not before the
 * queue is polled. Errors: -EINVAL the key is too short or too long. */
int fab_shm_open(const struct fab_key *key, struct fab_net **out);

/* --- TCP (rdma/tcp*.c) --------------------------------------------------- */

/* A net whose nodes listen at "tcp:HOST:PORT" ("tcp:*:PORT" for a server: on
 * all addresses). With a key (copied) every connection is TLS 1.3 and both ends
 * prove that they have the key before anything else is said; without (NULL)
 * it is plain and anyone is let in: for a loopback address only.
 * fab_net_attach() fails with -EACCES if the keys differ.
 * fab_net_cut() promises what it promises if the node answers within a quarter
 * of a second; see rdma/README.md for a node that does not. */
int fab_tcp_open(const struct fab_key *key, struct fab_net **out);

/* Does this host's kernel do the records of TLS (its module "tls")? Then it
 * does them for every connection over TCP with a key; else this process does.
 */
bool fab_tcp_kernel_tls(void);

/* --- RDMA (rdma/verbs*.c) ------------------------------------------------ */

/* A net whose nodes listen at "verbs:HOST:PORT", HOST an address of an RDMA
 * device. With a key both ends prove that they have it before the region's own
 * key is told; the wire is not encrypted: for networks that are trusted.
 * Errors of attaching, besides: -ENODEV no RDMA device of this host leads there
 * (at once), or it bears too little; -EHOSTUNREACH. Not to be used across a
 * fork(). A region that is served must not be discarded through its descriptor
 * (the adapter would go on with the old pages): pass -1. */
int fab_verbs_open(const struct fab_key *key, struct fab_net **out);

/* Could a server listen at @address ("verbs:HOST:PORT") and have a region?
 * Errors: -ENODEV no RDMA device of this host has HOST's address; -EOPNOTSUPP
 * it has no atomic operations; -ENOBUFS it bears too few operations under way,
 * or too short messages; -EINVAL, -ENOENT the address. */
int fab_verbs_probe(const char *address);

/* --- any of these two (rdma/any*.c) -------------------------------------- */

/* A net that reaches each node over what its address begins with, "tcp:" or
 * "verbs:"; as fab_tcp_open() and fab_verbs_open(). */
int fab_any_open(const struct fab_key *key, struct fab_net **out);

/* --- memory -------------------------------------------------------------- */

/* Zeroed memory of @size bytes that can be handed to others: a memfd, taken
 * from the system page by page as it is touched. Errors: -ENOMEM. */
int fab_region_open(const char *name, uint64_t size, void **base, int *fd);
/* The same in huge pages if as many are free as it takes (vm.nr_hugepages),
 * which *@huge tells; else transparent ones are asked for. For memory that is
 * touched as a whole at once, as what an adapter registers is. */
int fab_region_open_huge(const char *name, uint64_t size, void **base, int *fd,
			 bool *huge);
void fab_region_close(void *base, uint64_t size, int fd);

/* The same memory in a file: @fd, of at least @size bytes, which is mapped as
 * it is and stays the caller's until fab_region_close(). Those to whom it is
 * handed must trust its owner not to truncate it. Errors: those of mmap();
 * -EINVAL it is no regular file or too short. */
int fab_region_of_file(int fd, uint64_t size, void **base);

/* Give bytes back to the system; they read as zeros afterwards. Page-aligned.
 * The owner of the region only. Works without @fd (-1) by clearing. A file
 * keeps its room on the disk, so that no later write to it can fault. */
void fab_region_discard(void *base, int fd, uint64_t offset, uint64_t len);

/* A hint that the owner itself is about to touch bytes that others wrote: to
 * map them in one go is cheaper than a fault a page. */
void fab_region_map(void *base, uint64_t offset, uint64_t len);

/* A hint that [offset, +len) of node @id will be written soon: @map, in small
 * pieces, so that its pages are mapped in one go; else in large ones, which
 * need no mapping, so that they get memory only. For a thread that nobody waits
 * for. Bytes stay as they are. May do nothing. */
void fab_net_prepare(struct fab_net *net, uint8_t id, uint64_t offset,
		     uint64_t len, bool map);

#endif
