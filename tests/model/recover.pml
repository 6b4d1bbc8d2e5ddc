/* tests/model/recover.pml - slots, records, blocks, checkpoint images and
 * recovery together: what a replay that reads only young blocks gives back.
 *
 * Two keys, a slot each, in one shard; two clients that put and delete; the
 * shard's host, which dies and is recovered; blocks of UNITS records, which are
 * opened, sealed, freed, and opened again in place. Every atomic step is one
 * remote operation, or one step under a node's lock. What stands for what:
 *
 *   client       kv/client/commit.c: record PENDING, CAS, fate, answer; parks
 *                where the host's death left the outcome open (C1-C3); then
 *                gives back what it superseded (space.h, marks.h)
 *   host         kv/node/rounds.c: clock on, tick, T, the slots one by one, the
 *                image shipped with its note (K1, K2; checkpoint/ sees to it
 *                that an image is whole)
 *   death        DOWN; when all have settled REPLAY (replay.c, newest.c,
 *                merge.c: N1, R1, R2, I1-I4), SETTLING, SERVING (view.h)
 *   space        seals with the keeper's clock (client/block_seal.c; of the
 *                dead: cut.c), frees (ec/fold.h); opening again in place is
 *                the client's (ec/again.h: A1, A3)
 *   sweep        takes out a tombstone (kv/node/sweep.c: T1, T2; K3)
 *   ch, cn       clocks of the host and of who keeps the blocks
 *   least        the coordinator's least note (coord_rebuild.c, coord_sweep.c)
 *
 * Not here: two inserts (insert.pml), SOLO (update.pml), several copies (blocks
 * survive), tentative slots, swings that are undone (C4: the CAS compares whole
 * versions; what the image keeps is compared by its low bits, here one), K3 of
 * a restart. A replay is one step: R1 says why that may be.
 *
 * Checked after each recovery: a slot names a whole record of
 * its very key and version, that is neither KILLED nor free to be written; not
 * older than what it ever named, nor, at the version that was acknowledged,
 * another than the one that was; an empty slot is one whose tombstone was
 * dropped, and that key's older records do not come back. And I4: no slot that
 * is given up lacks its winner.
 *
 * MUTATE= leaves one rule out, which must do harm:
 *   1 the round waits for no other clock (K1: a block sealed after T is stamped
 *     before the note, and passed over)
 *   2 the note is the clock at the image's end, not before T
 *   3 blocks are sealed though an operation with a record in them is under way
 *   4 a tombstone is dropped and old images are still used (K3)
 *   5 a replay is done and old images are still used (K3)
 *   6 slots of the image that name a block that was read stay (I3: the unit is
 *     another key's by now)
 *   7 what is to be superseded is given back before the CAS
 *   8 marks do not say of which life they are (A3)
 *   9 a tombstone is dropped though open blocks hold older records (T1)
 * OPS0=, OPS1=, DEATHS=, ROUNDS=, SWEEPS=: how many of each there may be. Of the
 * clients one may die. check.sh has the runs. */
#ifndef MUTATE
#define MUTATE 0
#endif
#ifndef OPS0
#define OPS0 1
#endif
#ifndef OPS1
#define OPS1 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef SWEEPS
#define SWEEPS 1
#endif
#ifndef BLOCKS
#define BLOCKS 3
#endif
#define UNITS 2
#define RECORDS (BLOCKS * UNITS)
#define KEYS 2
#define ANEW 5	/* the first version of a later index version */
#define NOWHERE 255

#define FREE 0
#define OPEN 1
#define SEALED 2
#define PENDING 0
#define COMMITTED 1
#define KILLED 2
#define LIVE 0
#define GIVEN 1	/* its block's opener may write there again (units.h) */
#define MARKED 2	/* obsolete, with all members */
#define SERVING 0
#define DOWN 1
#define SETTLING 2

/* Records, by address; block a / UNITS. key 0: zeros. */
typedef record { byte key, ver, fate, life, use; bool tomb }
typedef block { byte state, owner, life, stamp }
typedef slot_t { byte at, ver }	/* at: address + 1, 0: empty */
record r[RECORDS];
block b[BLOCKS];
slot_t slot[KEYS];

byte up = SERVING;
byte gen, epoch;	/* of the host; of the view */
byte ch = 1, cn = 1;
byte least, note;
slot_t image[KEYS];

