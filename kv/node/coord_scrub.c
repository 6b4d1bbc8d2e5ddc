/* kv/node/coord_scrub.c - what the coordinator knows of scrubbing: nothing but
 * what the tool that does it (kv/check.h) tells, and what people want of that.
 *
 *          BEGIN           wanted PAUSED: it waits     its connection ends
 *   none --------> RUNNING <----------------> PAUSED ------------> STOPPED
 *                     |  END
 *                     +--------> DONE */
#include <errno.h>

#include "kv/node/coord_impl.h"

static bool is_going(const struct proto_scrub *s)
{
	return s->state == PROTO_SCRUB_RUNNING ||
	       s->state == PROTO_SCRUB_PAUSED;
}

/* From the tool at work: its numbers are the news. */
static void take_numbers(struct proto_scrub *s, const struct proto_scrub *from)
{
	s->done = from->done;
	s->total = from->total;
	s->rate = from->rate;
	s->objects = from->objects;
	s->bytes = from->bytes;
	s->wrong = from->wrong;
	s->mended = from->mended;
	s->lost = from->lost;
}

int coord_scrub(struct coord *c, bool *works, const struct proto_scrub *rq,
		struct proto_scrub *out)
{
	struct proto_scrub *s = &c->scrub;

	if (!*works &&
	    (rq->what == PROTO_SCRUB_TELL || rq->what == PROTO_SCRUB_END))
		return -EPERM;
	switch (rq->what) {
	case PROTO_SCRUB_ASK:
		break;
	case PROTO_SCRUB_BEGIN:
		if (is_going(s))
			return -EALREADY;
		*s = (struct proto_scrub){.wanted = PROTO_SCRUB_RUNNING};
		s->state = PROTO_SCRUB_RUNNING;
		*works = true;
		break;
	case PROTO_SCRUB_TELL:
		s->state =
			s->wanted == PROTO_SCRUB_STOPPED ? s->state : s->wanted;
		take_numbers(s, rq);
		break;
	case PROTO_SCRUB_END:
		take_numbers(s, rq);
		s->state = s->wanted == PROTO_SCRUB_STOPPED
				   ? PROTO_SCRUB_STOPPED
				   : PROTO_SCRUB_DONE;
		*works = false;
		break;
	case PROTO_SCRUB_WANT:
		if (!is_going(s))
			return -ENOENT;
		if (rq->wanted != PROTO_SCRUB_RUNNING &&
		    rq->wanted != PROTO_SCRUB_PAUSED &&
		    rq->wanted != PROTO_SCRUB_STOPPED)
			return -EINVAL;
		s->wanted = rq->wanted;
		break;
	default:
		return -EINVAL;
	}
	*out = *s;
	return 0;
}

void coord_scrub_gone(struct coord *c)
{
	if (is_going(&c->scrub))
		c->scrub.state = PROTO_SCRUB_STOPPED;
}

json_t *coord_scrub_json(const struct coord *c)
{
	static const char *const names[] = {"none", "running", "paused",
					    "stopped", "done"};
	const struct proto_scrub *s = &c->scrub;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "state", names[s->state], "done", (json_int_t)s->done,
			 "total", (json_int_t)s->total, "rate",
			 (json_int_t)s->rate, "objects", (json_int_t)s->objects,
			 "bytes", (json_int_t)s->bytes, "wrong",
			 (json_int_t)s->wrong, "repaired",
			 (json_int_t)s->mended, "lost", (json_int_t)s->lost);
}
