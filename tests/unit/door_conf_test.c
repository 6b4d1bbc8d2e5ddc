/* tests/unit/door_conf_test.c - the one reader of options. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "mount-helper/conf.h"

/* Read "aceso-fuse @a @b ..." up to the first NULL. */
static int read_args(struct conf *c, const char *a, const char *b,
		     const char *d, const char *e)
{
	const char *argv[] = {"aceso-fuse", a, b, d, e, NULL};
	int argc = 1;

	while (argv[argc] != NULL)
		argc++;
	return conf_read(c, argc, (char **)argv);
}

static int read_opts(struct conf *c, const char *opts)
{
	return read_args(c, "-o", opts, "/mnt", NULL);
}

/* @opts is refused, and the message has @word in it and is one line. */
static void refused(const char *opts, const char *word)
{
	struct conf c;

	assert_int_equal(read_opts(&c, opts), -EINVAL);
	if (strstr(c.error, word) == NULL)
		fail_msg("'%s' is not in '%s'", word, c.error);
	assert_null(strchr(c.error, '\n'));
	conf_free(&c);
}

static void defaults_are_a_3_2_pool_of_five(void **state)
{
	struct conf c;

	assert_int_equal(read_args(&c, "/mnt/x", NULL, NULL, NULL), 0);
	assert_string_equal(c.dir, "/mnt/x");
	assert_string_equal(c.pool.name, "");
	assert_int_equal(c.pool.k, 3);
	assert_int_equal(c.pool.m, 2);
	assert_int_equal(c.pool.nodes, 5);
	assert_int_equal(c.pool.size, 0);
	assert_false(c.pool.shaped);
	assert_true(c.pool.respawn);
	assert_int_equal(c.pool.ckpt_ms, 500);
	assert_int_equal(c.fs.cache, FS_CACHE_AUTO);
	assert_true(c.fs.attr_timeout < 0);
	assert_int_equal(c.kv.op_timeout_ms, 0);
	assert_int_equal(c.allow_other, geteuid() == 0);
	assert_false(c.foreground);
	assert_string_equal(c.mount, "");
	conf_free(&c);
}

static void every_option_lands_in_its_struct(void **state)
{
	struct conf c;

	assert_int_equal(
		read_opts(&c,
			  "size=1g,code=4+2,nodes=8,pool=p1,cache=writeback,"
			  "attr_timeout=2,entry_timeout=0.5,negative_timeout=0,"
			  "op_timeout=1.5,lanes=4,cache_size=8m,max_threads=3,"
			  "noclone_fd,noio_uring,noallow_other,respawn=no,ckpt_"
			  "ms=0,rebuild_rate=20m"),
		0);
	assert_int_equal(c.pool.size, 1 << 30);
	assert_int_equal(c.pool.k, 4);
	assert_int_equal(c.pool.m, 2);
	assert_int_equal(c.pool.nodes, 8);
	assert_string_equal(c.pool.name, "p1");
	assert_true(c.pool.shaped);
	assert_false(c.pool.respawn);
	assert_int_equal(c.pool.ckpt_ms, 0);
	assert_int_equal(c.pool.rebuild_rate, 20 << 20);
	assert_int_equal(c.fs.cache, FS_CACHE_WRITEBACK);
	assert_true(c.fs.attr_timeout == 2 && c.fs.entry_timeout == 0.5 &&
		    c.fs.negative_timeout == 0);
	assert_int_equal(c.kv.op_timeout_ms, 1500);
	assert_int_equal(c.kv.lanes, 4);
	assert_int_equal(c.kv.cache_bytes, 8 << 20);
	assert_int_equal(c.max_threads, 3);
	assert_false(c.clone_fd);
	assert_false(c.io_uring);
	assert_false(c.allow_other);
	conf_free(&c);
}

static void letters_mean_what_fuse_users_expect(void **state)
{
	struct conf c;

	assert_int_equal(read_args(&c, "-f", "-s", "/mnt", NULL), 0);
	assert_true(c.foreground && c.single_threaded && !c.debug);
	conf_free(&c);
	assert_int_equal(read_args(&c, "-d", "/mnt", NULL, NULL), 0);
	assert_true(c.foreground && c.debug && c.fs.debug);
	conf_free(&c);
	assert_int_equal(read_args(&c, "-V", NULL, NULL, NULL), 0);
	assert_true(c.version);
	conf_free(&c);
	assert_int_equal(read_args(&c, "--help", NULL, NULL, NULL), 0);
	assert_true(c.help);
	conf_free(&c);
}

static void a_pool_may_be_named_before_the_directory(void **state)
{
	struct conf c;

	assert_int_equal(read_args(&c, "p1", "/mnt", NULL, NULL), 0);
	assert_string_equal(c.pool.name, "p1");
	assert_string_equal(c.dir, "/mnt");
	conf_free(&c);
	assert_int_equal(read_args(&c, "p1", "/mnt", "/x", NULL), -EINVAL);
	assert_non_null(strstr(c.error, "/x"));
	conf_free(&c);
	assert_int_equal(read_args(&c, NULL, NULL, NULL, NULL), -EINVAL);
	assert_non_null(strstr(c.error, "no mount point"));
	conf_free(&c);
}

