/* tests/model/insert.pml - insert-if-absent, as kv/client/insert.c does it.
 *
 * CLIENTS insert one key into a shard with SLOTS candidate slots. Each may die
 * at any step. Checked: at most one is told it won (I4); whoever is told that
 * the key exists is told so because another's insert is firm; if all live, one
 * wins. MUTATE=1 leaves out the tentative step (RACE's rule, "the lowest slot
 * wins", with the answer given after the re-read): the checker must find that
 * two win. */
#ifndef CLIENTS
#define CLIENTS 2
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef MUTATE
#define MUTATE 0
#endif
#define TRIES 3

/* A slot: 0 empty, else who, and whether firm. One CAS reads and sets both. */
byte who[SLOTS];	/* client + 1 */
bool firm[SLOTS];
byte winners, died, gave_up, told_exists;
bool ever_firm;

inline choose_empty(at)
{
	at = SLOTS;
	if
	:: who[0] == 0 -> at = 0
	:: SLOTS > 1 && who[1] == 0 -> at = 1
	:: SLOTS > 2 && who[2] == 0 -> at = 2
	:: who[0] != 0 && (SLOTS < 2 || who[1] != 0) &&
	   (SLOTS < 3 || who[2] != 0) -> skip
	fi
}

proctype client(byte me)
{
	byte mine, i, rival, tries;
	bool seen_firm, lost;
	byte sw[SLOTS];
	bool sf[SLOTS];

again:
	if
	:: tries == TRIES -> gave_up++; goto over
	:: else -> tries++
	fi;
	/* 1: read both pairs, slot by slot */
	i = 0; seen_firm = false;
	do
	:: i < SLOTS ->
		atomic { sw[i] = who[i]; sf[i] = firm[i]; i++ }
	:: else -> break
	od;
	i = 0;
	do
	:: i < SLOTS ->
		if
		:: sw[i] != 0 && sf[i] -> seen_firm = true
		:: else
		fi;
		i++
	:: else -> break
	od;
	if
	:: seen_firm -> goto exists
	:: else
	fi;
	/* 2: plant in a slot that looked empty */
	if
	:: sw[0] == 0 -> mine = 0
	:: SLOTS > 1 && sw[1] == 0 -> mine = 1
	:: SLOTS > 2 && sw[2] == 0 -> mine = 2
	:: else -> goto again
	fi;
	atomic {
		if
		:: who[mine] == 0 ->
			who[mine] = me + 1; firm[mine] = (MUTATE == 1);
			ever_firm = ever_firm || (MUTATE == 1)
		:: else -> goto again
		fi
	};
	if
	:: skip
	:: died++; goto over	/* the client dies here */
	fi;
	/* read again, then deal with rivals one by one */
	i = 0;
	do
	:: i < SLOTS -> atomic { sw[i] = who[i]; sf[i] = firm[i]; i++ }
	:: else -> break
	od;
	i = 0; lost = false;
	do
	:: i < SLOTS && !lost ->
		if
		:: i == mine || sw[i] == 0 || sw[i] == me + 1
		:: else ->
#if MUTATE == 1
			if
			:: i < mine -> lost = true
			:: else	/* the lowest wins: so it believes */
			fi
#else
			if
			:: sf[i] -> lost = true
			:: !sf[i] && i < mine && rival != sw[i] ->
				rival = sw[i]; lost = true
			:: !sf[i] && (i > mine || rival == sw[i]) ->
				atomic {
					if
					:: who[i] == sw[i] && !firm[i] ->
						who[i] = 0
					:: else -> lost = true
					fi
				}
			fi
#endif
		fi;
		i++
	:: else -> break
	od;
	if
	:: lost ->
		atomic {	/* withdraw */
			if
			:: who[mine] == me + 1 && (!firm[mine] || MUTATE == 1) ->
				who[mine] = 0; firm[mine] = false
			:: else
			fi
		};
#if MUTATE == 1
		goto exists
#else
		goto again
#endif
	:: else
	fi;
	if
	:: skip
	:: died++; goto over
	fi;
#if MUTATE == 0
	/* 3: confirm */
	atomic {
		if
		:: who[mine] == me + 1 && !firm[mine] ->
			firm[mine] = true; ever_firm = true
		:: else -> goto again
		fi
	};
#endif
	winners++;
	assert(winners <= 1);
	goto over;
exists:
	assert(ever_firm);
	told_exists++;
over:
	skip
}

init {
	atomic {
		run client(0);
		run client(1);
#if CLIENTS > 2
		run client(2)
#endif
	};
	_nr_pr == 1;
	/* all over: two firm slots of one key cannot be */
	assert(!(firm[0] && who[0] != 0 && firm[1] && who[1] != 0));
	assert(winners + told_exists + gave_up + died == CLIENTS);
	assert(winners == 1 || gave_up > 0 || died > 0)
}
