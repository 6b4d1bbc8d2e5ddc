/* A client's connections over TCP are shut down at the nodes' side, as by
 * something on the way, while it works, one by one and all in one moment, then
 * those that the nodes have with each other: they are made anew, nothing fails
 * and nobody is taken for dead. Real sockets, real threads. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "kv/view.h"
#include "tests/lib/cluster_impl.h"

#define FDS_MAX 1024
#define WRITERS 2u
#define PAGES	20u
#define MOMENTS 5u
#define MS	UINT64_C(1000000)

static const struct fab_key key = {.len = 32, .bytes = "breaks while it works"};

/* --- this process's TCP connections -------------------------------------- */

struct conn {
	int fd;
	in_port_t here, there;
};

static struct conn conn[FDS_MAX];
static unsigned conns;

static void note(int fd)
{
	struct sockaddr_in here, there;
	socklen_t len = sizeof(here), tlen = sizeof(there);

	if (getsockname(fd, (struct sockaddr *)&here, &len) != 0 ||
	    getpeername(fd, (struct sockaddr *)&there, &tlen) != 0 ||
	    here.sin_family != AF_INET)
		return;
	assert_true(conns < FDS_MAX);
	conn[conns++] = (struct conn){.fd = fd,
				      .here = ntohs(here.sin_port),
				      .there = ntohs(there.sin_port)};
}

/* Those of a moment: threads open and close some meanwhile. */
static void look(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	assert_non_null(d);
	conns = 0;
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			note(atoi(e->d_name));
	closedir(d);
}

static bool is_in(const in_port_t *list, unsigned n, in_port_t port)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i] == port)
			return true;
	return false;
}

static in_port_t port_of(const char *address)
{
	return (in_port_t)atoi(strrchr(address, ':') + 1);
}

/* --- breaking them ------------------------------------------------------- */

struct world {
	struct cluster *c;
	struct kv *kv;
	in_port_t others[FDS_MAX]; /* ends of connections before its own */
	unsigned others_n;
	_Atomic bool stop;
	_Atomic unsigned puts, looks;
	_Atomic unsigned failed;
	unsigned lost; /* nodes or clients that were taken for dead */
	unsigned broken;
	unsigned unlinked; /* of nodes to nodes, in the end */
	struct kv_page page[PAGES];
	uint8_t bytes[PAGES][KV_PAGE_BYTES];
};

static struct world w;

/* The ends of all connections that there are: of nodes and the coordinator. */
static void note_others(void)
{
	look();
	for (unsigned i = 0; i < conns; i++)
		w.others[w.others_n++] = conn[i].there;
}

static bool is_a_nodes(in_port_t port)
{
	for (uint32_t id = 0; id < 5; id++)
		if (port == port_of(cluster_node_address(w.c, id)))
			return true;
	return port == port_of(cluster_address(w.c));
}

/* What @port (0: everyone's) has of the client, or of the @others: first
 * connections, and those of queues. A descriptor that has just been closed is
 * another's or none: then that breaks, as well as it may. */
static unsigned shut_down(in_port_t port, bool others)
{
	unsigned n = 0;

	look();
	for (unsigned i = 0; i < conns; i++)
		if ((port != 0 ? conn[i].here == port
			       : is_a_nodes(conn[i].here)) &&
		    is_in(w.others, w.others_n, conn[i].there) == others)
			n += shutdown(conn[i].fd, SHUT_RDWR) == 0;
	return n;
}

/* --- work ------------------------------------------------------------------
 * What fails is counted, and judged when no thread is left: an assertion that
 * jumps out of the pool would end the program under those.
 */

static bool fails(int rc, const char *what)
{
	if (rc == 0)
		return false;
	print_error("%s: %s\n", what, strerror(-rc));
	atomic_fetch_add(&w.failed, 1);
	return true;
}

static void writer(void *arg)
{
	char name[8], val[16];
	size_t len;
	int rc;

	for (unsigned i = 0; !atomic_load(&w.stop); i++) {
		snprintf(name, sizeof(name), "k%u", i % 50);
		rc = kv_put(w.kv, name, strlen(name), &i, sizeof(i), NULL);
		if (fails(rc, "put"))
			return;
		rc = kv_get(w.kv, name, strlen(name), val, sizeof(val), &len,
			    NULL);
		if (fails(rc, "get"))
			return;
		atomic_fetch_add(&w.puts, 1);
	}
}

