/* tests/contract/fabric_node.c - the nodes that the contract's tests talk to:
 * in this process, or in one of their own that may be killed. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

const struct contract_transport *contract;
extern char **environ;
static unsigned next_address;

uint64_t contract_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void pause_ms(unsigned ms)
{
	usleep(ms * 1000);
}

int contract_get(const int *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

void contract_wait(const int *value, int wanted)
{
	uint64_t end = contract_now() + 5000 * MS;

	while (contract_get(value) != wanted) {
		assert_true(contract_now() < end);
		pause_ms(1);
	}
}

/* --- what a node does with a CALL ----------------------------------------- */

struct later {
	struct fab_request *rq;
	size_t len;
	uint8_t data[];
};

static void *answer_later(void *arg)
{
	struct later *l = arg;

	pause_ms(20);
	fab_reply(l->rq, 0, l->data, l->len);
	free(l);
	return NULL;
}

static void call_later(struct fab_request *rq, const void *req, size_t len)
{
	struct later *l = malloc(sizeof(*l) + len);
	pthread_t t;

	if (l == NULL)
		abort();
	l->rq = rq;
	l->len = len;
	memcpy(l->data, req, len);
	if (pthread_create(&t, NULL, answer_later, l) != 0)
		abort();
	pthread_detach(t);
}

static void call_order(struct test_node *n, struct fab_request *rq,
		       const void *req, size_t len)
{
	uint64_t got = 0;

	if (len == sizeof(got))
		memcpy(&got, req, len);
	fab_reply(rq, got == n->last + 1 ? 0 : -EBADMSG, NULL, 0);
	n->last = got;
}

static void call_peek(struct test_node *n, struct fab_request *rq,
		      const void *req, size_t len)
{
	uint64_t offset, word;

	if (len != sizeof(offset)) {
		fab_reply(rq, -EINVAL, NULL, 0);
		return;
	}
	memcpy(&offset, req, len);
	word = __atomic_load_n((uint64_t *)(n->region + offset),
			       __ATOMIC_SEQ_CST);
	fab_reply(rq, 0, &word, sizeof(word));
}

static void on_call(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	struct test_node *n = arg;
	int32_t status = -EINVAL;

	switch (type) {
	case CALL_ECHO:
		fab_reply(rq, 0, req, len);
		break;
	case CALL_FAIL:
		if (len == sizeof(status))
			memcpy(&status, req, len);
		fab_reply(rq, status, NULL, 0);
		break;
	case CALL_HOLD:
		if (contract_get(&n->n_held) == HELD_MAX)
			abort();
		n->held[contract_get(&n->n_held)] = rq;
		__atomic_fetch_add(&n->n_held, 1, __ATOMIC_SEQ_CST);
		break;
	case CALL_LATER:
		call_later(rq, req, len);
		break;
	case CALL_ORDER:
		call_order(n, rq, req, len);
		break;
	case CALL_PEEK:
		call_peek(n, rq, req, len);
		break;
	case CALL_ROLE:
		fab_reply(rq,
			  fab_peer_reader(fab_request_peer(rq)) ? -EROFS : 0,
			  NULL, 0);
		break;
	default:
		fab_reply(rq, -ENOSYS, NULL, 0);
	}
}

static int on_hello(void *arg, struct fab_peer *peer, const void *hello,
		    size_t len)
{
	struct test_node *n = arg;

	n->hello_len = len;
	memcpy(n->hello, hello, len < sizeof(n->hello) ? len : 0);
	n->pid = fab_peer_pid(peer);
	n->uid = fab_peer_uid(peer);
	if (fab_peer_get(peer) == NULL)
		fab_peer_set(peer, n);
	if (n->refuse == 0)
		__atomic_store_n(&n->peer, peer, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&n->hellos, 1, __ATOMIC_SEQ_CST);
	return n->refuse;
}

static void on_gone(void *arg, struct fab_peer *peer)
{
	struct test_node *n = arg;

	__atomic_fetch_add(&n->words_kept, fab_peer_get(peer) == n,
			   __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&n->gones, 1, __ATOMIC_SEQ_CST);
}

static void on_refused(void *arg, const char *address, int why)
{
	struct test_node *n = arg;

	snprintf(n->refused_from, sizeof(n->refused_from), "%s", address);
	n->refused_why = why;
	__atomic_fetch_add(&n->refused, 1, __ATOMIC_SEQ_CST);
}

/* --- in this process ------------------------------------------------------ */

static void node_serve(struct test_node *n)
{
	struct fab_server_opts o = {.size = CONTRACT_REGION,
				    .address = n->address,
				    .key = contract->key,
				    .arg = n,
				    .on_hello = on_hello,
				    .on_call = on_call,
				    .on_gone = on_gone,
				    .on_refused = on_refused};
	void *base;

	assert_int_equal(
		fab_region_open("contract", CONTRACT_REGION, &base, &n->fd), 0);
	n->region = base;
	o.region = base;
	o.region_fd = n->fd;
	assert_int_equal(fab_server_open(&o, &n->server), 0);
}

