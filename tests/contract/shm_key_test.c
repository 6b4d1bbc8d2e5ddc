/* tests/contract/shm_key_test.c - the contract over shared memory with a key,
 * and what only keys bring: who has not the right one is handed nothing. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"

#include "rdma/shm_impl.h"

#define ANSWER_NS (10 * UINT64_C(1000000000))

static char dir[] = "/tmp/aceso-shmkey-XXXXXX";
static const struct fab_key pool_key = {
	.len = 32, .bytes = "the key of a pool that is tested"};

static void address(unsigned n, char *out, size_t cap)
{
	snprintf(out, cap, "%s/node%u", dir, n);
}

static int net_open(struct fab_net **out)
{
	return fab_shm_open(&pool_key, out);
}

static const struct contract_transport shm_transport = {
	.name = "shm with a key",
	.net_open = net_open,
	.net_open_with = fab_shm_open,
	.address = address,
	.key = &pool_key,
	.absent = -ENOENT,
};

static void nothing(void *arg, struct fab_request *rq, uint16_t type,
		    const void *req, size_t len)
{
	fab_reply(rq, 0, NULL, 0);
}

/* --- whose key ------------------------------------------------------------ */

static int attach_with(const struct fab_key *key, const char *to)
{
	struct fab_net *net;
	int rc;

	assert_int_equal(fab_shm_open(key, &net), 0);
	rc = fab_net_attach(net, 0, to, "", 0);
	fab_net_close(net);
	return rc;
}

static void another_key_is_refused_by_name(void **state)
{
	struct fixture *x = *state;
	struct fab_key other = pool_key;
	int hellos = contract_get(&x->node[0].hellos);
	char who[64];

	other.bytes[31] ^= 1;
	assert_int_equal(attach_with(&other, x->node[0].address), -EACCES);
	contract_wait(&x->node[0].refused, 1);
	assert_int_equal(x->node[0].refused_why, -EACCES);
	snprintf(who, sizeof(who), "process %d of user %u", getpid(), getuid());
	assert_string_equal(x->node[0].refused_from, who);
	other = pool_key;
	other.len--;
	assert_int_equal(attach_with(&other, x->node[0].address), -EACCES);
	contract_wait(&x->node[0].refused, 2);
	assert_int_equal(contract_get(&x->node[0].hellos), hellos);
	assert_int_equal(attach_with(&pool_key, x->node[0].address), 0);
	assert_int_equal(fab_server_malformed(x->node[0].server), 2);
}

static void no_key_is_refused(void **state)
{
	struct fixture *x = *state;
	int hellos = contract_get(&x->node[0].hellos);

	assert_int_equal(attach_with(NULL, x->node[0].address), -EACCES);
	contract_wait(&x->node[0].refused, 1);
	assert_int_equal(x->node[0].refused_why, -EACCES);
	assert_int_equal(contract_get(&x->node[0].hellos), hellos);
}

/* Who has a key does not deal with a node that cannot prove it. */
static void a_node_without_a_key_is_refused(void **state)
{
	struct fab_server_opts o = {.region_fd = -1, .on_call = nothing};
	struct fab_server *s;
	struct fab_net *net;
	char path[200];

	snprintf(path, sizeof(path), "%s/keyless", dir);
	o.address = path;
	assert_int_equal(fab_server_open(&o, &s), 0);
	assert_int_equal(fab_shm_open(&pool_key, &net), 0);
	assert_int_equal(fab_net_attach(net, FAB_NODE_COORD, path, "", 0),
			 -EACCES);
	fab_net_close(net);
	for (int i = 0; i < 5000 && fab_server_malformed(s) == 0; i++)
		usleep(1000); /* it answers first */
	assert_int_equal(fab_server_malformed(s), 1);
	fab_server_close(s);
}

