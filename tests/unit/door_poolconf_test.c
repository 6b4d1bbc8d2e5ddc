/* tests/unit/door_poolconf_test.c - the file of a pool over several hosts, its
 * key, and what follows from both. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "mount-helper/poolconf.h"
#include "mount-helper/poolkey.h"

#define GOOD                                                                   \
	"[pool]\nname = p\nuuid = 0123456789abcdef0123456789abcdef\n"          \
	"code = 3+2\nnode-size = 64M\ntransport = tcp\nkey = p.key\n"          \
	"lease-ms = 500\nckpt-ms = 700\nrebuild-rate = 3M\n"                   \
	"[nodes]\n0 = a:7601\n1 = b\n2 = c:99\n3 = [fe80::1]:7\n4 = ::1\n"     \
	"[coordinators]\n0 = a\n1 = [::1]:7000\n"

static char dir[] = "/tmp/poolconf-XXXXXX";
static char error[CONF_ERROR_BYTES_MAX];

static const char *at(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put(const char *name, const char *text, mode_t mode)
{
	FILE *f = fopen(at(name), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(at(name), mode), 0);
}

static int make_dir(void **state)
{
	return mkdtemp(dir) == NULL ? -1 : setenv("ACESO_CONF_DIR", dir, 1);
}

static int remove_dir(void **state)
{
	unlink(at("p.conf"));
	unlink(at("p.key"));
	return rmdir(dir);
}

static void make_key(void)
{
	unlink(at("p.key"));
	assert_int_equal(poolkey_make(at("p.key")), 0);
}

static void a_whole_file_is_read(void **state)
{
	struct poolconf c;
	char list[POOLCONF_LIST_BYTES];

	put("p.conf", GOOD "[zookeeper]\nservers = a:2181,b:2181\n", 0644);
	make_key();
	assert_true(poolconf_exists("p"));
	assert_int_equal(poolconf_load("p", &c, error), 0);
	assert_int_equal(c.k, 3);
	assert_int_equal(c.m, 2);
	assert_int_equal(c.nodes, 5);
	assert_int_equal(c.node_size, 64 << 20);
	assert_int_equal(c.transport, POOLCONF_TCP);
	assert_int_equal(c.lease_ms, 500);
	assert_int_equal(c.ckpt_ms, 700);
	assert_int_equal(c.rebuild_rate, 3 << 20);
	assert_int_equal(c.uuid[1], 0x23);
	assert_string_equal(c.node[1].host, "b");
	assert_int_equal(c.node[1].port, POOLCONF_PORT_NODE);
	assert_int_equal(c.node[2].port, 99);
	assert_string_equal(c.node[3].host, "fe80::1");
	assert_int_equal(c.node[3].port, 7);
	assert_string_equal(c.node[4].host, "::1");
	assert_string_equal(c.zookeeper, "a:2181,b:2181");
	assert_int_equal(c.key.len, FAB_KEY_FILE_BYTES);
	poolconf_coords(&c, list);
	assert_string_equal(list, "tcp:a:7600,tcp:[::1]:7000");
}

/* The file with one line replaced: what is refused, and what is said. */
static const struct {
	const char *from, *to, *said;
} bad[] = {
	{"name = p", "name = q", "name = q"},
	{"uuid = 01", "uuid = xx", "32 hexadecimal"},
	{"uuid", "uid", "not known here"},
	{"code = 3+2", "code = 3", "3+2"},
	{"code = 3+2", "", "no code"},
	{"code = 3+2", "code = 5+2", "fewer [nodes]"},
	{"node-size = 64M", "node-size = 0", "4G"},
	{"transport = tcp", "transport = udp", "auto, tcp or verbs"},
	{"key = p.key", "", "no key"},
	{"lease-ms = 500", "lease-ms = 1", "milliseconds"},
	{"ckpt-ms = 700", "ckpt-ms = no", "0 (never)"},
	{"rebuild-rate = 3M", "rebuild-rate = fast", "200M"},
	{"1 = b", "0 = b", "each number once"},
	{"1 = b", "9 = b", "missing in [nodes]"},
	{"1 = b", "1 = b:0", "host:port"},
	{"1 = b", "1 = b c", "host:port"},
	{"1 = b", "63 = b", "host:port"},
	{"1 = b", "1", "p.conf:13"},
	{"[coordinators]", "[coordinates]", "not known here"},
};

