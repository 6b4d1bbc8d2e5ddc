/* rdma/shm_impl.h - private to rdma/shm*.c: the shared-memory transport.
 *
 *	client process                            node process
 *	shm_net  --- primary socket, one per node --- peer    (hello; HUP =
 *dead) shm_fab  --- a socket per queue and node  --- conn    (CALLs, answers)
 *	         \__ mmap of the node's memfd, handed over by the first answer
 *
 * One-sided operations run in the poster's thread, inside fab_post(). */
#ifndef ACESO_RDMA_SHM_IMPL_H
#define ACESO_RDMA_SHM_IMPL_H
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "rdma/net.h"
#include "rdma/proof.h"

/* --- frames: one SOCK_SEQPACKET message each (both ends on one host, and of
 * one build: magic and version are checked) ----------------------------------
 *
 *	client                                        node
 *	KNOCK  {nonce, which key}  -------------->        with a key, on each
 *	       <--------------  CHALLENGE {nonce, proof}  socket first
 *	PROOF  {proof}  ------------------------->
 *	HELLO  hello  --------------------------->    on_hello
 *	       <--------------  WELCOME {memfd}
 *
 * Without a key it begins with HELLO. A node that was not proved to answers
 * WELCOME with -EACCES; so does one without a key to KNOCK. */

#define SHM_MAGIC   0x4f435841u /* "AXCO" */
#define SHM_VERSION 1u

enum shm_frame_type {
	SHM_HELLO = 1,	 /* client, first on its primary socket */
	SHM_HELLO_CALLS, /* client, first on a queue's socket */
	SHM_WELCOME,	 /* node's answer; status, region size, memfd */
	SHM_CALL,
	SHM_ANSWER,
	SHM_KNOCK,     /* client; token, struct shm_knock */
	SHM_CHALLENGE, /* node's answer; struct shm_challenge */
	SHM_PROOF,     /* client's; its bytes */
};

struct shm_frame {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	uint16_t call; /* CALL: the message's type */
	uint16_t pad;
	int32_t status; /* WELCOME, ANSWER */
	uint64_t id;	/* CALL, ANSWER: whose; WELCOME: region size */
	uint8_t token[NET_TOKEN_BYTES]; /* HELLO*, KNOCK: which process's net */
	/* payload follows, to the end of the message */
};
_Static_assert(sizeof(struct shm_frame) == 40, "no holes");

struct shm_knock {
	uint8_t nonce[PROOF_NONCE_BYTES];
	uint32_t reader; /* 1: it will prove the reader's key, not the pool's */
	uint32_t pad;
};

struct shm_challenge {
	uint8_t nonce[PROOF_NONCE_BYTES], proof[PROOF_BYTES];
};

#define SHM_FRAME_MAX  (sizeof(struct shm_frame) + FAB_CALL_BYTES_MAX)
#define SHM_SNDBUF     (4 * (int)SHM_FRAME_MAX)
#define SHM_CONNS_MAX  4096u	      /* of one server */
#define SHM_UNSENT_MAX (64u << 20)    /* bytes of answers not taken, per conn */
#define SHM_HELLO_NS   FAB_TIMEOUT_NS /* for connecting */

void shm_frame_init(struct shm_frame *fr, enum shm_frame_type type);
bool shm_frame_ok(const struct shm_frame *fr, size_t len);

/* --- shm_sock.c ----------------------------------------------------------- */

int shm_connect(const char *path, int *out);
/* A listening socket that is at @path when this returns; mode 0600, or 0660 of
 * group @readers if that is not 0. @inode tells it from a later one.
 * -EADDRINUSE if a live server is there; -EPERM the group is not ours. */
int shm_listen(const char *path, uint32_t readers, uint64_t *inode, int *out);
/* Remove the file at @path if it is still that socket. */
void shm_unlisten(const char *path, uint64_t inode);
/* Send one message, not waiting: 0, -EAGAIN, -EPIPE, ... @fd_out -1: none. */
int shm_send(int sock, const struct shm_frame *fr, const void *data, size_t len,
	     int fd_out);
/* Receive one message into @buf, not waiting: its length; 0: hung up;
 * -EAGAIN; -EMSGSIZE if it did not fit. @fd_in (may be NULL): -1 or a new fd.
 */
ssize_t shm_recv(int sock, void *buf, size_t cap, int *fd_in);
/* Wait until @sock has something to read: 0, -ETIMEDOUT. */
int shm_wait_readable(int sock, uint64_t timeout_ns);

/* --- shm_auth.c: both prove that they have the key ----------------------- */

/* What the proofs of one connection are about. */
struct shm_said {
	uint32_t magic, version, reader, pad;
	uint8_t token[NET_TOKEN_BYTES];
};

struct shm_auth {
	struct shm_said said;
	uint8_t client_nonce[PROOF_NONCE_BYTES], node_nonce[PROOF_NONCE_BYTES];
};

/* The client's. Errors of both: -EIO; those of shm_send(). */
int shm_auth_knock(struct shm_auth *a, const struct fab_key *key,
		   const uint8_t *token, int sock);
/* @fr, of @len bytes in all, came next: prove, if it proves. Also -EACCES it
 * has another key or none; what it says of itself; -EPROTO it is no answer. */
int shm_auth_answer(struct shm_auth *a, const struct fab_key *key, int sock,
		    const struct shm_frame *fr, size_t len);

/* The node's: @fr came, with @len bytes behind it. The key that a knock means
 * is @key or its reader's, @reader. Errors: -EPROTO; -EIO; as shm_send(). */