static void a_short_key_is_no_key(void **state)
{
	struct fab_key small = {.len = FAB_KEY_BYTES_MIN - 1};
	struct fab_server_opts o = {
		.region_fd = -1, .key = &small, .on_call = nothing};
	struct fab_server *s = NULL;
	struct fab_net *net = NULL;
	char path[200];

	snprintf(path, sizeof(path), "%s/small", dir);
	o.address = path;
	assert_int_equal(fab_shm_open(&small, &net), -EINVAL);
	assert_int_equal(fab_server_open(&o, &s), -EINVAL);
	small.len = FAB_KEY_BYTES_MAX + 1;
	assert_int_equal(fab_shm_open(&small, &net), -EINVAL);
	assert_int_equal(fab_server_open(&o, &s), -EINVAL);
	assert_true(net == NULL && s == NULL);
}

/* --- a client that does not keep to our library --------------------------- */

struct message {
	struct shm_frame fr;
	union {
		struct shm_challenge ch;
		uint8_t bytes[200];
	};
};

struct visit {
	int sock, fd; /* fd: what was handed over; -1 */
	struct shm_auth auth;
	struct message got;
};

static const uint8_t token[NET_TOKEN_BYTES] = "somebody's net.";

static void visit(struct visit *v, const struct fixture *x)
{
	v->fd = -1;
	assert_int_equal(shm_connect(x->node[0].address, &v->sock), 0);
}

static void leave(struct visit *v)
{
	close(v->sock);
	if (v->fd >= 0)
		close(v->fd);
}

static void say(struct visit *v, enum shm_frame_type type, const void *data,
		size_t len)
{
	struct shm_frame fr;

	shm_frame_init(&fr, type);
	memcpy(fr.token, token, sizeof(token));
	assert_int_equal(shm_send(v->sock, &fr, data, len, -1), 0);
}

/* What comes next; 0: hung up. */
static ssize_t hear(struct visit *v)
{
	ssize_t n;

	assert_int_equal(shm_wait_readable(v->sock, ANSWER_NS), 0);
	n = shm_recv(v->sock, &v->got, sizeof(v->got), &v->fd);
	return n == -ECONNRESET ? 0 : n;
}

static void knock(struct visit *v, const struct fixture *x,
		  const struct fab_key *key)
{
	visit(v, x);
	assert_int_equal(shm_auth_knock(&v->auth, key, token, v->sock), 0);
	assert_int_equal(hear(v), sizeof(v->got.fr) + sizeof(v->got.ch));
	assert_int_equal(v->got.fr.type, SHM_CHALLENGE);
}

static void prove(struct visit *v, const struct fixture *x,
		  const struct fab_key *key)
{
	knock(v, x, key);
	assert_int_equal(shm_auth_answer(&v->auth, key, v->sock, &v->got.fr,
					 sizeof(v->got.fr) + sizeof(v->got.ch)),
			 0);
}

/* It is hung up on, with @why said before or without a word, and nothing was
 * handed over. */
static void expect_refusal(struct visit *v, int why)
{
	ssize_t n = hear(v);

	if (why != 0) {
		assert_int_equal(n, sizeof(v->got.fr));
		assert_int_equal(v->got.fr.type, SHM_WELCOME);
		assert_int_equal(v->got.fr.status, why);
		assert_int_equal(v->fd, -1);
		n = hear(v);
	}
	assert_int_equal(n, 0);
	assert_int_equal(v->fd, -1);
	leave(v);
}

static void expect_welcome(struct visit *v, int how)
{
	say(v, SHM_HELLO, NULL, 0);
	assert_int_equal(hear(v), sizeof(v->got.fr));
	assert_int_equal(v->got.fr.type, SHM_WELCOME);
	assert_int_equal(v->got.fr.status, 0);
	assert_true(v->fd >= 0);
	assert_int_equal(fcntl(v->fd, F_GETFL) & O_ACCMODE, how);
	leave(v);
}

static void who_proves_is_handed_what_its_key_is_worth(void **state)
{
	struct fixture *x = *state;
	struct fab_key reader;
	struct visit v;

	prove(&v, x, &pool_key);
	expect_welcome(&v, O_RDWR);
	assert_int_equal(fab_key_reader(&pool_key, &reader), 0);
	prove(&v, x, &reader);
	expect_welcome(&v, O_RDONLY);
}

