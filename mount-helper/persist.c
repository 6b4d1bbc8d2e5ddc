/* mount-helper/persist.c - see persist.h. */
#include "mount-helper/persist.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "mount-helper/clock.h"
#include "mount-helper/say.h"

#define SLICE_MS 20
#define SAY_MS	 1000 /* before, nobody wonders */
#define AGAIN_MS 5000

void persist_begin(struct persist *p, struct coord *coord, const char *dir)
{
	int64_t now = now_ms();

	*p = (struct persist){
		.coord = coord,
		.dir = dir,
		.number = coord_persist(coord),
		.begun_ms = now,
		.moved_ms = now,
		.say_ms = now + SAY_MS,
	};
}

/* " 1 3": the nodes that are not there, or not whole. Their number. */
static int nodes_away(const struct persist *p, char *text, size_t cap)
{
	struct view v;
	size_t len = 0;
	int n = 0;

	coord_view(p->coord, &v);
	text[0] = '\0';
	for (uint32_t id = 0; id < v.nodes; id++) {
		if (v.node[id] == VIEW_NODE_UP)
			continue;
		n++;
		if (len < cap)
			len += (size_t)snprintf(text + len, cap - len, " %u",
						id);
	}
	return n;
}

static void say_progress(struct persist *p, int64_t now)
{
	char away[256];

	if (now < p->say_ms)
		return;
	p->say_ms = now + AGAIN_MS;
	if (nodes_away(p, away, sizeof(away)) != 0)
		say_info("the pool is to be written to %s, when what memory "
			 "node%s held is there again (%" PRId64 " s)",
			 p->dir, away, (now - p->begun_ms) / 1000);
	else
		say_info("writing the pool to %s (%" PRId64 " s)", p->dir,
			 (now - p->begun_ms) / 1000);
}

/* It does not move any more, or far too slowly. */
static bool is_stuck(struct persist *p, int64_t now)
{
	struct coord_durable_stats st;

	coord_durable_stats(p->coord, &st);
	if (st.restored > p->restored)
		p->moved_ms = now;
	p->restored = st.restored;
	if (now - p->begun_ms >= PERSIST_LONGEST_MS)
		return true;
	return now - p->moved_ms >= PERSIST_STUCK_MS && !st.under_way;
}

int persist_step(struct persist *p)
{
	int rc = coord_persist_wait(p->coord, p->number, SLICE_MS);
	int64_t now = now_ms();

	if (rc != -ETIMEDOUT)
		return rc;
	if (is_stuck(p, now))
		return -ETIMEDOUT;
	say_progress(p, now);
	return -EINPROGRESS;
}

/* How old what is on the disk is. */
static void age_text(const struct persist *p, char *text, size_t cap)
{
	struct coord_durable_stats st;
	struct view v;

	coord_durable_stats(p->coord, &st);
	coord_view(p->coord, &v);
	if (v.durable == 0)
		snprintf(text, cap, "holds nothing yet");
	else if (st.number == 0)
		snprintf(text, cap, "is as it was when the pool was started");
	else
		snprintf(text, cap, "is as it was %.1f s ago",
			 (double)st.age_ns / 1e9);
}

void persist_say_lost(const struct persist *p, int rc)
{
	char age[64], away[256], why[320] = "the disk fails, or is too slow";

	age_text(p, age, sizeof(age));
	if (rc == -EIO)
		snprintf(why, sizeof(why),
			 "more memory nodes died than the code bears");
	else if (nodes_away(p, away, sizeof(away)) != 0)
		snprintf(why, sizeof(why),
			 "without memory node%s there is no "
			 "checkpoint",
			 away);
	say_err("what was changed last is lost; %s %s: %s", p->dir, age, why);
}
