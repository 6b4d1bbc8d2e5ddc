/* kv/client/check_impl.h - private to kv/client/check*.c.
 *
 *   check.c         a pass: blocks as they were at its beginning, what is told
 *   check_object.c  one record or page: its bytes, and copies of them
 *   check_index.c   slots and what they name
 *   check_space.c   marks of obsolete units against what is named
 *   check_left.c    records that the dead had begun to write
 *   check_stripes.c parities: asks their nodes */
#ifndef ACESO_KV_CLIENT_CHECK_IMPL_H
#define ACESO_KV_CLIENT_CHECK_IMPL_H
#include "ec/block.h"
#include "kv/check.h"
#include "kv/client/client_impl.h"
#include "kv/object.h"
#include "kv/slot.h"

#define CHECK_LOOKS   5u		   /* before something is damaged */
#define CHECK_LOOK_NS UINT64_C(20000000)   /* between two of them */
#define CHECK_OP_NS   UINT64_C(5000000000) /* for one read or so */
#define CHECK_ASK_NS  UINT64_C(1000000000) /* for a node to answer */
#define CHECK_SLICE   (256u * 1024)	   /* bytes between looks at the rate */

struct check_doubt {  /* to be looked at again at the end */
	uint8_t kind; /* enum kv_damage_kind */
	uint32_t shard;
	uint64_t slot, word;
};

struct check_key {
	uint64_t hash, slot, word;
	uint32_t shard;
};

struct kv_check {
	struct kv *kv;
	struct kv_thread *t;
	struct kv_check_opts o;
	const struct group *g;
	struct kv_check_sum sum;
	struct block_rec *rec[FAB_NODES_MAX]; /* as of open; NULL: was down */
	uint64_t *named;		      /* a bit for each unit of data */
	uint64_t moves;			      /* member_moves() at open */
	uint32_t *gone;			      /* clients that were, sorted */
	size_t gones;
	uint64_t begin_ns, paced; /* of the rate: bytes so far */
	uint64_t done, total;	  /* slots */
	struct check_doubt *doubt;
	size_t doubts, doubts_cap;
	struct check_key *key;
	size_t keys, keys_cap;
	char *buf; /* OBJECT_BYTES_MAX */
	char *copy;
};

/* With opts.gone: which owners of blocks were gone at open, to c->gone.
 * Errors: -ENOMEM. */
int check_space_open(struct kv_check *c);

/* A block whose units are compared with what is named. */
struct block_look {
	uint64_t stripe;
	uint32_t role;
	struct block_rec rec;
	uint64_t *dead; /* bitmap of obsolete units */
	char *bytes;	/* room for them */
};

/* Note what slots name. Errors: as of scan_slots(); -ECANCELED. */
int check_left_names(struct kv_check *c);
/* A block of records, closed for one that is gone: set in @b->dead, too, what
 * may not be touched, as names alone do not tell. 1; 0: all of it; -errno. */
int check_left_records(struct kv_check *c, struct block_look *b);

/* One thing that is named, and must be right. */
struct check_object {
	fab_addr addr;
	uint32_t len;
	char *buf; /* its right bytes, in the end */
	bool (*right)(void *arg, const void *buf);
	int (*still)(void *arg); /* is it named? 1, 0, -errno */
	void *arg;
	enum kv_damage_kind kind;
	const uint8_t *key, *klen; /* of a record, once @right said yes */
	const char *what;	   /* for people */
};

/* Verify, tell, mend. 0 right (now); -EIO lost; -ESTALE not named any more;
 * -errno. */
int check_object(struct kv_check *c, struct check_object *o);

/* Tell of a damage; @key may be NULL. */
void check_tell(struct kv_check *c, enum kv_damage_kind kind,
		enum kv_damage_state state, const void *key, size_t klen,
		const char *fmt, ...) __attribute__((format(printf, 6, 7)));

void check_name(struct kv_check *c, fab_addr addr, uint32_t units);
bool check_is_named(const struct kv_check *c, uint64_t stripe, uint32_t role,
		    uint32_t unit);

/* Is the unit at @addr marked as obsolete, by its own node? */
bool check_is_marked(struct kv_check *c, fab_addr addr);

/* One operation; 0 or -errno. */
int check_read(struct kv_check *c, uint8_t node, uint64_t off, void *buf,
	       uint32_t len);
int check_write(struct kv_check *c, uint8_t node, uint64_t off, const void *buf,
		uint32_t len);

/* Is what was read from @node a moment ago what all see there? Not if its
 * process is dead: its memory may still be read by those who have not heard of
 * that, but others put nothing there any more. */
bool check_answers(struct kv_check *c, uint8_t node);

/* The record of (stripe, role) at the member of role @at, now. */
int check_rec(struct kv_check *c, uint64_t stripe, uint32_t role, uint32_t at,
	      struct block_rec *out);

static inline uint64_t check_deadline(struct kv_check *c)
{
	return fab_now(c->t->fab) + CHECK_OP_NS;
}

#endif