static void write_pages(void)
{
	const void *from[PAGES];

	for (unsigned i = 0; i < PAGES; i++) {
		memset(w.bytes[i], (int)i + 1, KV_PAGE_BYTES);
		from[i] = w.bytes[i];
	}
	for (unsigned i = 0; i < PAGES; i += 4)
		fails(kv_pages_write(w.kv, from + i, 4, w.page + i), "pages");
}

static void reader(void *arg)
{
	uint8_t got[KV_PAGE_BYTES];
	void *to = got;

	for (unsigned i = 0; !atomic_load(&w.stop); i++) {
		unsigned p = i % PAGES;
		int rc = kv_pages_read(w.kv, &w.page[p], 1, &to, true);

		if (rc == 0 && memcmp(got, w.bytes[p], KV_PAGE_BYTES) != 0)
			rc = -EBADMSG;
		if (fails(rc, "a page"))
			return;
		atomic_fetch_add(&w.looks, 1);
	}
}

/* Each goes on: every key of theirs, so every node's shard; and every page. */
static void goes_on(void)
{
	unsigned puts = atomic_load(&w.puts) + 200;
	unsigned looks = atomic_load(&w.looks) + 2 * PAGES;

	while ((atomic_load(&w.puts) < puts || atomic_load(&w.looks) < looks) &&
	       atomic_load(&w.failed) == 0)
		cluster_sleep(w.c, MS);
}

static unsigned unlinked(void)
{
	unsigned n = 0;

	for (uint32_t from = 0; from < 5; from++)
		for (uint8_t to = 0; to < 5; to++)
			n += !fab_net_up(w.c->node[from].net, to);
	return n;
}

static void wait_linked(void)
{
	for (unsigned ms = 0; unlinked() > 0 && ms < 60000; ms++)
		cluster_sleep(w.c, MS);
	w.unlinked = unlinked();
}

static void count_lost(void)
{
	struct view v;

	coord_view(cluster_coord(w.c), &v);
	w.lost = view_down(&v) + (coord_clients(cluster_coord(w.c)) != 1);
}

static void scene(struct cluster *c, void (*break_them)(void))
{
	memset(&w, 0, sizeof(w));
	w.c = c;
	wait_linked();
	note_others();
	w.kv = cluster_client(c);
	write_pages();
	for (unsigned i = 0; i < WRITERS; i++)
		cluster_spawn(c, writer, NULL);
	cluster_spawn(c, reader, NULL);
	goes_on();
	break_them();
	atomic_store(&w.stop, true);
	cluster_join(c);
}

static void run(void (*body)(struct cluster *c, void *arg), uint32_t lease_ms,
		unsigned broken)
{
	struct cluster_opts o = {.mode = CLUSTER_SHM,
				 .key = &key,
				 .remote = true,
				 .lease_ms = lease_ms};

	cluster_run(&o, body, NULL);
	assert_int_equal(w.failed, 0);
	assert_int_equal(w.lost, 0);
	assert_int_equal(w.unlinked, 0);
	assert_true(w.broken >= broken);
}

/* --- one by one ---------------------------------------------------------- */

static void break_each(void)
{
	for (uint32_t id = 0; id < 5; id++) {
		w.broken += shut_down(port_of(cluster_node_address(w.c, id)),
				      false);
		goes_on();
	}
	w.broken += shut_down(port_of(cluster_address(w.c)), false);
	goes_on();
	count_lost();
}

static void each_body(struct cluster *c, void *arg)
{
	scene(c, break_each);
}

static void test_each(void **state)
{
	run(each_body, 8000, 6);
}

/* --- all of them --------------------------------------------------------- */

static void break_all(void)
{
	for (unsigned i = 0; i < MOMENTS; i++) {
		w.broken += shut_down(0, false);
		goes_on();
	}
	count_lost();
}

static void all_body(struct cluster *c, void *arg)
{
	scene(c, break_all);
}

static void test_all(void **state)
{
	run(all_body, 8000, 6 * MOMENTS);
}

/* --- those between nodes ------------------------------------------------- */

/* The coordinator's to them, too. The shard of who dies afterwards comes back
 * by reading all others. */
static void break_nodes(void)
{
	for (uint32_t id = 0; id < 5; id++)
		w.broken +=
			shut_down(port_of(cluster_node_address(w.c, id)), true);
	goes_on();
	count_lost();
	wait_linked();
	cluster_kill_node(w.c, 2);
	goes_on();
	cluster_settle(w.c);
}

static void nodes_body(struct cluster *c, void *arg)
{
	scene(c, break_nodes);
}

static void test_between_nodes(void **state)
{
	run(nodes_body, 4000, 5 * 5 + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_between_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
