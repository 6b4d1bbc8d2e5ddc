/* rdma/verbs_msg.h - private to rdma/verbs*.c: what is said before and beside
 * one-sided operations. Little-endian.
 *
 *	client                                              node
 *	  connect  {magic, version, kind, token}  -------->
 *	           <--------  accept  {the node's nonce}
 *	  SEND AUTH {client's nonce, proof} hello -------->  on_hello
 *	           <--------  SEND WELCOME {status, proof, where memory is}
 *
 * The proofs are HMAC-SHA256 with the pool's key over both nonces, the token
 * and who speaks; without a key they are not looked at. The memory's key
 * (rkey) is told to nobody before. Who has the reader's key is connected to a
 * protection domain of its own, where the memory can be read and no more. */
#ifndef ACESO_RDMA_VERBS_MSG_H
#define ACESO_RDMA_VERBS_MSG_H
#include <stddef.h>
#include <stdint.h>

#include "rdma/net.h"
#include "rdma/proof.h"

#define VERBS_MAGIC	  0x56435841u /* "AXCV" */
#define VERBS_VERSION	  2u
#define VERBS_NONCE_BYTES PROOF_NONCE_BYTES
#define VERBS_PROOF_BYTES PROOF_BYTES

enum verbs_kind { VERBS_PRIMARY = 1, VERBS_QUEUE };

/* Private data of connect; of accept. */
struct verbs_connect {
	uint32_t magic, version, kind;
	uint32_t reader; /* 1: it will prove the reader's key, not the pool's */
	uint8_t token[NET_TOKEN_BYTES];
};
_Static_assert(sizeof(struct verbs_connect) <= 56, "fits an IB CM request");

struct verbs_accept {
	uint32_t magic, version;
	uint8_t nonce[VERBS_NONCE_BYTES];
};

enum verbs_type {
	VERBS_AUTH = 1, /* verbs_auth, then the hello (primary) */
	VERBS_WELCOME,	/* verbs_welcome */
	VERBS_CALL,	/* the request */
	VERBS_ANSWER,	/* the answer */
	VERBS_FENCE,	/* primary: end all of this net's connections */
	VERBS_FENCED,
};

struct verbs_msg {
	uint8_t type; /* enum verbs_type */
	uint8_t pad;
	uint16_t call;
	int32_t status;
	uint32_t len; /* bytes that follow */
	uint32_t pad2;
	uint64_t id; /* CALL, ANSWER: the asker's */
};
_Static_assert(sizeof(struct verbs_msg) == 24, "no holes");

struct verbs_auth {
	uint8_t nonce[VERBS_NONCE_BYTES], proof[VERBS_PROOF_BYTES];
};

struct verbs_welcome {
	uint8_t proof[VERBS_PROOF_BYTES];
	uint64_t addr, size; /* of the region */
	uint32_t rkey, pad;
};

#define VERBS_MSG_MAX                                                          \
	(sizeof(struct verbs_msg) + sizeof(struct verbs_auth) +                \
	 FAB_CALL_BYTES_MAX)

/* What @who ("client" or "node") says to prove the key. */
static inline struct proof_of verbs_proof(const char *who,
					  const struct verbs_connect *c,
					  const uint8_t *node_nonce,
					  const uint8_t *client_nonce)
{
	return (struct proof_of){.who = who,
				 .said = c,
				 .len = sizeof(*c),
				 .node_nonce = node_nonce,
				 .client_nonce = client_nonce};
}

static inline void verbs_prove(const struct fab_key *key, const char *who,
			       const struct verbs_connect *c,
			       const uint8_t *node_nonce,
			       const uint8_t *client_nonce, uint8_t *out)
{
	struct proof_of p = verbs_proof(who, c, node_nonce, client_nonce);

	(void)proof_make(key, &p, out); /* zeros are no proof */
}

/* True if @got is that proof, or there is no key. */
static inline bool verbs_proven(const struct fab_key *key, const char *who,
				const struct verbs_connect *c,
				const uint8_t *node_nonce,
				const uint8_t *client_nonce, const uint8_t *got)
{
	struct proof_of p = verbs_proof(who, c, node_nonce, client_nonce);

	return proof_is(key, &p, got);
}

#endif