void contract_node_open(struct test_node *n)
{
	memset(n, 0, sizeof(*n));
	contract->address(next_address++, n->address, sizeof(n->address));
	node_serve(n);
}

void contract_node_close(struct test_node *n)
{
	fab_server_close(n->server);
	fab_region_close(n->region, CONTRACT_REGION, n->fd);
}

void contract_node_wait_held(struct test_node *n, int wanted)
{
	contract_wait(&n->n_held, wanted);
}

void contract_node_release(struct test_node *n, int status, const void *data,
			   size_t len)
{
	int held = contract_get(&n->n_held);

	for (; held == 0; held = contract_get(&n->n_held))
		pause_ms(1);
	for (int i = 0; i < held; i++)
		fab_reply(n->held[i], status, data, len);
	__atomic_store_n(&n->n_held, 0, __ATOMIC_SEQ_CST);
}

/* --- in a process of its own ---------------------------------------------- */

static _Noreturn void serve_until_killed(const char *address)
{
	struct test_node n = {.server = NULL};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(n.address, sizeof(n.address), "%s", address);
	node_serve(&n);
	for (;;)
		pause();
}

static _Noreturn void visit_until_killed(const char *address)
{
	struct fab_net *net;
	struct fab *f;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (contract->net_open(&net) != 0 ||
	    fab_net_attach(net, 0, address, "", 0) != 0 ||
	    fab_open(net, &f) != 0 ||
	    fab_call_run(f, 0, CALL_HOLD, NULL, 0, NULL, 0, NULL, 0) != 0)
		_exit(1);
	for (;;)
		pause();
}

static pid_t spawn_self(const char *what, const char *address)
{
	char *argv[] = {"contract", (char *)what, (char *)address, NULL};
	pid_t pid;

	assert_int_equal(
		posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ),
		0);
	return pid;
}

pid_t contract_node_spawn(char *address, size_t cap)
{
	contract->address(next_address++, address, cap);
	return spawn_self("--serve", address);
}

pid_t contract_client_spawn(const char *address)
{
	return spawn_self("--visit", address);
}

void contract_node_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

void contract_attach(struct fab_net *net, uint8_t id, const char *address)
{
	uint64_t end = contract_now() + 10000000000u;
	int rc;

	while ((rc = fab_net_attach(net, id, address, "", 0)) ==
	       contract->absent) {
		assert_true(contract_now() < end);
		pause_ms(2);
	}
	assert_int_equal(rc, 0);
}

/* --- the fixture ---------------------------------------------------------- */

int contract_setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));
	int rc, tries = 0;

	assert_non_null(x);
	assert_int_equal(contract->net_open(&x->net), 0);
	for (uint8_t i = 0; i < 2; i++) {
		contract_node_open(&x->node[i]);
		do /* a handshake has two seconds, whatever it costs */
			rc = fab_net_attach(x->net, i, x->node[i].address,
					    "hello", 5);
		while (rc != 0 && CONTRACT_CRAWLS && ++tries < 5);
		assert_int_equal(rc, 0);
	}
	assert_int_equal(fab_open(x->net, &x->f), 0);
	for (uint8_t i = 0; contract->slow > 0 && i < 2; i++) /* connect */
		assert_int_equal(fab_call_run(x->f, i, CALL_ECHO, NULL, 0, NULL,
					      0, NULL, 0),
				 0);
	*state = x;
	return 0;
}

int contract_teardown(void **state)
{
	struct fixture *x = *state;

	fab_close(x->f);
	fab_net_close(x->net);
	for (int i = 0; i < 2; i++)
		contract_node_close(&x->node[i]);
	free(x);
	return 0;
}

void contract_ops(struct fab *f, struct fab_op *ops, uint32_t n)
{
	struct fab_batch b = {.ops = ops, .n = n};

	if (CONTRACT_CRAWLS)
		b.deadline_ns = fab_now(f) + 30000000000u;
	assert_int_equal(fab_run(f, &b), 0);
	assert_int_equal(b.left, 0);
}

int fabric_contract_main(int argc, char **argv,
			 const struct contract_transport *t)
{
	contract = t;
	if (argc == 3 && strcmp(argv[1], "--serve") == 0)
		serve_until_killed(argv[2]);
	if (argc == 3 && strcmp(argv[1], "--visit") == 0)
		visit_until_killed(argv[2]);
	cmocka_set_test_filter(getenv("TEST_FILTER")); /* NULL: all */
	return contract_run_onesided() + contract_run_calls() +
	       contract_run_failures() + contract_run_forks() +
	       contract_run_memory();
}

int contract_main_in(char *dir, int argc, char **argv,
		     const struct contract_transport *t, int (*own)(void))
{
	char cmd[64];
	int failed;

	if (argc > 1)
		return fabric_contract_main(argc, argv, t);
	if (mkdtemp(dir) == NULL)
		return 1;
	failed = fabric_contract_main(argc, argv, t);
	failed += own();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd) != 0)
		fprintf(stderr, "cannot remove %s\n", dir);
	return failed != 0;
}
