/* tests/lib/swept.c - see swept.h. */
#include "tests/lib/swept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kv/kv.h"
#include "tests/lib/cluster.h"

#define STEP_NS UINT64_C(500000000)
#define TRIES	240u

void swept_wait(struct cluster *c, struct kv *kv, uint32_t id)
{
	for (uint32_t i = 0; i < TRIES; i++) {
		if (kv_client_swept(kv, id) == 1)
			return;
		cluster_sleep(c, STEP_NS);
	}
	fail_msg("client %u is never swept", id);
}
