/* tests/unit/door_inifile_test.c - INI files, and where they are wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "mount-helper/inifile.h"

static char path[] = "/tmp/inifile-XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	return unlink(path);
}

static void put(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* All entries as text: "section.name=value@line " each. */
static int collect(void *arg, const struct inifile_entry *e, char *why,
		   size_t cap)
{
	char *all = arg;
	size_t at = strlen(all);

	if (strcmp(e->name, "bad") == 0) {
		snprintf(why, cap, "'%s' is bad", e->value);
		return -ERANGE;
	}
	snprintf(all + at, 4096 - at, "%s.%s=%s@%u ", e->section, e->name,
		 e->value, e->line);
	return 0;
}

static int read_text(const char *text, char *all, char *error, size_t cap)
{
	put(text, strlen(text));
	all[0] = '\0';
	error[0] = '\0';
	return inifile_read(path, collect, all, error, cap);
}

static void entries_come_with_their_lines(void **state)
{
	char all[4096], error[256];

	assert_int_equal(read_text("top = 1\n# words\n[a]\nx=1 ; note\n"
				   "   y = two words\n\n[b c]\nz =\n",
				   all, error, sizeof(error)),
			 0);
	assert_string_equal(all, ".top=1@1 a.x=1@4 a.y=two words@5 b c.z=@8 ");
}

static void faults_name_file_and_line(void **state)
{
	char all[4096], error[256], want[256];

	assert_int_equal(
		read_text("[a]\nx=1\nbad=b\ny=2\n", all, error, sizeof(error)),
		-ERANGE);
	snprintf(want, sizeof(want), "%s:3: 'b' is bad", path);
	assert_string_equal(error, want);
	assert_string_equal(all, "a.x=1@2 ");

	assert_int_equal(
		read_text("[a]\n\nno sign\nx=1\n", all, error, sizeof(error)),
		-EINVAL);
	snprintf(want, sizeof(want), "%s:3: neither", path);
	assert_memory_equal(error, want, strlen(want));

	assert_int_equal(read_text("[a\nx=1\n", all, error, sizeof(error)),
			 -EINVAL);
	snprintf(want, sizeof(want), "%s:1: neither", path);
	assert_memory_equal(error, want, strlen(want));
}

static void a_line_has_a_limit(void **state)
{
	char text[INIFILE_LINE_BYTES_MAX + 8], all[4096], error[256];

	memset(text, 'y', sizeof(text));
	memcpy(text, "x=", 2);
	text[INIFILE_LINE_BYTES_MAX] = '\n';
	text[INIFILE_LINE_BYTES_MAX + 1] = '\0';
	assert_int_equal(read_text(text, all, error, sizeof(error)), 0);
	assert_int_equal(strlen(all), INIFILE_LINE_BYTES_MAX + 4);

	text[INIFILE_LINE_BYTES_MAX] = 'y';
	text[INIFILE_LINE_BYTES_MAX + 1] = '\n';
	text[INIFILE_LINE_BYTES_MAX + 2] = '\0';
	assert_int_equal(read_text(text, all, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, ":1: the line is too long"));
}

static void what_is_no_text_is_refused(void **state)
{
	char all[4096] = "", error[256];

	put("a=1\n\0\0\n", 7);
	assert_int_equal(inifile_read(path, collect, all, error, 256), -EINVAL);
	assert_int_equal(inifile_read("/", collect, all, error, 256), -EIO);
	assert_int_equal(
		inifile_read("/no/such/file", collect, all, error, 256),
		-ENOENT);
	assert_non_null(strstr(error, "/no/such/file: No such file"));
	assert_int_equal(inifile_read("/dev/null", collect, all, error, 256),
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_come_with_their_lines),
		cmocka_unit_test(faults_name_file_and_line),
		cmocka_unit_test(a_line_has_a_limit),
		cmocka_unit_test(what_is_no_text_is_refused),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