bool settled[2] = true, adopted[2] = true, parked[2], dead[2];
byte hold[2];		/* the block + 1 in which an operation has a spot */
byte deaths, died;

/* Ghosts: the highest version that the slot named; that was acknowledged. */
byte seen[KEYS], acked[KEYS];
bool dropped[KEYS];	/* the tombstone of seen[] */

/* A new view: its clock is ahead of all others. */
inline new_view()
{
	epoch++;
	ch = (ch > cn -> ch : cn) + 1
}

inline swing(k, to, v)
{
	slot[k].at = to + 1; slot[k].ver = v;
	if
	:: v > seen[k] -> seen[k] = v; dropped[k] = false
	:: else
	fi
}

/* --- clients -------------------------------------------------------------- */

#define CAN_TAKE(a) (b[(a) / UNITS].state == OPEN && \
	b[(a) / UNITS].owner == me && (r[a].key == 0 || r[a].use == GIVEN))
#if BLOCKS > 2
#define HAS_SPOT (CAN_TAKE(0) || CAN_TAKE(1) || CAN_TAKE(2) || \
	CAN_TAKE(3) || CAN_TAKE(4) || CAN_TAKE(5))
#else
#define HAS_SPOT (CAN_TAKE(0) || CAN_TAKE(1) || CAN_TAKE(2) || CAN_TAKE(3))
#endif
#define CAN_OPEN(i) (b[i].state == FREE || (b[i].state == SEALED && \
	(r[(i) * UNITS].use == MARKED || r[(i) * UNITS + 1].use == MARKED)))

inline wipe(i)
{
	r[i].key = 0; r[i].ver = 0; r[i].fate = 0; r[i].life = 0;
	r[i].use = LIVE; r[i].tomb = false
}

/* A FREE block, or one with marked units, which are zeroed (A1);
 * and a unit of it. */
inline open(i)
{
	if
	:: b[i].state == FREE || r[(i) * UNITS].use == MARKED ->
		wipe((i) * UNITS)
	:: else
	fi;
	if
	:: b[i].state == FREE || r[(i) * UNITS + 1].use == MARKED ->
		wipe((i) * UNITS + 1)
	:: else
	fi;
	b[i].state = OPEN; b[i].owner = me; b[i].life++; b[i].stamp = 0;
	a = (r[(i) * UNITS].key == 0 -> (i) * UNITS : (i) * UNITS + 1)
}

/* The unit @un, of a block that was in its life @was when it was live. */
inline give(un, was)
{
	if
	:: b[(un) / UNITS].state == FREE
	:: b[(un) / UNITS].state != FREE && b[(un) / UNITS].life != was &&
	   MUTATE != 8
	:: else ->
		if
		:: b[(un) / UNITS].state == OPEN &&
		   b[(un) / UNITS].owner == me &&
		   r[un].life == b[(un) / UNITS].life -> r[un].use = GIVEN
		:: else -> r[un].use = MARKED
		fi
	fi
}

inline may_die()
{
	if
	:: skip
	:: atomic { died == 0 -> died++; dead[me] = true; goto over }
	fi
}

