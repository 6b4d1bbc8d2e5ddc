/* tests/lib/mem_store.h - a view's store in memory, which outlives its
 * coordinators and knows which of them leads. One thread at a time. */
#ifndef ACESO_TESTS_LIB_MEM_STORE_H
#define ACESO_TESTS_LIB_MEM_STORE_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/node/viewstore.h"

struct mem_disk {
	uint8_t bytes[VIEWSTORE_BYTES_MAX];
	size_t len;
	uint64_t version; /* counts puts */
	struct viewstore *leader;
	bool away; /* nothing can be loaded or put, nobody is sure */
};

/* Who opens it last leads. Errors: -ENOMEM. */
int mem_store_open(struct mem_disk *d, struct viewstore **out);

#endif