static void the_kernels_options_go_on_escaped(void **state)
{
	struct conf c;

	assert_int_equal(read_opts(&c, "ro,nosuid,fsname=a\\,b"), 0);
	assert_string_equal(c.mount, "ro,nosuid,fsname=a\\,b");
	assert_true(c.has_fsname);
	assert_false(c.has_subtype);
	conf_free(&c);
}

static void what_mount_8_adds_is_passed_over(void **state)
{
	struct conf c;

	assert_int_equal(
		read_opts(&c,
			  "defaults,x-systemd.automount,X-mount.mkdir,_netdev,"
			  "nofail,"
			  "noauto,user,users,comment=abc,default_permissions"),
		0);
	assert_string_equal(c.mount, "");
	conf_free(&c);
}

static void errors_name_the_option_and_a_way_out(void **state)
{
	refused("sise=1g", "did you mean 'size'");
	refused("atr_timeout=1", "did you mean 'attr_timeout'");
	refused("frobnicate", "unknown option 'frobnicate'");
	refused("remount", "unmount it");
	refused("respawn=perhaps", "respawn=yes");
	refused("backing=disk", "backing=file");
	refused("backing=file", "pool-dir=");
	refused("backing=memory,pool-dir=/d", "backing=file");
	refused("rebuild_rate=fast", "rebuild_rate=200m");
	refused("size", "size=...");
	refused("size=", "size=...");
	refused("size=abc", "size=512m");
	refused("size=0", "size=512m");
	refused("size=200%", "size=200%");
	refused("code=3", "code=3+2");
	refused("code=3+2,nodes=4", "needs 5 nodes");
	refused("code=2+5", "code=2+5");
	refused("code=30+4", "code=30+4");
	refused("nodes=1", "nodes=1");
	refused("nodes=99", "nodes=99");
	refused("pool=a/b", "pool=a/b");
	refused("pool=.hidden", "pool=.hidden");
	refused("cache=often", "cache=none");
	refused("attr_timeout=-1", "attr_timeout=-1");
	refused("op_timeout=0", "op_timeout=0");
	refused("lanes=0", "lanes=0");
	refused("ro=1", "takes no value");
}

static void sloppy_passes_unknown_options_over(void **state)
{
	struct conf c;

	assert_int_equal(read_opts(&c, "sloppy,frobnicate,size=1g"), 0);
	assert_int_equal(c.pool.size, 1 << 30);
	conf_free(&c);
}

static void the_environment_is_read_first(void **state)
{
	struct conf c;

	setenv("ACESO_OPTIONS", "size=2g,code=2+1", 1);
	assert_int_equal(read_opts(&c, "size=1g"), 0);
	assert_int_equal(c.pool.size, 1 << 30);
	assert_int_equal(c.pool.k, 2);
	assert_int_equal(c.pool.nodes, 3);
	conf_free(&c);
	setenv("ACESO_OPTIONS", "nonsense", 1);
	assert_int_equal(read_opts(&c, "ro"), -EINVAL);
	assert_non_null(strstr(c.error, "nonsense"));
	conf_free(&c);
	unsetenv("ACESO_OPTIONS");
}

static void names_come_from_mount_points(void **state)
{
	char a[CONF_POOL_BYTES_MAX + 1], b[CONF_POOL_BYTES_MAX + 1];
	char path[400];

	conf_name_of("/mnt/aceso", a);
	assert_string_equal(a, "mnt-aceso");
	conf_name_of("/mnt/a-b", a); /* not that of /mnt/a/b */
	conf_name_of("/mnt/a/b", b);
	assert_string_not_equal(a, b);
	assert_int_equal(conf_check_name(a), 0);
	conf_name_of("/mnt/\xff \n", a);
	assert_int_equal(conf_check_name(a), 0);
	conf_name_of("/.hidden", a);
	assert_int_equal(conf_check_name(a), 0);
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	conf_name_of(path, a);
	path[sizeof(path) - 2] = 'y';
	conf_name_of(path, b);
	assert_int_equal(conf_check_name(a), 0);
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_a_3_2_pool_of_five),
		cmocka_unit_test(every_option_lands_in_its_struct),
		cmocka_unit_test(letters_mean_what_fuse_users_expect),
		cmocka_unit_test(a_pool_may_be_named_before_the_directory),
		cmocka_unit_test(the_kernels_options_go_on_escaped),
		cmocka_unit_test(what_mount_8_adds_is_passed_over),
		cmocka_unit_test(errors_name_the_option_and_a_way_out),
		cmocka_unit_test(sloppy_passes_unknown_options_over),
		cmocka_unit_test(the_environment_is_read_first),
		cmocka_unit_test(names_come_from_mount_points),
	};

	unsetenv("ACESO_OPTIONS");
	setenv("ACESO_CONF", "/dev/null", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