proctype client(byte me; byte ops)
{
	byte k, a, v, old, old_ver, old_life;
	bool tomb, won, unknown;

end:
	do
	:: ops == 0 -> break
	:: atomic { ops > 0 && up == SERVING && me == 0 -> k = 0 };
		goto begin
	:: atomic { ops > 0 && up == SERVING && me == 1 -> k = 0 };
		goto begin
	:: atomic { ops > 0 && up == SERVING && me == 1 -> k = 1 };
begin:
end_begin:	/* what the slot names now */
		atomic {
			up == SERVING;
			ops--; old = slot[k].at; old_ver = slot[k].ver;
			if
			:: old == 0 -> v = ANEW; tomb = false
			:: old != 0 -> v = old_ver + 1; tomb = false
			:: old != 0 && me == 0 -> v = old_ver + 1; tomb = true
			fi
		};
end_spot:	/* 1: the record, whole in all copies */
		atomic {
			if
			:: CAN_TAKE(0) -> a = 0
			:: CAN_TAKE(1) -> a = 1
			:: CAN_TAKE(2) -> a = 2
			:: CAN_TAKE(3) -> a = 3
#if BLOCKS > 2
			:: CAN_TAKE(4) -> a = 4
			:: CAN_TAKE(5) -> a = 5
#endif
			:: !HAS_SPOT && CAN_OPEN(0) -> open(0)
			:: !HAS_SPOT && CAN_OPEN(1) -> open(1)
#if BLOCKS > 2
			:: !HAS_SPOT && CAN_OPEN(2) -> open(2)
#endif
			fi;
			r[a].key = k + 1; r[a].ver = v; r[a].tomb = tomb;
			r[a].fate = PENDING; r[a].use = LIVE;
			r[a].life = b[a / UNITS].life;
			hold[me] = a / UNITS + 1; settled[me] = false;
#if MUTATE == 7
			if
			:: old != 0 -> give(old - 1, b[(old - 1) / UNITS].life)
			:: else
			fi
#endif
		};
		may_die();
		/* 2: the CAS */
		atomic {
			if
			:: up == DOWN -> unknown = true
			:: up != DOWN && slot[k].at == old &&
			   slot[k].ver == old_ver ->
				won = true; swing(k, a, v);
				if
				:: old != 0 ->
					old_life = b[(old - 1) / UNITS].life
				:: else
				fi
			:: else -> won = false
			fi
		};
		may_die();
		atomic {
			if
			:: up == DOWN -> unknown = true	/* no answer */
			:: skip
			fi;
			if
			:: unknown -> settled[me] = true; adopted[me] = true;
				parked[me] = true
			:: else -> goto decided
			fi
		};
		atomic {	/* the next view: what has the replay made of it? */
			up == SETTLING;
			settled[me] = false; parked[me] = false;
			unknown = false;
			won = (slot[k].at == a + 1 && slot[k].ver == v);
			if
			:: won && old != 0 ->
				old_life = b[(old - 1) / UNITS].life
			:: else
			fi
		};
		may_die();
decided:
		/* 3: its fate, before anyone is told */
		atomic {
			r[a].fate = (won -> COMMITTED : KILLED);
			settled[me] = true; adopted[me] = true
		};
		may_die();
		atomic {
			if
			:: won && v > acked[k] -> acked[k] = v
			:: else
			fi
		};
		/* and give back what is superseded, or its own */
		atomic {
			if
			:: won && old != 0 && MUTATE != 7 ->
				give(old - 1, old_life)
			:: !won -> give(a, r[a].life)
			:: else
			fi;
			hold[me] = 0;
			a = 0; v = 0; old = 0; old_ver = 0; old_life = 0;
			k = 0; tomb = false; won = false
		}
	od;
over:
	atomic { settled[me] = true; adopted[me] = true; hold[me] = 0 }
}

/* --- blocks --------------------------------------------------------------- */

#define IS_DEAD(i) (r[i].key == 0 || r[i].use == MARKED)
#define CAN_SEAL(i) (b[i].state == OPEN && \
	(MUTATE == 3 || hold[b[i].owner] != (i) + 1))

inline seal(i)
{
	b[i].state = SEALED; b[i].stamp = cn;
	if
	:: r[(i) * UNITS].use == GIVEN -> r[(i) * UNITS].use = MARKED
	:: else
	fi;
	if
	:: r[(i) * UNITS + 1].use == GIVEN -> r[(i) * UNITS + 1].use = MARKED
	:: else
	fi
}

#define CAN_FREE(i) (b[i].state == SEALED && IS_DEAD((i) * UNITS) && \
	IS_DEAD((i) * UNITS + 1))

inline free(i)
{
	b[i].state = FREE; wipe((i) * UNITS); wipe((i) * UNITS + 1);
	b[i].owner = 0; b[i].stamp = 0
}

proctype space()
{
end:
	do
	:: atomic { CAN_SEAL(0) -> seal(0) }
	:: atomic { CAN_SEAL(1) -> seal(1) }
	:: atomic { CAN_FREE(0) -> free(0) }
	:: atomic { CAN_FREE(1) -> free(1) }
#if BLOCKS > 2
	:: atomic { CAN_SEAL(2) -> seal(2) }
	:: atomic { CAN_FREE(2) -> free(2) }
#endif
	od
}

/* --- deleted keys --------------------------------------------------------- */

