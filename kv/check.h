/* kv/check.h - checking and mending what lies in the pool, and harming it so
 * that both can be shown: aceso fsck, scrub, debug corrupt.
 *
 * One pass is: open, settle, kv_check_index(), kv_check_page() or
 * kv_check_name_page() for every page that a value names, kv_check_space(),
 * kv_check_stripes(), close. What is checked is verified against its own CRC,
 * again after a short while and only if it is named still: what others are
 * changing meanwhile is no damage. Mending writes right bytes, had from the
 * rest of the stripe, over wrong ones.
 * Threads: one at a time per struct kv_check. Calls block. */
#ifndef ACESO_KV_CHECK_H
#define ACESO_KV_CHECK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/kv.h"

enum kv_damage_kind {
	KV_DAMAGE_RECORD = 1, /* the bytes of a record */
	KV_DAMAGE_PAGE,	      /* the bytes of a page */
	KV_DAMAGE_COPY,	      /* of one of them, on a parity node */
	KV_DAMAGE_PARITY,     /* a stripe's, or a whole copy of a block */
	KV_DAMAGE_PLACE,      /* a slot of a key that is not looked for there */
	KV_DAMAGE_TWICE,      /* two slots of one key */
	KV_DAMAGE_WORD,	      /* a slot tells something else than its record */
	KV_DAMAGE_HINT,	      /* its version is one that its key never had */
	KV_DAMAGE_MARKED,     /* in use, and marked as obsolete */
	KV_DAMAGE_LEAK,	      /* neither named nor marked as obsolete */
	KV_DAMAGE_TENTATIVE,  /* an insert that nobody goes on with */
	KV_DAMAGE_TXN,	      /* a transaction that nobody goes on with */
	KV_DAMAGE_KINDS
};

enum kv_damage_state { KV_DAMAGE_FOUND, KV_DAMAGE_MENDED, KV_DAMAGE_LOST };

struct kv_damage {
	enum kv_damage_kind kind;
	enum kv_damage_state state;
	bool leak;	    /* costs space, and nothing else */
	const char *name;   /* of the kind, for programs */
	const char *remedy; /* for people */
	char words[200];    /* what is wrong; the key is for the caller: */
	uint8_t klen;	    /* 0: not known, or of none */
	uint8_t key[KV_KEY_BYTES_MAX];
};

struct kv_check_sum {
	uint64_t records, pages, stripes; /* looked at */
	uint64_t bytes;
	uint64_t wrong, mended, lost; /* leaks are none of them */
	uint64_t leaks, returned;     /* damages of space; mended ones */
	uint64_t leaked_bytes;	      /* of these */
};

struct kv_check_opts {
	bool mend; /* write right bytes over wrong ones */
	/* Empty slots that are wrong, or set them right; nobody else may have
	 * the pool open then (they are told of, and left, while somebody has).
	 * For a repair that was asked for, not for a scrub. */
	bool slots;
	bool drop_lost; /* a slot whose record is lost is emptied */
	bool space;	/* note what is named, for kv_check_space() */
	bool gone;	/* which looks only at what clients left that are
			 * gone: see there */
	uint64_t rate;	/* bytes a second; 0: no limit */
	/* Any may be NULL. @damage: once for each. @going: now and then; not 0:
	 * the call under way ends with -ECANCELED. */
	void (*damage)(void *arg, const struct kv_damage *d);
	int (*going)(void *arg);
	void *arg;
};

struct kv_check;

/* Errors: -ENOMEM; -ETIMEDOUT, -EIO if nodes do not tell of their blocks. */
int kv_check_open(struct kv *kv, const struct kv_check_opts *opts,
		  struct kv_check **out);
void kv_check_close(struct kv_check *c); /* NULL is fine */
void kv_check_sum(const struct kv_check *c, struct kv_check_sum *out);

/* @bytes more were looked at by the caller: keep to the rate, ask opts.going.
 * Errors: -ECANCELED. */
int kv_check_pace(struct kv_check *c, uint64_t bytes);

/* Every slot of every shard, and the records they name. */
int kv_check_index(struct kv_check *c);

/* How much there is for kv_check_index() and how much of it is done: slots. */
void kv_check_progress(const struct kv_check *c, uint64_t *done,
		       uint64_t *total);

/* One page that a value names. @still(arg) says if it does still: 1, 0, or
 * -errno. Returns 0 if it is right (now); -EIO if it is lost; -ESTALE if it is
 * not named any more. */
int kv_check_page(struct kv_check *c, struct kv_page page,
		  int (*still)(void *arg), void *arg);
/* Only note that it is named. */
void kv_check_name_page(struct kv_check *c, struct kv_page page);

/* Space that nothing names and that is not marked as obsolete: only blocks
 * that were closed when @c was opened are looked at. All that is named must
 * have been noted since. Mending returns it: do that only if no operation of
 * anyone may be under way that began before kv_check_open(): when alone, or
 * after waiting for as long as an operation may take. */
int kv_check_space(struct kv_check *c);
/* With @gone nothing has to be waited for: of pages that only clients wrote
 * which were gone for good at kv_check_open() (kv_client_swept()) ever fewer
 * are named. So whoever meets every key that stays, in whichever version,
 * knows all that may be. Only pages have to be noted then: what slots name is
 * read here, and of blocks of records only what is none is returned, which
 * clients that are gone had half written (client/check_left.c). Errors: -EAGAIN
 * shards have moved meanwhile, and keys with them: begin again. The
 * coordinator is told what was returned. */

/* Every stripe's parities, by the nodes that keep them; mending makes them
 * anew from the data, which must have been checked before. */
int kv_check_stripes(struct kv_check *c);

/* --- harming -------------------------------------------------------------- */

struct kv_harm {
	uint64_t seed;
	uint32_t bits;	 /* to flip, at random */
	uint32_t copy;	 /* 0 the data, 1.. what parity node copy - 1 has */
	bool hint;	 /* the version in the slot instead */
	uint8_t node;	 /* out: where */
	uint64_t offset; /* out: the first flipped byte */
};

/* Flip bits of the record of @key (but for its fate, which no CRC covers), of
 * a page, or of [@offset, + @len) on @node. Not for the living. Errors: as of
 * kv_where(); -EINVAL; -EHOSTDOWN. */
int kv_harm_key(struct kv *kv, const void *key, size_t klen, struct kv_harm *h);
int kv_harm_page(struct kv *kv, struct kv_page page, struct kv_harm *h);
int kv_harm_at(struct kv *kv, uint8_t node, uint64_t offset, uint32_t len,
	       struct kv_harm *h);

#endif