static void a_proof_is_asked_for_first(void **state)
{
	struct fixture *x = *state;
	uint8_t zeros[PROOF_BYTES] = {0};
	struct visit v;

	visit(&v, x);
	say(&v, SHM_HELLO, "hello", 5);
	expect_refusal(&v, -EACCES);
	visit(&v, x);
	say(&v, SHM_HELLO_CALLS, NULL, 0);
	expect_refusal(&v, -EACCES);
	visit(&v, x);
	say(&v, SHM_CALL, "x", 1);
	expect_refusal(&v, 0);
	visit(&v, x);
	say(&v, SHM_PROOF, zeros, sizeof(zeros));
	expect_refusal(&v, -EPROTO);
	knock(&v, x, &pool_key);
	say(&v, SHM_HELLO, "hello", 5);
	expect_refusal(&v, -EACCES);
	assert_int_equal(fab_server_malformed(x->node[0].server), 5);
}

static void what_is_no_proof_is_refused(void **state)
{
	struct fixture *x = *state;
	uint8_t zeros[PROOF_BYTES] = {0};
	struct visit v, old;

	knock(&v, x, &pool_key);
	say(&v, SHM_PROOF, zeros, sizeof(zeros));
	expect_refusal(&v, -EACCES);
	knock(&v, x, &pool_key); /* its own, sent back */
	say(&v, SHM_PROOF, v.got.ch.proof, PROOF_BYTES);
	expect_refusal(&v, -EACCES);
	knock(&v, x, &pool_key);
	say(&v, SHM_PROOF, v.got.ch.proof, PROOF_BYTES - 1);
	expect_refusal(&v, -EPROTO);
	knock(&v, x, &pool_key);
	say(&v, SHM_PROOF, &v.got, PROOF_BYTES + 1);
	expect_refusal(&v, -EPROTO);

	/* a right one, of another connection */
	knock(&old, x, &pool_key);
	knock(&v, x, &pool_key);
	memcpy(v.auth.node_nonce, old.got.ch.nonce, PROOF_NONCE_BYTES);
	assert_int_equal(
		shm_auth_answer(&old.auth, &pool_key, v.sock, &old.got.fr,
				sizeof(old.got.fr) + sizeof(old.got.ch)),
		0);
	expect_refusal(&v, -EACCES);
	leave(&old);
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void malformed_knocks_cost_the_connection(void **state)
{
	struct fixture *x = *state;
	struct shm_knock k = {.reader = 2};
	uint8_t more[sizeof(k) + 1] = {0};
	struct visit v;

	visit(&v, x);
	say(&v, SHM_KNOCK, &k, sizeof(k));
	expect_refusal(&v, 0);
	visit(&v, x);
	say(&v, SHM_KNOCK, more, sizeof(k) - 1);
	expect_refusal(&v, 0);
	visit(&v, x);
	say(&v, SHM_KNOCK, more, sizeof(k) + 1);
	expect_refusal(&v, 0);
	visit(&v, x);
	say(&v, SHM_KNOCK, NULL, 0);
	expect_refusal(&v, 0);
	knock(&v, x, &pool_key); /* twice: another nonce would be a second
				  * guess */
	say(&v, SHM_KNOCK, more, sizeof(k));
	expect_refusal(&v, 0);
	prove(&v, x, &pool_key);
	say(&v, SHM_KNOCK, more, sizeof(k));
	expect_refusal(&v, 0);
	prove(&v, x, &pool_key);
	say(&v, SHM_PROOF, v.got.ch.proof, PROOF_BYTES);
	expect_refusal(&v, -EPROTO);
	contract_wait(&x->node[0].refused, 7);
	assert_int_equal(fab_server_malformed(x->node[0].server), 7);
	assert_int_equal(x->node[0].refused_why, -EPROTO);
}

/* What was proved was proved as somebody. */
static void a_proof_is_of_one_token(void **state)
{
	struct fixture *x = *state;
	struct shm_frame fr;
	struct visit v;

	prove(&v, x, &pool_key);
	shm_frame_init(&fr, SHM_HELLO_CALLS);
	memcpy(fr.token, ((struct shm_net *)x->net)->net.token,
	       sizeof(fr.token));
	assert_int_equal(shm_send(v.sock, &fr, NULL, 0, -1), 0);
	expect_refusal(&v, -EPROTO);
}

/* A writer's net does not take a reader's connection in, nor the reverse. */
static void a_reader_gets_into_no_writers_net(void **state)
{
	struct fixture *x = *state;
	struct fab_key reader;
	struct shm_frame fr;
	struct visit v;

	assert_int_equal(fab_key_reader(&pool_key, &reader), 0);
	visit(&v, x);
	assert_int_equal(shm_auth_knock(&v.auth, &reader,
					((struct shm_net *)x->net)->net.token,
					v.sock),
			 0);
	assert_int_equal(hear(&v), sizeof(v.got.fr) + sizeof(v.got.ch));
	assert_int_equal(shm_auth_answer(&v.auth, &reader, v.sock, &v.got.fr,
					 sizeof(v.got.fr) + sizeof(v.got.ch)),
			 0);
	shm_frame_init(&fr, SHM_HELLO_CALLS);
	memcpy(fr.token, v.auth.said.token, sizeof(fr.token));
	assert_int_equal(shm_send(v.sock, &fr, NULL, 0, -1), 0);
	expect_refusal(&v, 0);
	contract_wait(&x->node[0].refused, 1);
	assert_int_equal(x->node[0].refused_why, -EACCES);
}

#define SLOW 50

/* They have knocked, and say no more: others are served meanwhile, and after a
 * while they are sent away. */
static void who_never_proves_holds_up_nobody(void **state)
{
	struct fixture *x = *state;
	struct visit slow[SLOW];
	uint64_t began;

	for (int i = 0; i < SLOW; i++)
		knock(&slow[i], x, &pool_key);
	began = contract_now();
	for (int i = 0; i < 20; i++) {
		assert_int_equal(attach_with(&pool_key, x->node[0].address), 0);
		assert_int_equal(fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL,
					      0, NULL, 0),
				 0);
	}
	assert_true(contract_now() - began < 4 * UINT64_C(1000000000));
	for (int i = 0; i < SLOW; i++)
		expect_refusal(&slow[i], 0);
	assert_true(contract_now() - began > 4 * UINT64_C(1000000000));
	contract_wait(&x->node[0].refused, SLOW);
	assert_int_equal(x->node[0].refused_why, -ETIME);
}

