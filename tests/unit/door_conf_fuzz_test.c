/* Command lines that make no sense: tests/fuzz/conf.c, from some that do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/conf.c"

static void lines_that_make_no_sense(void **state)
{
#define LINE(text)                                                             \
	{                                                                      \
		text, sizeof(text) - 1                                         \
	}
	static const struct fuzz_sample lines[] = {
		LINE("-o\0size=1G,code=3+2,nodes=5\0/mnt"),
		LINE("-f\0-d\0-s\0/mnt/aceso\0-o\0allow_other,fsname=a\\,b"),
		LINE("-o\0pool=name,attr_timeout=1.5,cache=auto\0/mnt"),
		LINE("--help"),
		LINE("-V"),
		LINE("-o\0size=50%,max_threads=8,clone_fd,ro,nosuid\0/x"),
	};
#undef LINE

	setenv("ACESO_CONF", "/dev/null", 1);
	fuzz_run(lines, sizeof(lines) / sizeof(lines[0]), 50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
