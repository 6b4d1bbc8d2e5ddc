/* rdma/proof.c - see proof.h. */
#include "rdma/proof.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/random.h>

#define WHO_BYTES 16u /* with its 0 */

int proof_nonce(uint8_t out[PROOF_NONCE_BYTES])
{
	ssize_t n = getrandom(out, PROOF_NONCE_BYTES, 0);

	return n == PROOF_NONCE_BYTES ? 0 : -EIO;
}

static bool is_key(const struct fab_key *key)
{
	return key != NULL && key->len > 0;
}

int proof_make(const struct fab_key *key, const struct proof_of *p,
	       uint8_t out[PROOF_BYTES])
{
	uint8_t text[WHO_BYTES + PROOF_SAID_MAX + 2 * PROOF_NONCE_BYTES] = {0};
	uint8_t *at = text + WHO_BYTES;
	unsigned len = PROOF_BYTES;

	assert(p->len <= PROOF_SAID_MAX && strlen(p->who) < WHO_BYTES);
	memset(out, 0, PROOF_BYTES);
	if (!is_key(key))
		return 0;
	strcpy((char *)text, p->who);
	memcpy(at, p->said, p->len);
	at += p->len;
	memcpy(at, p->node_nonce, PROOF_NONCE_BYTES);
	at += PROOF_NONCE_BYTES;
	memcpy(at, p->client_nonce, PROOF_NONCE_BYTES);
	at += PROOF_NONCE_BYTES;
	if (HMAC(EVP_sha256(), key->bytes, (int)key->len, text,
		 (size_t)(at - text), out, &len) != NULL)
		return 0;
	memset(out, 0, PROOF_BYTES);
	return -EIO;
}

bool proof_is(const struct fab_key *key, const struct proof_of *p,
	      const uint8_t got[PROOF_BYTES])
{
	uint8_t want[PROOF_BYTES];

	if (!is_key(key))
		return true;
	return proof_make(key, p, want) == 0 &&
	       CRYPTO_memcmp(want, got, sizeof(want)) == 0;
}
