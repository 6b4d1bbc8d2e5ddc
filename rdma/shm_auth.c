/* rdma/shm_auth.c - both ends of a Unix socket prove that they have the key,
 * the node first: it is not told more than a nonce before. */
#include <errno.h>
#include <string.h>

#include "rdma/shm_impl.h"

static struct proof_of proof_by(const struct shm_auth *a, const char *who)
{
	return (struct proof_of){.who = who,
				 .said = &a->said,
				 .len = sizeof(a->said),
				 .node_nonce = a->node_nonce,
				 .client_nonce = a->client_nonce};
}

static void say(struct shm_auth *a, bool reader, const uint8_t *token)
{
	a->said = (struct shm_said){
		.magic = SHM_MAGIC, .version = SHM_VERSION, .reader = reader};
	memcpy(a->said.token, token, sizeof(a->said.token));
}

/* --- the client ----------------------------------------------------------- */

int shm_auth_knock(struct shm_auth *a, const struct fab_key *key,
		   const uint8_t *token, int sock)
{
	struct shm_knock k = {.reader = key->reader};
	struct shm_frame fr;
	int rc;

	say(a, key->reader, token);
	rc = proof_nonce(a->client_nonce);
	if (rc != 0)
		return rc;
	memcpy(k.nonce, a->client_nonce, sizeof(k.nonce));
	shm_frame_init(&fr, SHM_KNOCK);
	memcpy(fr.token, token, sizeof(fr.token));
	return shm_send(sock, &fr, &k, sizeof(k), -1);
}

static int prove(const struct shm_auth *a, const struct fab_key *key, int sock)
{
	struct proof_of mine = proof_by(a, "client");
	uint8_t proof[PROOF_BYTES];
	struct shm_frame fr;
	int rc = proof_make(key, &mine, proof);

	if (rc != 0)
		return rc;
	shm_frame_init(&fr, SHM_PROOF);
	return shm_send(sock, &fr, proof, sizeof(proof), -1);
}

int shm_auth_answer(struct shm_auth *a, const struct fab_key *key, int sock,
		    const struct shm_frame *fr, size_t len)
{
	struct proof_of theirs = proof_by(a, "node");
	struct shm_challenge ch;

	if (!shm_frame_ok(fr, len))
		return -EPROTO;
	if (fr->type == SHM_WELCOME) /* it has no key, or no room */
		return fr->status < 0 ? fr->status : -EACCES;
	if (fr->type != SHM_CHALLENGE || len != sizeof(*fr) + sizeof(ch))
		return -EPROTO;
	memcpy(&ch, fr + 1, sizeof(ch));
	memcpy(a->node_nonce, ch.nonce, sizeof(ch.nonce));
	if (!proof_is(key, &theirs, ch.proof))
		return -EACCES;
	return prove(a, key, sock);
}

/* --- the node ------------------------------------------------------------- */

static const struct fab_key *key_of(const struct shm_auth *a,
				    const struct fab_key *key,
				    const struct fab_key *reader)
{
	return a->said.reader != 0 ? reader : key;
}

int shm_auth_challenge(struct shm_auth *a, const struct fab_key *key,
		       const struct fab_key *reader, int sock,
		       const struct shm_frame *fr, size_t len)
{
	struct proof_of mine = proof_by(a, "node");
	struct shm_challenge ch;
	struct shm_frame answer;
	struct shm_knock k;
	int rc;

	if (len != sizeof(k))
		return -EPROTO;
	memcpy(&k, fr + 1, sizeof(k));
	if (k.reader > 1)
		return -EPROTO;
	say(a, k.reader != 0, fr->token);
	memcpy(a->client_nonce, k.nonce, sizeof(k.nonce));
	rc = proof_nonce(a->node_nonce);
	if (rc == 0)
		rc = proof_make(key_of(a, key, reader), &mine, ch.proof);
	if (rc != 0)
		return rc;
	memcpy(ch.nonce, a->node_nonce, sizeof(ch.nonce));
	shm_frame_init(&answer, SHM_CHALLENGE);
	return shm_send(sock, &answer, &ch, sizeof(ch), -1);
}

int shm_auth_check(const struct shm_auth *a, const struct fab_key *key,
		   const struct fab_key *reader, const struct shm_frame *fr,
		   size_t len)
{
	struct proof_of theirs = proof_by(a, "client");

	if (len != PROOF_BYTES)
		return -EPROTO;
	return proof_is(key_of(a, key, reader), &theirs,
			(const uint8_t *)(fr + 1))
		       ? 0
		       : -EACCES;
}