static void each_fault_is_named(void **state)
{
	struct poolconf c;
	char text[1024];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *from = strstr(GOOD, bad[i].from);

		snprintf(text, sizeof(text), "%.*s%s%s", (int)(from - GOOD),
			 GOOD, bad[i].to, from + strlen(bad[i].from));
		put("p.conf", text, 0644);
		assert_int_equal(poolconf_read("p", &c, error), -EINVAL);
		if (strstr(error, bad[i].said) == NULL)
			fail_msg("%s: %s", bad[i].to, error);
	}
	unlink(at("p.conf"));
	assert_int_equal(poolconf_read("p", &c, error), -ENOENT);
	assert_false(poolconf_exists("p"));
	assert_int_equal(poolconf_read("../p", &c, error), -EINVAL);
}

static void a_key_is_for_its_owner_only(void **state)
{
	struct fab_key key;

	make_key();
	assert_int_equal(poolkey_make(at("p.key")), -EEXIST);
	assert_int_equal(poolkey_read(at("p.key"), &key, error), 0);
	assert_int_equal(chmod(at("p.key"), 0640), 0);
	assert_int_equal(poolkey_read(at("p.key"), &key, error), -EPERM);
	assert_non_null(strstr(error, "chmod 600"));
	put("p.key", "0123\n", 0600);
	assert_int_equal(poolkey_read(at("p.key"), &key, error), -EINVAL);
	assert_int_equal(poolkey_read(dir, &key, error), -EINVAL);
	unlink(at("p.key"));
	assert_int_equal(poolkey_read(at("p.key"), &key, error), -ENOENT);
}

static void a_readers_key_has_a_file_of_its_own(void **state)
{
	struct fab_key key, want, got;
	char line[POOLKEY_READER_BYTES];
	uint8_t uuid[16] = {1};
	uint64_t secret;

	make_key();
	assert_int_equal(poolkey_read(at("p.key"), &key, error), 0);
	assert_false(key.reader);
	assert_int_equal(poolkey_reader_line(&key, line), 0);
	unlink(at("p.key"));
	put("p.key", line, 0600);
	assert_int_equal(poolkey_read(at("p.key"), &got, error), 0);
	assert_int_equal(fab_key_reader(&key, &want), 0);
	assert_true(got.reader && got.len == want.len);
	assert_memory_equal(got.bytes, want.bytes, want.len);
	/* it is the end of the line: nothing else follows from it */
	assert_int_equal(poolkey_reader_line(&got, line), -EINVAL);
	assert_int_equal(poolkey_secret(&got, uuid, &secret), -EINVAL);
	unlink(at("p.key"));
}

/* Every host makes the same of the same file and key. */
static void superblocks_follow_from_file_and_key(void **state)
{
	struct layout_super a, b;
	struct poolconf c;

	put("p.conf", GOOD, 0644);
	make_key();
	assert_int_equal(poolconf_load("p", &c, error), 0);
	assert_int_equal(poolconf_super(&c, &a, error), 0);
	assert_int_equal(poolconf_super(&c, &b, error), 0);
	assert_int_equal(a.secret, b.secret);
	assert_int_equal(layout_sum(&a.layout), layout_sum(&b.layout));
	assert_true(a.layout.size <= c.node_size);
	assert_true(a.layout.size > c.node_size / 2);
	c.key.bytes[0] ^= 1;
	assert_int_equal(poolconf_super(&c, &b, error), 0);
	assert_int_not_equal(a.secret, b.secret);
	c.node_size *= 2;
	assert_int_equal(poolconf_super(&c, &b, error), 0);
	assert_int_not_equal(layout_sum(&a.layout), layout_sum(&b.layout));
	c.node_size = 4096;
	assert_int_equal(poolconf_super(&c, &b, error), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_file_is_read),
		cmocka_unit_test(each_fault_is_named),
		cmocka_unit_test(a_key_is_for_its_owner_only),
		cmocka_unit_test(a_readers_key_has_a_file_of_its_own),
		cmocka_unit_test(superblocks_follow_from_file_and_key),
	};

	return cmocka_run_group_tests_name("poolconf", tests, make_dir,
					   remove_dir);
}
