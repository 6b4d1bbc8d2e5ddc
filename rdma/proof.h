/* rdma/proof.h - private to the transports: proofs of the pool's key, where no
 * TLS makes them: HMAC-SHA256 with the key over who speaks, what was said, and
 * a nonce of each side. So nobody can use a proof of another time, nor send one
 * back to who made it. It keeps out who has not the key; what follows on the
 * wire it neither hides nor guards. Threads: any. */
#ifndef ACESO_RDMA_PROOF_H
#define ACESO_RDMA_PROOF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdma/fabric.h"

#define PROOF_NONCE_BYTES 16u
#define PROOF_BYTES	  32u
#define PROOF_SAID_MAX	  64u

struct proof_of {
	const char *who; /* "client" or "node" */
	const void *said;
	size_t len; /* <= PROOF_SAID_MAX */
	const uint8_t *node_nonce, *client_nonce;
};

/* Errors: -EIO no dice. */
int proof_nonce(uint8_t out[PROOF_NONCE_BYTES]);

/* What p->who says to prove @key; zeros without one (NULL, or len 0).
 * Errors (@out is zeros): -EIO. */
int proof_make(const struct fab_key *key, const struct proof_of *p,
	       uint8_t out[PROOF_BYTES]);

/* @got is that proof, or there is no key. In constant time. */
bool proof_is(const struct fab_key *key, const struct proof_of *p,
	      const uint8_t got[PROOF_BYTES]);

#endif
