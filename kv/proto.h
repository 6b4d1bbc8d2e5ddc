/* kv/proto.h - the messages: client to node, client to coordinator,
 * coordinator to node. Little-endian structs, sizes checked by the receiver
 * (-EPROTO), values by the handler (-EINVAL). Answers follow their question. */
#ifndef ACESO_KV_PROTO_H
#define ACESO_KV_PROTO_H
#include <stddef.h>
#include <stdint.h>

#include "kv/layout.h"
#include "kv/view.h"

#define PROTO_MAGIC   0x4f534341u
#define PROTO_VERSION 10u

enum proto_role { PROTO_CLIENT = 1, PROTO_NODE, PROTO_COORD, PROTO_TOOL };

/* What an attaching process says first (fab_net_attach's hello). */
struct proto_hello {
	uint32_t magic, version;
	uint32_t role;	 /* enum proto_role */
	uint32_t client; /* its id, once it has one */
	uint64_t epoch;
	uint8_t uuid[16];  /* of the pool; zeros: not known yet (JOIN) */
	uint64_t instance; /* of the node that is meant: kv/hello.h; 0: any that
			    * has none */
	uint64_t self;	   /* of a node that says it: hello_self(); else 0 */
};

enum proto_call {
	/* to a node */
	PROTO_ALLOC = 1, /* proto_alloc -> proto_grant          leader only */
	PROTO_OPEN,	 /* proto_open -> proto_opened */
	PROTO_CANCEL,	 /* proto_seal (used ignored) -> nothing */
	PROTO_SEAL,	 /* proto_seal -> nothing */
	PROTO_MARK,	 /* proto_mark -> proto_marked */
	PROTO_STATS,	 /* nothing -> proto_stats */
	PROTO_VIEW,    /* proto_view_set -> nothing     from the coordinator */
	PROTO_REBUILD, /* proto_rebuild -> proto_rebuilt    answered at the end;
			* to ask again is to be told again, and later asks
			* are answered in place of earlier ones */
	PROTO_RETIRE,  /* proto_retire -> proto_retired     between nodes */
	PROTO_FREE,    /* proto_retire -> nothing           between nodes */
	PROTO_STOP,    /* nothing -> nothing            from the coordinator */
	PROTO_SWEEP,   /* proto_sweep -> proto_swept    from the coordinator */
	PROTO_ORPHANS, /* proto_orphans -> nothing      from the coordinator */
	PROTO_KEEP,    /* proto_keep -> nothing         between nodes */
	PROTO_RESTORE, /* proto_restore -> proto_restored, at once: begin, or
			* go on, and tell how far it is */
	PROTO_WANT,    /* proto_want -> nothing         a hint */
	PROTO_CUT,     /* proto_cut -> nothing          from the coordinator */
	PROTO_STORE,   /* proto_cut -> nothing          answered at the end */
	PROTO_CHECK,   /* proto_check -> proto_checked */
	PROTO_CLOCK,   /* proto_clock -> proto_clock    between nodes */
	PROTO_CKPT,    /* ckpt_req -> ckpt_ack          between nodes */
	PROTO_READY,   /* proto_ready -> nothing        between nodes */
	PROTO_RESUME,  /* proto_retire -> nothing       between nodes */
	PROTO_ZEROS,   /* proto_zeros -> nothing */
	PROTO_PING = 32, /* nothing -> nothing          anyone */
	PROTO_FENCE,	 /* proto_fence -> nothing      from the coordinator */
	PROTO_OWNED,	 /* proto_owned -> proto_owns */
	PROTO_FORSAKE,	 /* proto_seal (used ignored) -> nothing */
	/* to the coordinator */
	PROTO_JOIN = 64, /* proto_join -> proto_joined */
	PROTO_WATCH,   /* proto_watch -> proto_view_set when newer than known */
	PROTO_SUSPECT, /* proto_suspect -> nothing */
	PROTO_STATUS,  /* nothing -> JSON text, see docs/status.md */
	PROTO_LEAVE,   /* nothing -> nothing */
	PROTO_CHANGED, /* nothing -> nothing            since the last cut */
	PROTO_PERSIST, /* proto_persist -> nothing      when it is durable */
	PROTO_COME,    /* proto_come -> proto_came      from a node */
	PROTO_SCRUB = 96, /* proto_scrub -> proto_scrub */
	PROTO_REJOIN,	  /* proto_rejoin -> proto_view_set */
	PROTO_BEAT,	  /* nothing -> proto_beaten */
	PROTO_LIVES,	  /* proto_lives -> proto_lived */
	PROTO_RETURNED,	  /* proto_returned -> nothing */
};