proctype sweep()
{
	byte n, i, k, at, g, life;
	bool keep;

end:
	do
	:: n == SWEEPS -> break
	:: else ->
end_note:	/* note a tombstone; mark what is older */
		atomic {
			n < SWEEPS && up == SERVING && slot[0].at != 0 &&
			r[slot[0].at - 1].tomb;
			n++; k = 0; at = slot[k].at; g = gen; i = 0;
			do
			:: i == RECORDS -> break
			:: else ->
				if
				:: r[i].key == k + 1 && i + 1 != at &&
				   r[i].use != MARKED ->
					if
					:: b[i / UNITS].state == OPEN &&
					   MUTATE != 9 -> keep = true
					:: b[i / UNITS].state == OPEN &&
					   MUTATE == 9
					:: else -> r[i].use = MARKED
					fi
				:: else
				fi;
				i++
			od;
			i = 0;
			adopted[0] = settled[0]; adopted[1] = settled[1];
			life = b[(at - 1) / UNITS].life
		};
		/* all adopt the new index version; then out with it */
		atomic {
			(adopted[0] && adopted[1]) || gen != g;
			if
			:: !keep && gen == g && up == SERVING &&
			   slot[k].at == at ->
				slot[k].at = 0; slot[k].ver = 0;
				dropped[k] = true;
				if
				:: b[(at - 1) / UNITS].life == life ->
					r[at - 1].use = MARKED
				:: else
				fi;
				new_view();
				if
				:: MUTATE != 4 -> least = ch
				:: else
				fi
			:: else
			fi;
			at = 0; g = 0; keep = false; life = 0
		}
	od
}

/* --- checkpoints ---------------------------------------------------------- */

proctype host()
{
	byte n, c, e, g;
	slot_t copy[KEYS];

end:
	do
	:: n == ROUNDS -> break
	:: else ->
		atomic {
			n < ROUNDS && up != DOWN;
			n++; ch++; c = ch; e = epoch; g = gen
		};
		if
		:: MUTATE == 1
		:: atomic { MUTATE != 1 -> cn = (cn > c -> cn : c) }
		fi;
		/* T */
		atomic {
			if
			:: epoch != e || gen != g || up == DOWN -> goto not_now
			:: else
			fi;
			copy[0].at = slot[0].at; copy[0].ver = slot[0].ver
		};
		atomic {
			if
			:: gen != g || up == DOWN -> goto not_now
			:: else
			fi;
			copy[1].at = slot[1].at; copy[1].ver = slot[1].ver
		};
		atomic {
			if
			:: gen != g || up == DOWN -> goto not_now
			:: MUTATE == 2 && gen == g && up != DOWN ->
				ch = (ch > cn -> ch : cn) + 1; cn = ch; c = ch
			:: else
			fi
			image[0].at = copy[0].at; image[0].ver = copy[0].ver;
			image[1].at = copy[1].at; image[1].ver = copy[1].ver;
			note = c
		};
not_now:
		atomic {
			c = 0; e = 0; g = 0;
			copy[0].at = 0; copy[0].ver = 0;
			copy[1].at = 0; copy[1].ver = 0
		}
	od
}

/* --- death and recovery --------------------------------------------------- */

byte win[KEYS];		/* address + 1 of each key's winner */
bool firm[KEYS], stays[KEYS], kept[BLOCKS];
byte i, k, s, at;

bool partly;	/* this replay has an image, and reads no more than it must */

/* Which counts, @i or the winner so far (N1)? */
inline better()
{
	if
	:: win[k] == 0 || r[i].ver > r[win[k] - 1].ver ||
	   (r[i].ver == r[win[k] - 1].ver && !firm[k] &&
	    r[i].fate == COMMITTED) ->
		win[k] = i + 1; firm[k] = (r[i].fate == COMMITTED)
	:: else
	fi
}

/* All is read, too, where another shard that is lost has no image. */
inline scan()
{
	if
	:: note != 0 && note >= least -> partly = true
	:: partly = false
	fi;
	i = 0;
	do
	:: i == BLOCKS -> break
	:: else ->
		kept[i] = partly && b[i].state == SEALED && b[i].stamp < note;
		i++
	od;
	i = 0;
	do
	:: i == RECORDS -> break
	:: else ->
		if
		:: r[i].key != 0 && b[i / UNITS].state != FREE &&
		   !kept[i / UNITS] && r[i].fate != KILLED &&
		   r[i].use != MARKED -> k = r[i].key - 1; better()
		:: else
		fi;
		i++
	od
}

