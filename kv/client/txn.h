/* kv/client/txn.h - several keys at once: intents, and one word that decides.
 *
 *   state key:  {seq, PENDING} --put_if--> {seq, COMMITTED}   the commit point
 *                     |
 *                     +--put_if (by anyone in a hurry)--> {seq, ABORTED}
 *
 * 1. the state key says {seq, PENDING} (a key of this client's, used again
 *    with the next seq, so that transactions leave no tombstones);
 * 2. in order of (hash, key), each key's record is replaced by an intent that
 *    holds the state key and seq, the old value and the new one, by the same
 *    conditional update or insert as any other;
 * 3. put_if {seq, COMMITTED};
 * 4. each intent is replaced by the new value (or, ABORTED, the old one).
 *
 * T1. What a key's intent means follows from the state key alone: COMMITTED
 *     the new value; PENDING, ABORTED the old one; another seq, or no state
 *     key: the intent is no longer there, read the slot again.
 * T2. The state key goes on to the next seq, or is deleted, only when none of
 *     the old seq's intents is left.
 * T3. Versions: an intent takes the next one, what replaces it the one after.
 *     Under a PENDING or ABORTED intent a reader is given the old value's
 *     version, under a COMMITTED one the intent's + 1: the one it will have.
 * So for every reader all keys change at one moment, that of step 3. A dead
 * client's transaction is finished or undone by whoever meets it; a live
 * one's that is slower than TXN_PATIENCE_NS may be aborted and starts again. */
#ifndef ACESO_KV_CLIENT_TXN_H
#define ACESO_KV_CLIENT_TXN_H
#include <stdint.h>

#include "kv/client/op.h"

#define TXN_KEY_BYTES	16u
#define TXN_PATIENCE_NS UINT64_C(50000000)

enum txn_verdict { TXN_PENDING = 1, TXN_COMMITTED, TXN_ABORTED };

/* The value of a state key. */
struct txn_state {
	uint64_t seq;
	uint32_t verdict;
	uint32_t reserved;
};
_Static_assert(sizeof(struct txn_state) == 16, "see kv/FORMAT.md");

#define INTENT_MAGIC 0x31495854u /* "TXI1" */

/* The value of an OBJECT_INTENT record; the old value's bytes follow, then the
 * new one's. A type of 0: there is none (a key that did not, or shall not,
 * exist). */
struct intent {
	uint32_t magic;
	uint8_t old_type, new_type; /* 0 or OBJECT_PUT */
	uint16_t reserved;
	uint64_t old_version;
	uint32_t old_len, new_len;
	uint64_t seq;
	uint8_t key[TXN_KEY_BYTES]; /* the state key */
};
_Static_assert(sizeof(struct intent) == 48, "see kv/FORMAT.md");

/* The intent in a record's value, or NULL if it makes no sense. Its address
 * may be odd: copy before use; the bytes are at intent_old(), intent_new(). */
const void *intent_at(const void *val, uint32_t len, struct intent *out);
const void *intent_old(const void *val);
const void *intent_new(const void *val, const struct intent *in);

/* get.c: op->seen is an intent: read what it means, and end. */
int op_intent_read(struct op *op);

/* put.c, insert.c, txn.c: the intent in op->seen (in op->rd) of key @key is in
 * the way: finish or undo it, then go on in @then with op->rolled_back. */
int op_intent_resolve(struct op *op, op_state *then);

/* State keys of this client that no transaction uses. */
struct txn_keys;
int txn_keys_open(struct txn_keys **out);
void txn_keys_close(struct txn_keys *k);
/* The next of them that may be deleted at the end; false: no more. */
bool txn_keys_pop(struct txn_keys *k, uint32_t client,
		  uint8_t key[TXN_KEY_BYTES]);

/* A transaction as one operation; @reqs stay. NULL: no memory. */
struct op *op_txn_begin(struct kv *kv, struct kv_thread *t, struct kv_req *reqs,
			uint32_t n);
/* op.c: it ended on the way; what it left behind others finish or undo. */
void op_txn_abandon(struct op *op);

#endif