struct proto_alloc {
	uint64_t epoch;
	uint64_t avoid; /* data nodes rather not, bit n */
	uint32_t owner;
	uint8_t kind; /* enum block_kind */
	uint8_t urgent;
	uint16_t run;	 /* units in a row that must be free in it */
	uint64_t ticket; /* like proto_open's */
};

struct proto_grant {
	uint64_t stripe;
	uint64_t opened; /* index version */
	uint32_t role, delta, life;
	uint32_t again; /* 1: opened again (ec/again.h): OPEN at the granting
			 * node too, last; its bitmap there until then says
			 * which units are free */
};

struct proto_open {
	uint64_t epoch, stripe, opened;
	uint32_t role, owner, life;
	uint8_t kind, pad[3];
	uint64_t ticket; /* of the asker's attempts: 1, 2 ...; 0: no number */
};

struct proto_opened {
	uint32_t delta; /* + 1; 0 on the data node */
	uint32_t pad;
};

struct proto_seal {
	uint64_t epoch, stripe;
	uint32_t role, owner, life, used;
	uint32_t torn; /* ROWS: 1: data and parity may disagree somewhere */
	uint32_t pad;
};

/* "What is OPEN in my name, or granted to me, at yours? My attempts up to
 * @over have ended": whatever of them comes after this is refused. */
struct proto_owned {
	uint64_t over;
	uint32_t owner, pad;
};

/* More than a client knows of: if there are others, some here are not its. */
#define PROTO_OWNS_MAX 1024u

struct proto_owns {
	uint32_t n;
	uint32_t more; /* 1: there are others */
	struct {
		uint64_t stripe;
		uint32_t role, life;
	} block[PROTO_OWNS_MAX]; /* @n are sent */
};

#define PROTO_OWNS_BYTES(n)                                                    \
	(offsetof(struct proto_owns, block) +                                  \
	 (n) * sizeof(((struct proto_owns *)0)->block[0]))

#define PROTO_MARKS_MAX 1024u

struct proto_mark_one {
	uint64_t stripe;
	uint32_t role, life;
	uint32_t at, len; /* in units */
};

struct proto_mark {
	uint64_t epoch;
	uint32_t n, pad;
	struct proto_mark_one mark[]; /* n <= PROTO_MARKS_MAX */
};

/* Checkpoints of the shards that a node serves; counted since its start. */
struct proto_ckpt_stats {
	uint64_t rounds, skipped;	 /* skipped: nothing had changed */
	uint64_t scanned, changed, sent; /* bytes looked at; found; shipped */
	uint64_t failed;		 /* peers left out of a round */
	uint64_t work_ns;		 /* making rounds: comparing, packing */
	uint64_t folded_ns;		 /* keeping images of others */
	uint64_t age_ns; /* of the oldest image of a shard served here */
	uint32_t shards; /* served here */
	uint32_t imaged; /* of them: with an image somewhere */
	uint64_t restores, replays; /* shards brought back from an image, or by
				     * reading all */
	uint64_t replayed;	    /* bytes of blocks read for them */
};

/* Which of them were not taken: bit n for mark n. */
struct proto_marked {
	uint64_t stale[PROTO_MARKS_MAX / 64]; /* the block's life is another */
	uint64_t busy[PROTO_MARKS_MAX / 64];  /* not now: ask again */
};

struct proto_stats {
	uint64_t capacity, used;	/* bytes of this node: blocks; in use */
	uint64_t data_total, data_free; /* blocks it leads */
	uint64_t delta_total, delta_used; /* blocks */
	uint64_t dead_bytes;
	uint64_t slots, slots_used, tombs;
	uint64_t folds, retires, fold_backlog;
	uint64_t rebuild_done, rebuild_total; /* bytes, while REBUILDING */
	uint64_t rss_beyond; /* resident bytes beyond the region */
	uint32_t block_bytes, open_blocks;
	uint64_t reserve; /* blocks it leads, not for every ask */
	struct proto_ckpt_stats ckpt;
};

#define PROTO_ADDRESS_BYTES 108u

struct proto_view_set {
	struct view view;
	char address[64][PROTO_ADDRESS_BYTES]; /* of the nodes; "" none */
};

/* @least: images with a lower note are too old to be used: rounds.h. */
struct proto_rebuild {
	uint64_t epoch;
	uint32_t shard, pad;
	uint64_t least;
};

