/* Which of several records of a key replay takes, where only who wrote them,
 * and when, tells them apart. The rest is in kv_node_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kv/hash.h"
#include "kv/node/newest.h"
#include "kv/slot.h"

struct left {
	uint64_t version, fate;
	uint32_t client, op;
};

/* The one that counts of @n, met in this order and in the other. */
static void assert_wins(const struct left *left, unsigned n, unsigned wins)
{
	for (unsigned turned = 0; turned < 2; turned++) {
		const struct newest_rec *rec = NULL;
		struct newest *t;

		assert_int_equal(newest_open(1, &t), 0);
		for (unsigned j = 0; j < n; j++) {
			unsigned i = turned ? n - 1 - j : j;
			struct object o = {
				.hdr = {.fate = left[i].fate,
					.version = left[i].version,
					.tag = (uint64_t)left[i].client << 32 |
					       left[i].op,
					.hash = hash_of("k", 1),
					.units = 1,
					.key_len = 1,
					.type = OBJECT_PUT},
				.key = "k",
			};

			/* the higher address first: it must not matter */
			assert_int_equal(
				newest_add(t, fab_addr_make(1, (n - i) * 4096u),
					   &o),
				0);
		}
		for (size_t i = 0; i < newest_room(t) && rec == NULL; i++)
			if (newest_at(t, i) != NULL)
				rec = newest_choose(newest_at(t, i));
		assert_non_null(rec);
		assert_int_equal(fab_addr_offset(slot_addr(rec->word)),
				 (n - wins) * 4096u);
		newest_close(t);
	}
}

static void first_of_a_client_that_was_alone(void **state)
{
	const struct left left[] = {{5, OBJECT_SOLO, 3, 11},
				    {5, OBJECT_SOLO, 3, 10},
				    {5, OBJECT_SOLO, 3, 12}};
	const struct left round[] = {{5, OBJECT_SOLO, 3, 2},
				     {5, OBJECT_SOLO, 3, UINT32_MAX}};

	assert_wins(left, 3, 1);
	assert_wins(round, 2, 1);
}

static void the_last_client_that_was_alone(void **state)
{
	const struct left left[] = {{5, OBJECT_SOLO, 3, 1},
				    {5, OBJECT_SOLO, 5, 9},
				    {5, OBJECT_SOLO, 4, 2}};

	assert_wins(left, 3, 1);
}

static void version_before_all_else(void **state)
{
	const struct left left[] = {{5, OBJECT_COMMITTED, 9, 1},
				    {6, OBJECT_SOLO, 3, 9},
				    {5, OBJECT_SOLO, 3, 1}};
	const struct left same[] = {{6, OBJECT_SOLO, 9, 1},
				    {6, OBJECT_COMMITTED, 3, 9},
				    {6, OBJECT_PENDING, 9, 0}};

	assert_wins(left, 3, 1);
	assert_wins(same, 3, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_of_a_client_that_was_alone),
		cmocka_unit_test(the_last_client_that_was_alone),
		cmocka_unit_test(version_before_all_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
