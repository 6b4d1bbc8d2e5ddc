/* tests/contract/tcp_delay_test.c - nodes that are far away: between each of
 * them and us is somebody who hands every byte on late, so that round trips
 * can be counted by a clock. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

#define NODES	5
#define LATE_MS 60 /* each way */
#define TRIP_NS (2 * LATE_MS * UINT64_C(1000000))
#define TRIES	5

static int net_open_plain(struct fab_net **out)
{
	return fab_tcp_open(NULL, out);
}

static const struct contract_transport tcp_far = {
	.name = "tcp, far",
	.net_open = net_open_plain,
	.address = contract_tcp_address,
	.absent = -ECONNREFUSED,
	.by_processor = true,
	.no_pids = true,
	.slow = 50,
};

/* --- the one between ------------------------------------------------------ */

struct between {
	int listener;
	char address[64];   /* ours */
	const char *beyond; /* the node's */
};

struct way {
	int from, to;
};

/* What comes while it sleeps goes on with the next: later still. */
static void *carry(void *arg)
{
	struct way w = *(struct way *)arg;
	char buf[65536];
	ssize_t n;

	free(arg);
	while ((n = recv(w.from, buf, sizeof(buf), 0)) > 0) {
		usleep(LATE_MS * 1000);
		if (send(w.to, buf, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	}
	shutdown(w.to, SHUT_WR);
	return NULL;
}

static void start_way(int from, int to)
{
	struct way *w = malloc(sizeof(*w));
	pthread_t t;

	*w = (struct way){from, to};
	assert_int_equal(pthread_create(&t, NULL, carry, w), 0);
	pthread_detach(t);
}

static void *let_in(void *arg)
{
	struct between *b = arg;
	int near, far;

	while ((near = accept(b->listener, NULL, NULL)) >= 0) {
		far = contract_tcp_raw(b->beyond);
		setsockopt(far, SOL_SOCKET, SO_RCVTIMEO,
			   &(struct timeval){.tv_sec = 0},
			   sizeof(struct timeval));
		start_way(near, far);
		start_way(far, near);
	}
	return NULL;
}

static void between_open(struct between *b, const char *beyond)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);
	pthread_t t;

	b->beyond = beyond;
	b->listener = socket(AF_INET, SOCK_STREAM, 0);
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(b->listener, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(b->listener, (struct sockaddr *)&sa, &len),
			 0);
	assert_int_equal(listen(b->listener, 16), 0);
	snprintf(b->address, sizeof(b->address), "tcp:127.0.0.1:%u",
		 ntohs(sa.sin_port));
	assert_int_equal(pthread_create(&t, NULL, let_in, b), 0);
	pthread_detach(t);
}

/* --- trips ---------------------------------------------------------------- */

struct far {
	struct test_node node[NODES];
	struct between between[NODES];
	struct fab_net *net;
	struct fab *f;
};

static struct far far;

/* The best of some tries: the machine may have other things to do. */
static uint64_t best_of(struct fab_op *ops, uint32_t n)
{
	uint64_t best = UINT64_MAX, took;

	for (int i = 0; i < TRIES; i++) {
		took = contract_now();
		contract_ops(far.f, ops, n);
		took = contract_now() - took;
		if (took < best)
			best = took;
	}
	return best;
}

static void five_nodes_cost_one_round_trip(void **state)
{
	uint64_t seven = 7, word[NODES], took;
	struct fab_op ops[2 * NODES];

	for (uint8_t i = 0; i < NODES; i++) {
		fab_write(&ops[2 * i], i, 64, &seven, 8);
		fab_read(&ops[2 * i + 1], i, 64, &word[i], 8);
	}
	took = best_of(ops, 2 * NODES);
	assert_true(took >= TRIP_NS && took < 2 * TRIP_NS);
	for (int i = 0; i < NODES; i++)
		assert_int_equal(word[i], 7);
}

static void a_batch_is_one_round_trip_however_long(void **state)
{
	static uint8_t bytes[64][512];
	struct fab_op ops[64];
	uint64_t took;

	for (uint32_t i = 0; i < 64; i++)
		fab_write(&ops[i], (uint8_t)(i % NODES), 4096 + i * 512,
			  bytes[i], 512);
	took = best_of(ops, 64);
	assert_true(took >= TRIP_NS && took < 2 * TRIP_NS);
}

/* Five connections are begun before any is waited for: hello and the batch
 * leave together. (One after the other it would be five trips at least.) */
static void the_first_batch_connects_to_all_at_once(void **state)
{
	struct fab_op ops[NODES];
	uint64_t word[NODES], best = UINT64_MAX, took;
	struct fab *f;

	for (int i = 0; i < TRIES; i++) {
		assert_int_equal(fab_open(far.net, &f), 0);
		for (uint8_t n = 0; n < NODES; n++)
			fab_read(&ops[n], n, 0, &word[n], 8);
		took = contract_now();
		contract_ops(f, ops, NODES);
		took = contract_now() - took;
		best = took < best ? took : best;
		fab_close(f);
	}
	assert_true(best < 4 * TRIP_NS);
}

static int set_up(void **state)
{
	contract = &tcp_far;
	assert_int_equal(fab_tcp_open(NULL, &far.net), 0);
	for (uint8_t i = 0; i < NODES; i++) {
		contract_node_open(&far.node[i]);
		between_open(&far.between[i], far.node[i].address);
		contract_attach(far.net, i, far.between[i].address);
	}
	return fab_open(far.net, &far.f);
}

static int tear_down(void **state)
{
	fab_close(far.f);
	fab_net_close(far.net);
	for (int i = 0; i < NODES; i++) {
		shutdown(far.between[i].listener, SHUT_RDWR);
		contract_node_close(&far.node[i]);
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(five_nodes_cost_one_round_trip),
		cmocka_unit_test(a_batch_is_one_round_trip_however_long),
		cmocka_unit_test(the_first_batch_connects_to_all_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
