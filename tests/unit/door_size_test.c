/* tests/unit/door_size_test.c - amounts and codes as people write them. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mount-helper/size.h"

static void sizes_are_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"4096", 4096},
		{"512b", 512},
		{"1k", 1024},
		{"512m", UINT64_C(512) << 20},
		{"512M", UINT64_C(512) << 20},
		{"1.5g", UINT64_C(1536) << 20},
		{"2TiB", UINT64_C(2) << 40},
		{"3kb", 3072},
		{".5k", 512},
	};
	uint64_t n;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		n = 1;
		assert_int_equal(size_parse(good[i].text, &n), 0);
		assert_int_equal(n, good[i].bytes);
	}
}

static void what_is_no_size_is_refused(void **state)
{
	static const char *const bad[] = {
		"",    "m",   "-1",  "+1",  " 1",   "1 m", "1x",    "0x10",
		"1e3", "inf", "nan", "1mm", "1..2", "50%", "1kib2", "."};
	uint64_t n = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(size_parse(bad[i], &n), -EINVAL);
	assert_int_equal(size_parse("9000000000t", &n), -ERANGE);
	assert_int_equal(n, 7); /* untouched by any of them */
}

static void shares_are_percents_up_to_a_hundred(void **state)
{
	uint64_t n;
	double p;

	assert_int_equal(size_parse_share("50%", &n, &p), 0);
	assert_int_equal(n, 0);
	assert_true(p == 50.0);
	assert_int_equal(size_parse_share("4g", &n, &p), 0);
	assert_int_equal(n, UINT64_C(4) << 30);
	assert_true(p == 0.0);
	assert_int_equal(size_parse_share("0%", &n, &p), -ERANGE);
	assert_int_equal(size_parse_share("101%", &n, &p), -ERANGE);
	assert_int_equal(size_parse_share("%", &n, &p), -EINVAL);
	assert_int_equal(size_parse_share("5m%", &n, &p), -EINVAL);
}

static void codes_are_two_numbers(void **state)
{
	static const char *const bad[] = {
		"",    "3",   "+",   "3+",    "+2",	     "3+2+1", "a+b",
		"3-2", "0+2", "3+0", "3 + 2", "123456789+1", "100+1"};
	uint32_t k, m;

	assert_int_equal(size_parse_code("3+2", &k, &m), 0);
	assert_int_equal(k, 3);
	assert_int_equal(m, 2);
	assert_int_equal(size_parse_code("12+4", &k, &m), 0);
	assert_int_equal(k, 12);
	assert_int_equal(m, 4);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(size_parse_code(bad[i], &k, &m), -EINVAL);
}

static void counts_and_seconds_keep_their_limits(void **state)
{
	uint32_t n;
	double s;

	assert_int_equal(size_parse_count("8", 1, 8, &n), 0);
	assert_int_equal(n, 8);
	assert_int_equal(size_parse_count("9", 1, 8, &n), -ERANGE);
	assert_int_equal(size_parse_count("0", 1, 8, &n), -ERANGE);
	assert_int_equal(size_parse_count("99999999999999999999", 1, 8, &n),
			 -ERANGE);
	assert_int_equal(size_parse_count("-1", 0, 8, &n), -EINVAL);
	assert_int_equal(size_parse_count("8x", 0, 8, &n), -EINVAL);
	assert_int_equal(size_parse_seconds("0.25", 10, &s), 0);
	assert_true(s == 0.25);
	assert_int_equal(size_parse_seconds("2s", 10, &s), 0);
	assert_int_equal(size_parse_seconds("11", 10, &s), -ERANGE);
	assert_int_equal(size_parse_seconds("2m", 10, &s), -EINVAL);
}

static void sizes_are_shown_with_a_unit(void **state)
{
	char text[SIZE_TEXT_BYTES];

	assert_string_equal(size_text(0, text), "0 B");
	assert_string_equal(size_text(1023, text), "1023 B");
	assert_string_equal(size_text(1536, text), "1.5 KiB");
	assert_string_equal(size_text(UINT64_C(4) << 30, text), "4.0 GiB");
	assert_string_equal(size_text(UINT64_MAX, text), "16.0 EiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_powers_of_1024),
		cmocka_unit_test(what_is_no_size_is_refused),
		cmocka_unit_test(shares_are_percents_up_to_a_hundred),
		cmocka_unit_test(codes_are_two_numbers),
		cmocka_unit_test(counts_and_seconds_keep_their_limits),
		cmocka_unit_test(sizes_are_shown_with_a_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
