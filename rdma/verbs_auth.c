/* rdma/verbs_auth.c - proofs of the pool's key. RDMA has no encryption; this
 * keeps out who has not the key, not who can read or alter the wire. */
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>

#include "rdma/verbs_msg.h"

void verbs_prove(const struct fab_key *key, const char *who,
		 const struct verbs_connect *c, const uint8_t *node_nonce,
		 const uint8_t *client_nonce, uint8_t *out)
{
	uint8_t text[16 + sizeof(*c) + 2 * VERBS_NONCE_BYTES] = {0};
	uint8_t *p = text + 16;
	unsigned len = VERBS_PROOF_BYTES;

	memset(out, 0, VERBS_PROOF_BYTES);
	if (key == NULL || key->len == 0)
		return;
	strncpy((char *)text, who, 15);
	memcpy(p, c, sizeof(*c));
	memcpy(p + sizeof(*c), node_nonce, VERBS_NONCE_BYTES);
	memcpy(p + sizeof(*c) + VERBS_NONCE_BYTES, client_nonce,
	       VERBS_NONCE_BYTES);
	HMAC(EVP_sha256(), key->bytes, (int)key->len, text, sizeof(text), out,
	     &len);
}

int verbs_proven(const struct fab_key *key, const char *who,
		 const struct verbs_connect *c, const uint8_t *node_nonce,
		 const uint8_t *client_nonce, const uint8_t *got)
{
	uint8_t want[VERBS_PROOF_BYTES];

	if (key == NULL || key->len == 0)
		return 1;
	verbs_prove(key, who, c, node_nonce, client_nonce, want);
	return CRYPTO_memcmp(want, got, sizeof(want)) == 0;
}
