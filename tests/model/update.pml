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
 * MUTATE=1 leaves out the fates.
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

byte fate[CLIENTS];	/* of each client's record of version 1 */
byte slot;		/* 0: the old value; c + 1: client c's record */
bool up = true;		/* the index node that holds the slot */
bool serving = true;	/* a host has the slot */
bool settled[CLIENTS];	/* parked, done, or dead: replay need not wait */
bool acked[CLIENTS], refused[CLIENTS], dead[CLIENTS];
byte deaths;

inline may_die()
{
	if
	:: skip
	:: deaths == 0 -> deaths++; dead[me] = true; goto over
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
#if MUTATE == 0
		if
		:: fate[me] == SOLO
		:: else -> fate[me] = COMMITTED
		fi;
#endif
		may_die();
		acked[me] = true
	:: else ->
#if MUTATE == 0
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

proctype index_node()
{
	if
	:: skip	/* lives on */
	:: atomic { up = false; serving = false };
		settled[0] && settled[1];	/* every client acknowledged the view, or was fenced */
		atomic {
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
			fi;
			if	/* a lone PENDING record is rolled forward */
			:: slot != 0 && MUTATE == 0 && fate[slot - 1] != SOLO ->
				fate[slot - 1] = COMMITTED
			:: else
			fi;
			up = true; serving = true
		}
	fi
}

init {
	atomic {
		run client(0);
		run client(1);
		run index_node()
	};
	_nr_pr == 1;
	assert(!(acked[0] && acked[1]));
	assert(!acked[0] || slot == 1);
	assert(!acked[1] || slot == 2);
	assert(!refused[0] || slot != 1);
	assert(!refused[1] || slot != 2)
}
