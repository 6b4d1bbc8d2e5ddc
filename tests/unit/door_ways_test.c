/* tests/unit/door_ways_test.c - some nodes of a pool listen by RDMA, and this
 * host has none: its node does not serve, and the doctor says why; or a
 * coordinator is of another version. The coordinator is played here. */
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

#include "kv/hello.h"
#include "mount-helper/doctor.h"
#include "mount-helper/hostnode.h"
#include "mount-helper/ways.h"
#include "tests/contract/fabric_tcp.h"
#include "tests/lib/far_pool.h"

#define NODES 3u

static char base[64], conf_path[128], key_path[128];
static char at[NODES + 1][PROTO_ADDRESS_BYTES]; /* the last: coordinator */
static struct fab_key key;
static struct fab_server *coord;
static char status[1024]; /* what it answers */

/* --- the coordinator ------------------------------------------------------ */

static int welcome; /* how it answers who says hello */

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	(void)arg;
	(void)peer;
	(void)hello;
	(void)len;
	return welcome;
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	(void)arg;
	(void)req;
	(void)len;
	assert_int_equal(type, PROTO_STATUS);
	fab_reply(rq, 0, status, strlen(status));
}

static void on_gone(void *arg, struct fab_peer *peer)
{
	(void)arg;
	(void)peer;
}

static void coord_open_here(void)
{
	struct fab_server_opts o = {
		.region_fd = -1,
		.address = at[NODES],
		.key = &key,
		.on_hello = on_hello,
		.on_call = on_call,
		.on_gone = on_gone,
	};

	assert_int_equal(fab_server_open(&o, &coord), 0);
}

/* Each node's state and transport: "up", "verbs". */
static void says(const char *way[NODES][2])
{
	size_t n = (size_t)snprintf(status, sizeof(status),
				    "{\"leads\": true, \"nodes\": [");

	for (unsigned i = 0; i < NODES; i++)
		n += (size_t)snprintf(status + n, sizeof(status) - n,
				      "%s{\"id\": %u, \"state\": \"%s\", "
				      "\"transport\": \"%s\"}",
				      i > 0 ? ", " : "", i, way[i][0],
				      way[i][1]);
	snprintf(status + n, sizeof(status) - n, "]}");
}

#define SAYS(s0, t0, s1, t1, s2, t2)                                           \
	says((const char *[NODES][2]){{s0, t0}, {s1, t1}, {s2, t2}})

/* --- the pool's files ----------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static void write_conf(const char *transport)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "[pool]\nname = far\nuuid = 12121212121212121212121212121212\n"
		 "code = 2+1\nnode-size = 64m\ntransport = %s\nkey = far.key\n"
		 "[nodes]\n0 = %s\n1 = %s\n2 = %s\n[coordinators]\n0 = %s\n",
		 transport, at[0] + 4, at[1] + 4, at[2] + 4, at[3] + 4);
	write_file(conf_path, text);
}

static int make(void **state)
{
	char text[FAB_KEY_FILE_BYTES * 2 + 2];

	(void)state;
	strcpy(base, "/tmp/door_ways_XXXXXX");
	if (mkdtemp(base) == NULL)
		return -1;
	setenv("ACESO_CONF_DIR", base, 1);
	snprintf(conf_path, sizeof(conf_path), "%s/far.conf", base);
	snprintf(key_path, sizeof(key_path), "%s/far.key", base);
	memset(text, 'a', sizeof(text) - 2);
	strcpy(text + sizeof(text) - 2, "\n");
	write_file(key_path, text);
	for (unsigned i = 0; i <= NODES; i++)
		contract_tcp_address(i, at[i], sizeof(at[i]));
	if (fab_key_load(key_path, 0600, &key) != 0)
		return -1;
	coord_open_here();
	return 0;
}

static int take_away(void **state)
{
	(void)state;
	fab_server_close(coord);
	unlink(conf_path);
	unlink(key_path);
	return rmdir(base);
}

/* --- a node --------------------------------------------------------------- */

static struct hostnode node;
static char error[CONF_ERROR_BYTES_MAX];

/* Node 0's part of this host. */
static int node_0(const char *transport)
{
	write_conf(transport);
	error[0] = '\0';
	return hostnode_make("far", 0, &node, error);
}

static void a_node_goes_where_it_can_reach_all(void **state)
{
	(void)state;
	SAYS("down", "shm", "down", "shm", "down", "shm"); /* forming */
	assert_int_equal(node_0("auto"), 0);
	assert_false(node.verbs);
	assert_string_equal(node.listen, at[0]);
	SAYS("up", "tcp", "up", "tcp", "coming", "tcp");
	assert_int_equal(node_0("auto"), 0);
	SAYS("up", "verbs", "up", "tcp", "up", "tcp"); /* it was that itself */
	assert_int_equal(node_0("auto"), 0);
	SAYS("up", "tcp", "up", "tcp", "down", "verbs"); /* who is gone */
	assert_int_equal(node_0("tcp"), 0);
}

