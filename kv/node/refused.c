/* kv/node/refused.c - see refused.h. */
#include "kv/node/refused.h"

#include <errno.h>

#include "kv/log.h"

static const char *reason(int why)
{
	switch (why) {
	case -EACCES:
		return "it has not the pool's key, or is of another pool";
	case -EPROTO:
		return "what it sent breaks the rules";
	case -ETIME:
		return "it did not say who it is";
	default:
		return "it is not let in";
	}
}

void refused_say(void *arg, const char *address, int why)
{
	(void)arg;
	LOG(LOG_WARN, "refused a connection from %s: %s", address, reason(why));
}