/* Winner @k looks at slot @s of the image, which names a KEPT block (I2). Its
 * fingerprint is the same: that is the worst case. */
inline look()
{
	i = image[s].at - 1;
	if
	:: r[i].key == 0 || r[i].life > b[i / UNITS].life ||
	   r[i].ver % 2 != image[s].ver % 2 -> stays[s] = false
	:: else ->
		if
		:: r[i].key == k + 1 && (r[i].ver > r[win[k] - 1].ver ||
		   (r[i].ver == r[win[k] - 1].ver && !firm[k])) ->
			win[k] = i + 1; firm[k] = true
		:: else
		fi;
		if
		:: r[i].key == k + 1 && win[k] != i + 1 -> stays[s] = false
		:: else
		fi
	fi
}

inline merge()
{
	s = 0;
	do
	:: s == KEYS -> break
	:: else ->
		at = image[s].at;
		stays[s] = partly && at != 0 && (kept[(at - 1) / UNITS] ||
			(MUTATE == 6 && b[(at - 1) / UNITS].state == SEALED));
		/* I4; a mutation is to do harm without it */
		assert(!partly || at == 0 || stays[s] || win[s] != 0 ||
		       MUTATE != 0);
		k = 0;
		do
		:: k == KEYS -> break
		:: else ->
			if
			:: stays[s] && win[k] != 0 -> look()
			:: else
			fi;
			k++
		od;
		s++
	od
}

inline put_back()
{
	k = 0;
	do
	:: k == KEYS -> break
	:: else ->
		if
		:: stays[k] -> slot[k].at = image[k].at;
			slot[k].ver = image[k].ver
		:: !stays[k] && win[k] != 0 -> slot[k].at = win[k];
			slot[k].ver = r[win[k] - 1].ver
		:: else -> slot[k].at = 0; slot[k].ver = 0
		fi;
		k++
	od
}

inline check()
{
	k = 0;
	do
	:: k == KEYS -> break
	:: else ->
		at = slot[k].at;
		if
		:: at == 0 -> assert(dropped[k])
		:: else ->
			assert(b[(at - 1) / UNITS].state != FREE);
			assert(r[at - 1].key == k + 1);
			assert(r[at - 1].ver == slot[k].ver);
			assert(r[at - 1].fate != KILLED);
			assert(r[at - 1].use == LIVE);
			assert(slot[k].ver >= seen[k]);
			/* of a dropped one's version: in flight at the time */
			assert(slot[k].ver != acked[k] || dropped[k] ||
			       r[at - 1].fate == COMMITTED);
			assert(!dropped[k] || r[at - 1].fate == PENDING);
			if
			:: slot[k].ver > seen[k] -> seen[k] = slot[k].ver;
				dropped[k] = false
			:: else
			fi
		fi;
		win[k] = 0; firm[k] = false; stays[k] = false;
		k++
	od;
	i = 0;
	do
	:: i == BLOCKS -> break
	:: else -> kept[i] = false; i++
	od;
	i = 0; k = 0; s = 0; at = 0; partly = false
}

proctype death()
{
end:
	do
	:: deaths == DEATHS -> break
	:: atomic {
		deaths < DEATHS && up == SERVING ->
		deaths++; up = DOWN; gen++; new_view();
		slot[0].at = 0; slot[0].ver = 0;
		slot[1].at = 0; slot[1].ver = 0
	   };
		atomic {
			settled[0] && settled[1];
			scan(); merge(); put_back(); check();
			new_view();
			if
			:: MUTATE != 5 -> least = ch
			:: else
			fi;
			up = SETTLING
		};
		atomic {
			settled[0] && settled[1] && !(parked[0] && !dead[0]) &&
			!(parked[1] && !dead[1]);
			up = SERVING
		}
	od
}

init {
	atomic {
		r[0].key = 1; r[0].ver = 1; r[0].fate = COMMITTED;
		r[1].key = 2; r[1].ver = 1; r[1].fate = COMMITTED;
		b[0].state = SEALED;
		slot[0].at = 1; slot[0].ver = 1;
		slot[1].at = 2; slot[1].ver = 1;
		seen[0] = 1; seen[1] = 1; acked[0] = 1; acked[1] = 1;
		run client(0, OPS0);
		run client(1, OPS1);
		run space();
		run sweep();
		run host();
		run death()
	}
}
