/* tests/fuzz/viewstate.c - what a coordinator reads from the view's store, a
 * file or ZooKeeper's. Its length and CRC are made right first, or nothing
 * would get past. What is taken for right can be written again, and is the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "ec/crc.h"
#include "kv/node/viewstate.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define BYTES_AT 12u /* kv/FORMAT.md */

static void mend(uint8_t *at, size_t size)
{
	uint32_t bytes = (uint32_t)size, crc;

	if (size < BYTES_AT + 2 * sizeof(bytes))
		return;
	memcpy(at + BYTES_AT, &bytes, sizeof(bytes));
	crc = crc_of(0, at, size - sizeof(crc));
	memcpy(at + size - sizeof(crc), &crc, sizeof(crc));
}

static void look(const uint8_t *bytes, size_t size)
{
	static struct viewstate s;
	uint8_t *again;

	if (viewstate_read(bytes, size, &s) != 0)
		return;
	must(view_check(&s.set.view) == 0);
	for (uint32_t i = 0; i < s.set.view.nodes; i++)
		must(strnlen(s.set.address[i], PROTO_ADDRESS_BYTES) <
		     PROTO_ADDRESS_BYTES);
	again = malloc(viewstate_bytes_max());
	must(again != NULL && viewstate_write(&s, again) == size);
	must(memcmp(again, bytes, size) == 0);
	free(again);
}

/* As it is, then mended: of exactly its size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = calloc(1, size > 0 ? size : 1);

	must(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	look(copy, size);
	mend(copy, size);
	look(copy, size);
	free(copy);
	return 0;
}

void fuzz_seeds(void)
{
	static struct viewstate s = {.next_client = 9,
				     .clients = 2,
				     .orphans = 1,
				     .client = {{.id = 3}, {7, 1}},
				     .orphan = {5}};
	uint8_t *at = malloc(viewstate_bytes_max());

	must(at != NULL);
	view_first(&s.set.view, 5, 3, 2);
	for (uint32_t i = 0; i < 5; i++)
		memset(s.set.address[i], 'a', PROTO_ADDRESS_BYTES - 1);
	fuzz_seed(at, viewstate_write(&s, at));
	s.clients = s.orphans = 0;
	fuzz_seed(at, viewstate_write(&s, at));
	free(at);
}