/* --- a node that does not ------------------------------------------------- */

enum lie { SILENT, WELCOMES, OWN_KEY, REFLECTS, BABBLES, HANGS_UP, LIES };

struct liar {
	enum lie lie;
	int listener;
	ssize_t told; /* the client's next after the lie; 0: it hung up */
};

static void lie_challenge(int s, enum lie lie, const struct message *m)
{
	struct shm_challenge ch = {{0}, {0}};
	struct fab_key own = pool_key;
	struct shm_knock k;
	struct shm_said said = {.magic = SHM_MAGIC, .version = SHM_VERSION};
	struct proof_of p = {.who = lie == REFLECTS ? "client" : "node",
			     .said = &said,
			     .len = sizeof(said),
			     .node_nonce = ch.nonce,
			     .client_nonce = k.nonce};
	struct shm_frame fr;

	own.bytes[0] ^= lie == OWN_KEY;
	memcpy(&k, m->bytes, sizeof(k));
	memcpy(said.token, m->fr.token, sizeof(said.token));
	assert_int_equal(proof_make(&own, &p, ch.proof), 0);
	shm_frame_init(&fr, SHM_CHALLENGE);
	shm_send(s, &fr, &ch, sizeof(ch) - (lie == BABBLES), -1);
}

static void *lies(void *arg)
{
	struct liar *l = arg;
	struct shm_frame fr;
	struct message m;
	int s;

	assert_int_equal(shm_wait_readable(l->listener, ANSWER_NS), 0);
	s = accept(l->listener, NULL, NULL);
	assert_int_equal(shm_wait_readable(s, ANSWER_NS), 0);
	assert_int_equal(shm_recv(s, &m, sizeof(m), NULL),
			 sizeof(m.fr) + sizeof(struct shm_knock));
	assert_int_equal(m.fr.type, SHM_KNOCK);
	shm_frame_init(&fr, SHM_WELCOME);
	if (l->lie == WELCOMES)
		shm_send(s, &fr, NULL, 0, -1);
	else if (l->lie != SILENT && l->lie != HANGS_UP)
		lie_challenge(s, l->lie, &m);
	if (l->lie != HANGS_UP) {
		assert_int_equal(shm_wait_readable(s, ANSWER_NS), 0);
		l->told = shm_recv(s, &m, sizeof(m), NULL);
	}
	close(s);
	return NULL;
}

