/* tests/model/insert.pml - insert-if-absent, as kv/client/insert.c does it.
 *
 * CLIENTS insert one key into a shard with SLOTS candidate slots. Each may die
 * at any step. The node that keeps the index may die at any step, too, REPLAYS
 * times: its successor replays the records, with the rule of kv/node/newest.h,
 * when all clients that live have ended their batch; those with a record
 * written then find out what became of it (C3 in kv/client/commit.c).
 *
 * Checked: at most one is told that it won (I4), and from then on replay would
 * take its record whenever it began (I7); who is told that the key exists is
 * told so because another's insert is firm; if all live, one wins.
 *
 * Versions: 1 for object_first_version(), and so on. Step 3's fate and CAS go to
 * different nodes: in any order. Once for each client it may fail though the
 * index lives, done or not. Copies are not told apart.
 *
 * MUTATE leaves out what the proof needs:
 *   1 the tentative step: RACE's rule, "the lowest slot wins", with the answer
 *     given after the re-read
 *   2 who is as high, not only who is lower, is killed (N3)
 *   3 who has passed, and may have killed, withdraws when something fails (N3)
 *   4 a replay passes over a tentative word's record (I5 in kv/node/merge.h)
 * Deletes and sweeps are not in it: the index version has grown by then. Two
 * clients are searched whole; of three, 70 million states were, without an
 * error, which is not all. */
#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef REPLAYS
#define REPLAYS 0
#endif
#ifndef MUTATE
#define MUTATE 0
#endif
#define TRIES 3
#define NONE 0
#define PENDING 1
#define COMMITTED 2
#define KILLED 3

/* A slot: 0 empty, else who, of which version, and whether firm. One CAS reads
 * and sets all. */
byte who[SLOTS];	/* client + 1 */
byte what[SLOTS];
bool firm[SLOTS];
/* Each client's record; it is written over when it was KILLED. */
byte version[CLIENTS], fate[CLIENTS];
bool outside[CLIENTS];	/* of the view, for good or until the next */
bool down;		/* the index is */
byte replays, acked;	/* client + 1 */
byte died, gave_up, told_exists;
bool ever_firm;

#define MINE(i) (who[i] == me + 1 && what[i] == version[me])

inline say(f)
{
	fate[me] = f;
	assert(f != COMMITTED || acked == 0 || acked == me + 1 ||
	       version[me] < version[acked - 1])
}

/* Another's record that a replay may take before @w's. */
#define BEFORE(c, w) (c != w && fate[c] == COMMITTED && version[c] >= version[w])

inline win()
{
	assert(acked == 0);
	assert(fate[me] == COMMITTED);
	assert(!BEFORE(0, me) && !BEFORE(1, me));
#if CLIENTS > 2
	assert(!BEFORE(2, me));
#endif
	acked = me + 1
}

inline clear(i)
{
	who[i] = 0; what[i] = 0; firm[i] = false
}

inline read_slots()
{
	atomic {
		i = 0;
		do
		:: i < SLOTS ->
			sw[i] = who[i]; sv[i] = what[i]; sf[i] = firm[i]; i++
		:: else -> break
		od;
		i = 0
	}
}

