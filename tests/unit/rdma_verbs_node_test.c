/* A node whose adapter can do less than its clients would have it do: the one
 * that is played in tests/fuzz/verbs_node.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/fuzz/verbs_node.c"

/* Who comes and asks for @for_ operations under way at the node is let in with
 * this many. */
static unsigned let_in_with(uint8_t for_)
{
	struct verbs_server *s = node_open();
	struct verbs_connect said = connect_as(VERBS_PRIMARY);
	static struct pair p;

	memset(&accepted, 0, sizeof(accepted));
	asks = for_;
	assert_true(come(s, &p, &said, sizeof(said)));
	server_end_all(&s->s);
	server_free(s);
	return accepted.responder_resources;
}

static void no_more_under_way_than_either_end_bears(void **state)
{
	assert_int_equal(let_in_with(16), 16);
	assert_int_equal(let_in_with(4), 4); /* the client's adapter */
	assert_int_equal(let_in_with(255), VERBS_READS);
	reads = 8; /* the node's */
	assert_int_equal(let_in_with(16), 8);
	assert_int_equal(let_in_with(4), 4);
}

static int listens(void)
{
	struct verbs_server *s = node_open();
	static struct pair p;
	int rc;

	pair_set_up(&p);
	s->listener = &p.id;
	s->s.opts.region = &p; /* is not looked at */
	rc = open_device(s);
	s->listener = NULL;
	server_free(s);
	return rc;
}

static void one_that_bears_too_little_does_not_begin(void **state)
{
	assert_int_equal(listens(), -EOPNOTSUPP); /* it has no atomics */
	work = 63;
	assert_int_equal(listens(), -ENOBUFS);
	work = 16384;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_more_under_way_than_either_end_bears),
		cmocka_unit_test(one_that_bears_too_little_does_not_begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