/* It is told nothing but a nonce: not the hello, not a proof to use elsewhere.
 */
static void a_node_that_does_not_prove_its_key_is_told_nothing(void **state)
{
	static const int says[LIES] = {-ETIMEDOUT, -EACCES, -EACCES,
				       -EACCES,	   -EPROTO, -ECONNREFUSED};
	struct liar l = {.listener = -1};
	uint64_t inode, began;
	struct fab_net *net;
	char path[200];
	pthread_t t;

	snprintf(path, sizeof(path), "%s/liar", dir);
	assert_int_equal(shm_listen(path, 0, &inode, &l.listener), 0);
	assert_int_equal(fab_shm_open(&pool_key, &net), 0);
	for (l.lie = 0; l.lie < LIES; l.lie++) {
		l.told = 0;
		began = contract_now();
		assert_int_equal(pthread_create(&t, NULL, lies, &l), 0);
		assert_int_equal(
			fab_net_attach(net, FAB_NODE_COORD, path, "secret", 6),
			says[l.lie]);
		pthread_join(t, NULL);
		assert_int_equal(l.told, 0);
		assert_true(contract_now() - began < 2 * SHM_HELLO_NS);
	}
	fab_net_close(net);
	close(l.listener);
	shm_unlisten(path, inode);
}

/* Nor is a CALL of a net that has attached, when another listens there. */
static void calls_go_to_who_has_proved_the_key_only(void **state)
{
	struct fixture *x = *state;
	struct liar l = {.lie = OWN_KEY};
	uint64_t inode;
	pthread_t t;

	assert_int_equal(unlink(x->node[1].address), 0);
	assert_int_equal(shm_listen(x->node[1].address, 0, &inode, &l.listener),
			 0);
	assert_int_equal(pthread_create(&t, NULL, lies, &l), 0);
	assert_int_equal(
		fab_call_run(x->f, 1, CALL_ECHO, "secret", 6, NULL, 0, NULL, 0),
		-EHOSTDOWN);
	pthread_join(t, NULL);
	assert_int_equal(l.told, 0);
	close(l.listener);
	shm_unlisten(x->node[1].address, inode);
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

static int run_own(void)
{
	const struct CMUnitTest tests[] = {
		X(another_key_is_refused_by_name),
		X(no_key_is_refused),
		cmocka_unit_test(a_node_without_a_key_is_refused),
		cmocka_unit_test(a_short_key_is_no_key),
		X(contract_a_reader_only_looks),
		X(contract_keys_are_of_one_kind),
		X(who_proves_is_handed_what_its_key_is_worth),
		X(a_proof_is_asked_for_first),
		X(what_is_no_proof_is_refused),
		X(malformed_knocks_cost_the_connection),
		X(a_proof_is_of_one_token),
		X(a_reader_gets_into_no_writers_net),
		X(who_never_proves_holds_up_nobody),
		cmocka_unit_test(
			a_node_that_does_not_prove_its_key_is_told_nothing),
		X(calls_go_to_who_has_proved_the_key_only),
	};

	return cmocka_run_group_tests_name("keys over shm", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return contract_main_in(dir, argc, argv, &shm_transport, run_own);
}