proctype client(byte me)
{
	byte mine, i, tries, above;
	bool passed, lost, failed;
	byte sw[SLOTS], sv[SLOTS];
	bool sf[SLOTS];

again:
	atomic {
		passed = false; mine = 0; outside[me] = true;
		if
		:: tries == TRIES -> gave_up++; goto over
		:: else -> tries++
		fi
	};
	atomic { !down -> outside[me] = false };
	/* 1: write the record, read both pairs */
	atomic { version[me] = above + 1; fate[me] = PENDING };
reread:
	atomic {
		if
		:: down -> goto unsure
		:: else
		fi;
		read_slots();
		lost = false;
		do
		:: i < SLOTS -> lost = lost || (sw[i] != 0 && sf[i]); i++
		:: else -> break
		od;
		i = 0
	};
	if
	:: lost ->
		if
		:: say(KILLED)
		:: atomic { died++; goto over }
		fi;
		goto exists
	:: else
	fi;
	/* 2: plant in a slot that looked empty */
	atomic {
		if
		:: sw[0] == 0 -> mine = 0
		:: SLOTS > 1 && sw[1] == 0 -> mine = 1
		:: else -> say(KILLED); goto again
		fi;
		if
		:: down -> goto unsure
		:: !down && who[mine] == 0 ->
			who[mine] = me + 1; what[mine] = version[me];
			firm[mine] = (MUTATE == 1);
			ever_firm = ever_firm || (MUTATE == 1)
		:: else -> goto reread
		fi
	};
	if
	:: skip
	:: atomic { died++; goto over }
	fi;
look:
	atomic {
		if
		:: down -> goto unsure
		:: else
		fi;
		read_slots();
		lost = false;
		do
		:: i < SLOTS && !lost ->
			if
			:: i == mine || sw[i] == 0 -> sw[i] = 0
#if MUTATE == 1
			:: else -> lost = i < mine; sw[i] = 0
#else
			:: else ->
				if
				:: sf[i] -> lost = true
				:: !sf[i] && sv[i] >= version[me] && MUTATE != 2 ->
					sw[i] = 0; lost = !passed;
					above = (lost -> sv[i] : above)
				:: else	/* it is lower: it must go */
				fi
#endif
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		passed = !lost
	};
	do
	:: i < SLOTS && !lost ->
		atomic {
			if
			:: sw[i] == 0
			:: sw[i] != 0 && down -> goto unsure
			:: sw[i] != 0 && !down && who[i] == sw[i] &&
			   what[i] == sv[i] ->
				if
				:: firm[i] -> lost = true
				:: else -> clear(i)
				fi
			:: else
			fi;
			i++
		}
	:: else -> break
	od;
	i = 0;
	if
	:: lost -> goto withdraw
	:: else
	fi;
	if
	:: skip
	:: atomic { died++; goto over }
	fi;
	/* 3: COMMITTED, and confirm */
	if
	:: say(COMMITTED)
	:: skip
	:: atomic { !failed -> failed = true; goto unsure }
	fi;
	if
	:: skip
	:: atomic { fate[me] == COMMITTED -> died++; goto over }
	fi;
	atomic {
		if
		:: down -> goto unsure
		:: !down && MINE(mine) ->
			firm[mine] = true; ever_firm = true
		:: else -> lost = true
		fi
	};
	if
	:: !lost && !failed -> failed = true; goto unsure
	:: atomic { died++; goto over }
	:: skip
	fi;
	say(COMMITTED);
	if
	:: lost -> goto kill
	:: else -> goto won
	fi;

unsure:	/* park; find out; a tentative word of ours is still there, or not */
	outside[me] = true;
	atomic { !down -> outside[me] = false };
	atomic {
		if
		:: MINE(0) -> mine = 0
		:: SLOTS > 1 && MINE(1) -> mine = 1
		:: else -> goto kill
		fi;
		if
		:: firm[mine]
		:: !firm[mine] && passed && MUTATE != 3 -> goto look
		:: else -> goto withdraw
		fi
	};
	say(COMMITTED);
won:
	atomic { win(); goto over };
withdraw:
	atomic {
		passed = false;
		if
		:: down -> goto unsure
		:: !down && MINE(mine) && (!firm[mine] || MUTATE == 1) ->
			clear(mine)
		:: else
		fi
	};
kill:
	say(KILLED);
#if MUTATE == 1
	goto exists;
#else
	goto again;
#endif
exists:
	atomic { assert(ever_firm); told_exists++ };
over:
	atomic {
		outside[me] = true;
		i = 0; mine = 0; tries = 0; above = 0;
		passed = false; lost = false; failed = false;
		sw[0] = 0; sv[0] = 0; sf[0] = false;
#if SLOTS > 1
		sw[1] = 0; sv[1] = 0; sf[1] = false
#endif
	}
}

/* COMMITTED before PENDING, which all begin the key anew (N2); then the higher
 * version; equals in any order, as addresses are. */
#define TAKES(c, f) (fate[c] == f && !passed_over[c])
#define BETTER(a, b, f) (!TAKES(b, f) || version[a] >= version[b])
#define BEST(a, f) (TAKES(a, f) && BETTER(a, 0, f) && BETTER(a, 1, f) && \
		    BETTER(a, CLIENTS - 1, f))
#define ANY(f) (TAKES(0, f) || TAKES(1, f) || TAKES(CLIENTS - 1, f))
#define ALL_OUTSIDE (outside[0] && outside[1] && outside[CLIENTS - 1])

proctype index()
{
	byte i, c;
	bool passed_over[CLIENTS];
end:
	do
	:: atomic { replays < REPLAYS && !down -> replays++; down = true }
	:: atomic {
		down && ALL_OUTSIDE ->
		i = 0;
		do
		:: i < SLOTS ->
#if MUTATE == 4
			if
			:: who[i] != 0 && !firm[i] ->
				passed_over[who[i] - 1] = true
			:: else
			fi;
#endif
			clear(i); i++
		:: else -> break
		od;
		i = 0;
		if
		:: BEST(0, COMMITTED) -> c = 1
		:: BEST(1, COMMITTED) -> c = 2
		:: BEST((CLIENTS - 1), COMMITTED) -> c = CLIENTS
		:: !ANY(COMMITTED) && BEST(0, PENDING) -> c = 1
		:: !ANY(COMMITTED) && BEST(1, PENDING) -> c = 2
		:: !ANY(COMMITTED) && BEST((CLIENTS - 1), PENDING) -> c = CLIENTS
		:: else -> c = 0
		fi;
		assert(acked == 0 || c == acked);
		if
		:: c != 0 ->
			who[0] = c; what[0] = version[c - 1]; firm[0] = true;
			ever_firm = true
		:: else
		fi;
		c = 0; passed_over[0] = false; passed_over[1] = false;
		passed_over[CLIENTS - 1] = false;
		down = false
	}
	od
}

init {
	atomic {
		run index();
		run client(0);
		run client(1);
#if CLIENTS > 2
		run client(2)
#endif
	};
	_nr_pr == 2;
	/* all over: two firm slots of one key cannot be */
	assert(!(firm[0] && who[0] != 0 && firm[SLOTS - 1] && who[SLOTS - 1] != 0)
	       || SLOTS == 1);
	assert((acked != 0) + told_exists + gave_up + died == CLIENTS);
	assert(acked != 0 || gave_up > 0 || died > 0)
}