int shm_auth_challenge(struct shm_auth *a, const struct fab_key *key,
		       const struct fab_key *reader, int sock,
		       const struct shm_frame *fr, size_t len);
/* Errors: -EACCES it is no proof; -EPROTO it does not look like one. */
int shm_auth_check(const struct shm_auth *a, const struct fab_key *key,
		   const struct fab_key *reader, const struct shm_frame *fr,
		   size_t len);

/* --- the client: shm.c, shm_node.c --------------------------------------- */

struct shm_node {
	uint8_t *base; /* readers: only inside enter() and state UP */
	int fd;	       /* of the region, as long as @base is mapped; -1 */
	int sock;      /* primary; -1 */
	/* As long as @base is mapped, or NULL: see shm_is_mapped(). */
	_Atomic uint64_t *mapped;
	bool look; /* it may be read only: what else is refused here */
	struct net_node n;
};

struct shm_net {
	struct net net;
	struct fab_key key; /* len 0: none */
	struct shm_node node[FAB_NODE_COORD + 1];
};

extern const struct net_how shm_how;
/* A new socket for CALLs to @id, and the generation it belongs to. With a key
 * it has knocked, as @a: CALLs are to wait until the answer was given to
 * shm_call_proved(). */
int shm_call_socket(struct net *net, uint8_t id, struct shm_auth *a,
		    uint32_t *generation, int *out);
int shm_call_proved(struct net *net, int sock, struct shm_auth *a,
		    const struct shm_frame *fr, size_t len);

/* --- memory ahead: shm_ahead.c ------------------------------------------- */

#define SHM_PIECE_BYTES (256u << 10)

/* Errors: -ENOMEM. */
int shm_ahead_open(struct shm_node *node, int fd, uint64_t size);
void shm_ahead_close(struct shm_node *node); /* also if it was not opened */
void shm_prepare(struct fab_net *net, uint8_t id, uint64_t offset, uint64_t len,
		 bool map);

/* All of it was mapped ahead: whole pieces, a bit each. A hint, as the node
 * may have given memory back since. @len > 0, inside @node. */
static inline bool shm_is_mapped(const struct shm_node *node, uint64_t offset,
				 uint64_t len)
{
	uint64_t last = (offset + len - 1) / SHM_PIECE_BYTES;

	if (node->mapped == NULL)
		return false;
	for (uint64_t i = offset / SHM_PIECE_BYTES; i <= last; i++)
		if ((atomic_load_explicit(&node->mapped[i / 64],
					  memory_order_relaxed) >>
			     i % 64 &
		     1) == 0)
			return false;
	return true;
}

/* --- a queue: shm_fab.c, shm_call.c -------------------------------------- */

/* One CALL under way. Lives in its batch's shm_calls. */
struct shm_call {
	struct fab_batch *batch;
	struct fab_op *op;
	uint64_t id;
	bool sent;
	TAILQ_ENTRY(shm_call) link; /* in its lane's sent or unsent */
};

TAILQ_HEAD(shm_call_list, shm_call);

/* What a batch with CALLs needs until it is complete: b->priv. */
struct shm_calls {
	uint64_t deadline;
	TAILQ_ENTRY(shm_calls) link; /* in the queue's waiting */
	struct fab_batch *batch;
	uint32_t n;
	struct shm_call call[];
};

/* A queue's way to one node, for CALLs. */
struct shm_lane {
	int sock;		     /* -1 */
	bool greeting;		     /* the node is yet to prove its key */
	struct shm_auth auth;	     /* meanwhile */
	struct shm_call_list sent;   /* answer awaited */
	struct shm_call_list unsent; /* for now; in order posted */
};

struct shm_fab {
	struct queue q;
	/* Odd while inside an operation on some node's memory; see cut. */
	_Alignas(64) _Atomic(uint64_t) inside;
	_Alignas(64) TAILQ_HEAD(shm_calls_list, shm_calls) waiting;
	struct shm_lane *lane[FAB_NODE_COORD + 1]; /* made when needed */
	struct shm_call **by_slot; /* low half of an id -> call under way */
	uint32_t *free_slot;	   /* a stack of slots not in use */
	uint32_t slots, slots_free;
	uint32_t serial; /* high half of the last id */
	void *frame;	 /* SHM_FRAME_MAX, when needed */
};

static inline struct shm_fab *shm_fab(struct fab *f)
{
	return (struct shm_fab *)f;
}

static inline struct shm_node *shm_node(struct net *net, uint8_t id)
{
	return &((struct shm_net *)net)->node[id];
}

static inline struct shm_net *shm_net(struct net *n)
{
	return (struct shm_net *)n;
}

/* NULL: none. */
static inline const struct fab_key *shm_key(struct net *n)
{
	return shm_net(n)->key.len > 0 ? &shm_net(n)->key : NULL;
}

int shm_fab_open(struct fab_net *net, struct fab **out);

/* Prepare room for @n CALLs of @b. Errors: -ENOMEM. */
int shm_calls_prepare(struct shm_fab *f, struct fab_batch *b, uint32_t n);
/* Start a CALL of @b; its end is shm_op_end(). Returns a status of the op if
 * it failed at once, -EINPROGRESS if not. */
int shm_call_start(struct shm_fab *f, struct fab_batch *b, struct fab_op *op);
void shm_calls_release(struct shm_fab *f, struct fab_batch *b);
extern const struct queue_how shm_queue_how;
int shm_calls_open(struct shm_fab *f);
void shm_calls_close(struct shm_fab *f);

/* @op of @b has come to its end with @status. */
void shm_op_end(struct shm_fab *f, struct fab_batch *b, struct fab_op *op,
		int status);

#endif
