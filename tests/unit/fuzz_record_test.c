/* Records that are none: tests/fuzz/record.c, from right ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/record.c"

static size_t make(uint8_t *buf, uint8_t type, const void *val, uint32_t len)
{
	struct object o = {.hdr = {.version = 77,
				   .hash = 5,
				   .val_len = len,
				   .key_len = 3,
				   .type = type,
				   .life = 2},
			   .key = "key",
			   .val = val};

	object_encode(buf, SECRET, ADDR, &o);
	return object_units(3, len) * GROUP_UNIT_BYTES;
}

static void records_that_are_none(void **state)
{
	static uint8_t put[1024], tomb[1024], intent[1024], val[600];
	struct intent in = {.magic = INTENT_MAGIC,
			    .old_type = OBJECT_PUT,
			    .new_type = OBJECT_PUT,
			    .old_len = 20,
			    .new_len = 30};
	struct fuzz_sample s[] = {{put, 0}, {tomb, 0}, {intent, 0}};

	s[0].size = make(put, OBJECT_PUT, val, sizeof(val));
	s[1].size = make(tomb, OBJECT_TOMB, NULL, 0);
	memcpy(val, &in, sizeof(in));
	s[2].size = make(intent, OBJECT_INTENT, val, sizeof(in) + 50);
	fuzz_run(s, 3, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