struct proto_rebuilt {
	uint64_t records, bytes; /* read, scanned */
	uint64_t keys;		 /* of the records, brought back */
	uint64_t note;		 /* of the image it began with; 0: none */
	uint64_t kept;		 /* slots taken from that */
};

/* "My clock is at @clock; so may yours be, at least." The answer is the
 * receiver's then. See kv/node/rounds.h. */
struct proto_clock {
	uint64_t epoch, clock;
};

/* To a node that is COMING: bring its blocks back. */
struct proto_restore {
	uint64_t epoch;
};

struct proto_restored {
	uint32_t done;	/* 1: all of it is here */
	uint32_t ended; /* 1: what is not cannot be had from who is up */
	uint64_t bytes_done, bytes_total;
	uint64_t bytes_kept;	 /* of those done: were here still */
	uint64_t bytes_lost;	 /* that cannot be had, as far as is known */
	uint32_t blocks_lost;	 /* in so many blocks */
	uint32_t blocks_unknown; /* and in these nobody knows what was */
};

/* A client reads this block of a node that is COMING, the hard way. */
struct proto_want {
	uint64_t stripe;
	uint32_t role, pad;
};

/* Pages of zeros are about to be named in this block of the node's: so not all
 * that is zero there, should its owner die, was never written. */
struct proto_zeros {
	uint64_t stripe;
	uint32_t role, life;
};

struct proto_retire {
	uint64_t epoch, stripe;
	uint32_t role, life;
	uint8_t again; /* to be opened again, not freed */
	uint8_t kind;  /* what the leader takes it for; PAGES ends ROWS */
	uint8_t split; /* that alone: nothing else is done */
	uint8_t pad[5];
};

struct proto_retired {
	uint32_t done;
	uint32_t life; /* the block's */
	uint8_t state; /* enum block_state */
	uint8_t ready; /* to be opened again */
	uint8_t kind;
	uint8_t zeroed; /* ready, and what is free is zero here */
	uint8_t pad[4];
};

/* All members have retired it: be READY, with these units free. */
struct proto_ready {
	uint64_t epoch, stripe;
	uint32_t role, life;
	uint32_t zero; /* and zero them: no durable cut needs them */
	uint32_t pad;
	uint64_t map[]; /* block bytes / 64 / 64 words */
};

#define PROTO_SWEEP_LIVES_MAX 125u

/* Find records that no slot points to and mark them dead; then drop the
 * tombstones that were there when phase 1 began. See kv/node/sweep.c. */
struct proto_sweep {
	uint64_t epoch;
	uint64_t round; /* to ask again for one is to be told again */
	uint32_t phase;
	uint32_t next;	/* a client of this id or a higher one may live, and */
	uint32_t lives; /* so many of: */
	uint32_t life[PROTO_SWEEP_LIVES_MAX]; /* or, if more do, all */
};

struct proto_swept {
	uint64_t records, marked;
	uint64_t tombs; /* noted; dropped. Of the second phase: records of
			 * clients that are gone, which no slot names and which
			 * could not be marked now */
};

/* The client @owner is dead and cut off [I6]: close the blocks it left open.
 * Asking again is harmless. */
struct proto_orphans {
	uint64_t epoch;
	uint32_t owner, pad;
};

/* The client @client is out: its connections are cut when this is answered, and
 * it is refused for as long as the node's process lives [I6]. Asking again is
 * harmless. See docs/security.md for what that enforces. */
struct proto_fence {
	uint64_t epoch;
	uint32_t client, pad;
};

/* Is what you keep as parity @parity of @stripe right? See ec/check.h. */
struct proto_check {
	uint64_t epoch, stripe;
	uint32_t parity;
	uint32_t mend; /* 1: make it right */
};

struct proto_checked {
	uint64_t bytes, wrong;
	uint32_t mended, pad;
};

enum proto_scrub_what {
	PROTO_SCRUB_ASK = 1, /* how is it? */
	PROTO_SCRUB_BEGIN,   /* "I scrub now": -EALREADY somebody does */
	PROTO_SCRUB_TELL,    /* "so far": the answer's @wanted is to be done */
	PROTO_SCRUB_END,     /* "so it ended" */
	PROTO_SCRUB_WANT,    /* it shall be @wanted; -ENOENT nobody scrubs */
};

enum proto_scrub_state {
	PROTO_SCRUB_NONE,
	PROTO_SCRUB_RUNNING,
	PROTO_SCRUB_PAUSED,
	PROTO_SCRUB_STOPPED,
	PROTO_SCRUB_DONE,
};

