/* A client's connections over TCP are shut down at the nodes' side, as by
 * something on the way, while it works, then those that the nodes have with
 * each other: they are made anew, nothing fails and nobody is taken for dead.
 * Real sockets, real threads. */
#include <arpa/inet.h>
#include <dirent.h>
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
#define MS	UINT64_C(1000000)

static const struct fab_key key = {.len = 32, .bytes = "breaks while it works"};

/* --- this process's TCP connections ----------------------------------------
 */

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

/* --- breaking them ---------------------------------------------------------
 */

struct world {
	struct cluster *c;
	struct kv *kv;
	in_port_t others[FDS_MAX]; /* ends of connections before its own */
	unsigned others_n;
	_Atomic bool stop;
	_Atomic unsigned puts;
	_Atomic unsigned failed;
};

/* The ends of all connections that there are: of nodes and the coordinator. */
static void note_others(struct world *w)
{
	look();
	for (unsigned i = 0; i < conns; i++)
		w->others[w->others_n++] = conn[i].there;
}

/* What @port has of the client, or of the @others: first connections, and those
 * of queues. A descriptor that has just been closed is another's or none: then
 * that breaks, as well as it may. */
static unsigned shut_down(struct world *w, in_port_t port, bool others)
{
	unsigned n = 0;

	look();
	for (unsigned i = 0; i < conns; i++)
		if (conn[i].here == port &&
		    is_in(w->others, w->others_n, conn[i].there) == others)
			n += shutdown(conn[i].fd, SHUT_RDWR) == 0;
	return n;
}

/* --- work ------------------------------------------------------------------
 */

static void writer(void *arg)
{
	struct world *w = arg;
	char name[8], val[16];
	size_t len;
	int rc;

	for (unsigned i = 0; !atomic_load(&w->stop); i++) {
		snprintf(name, sizeof(name), "k%u", i % 50);
		rc = kv_put(w->kv, name, strlen(name), &i, sizeof(i), NULL);
		if (rc == 0)
			rc = kv_get(w->kv, name, strlen(name), val, sizeof(val),
				    &len, NULL);
		if (rc != 0) {
			print_error("%s: %s\n", name, strerror(-rc));
			atomic_fetch_add(&w->failed, 1);
			return;
		}
		atomic_fetch_add(&w->puts, 1);
	}
}

/* Each goes on: every key of theirs, so every node's shard. */
static void goes_on(struct world *w)
{
	unsigned want = atomic_load(&w->puts) + 200;

	while (atomic_load(&w->puts) < want && atomic_load(&w->failed) == 0)
		cluster_sleep(w->c, MS);
	assert_int_equal(atomic_load(&w->failed), 0);
}

static void nobody_is_lost(struct world *w)
{
	struct view v;

	coord_view(cluster_coord(w->c), &v);
	assert_int_equal(view_down(&v), 0);
	assert_int_equal(coord_clients(cluster_coord(w->c)), 1);
}

static void break_each(struct cluster *c, void *arg)
{
	static struct world w;
	unsigned broken = 0;

	w = (struct world){.c = c};
	note_others(&w);
	w.kv = cluster_client(c);
	for (unsigned i = 0; i < WRITERS; i++)
		cluster_spawn(c, writer, &w);
	goes_on(&w);
	for (uint32_t id = 0; id < 5; id++) {
		broken += shut_down(&w, port_of(cluster_node_address(c, id)),
				    false);
		goes_on(&w);
	}
	assert_true(broken >= 5);
	broken = shut_down(&w, port_of(cluster_address(c)), false);
	assert_true(broken > 0);
	goes_on(&w);
	atomic_store(&w.stop, true);
	cluster_join(c);
	nobody_is_lost(&w);
}

static unsigned links(struct cluster *c)
{
	unsigned n = 0;

	for (uint32_t from = 0; from < 5; from++)
		for (uint8_t to = 0; to < 5; to++)
			n += fab_net_up(c->node[from].net, to);
	return n;
}

static void all_are_linked(struct cluster *c)
{
	for (unsigned ms = 0; links(c) < 5 * 5 && ms < 60000; ms++)
		cluster_sleep(c, MS);
	assert_int_equal(links(c), 5 * 5);
}

/* The coordinator's to them, too. The shard of who dies afterwards comes back
 * by reading all others. */
static void break_nodes(struct cluster *c, void *arg)
{
	static struct world w;
	unsigned broken = 0;

	w = (struct world){.c = c};
	all_are_linked(c);
	note_others(&w);
	w.kv = cluster_client(c);
	cluster_spawn(c, writer, &w);
	goes_on(&w);
	for (uint32_t id = 0; id < 5; id++)
		broken += shut_down(&w, port_of(cluster_node_address(c, id)),
				    true);
	assert_true(broken >= 5 * 5 + 5);
	goes_on(&w);
	nobody_is_lost(&w);
	all_are_linked(c);
	cluster_kill_node(c, 2);
	goes_on(&w);
	cluster_settle(c);
	atomic_store(&w.stop, true);
	cluster_join(c);
	assert_int_equal(atomic_load(&w.failed), 0);
}

static void run(void (*body)(struct cluster *c, void *arg), uint32_t lease_ms)
{
	struct cluster_opts o = {.mode = CLUSTER_SHM,
				 .key = &key,
				 .remote = true,
				 .lease_ms = lease_ms};

	cluster_run(&o, body, NULL);
}

static void test_broken(void **state)
{
	run(break_each, 8000);
}

static void test_broken_between_nodes(void **state)
{
	run(break_nodes, 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_broken_between_nodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
