/* tests/model/update.pml - a slot's update, the index node's death, and replay,
 * as kv/client/commit.c and kv/node/replay.c do it.
 *
 * CLIENTS replace one key's value at version 0, conditionally. The index node
 * may die at any moment, once; each client may die at any moment. Records lie
 * in blocks that survive (that they do is erasure coding's part, not this).
 * Replay waits until every living client has settled or parked, then takes the
 * highest version, COMMITTED before PENDING, never KILLED.
 *
 * Checked: a value that was acknowledged is not lost by recovery; a conditional
 * update that was told -ESTALE did not take effect; at most one client is told
 * that it won version 1. A record whose writer died may take effect or not.
 * And a reader (kv/client/decide.c): what it was told of is the value from then
 * on, whoever dies. It waits while the slot's record is PENDING; if the writer
 * of that is dead, it commits the same value as version 2, and is told when
 * that says COMMITTED. It may die, too.
 * MUTATE=1 leaves out the fates. 2: the reader takes what is PENDING. 3: it
 * commits again what a living writer has there.
 *
 * ALONE=1: client 0 is a caller in the only client of the pool (kv/client/
 * alone.h), its record says SOLO and is never COMMITTED; client 1 is another
 * caller that found the key claimed, or a client that has just come. */
#ifndef MUTATE
#define MUTATE 0
#endif
#ifndef ALONE
#define ALONE 0
#endif
#define CLIENTS 2
#define NONE 0
#define PENDING 1
#define COMMITTED 2
#define KILLED 3
#define SOLO 4
#define AGAIN (CLIENTS + 1)

byte fate[CLIENTS];	/* of each client's record of version 1 */
byte slot;		/* 0: the old value; c + 1: client c's record; AGAIN */
byte again_fate;	/* of the reader's record of version 2, NONE: not there */
byte again_of;		/* c + 1: it has client c's value */
byte told;		/* c + 1: the reader was told of that value */
bool busy;		/* the reader is in the middle of that */
bool up = true;		/* the index node that holds the slot */
bool serving = true;	/* a host has the slot */
bool settled[CLIENTS];	/* parked, done, or dead: replay need not wait */
bool acked[CLIENTS], refused[CLIENTS], dead[CLIENTS];
byte deaths;

inline may_die()
{
	if
	:: skip
	:: deaths < 2 -> deaths++; dead[me] = true; goto over
	fi
}

proctype client(byte me)
{
	bool won, unknown;

	/* 1: the record, whole in all copies */
	if
	:: ALONE == 1 && me == 0 -> fate[me] = SOLO
	:: else -> fate[me] = PENDING
	fi;
	may_die();
	/* 2: the CAS; when the node dies at the same time its outcome is unknown */
	atomic {
		if
		:: serving && up && slot == 0 -> slot = me + 1; won = true
		:: serving && up && slot != 0 -> won = false
		:: else -> unknown = true
		fi
	};
	if
	:: !up -> unknown = true	/* the answer was lost */
	:: else
	fi;
	may_die();
	if
	:: unknown -> goto park
	:: else
	fi;
decided:
	/* 3: say so in the record, before anyone is told */
	if
	:: won ->
#if MUTATE != 1
		if
		:: fate[me] == SOLO
		:: else -> fate[me] = COMMITTED
		fi;
#endif
		may_die();
		acked[me] = true
	:: else ->
#if MUTATE != 1
		fate[me] = KILLED;
#endif
		may_die();
		refused[me] = true
	fi;
	goto over;
park:
	settled[me] = true;
	serving && up;	/* the next view */
	settled[me] = false;
	unknown = false;
	won = (slot == me + 1);
	goto decided;
over:
	settled[me] = true
}

proctype reader()
{
	byte s;
	bool won, unknown;

look:
	atomic { serving && up; s = slot };
	if
	:: s == 0 -> goto over
	:: s == AGAIN -> goto over /* its own */
	:: else
	fi;
	if
	:: fate[s - 1] == COMMITTED || fate[s - 1] == SOLO ||
	   (fate[s - 1] == PENDING && MUTATE == 2) -> told = s; goto over
	:: fate[s - 1] == KILLED -> goto look
	:: fate[s - 1] == PENDING && MUTATE != 2
	fi;
	if
	:: fate[s - 1] != PENDING || slot != s -> goto look
	:: goto over /* it dies, or waits no longer */
	:: fate[s - 1] == PENDING && (dead[s - 1] || MUTATE == 3) ->
		atomic { serving && up; busy = true };
		again_of = s;
		again_fate = PENDING
	fi;
	atomic {
		won = false;
		unknown = false;
		if
		:: serving && up && slot == s -> slot = AGAIN; won = true
		:: serving && up && slot != s
		:: else -> unknown = true
		fi
	};
	if
	:: !up -> unknown = true
	:: skip
	:: goto over
	fi;
	if
	:: unknown ->
		busy = false;
		atomic { serving && up; busy = true; won = (slot == AGAIN) }
	:: else
	fi;
	if
	:: won -> again_fate = COMMITTED; told = again_of
	:: else -> again_fate = KILLED; busy = false; goto look
	fi;
over:
	busy = false
}

proctype index_node()
{
	if
	:: skip	/* lives on */
	:: atomic { up = false; serving = false };
		/* every client acknowledged the view, or was fenced */
		settled[0] && settled[1] && !busy;
		atomic {
			if
			:: again_fate == PENDING || again_fate == COMMITTED ->
				slot = AGAIN
			:: else ->
			if
			:: fate[0] == COMMITTED -> slot = 1
			:: fate[1] == COMMITTED -> slot = 2
			:: fate[0] == SOLO && fate[1] != COMMITTED -> slot = 1
			:: fate[0] != COMMITTED && fate[1] != COMMITTED &&
			   fate[0] != SOLO ->
				if
				:: fate[0] == PENDING -> slot = 1
				:: fate[1] == PENDING -> slot = 2
				:: fate[0] != PENDING && fate[1] != PENDING ->
					slot = 0
				fi
			fi
			fi;
			up = true; serving = true
		}
	fi
}

init {
	byte now;

	atomic {
		run client(0);
		run client(1);
		run reader();
		run index_node()
	};
	_nr_pr == 1;
	if
	:: slot == AGAIN -> now = again_of
	:: else -> now = slot
	fi;
	assert(!(acked[0] && acked[1]));
	assert(!acked[0] || now == 1);
	assert(!acked[1] || now == 2);
	assert(!refused[0] || now != 1);
	assert(!refused[1] || now != 2);
	assert(told == 0 || now == told)
}