struct proto_scrub {
	uint32_t what;	 /* of a question: enum proto_scrub_what */
	uint32_t wanted; /* enum proto_scrub_state */
	uint32_t state, pad;
	uint64_t done, total; /* of the work, in bytes or so */
	uint64_t rate;	      /* bytes a second */
	uint64_t objects, bytes;
	uint64_t wrong, mended, lost;
};

#define PROTO_KEEPS_MAX 1024u

/* To the host of @shard, from a node that sweeps: not to be dropped now are
 * the tombstones in these slots (numbers within the shard), for a record that
 * they cover lies where it cannot be marked yet. */
struct proto_keep {
	uint64_t epoch;
	uint32_t shard, n;
	uint32_t slot[]; /* n <= PROTO_KEEPS_MAX */
};

/* CUT: make cut @number. STORE: write it to the file of slot @slot. See
 * kv/node/durable.h. */
struct proto_cut {
	uint64_t epoch, number;
	uint32_t slot, pad;
};

/* A durable checkpoint is wanted now. @wait: answered when one whose cut is
 * made after this is durable; else at once. Errors: -EOPNOTSUPP the pool has
 * no directory. */
struct proto_persist {
	uint32_t wait, pad;
};

struct proto_join {
	struct proto_hello hello;
	int32_t pid;
	uint32_t pad;
	char what[64]; /* for people: "aceso-fuse /mnt/x" */
};

struct proto_joined {
	uint32_t client; /* the id given; never used before in this pool */
	uint32_t lease_ms;
	/* 1: nobody can end its process: it is fenced by the nodes, and holds
	 * itself when its lease is over, kv/client/lease.h */
	uint32_t leased, pad;
	struct layout_super super;
	struct view view;
	char address[64][PROTO_ADDRESS_BYTES];
};

/* From a client that lost its coordinator, to it or to another: "I am @client
 * and in the view of @epoch." Answered with the view that holds. Errors:
 * -ESTALE it was fenced, for good; -EAGAIN this one does not lead (any more).
 */
struct proto_rejoin {
	uint64_t epoch;
	uint32_t client;
	int32_t pid;
	char what[64]; /* as of proto_join */
};

/* "You are a member still", said by who leads: @sure, or led a while ago and
 * cannot know. Errors: -ESTALE "you are none any more". */
struct proto_beaten {
	uint64_t epoch;
	uint32_t sure, pad;
};

/* Is @client in the pool? -EAGAIN from one that does not lead for certain. */
struct proto_lives {
	uint32_t client, pad;
};

struct proto_lived {
	uint32_t lives; /* 0: it has left, or is dead and fenced */
	/* 1: and a sweep that began after that has ended: of its records only
	 * those that slots name are left, and none can come to light again */
	uint32_t swept;
};

/* A client has looked for what the dead left: so much of it was in nobody's use
 * and is obsolete now. */
struct proto_returned {
	uint64_t bytes;
};

/* "I have adopted @epoch: no operation of mine under way touches a node that
 * is DOWN in it, and my commit marks and kills are written." Answered with
 * the next view, as a proto_view_set; or with the same one after @wait_ms. */
struct proto_watch {
	uint64_t epoch;
	uint32_t wait_ms, pad;
};

#define PROTO_WORDS_BYTES 64u

/* "I am node @id of the pool", from a process of a pool over several hosts;
 * said once a second for as long as it lives. Errors: -EAGAIN this is not the
 * coordinator now: ask another; -ESTALE this process was given up, and others
 * may have taken over what it had: it is to end, and another to be started;
 * -EACCES another pool's; -EINVAL another shape; -EBUSY the coordinator knows
 * of no pool, and the node does. */
struct proto_come {
	uint32_t id;
	int32_t pid;
	uint64_t instance;
	uint8_t uuid[16];
	uint64_t shape; /* layout_sum() */
	uint64_t epoch; /* of the view it goes by; 0: it never had one */
	char address[PROTO_ADDRESS_BYTES]; /* for views: with the instance */
	char host[PROTO_WORDS_BYTES];	   /* for people: the host's name */
	char why[PROTO_WORDS_BYTES];	   /* its transport is what it is */
	uint32_t
		former; /* 1: its memory has blocks of before it was given up */
};

enum proto_come_state {
	PROTO_CAME_WAITS = 1, /* for others, or for the death of the last one */
	PROTO_CAME_MEMBER,    /* it is in the view */
};

struct proto_came {
	uint32_t state; /* enum proto_come_state */
	uint32_t lease_ms;
	uint64_t epoch;
};

struct proto_suspect {
	uint64_t epoch;
	uint32_t node, pad;
};

#endif