static void a_node_that_cannot_is_told(void **state)
{
	(void)state;
	SAYS("down", "tcp", "up", "tcp", "up", "verbs");
	assert_int_equal(node_0("auto"), -ENODEV);
	assert_non_null(strstr(error, "node-2 "));
	assert_non_null(strstr(error, at[2] + 4));
	assert_non_null(strstr(error, "transport = tcp"));
	SAYS("down", "tcp", "coming", "verbs", "down", "tcp");
	assert_int_equal(node_0("tcp"), -ENODEV); /* they have another file */
	assert_non_null(strstr(error, "node-1 "));
}

static void without_a_coordinator_it_begins(void **state)
{
	(void)state;
	fab_server_close(coord);
	assert_int_equal(node_0("auto"), 0);
	coord_open_here();
}

/* --- the doctor ----------------------------------------------------------- */

static struct poolconf pool;

static json_t *examine(const char *transport, bool adapter)
{
	struct doctor d = {.root = "",
			   .pool = &pool,
			   .findings = json_array(),
			   .rdma = adapter};

	write_conf(transport);
	assert_int_equal(poolconf_read("far", &pool, error), 0);
	doctor_pool(&d);
	assert_false(d.lost);
	return d.findings;
}

/* What @check found; NULL: nothing. */
static const char *found(const json_t *findings, const char *check,
			 const char *word)
{
	const json_t *f;

	for (size_t i = 0; i < json_array_size(findings); i++) {
		f = json_array_get(findings, i);
		if (strcmp(json_string_value(json_object_get(f, "check")),
			   check) == 0)
			return json_string_value(json_object_get(f, word));
	}
	return NULL;
}

static void the_doctor_says_what_listens_by_rdma(void **state)
{
	json_t *f;

	(void)state;
	SAYS("up", "tcp", "up", "verbs", "up", "verbs");
	for (int adapter = 0; adapter < 2; adapter++) {
		f = examine("auto", adapter);
		assert_string_equal(found(f, "transport", "verdict"), "fail");
		assert_non_null(strstr(found(f, "transport", "found"),
				       "2 of 3 nodes, as node-1 "));
		assert_non_null(strstr(found(f, "transport", "mend"),
				       "transport = tcp"));
		assert_null(found(f, "node-1", "found"));
		/* it says TCP, and nobody is there */
		assert_string_equal(found(f, "node-0", "verdict"), "warn");
		assert_string_equal(found(f, "pool", "verdict"), "ok");
		json_decref(f);
	}
}

static void the_doctor_believes_the_file(void **state)
{
	json_t *f;

	(void)state;
	SAYS("down", "tcp", "down", "tcp", "down", "tcp");
	f = examine("verbs", true);
	assert_non_null(strstr(found(f, "transport", "found"), "3 of 3 "));
	json_decref(f);
	f = examine("tcp", true);
	assert_null(found(f, "transport", "found"));
	assert_string_equal(found(f, "node-1", "verdict"), "fail");
	json_decref(f);
}

static void without_the_key_nobody_is_condemned(void **state)
{
	json_t *f;

	(void)state;
	assert_int_equal(chmod(key_path, 0644), 0);
	f = examine("auto", true); /* with an adapter: it may be RDMA */
	assert_string_equal(found(f, "key", "verdict"), "fail");
	assert_string_equal(found(f, "nodes", "verdict"), "warn");
	assert_non_null(strstr(found(f, "nodes", "found"), "3 of 3 "));
	assert_null(found(f, "node-0", "found"));
	json_decref(f);
	f = examine("auto", false);
	assert_string_equal(found(f, "node-0", "verdict"), "fail");
	json_decref(f);
	f = examine("verbs", false);
	assert_string_equal(found(f, "transport", "verdict"), "fail");
	json_decref(f);
	assert_int_equal(chmod(key_path, 0600), 0);
}

static void the_doctor_tells_of_another_version(void **state)
{
	json_t *f;

	(void)state;
	welcome = -EPROTO;
	f = examine("tcp", false);
	assert_string_equal(found(f, "pool", "verdict"), "fail");
	assert_non_null(strstr(found(f, "pool", "found"), "another version"));
	assert_string_equal(found(f, "pool", "mend"),
			    "for h in 127.0.0.1; do echo $h; ssh $h aceso "
			    "version; done (and install the newest on all)");
	json_decref(f);
	welcome = -EACCES;
	f = examine("tcp", false);
	assert_non_null(strstr(found(f, "pool", "found"), "another key"));
	json_decref(f);
	welcome = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_goes_where_it_can_reach_all),
		cmocka_unit_test(a_node_that_cannot_is_told),
		cmocka_unit_test(without_a_coordinator_it_begins),
		cmocka_unit_test(the_doctor_says_what_listens_by_rdma),
		cmocka_unit_test(the_doctor_believes_the_file),
		cmocka_unit_test(without_the_key_nobody_is_condemned),
		cmocka_unit_test(the_doctor_tells_of_another_version),
	};

	if (!far_without_rdma()) {
		print_message("this host has RDMA: nothing to see\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, make, take_away);
}
