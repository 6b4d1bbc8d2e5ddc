/* tests/contract/tcp_plain_test.c - the contract over TCP without a key, as on
 * loopback; and frames, which only here anyone can send. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

static int net_open(struct fab_net **out)
{
	return fab_tcp_open(NULL, out);
}

static const struct contract_transport tcp_plain = {
	.name = "tcp, plain",
	.net_open = net_open,
	.address = contract_tcp_address,
	.absent = -ECONNREFUSED,
	.by_processor = true,
	.no_pids = true,
	.slow = 50,
};

static void expect_hang_up(const char *to, const void *bytes, size_t len)
{
	int s = contract_tcp_raw(to);

	assert_int_equal(send(s, bytes, len, MSG_NOSIGNAL), len);
	contract_tcp_expect_end(s);
}

static void frames_that_break_the_rules_cost_the_connection(void **state)
{
	struct fixture *x = *state;
	const char *to = x->node[0].address;
	uint64_t before = fab_server_malformed(x->node[0].server);
	struct contract_hello m;

	contract_tcp_hello(&m, TCP_WRITE); /* before hello */
	expect_hang_up(to, &m, sizeof(m));
	contract_tcp_hello(&m, TCP_HELLO);
	m.h.version++;
	expect_hang_up(to, &m, sizeof(m));
	contract_tcp_hello(&m, TCP_HELLO);
	m.fr.len = UINT32_MAX;
	expect_hang_up(to, &m, sizeof(m));
	contract_tcp_hello(&m, TCP_HELLO);
	m.fr.len = 3;
	expect_hang_up(to, &m, sizeof(m));
	contract_tcp_hello(&m, TCP_WELCOME);
	expect_hang_up(to, &m, sizeof(m));
	assert_int_equal(fab_server_malformed(x->node[0].server), before + 5);
	contract_wait(&x->node[0].refused, 5);
	assert_int_equal(x->node[0].refused_why, -EPROTO);
	assert_non_null(strstr(x->node[0].refused_from, "127.0.0.1:"));
	contract_tcp_hello(&m,
			   TCP_HELLO_QUEUE); /* whose? it may have been cut */
	expect_hang_up(to, &m, sizeof(m));
	assert_int_equal(fab_server_malformed(x->node[0].server), before + 5);
}

/* After a right hello, anything: random frames with right heads, each of which
 * is done, refused, or the end. */
static void random_frames_never_harm_the_node(void **state)
{
	struct fixture *x = *state;
	struct {
		struct tcp_frame fr;
		uint8_t more[64];
	} f;
	unsigned seed = 12345;
	struct contract_hello m;
	int prim, s;

	for (int i = 0; i < 300; i++) {
		prim = contract_tcp_raw(x->node[0].address);
		contract_tcp_hello(&m, TCP_HELLO);
		memcpy(m.h.token, &i, sizeof(i));
		assert_int_equal(send(prim, &m, sizeof(m), MSG_NOSIGNAL),
				 sizeof(m));
		assert_int_equal(recv(prim, &f, sizeof(f.fr), MSG_WAITALL),
				 sizeof(f.fr));
		s = contract_tcp_raw(x->node[0].address);
		m.fr.type = TCP_HELLO_QUEUE;
		assert_int_equal(send(s, &m, sizeof(m), MSG_NOSIGNAL),
				 sizeof(m));
		for (int k = 0; k < 8; k++) {
			for (size_t b = 0; b < sizeof(f); b++)
				((uint8_t *)&f)[b] = (uint8_t)rand_r(&seed);
			f.fr.type %= TCP_TYPES + 1;
			f.fr.len = (uint32_t)rand_r(&seed) % 80;
			f.fr.offset %= 2 * CONTRACT_REGION;
			f.fr.call = CALL_ECHO;
			if (send(s, &f, sizeof(f), MSG_NOSIGNAL) < 0)
				break;
		}
		close(s);
		close(prim);
	}
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

/* --- a WRITE that comes bit by bit ---------------------------------------- */

struct writer {
	int prim, s;
	struct tcp_frame fr;
	uint8_t bytes[1000];
};

static void writer_open(struct writer *w, struct fixture *x)
{
	struct contract_hello m;

	contract_tcp_hello(&m, TCP_HELLO);
	w->prim = contract_tcp_raw(x->node[0].address);
	assert_int_equal(send(w->prim, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
	assert_int_equal(recv(w->prim, &w->fr, sizeof(w->fr), MSG_WAITALL),
			 sizeof(w->fr));
	m.fr.type = TCP_HELLO_QUEUE;
	w->s = contract_tcp_raw(x->node[0].address);
	assert_int_equal(send(w->s, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
	w->fr = (struct tcp_frame){.type = TCP_WRITE,
				   .flags = TCP_F_ACK,
				   .batch = 1,
				   .len = sizeof(w->bytes)};
	for (size_t i = 0; i < sizeof(w->bytes); i++)
		w->bytes[i] = (uint8_t)(i * 3 + 1);
}

static void writer_close(struct writer *w)
{
	close(w->s);
	close(w->prim);
}

/* The head, and @len bytes of what follows, so that the node sees each bit. */
static void write_bits(struct writer *w, size_t len)
{
	int one = 1;
	size_t n = 1;

	setsockopt(w->s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	assert_int_equal(send(w->s, &w->fr, sizeof(w->fr), MSG_NOSIGNAL),
			 sizeof(w->fr));
	for (size_t at = 0; at < len; at += n, n = n % 13 + 1) {
		if (n > len - at)
			n = len - at;
		assert_int_equal(send(w->s, w->bytes + at, n, MSG_NOSIGNAL), n);
		usleep(200);
	}
}

static int write_answer(struct writer *w)
{
	struct tcp_frame fr;

	assert_int_equal(recv(w->s, &fr, sizeof(fr), MSG_WAITALL), sizeof(fr));
	assert_int_equal(fr.type, TCP_DONE);
	return fr.status;
}

static void a_write_in_bits_is_whole(void **state)
{
	struct fixture *x = *state;
	uint8_t *region = x->node[0].region;
	struct writer w;

	writer_open(&w, x);
	for (w.fr.offset = 64; w.fr.offset < 72; w.fr.offset++) {
		memset(region, 0xee, 2000);
		write_bits(&w, sizeof(w.bytes));
		assert_int_equal(write_answer(&w), 0);
		assert_memory_equal(region + w.fr.offset, w.bytes,
				    sizeof(w.bytes));
		assert_int_equal(region[w.fr.offset - 1], 0xee);
		assert_int_equal(region[w.fr.offset + sizeof(w.bytes)], 0xee);
	}
	writer_close(&w);
}

static void a_write_that_is_refused_leaves_no_byte(void **state)
{
	struct fixture *x = *state;
	uint8_t *region = x->node[0].region;
	struct writer w;

	writer_open(&w, x);
	memset(region + CONTRACT_REGION - 2000, 0xee, 2000);
	w.fr.offset = CONTRACT_REGION - sizeof(w.bytes) + 1;
	write_bits(&w, sizeof(w.bytes));
	assert_int_equal(write_answer(&w), -EREMOTEIO);
	w.fr.offset = CONTRACT_REGION - 2000; /* not done: the same batch */
	write_bits(&w, sizeof(w.bytes));
	w.fr.batch++;
	w.fr.len = 0;
	write_bits(&w, 0);
	assert_int_equal(write_answer(&w), 0);
	for (int i = 1; i <= 2000; i++)
		assert_int_equal(region[CONTRACT_REGION - i], 0xee);
	writer_close(&w);
}

/* Whole words of it, and the node goes on. */
static void a_write_that_is_cut_short_harms_nobody(void **state)
{
	struct fixture *x = *state;
	uint8_t *region = x->node[0].region;
	struct writer w;

	memset(region, 0xee, 2000);
	writer_open(&w, x);
	w.fr.offset = 3;
	write_bits(&w, 500); /* up to byte 503: the last word is not whole */
	writer_close(&w);
	contract_wait(&x->node[0].gones, 1);
	assert_int_equal(region[496], 0xee);
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void a_write_over_a_primary_connection_leaves_no_byte(void **state)
{
	struct fixture *x = *state;
	uint8_t *region = x->node[0].region;
	struct writer w;
	int s;

	memset(region, 0xee, 2000);
	writer_open(&w, x);
	s = w.s;
	w.s = w.prim;
	write_bits(&w, 0);
	send(w.s, w.bytes, sizeof(w.bytes), MSG_NOSIGNAL);
	contract_tcp_expect_end(w.prim);
	close(s);
	for (int i = 0; i < 2000; i++)
		assert_int_equal(region[i], 0xee);
}

/* --- READs that nobody takes ---------------------------------------------- */

#define READS	   12u
#define READ_BYTES (4u << 20) /* more in all than sockets hold */

/* A CALL that is answered late, READs, a WRITE on the same bytes: all at once,
 * and nothing is taken for now. */
static void ask_much(struct writer *w, struct fixture *x)
{
	struct {
		struct tcp_frame call, read[READS], write;
		uint8_t bytes[sizeof(w->bytes)];
	} m;

	memset(&m, 0, sizeof(m));
	memset(x->node[0].region, 'o', READ_BYTES);
	writer_open(w, x);
	m.call.type = TCP_CALL;
	m.call.call = CALL_LATER;
	for (uint32_t i = 0; i < READS; i++) {
		m.read[i].type = TCP_READ;
		m.read[i].flags = TCP_F_LOOSE;
		m.read[i].op = i + 1;
		m.read[i].want = READ_BYTES;
	}
	m.write = w->fr;
	m.write.batch = 0;
	memset(m.bytes, 'n', sizeof(m.bytes));
	assert_int_equal(send(w->s, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
	usleep(100000); /* it sends what goes */
}

static void take_read(struct writer *w, uint32_t op)
{
	uint8_t *got = malloc(READ_BYTES);
	struct tcp_frame fr;

	do { /* the CALL's answer comes between, wherever that is */
		assert_int_equal(recv(w->s, &fr, sizeof(fr), MSG_WAITALL),
				 sizeof(fr));
		assert_int_equal(fr.status, 0);
	} while (fr.type == TCP_ANSWER);
	assert_int_equal(fr.type, TCP_DONE);
	assert_int_equal(fr.op, op);
	assert_int_equal(fr.len, READ_BYTES);
	assert_int_equal(recv(w->s, got, fr.len, MSG_WAITALL), fr.len);
	for (uint32_t i = 0; i < fr.len; i++)
		if (got[i] != 'o')
			fail_msg("byte %u of READ %u is another", i, op);
	free(got);
}

static void what_follows_a_read_waits_until_it_is_taken(void **state)
{
	struct fixture *x = *state;
	uint8_t *region = x->node[0].region;
	struct writer w;

	ask_much(&w, x);
	assert_int_equal(__atomic_load_n(region, __ATOMIC_RELAXED), 'o');
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
	for (uint32_t i = 0; i < READS; i++)
		take_read(&w, i + 1);
	assert_int_equal(write_answer(&w), 0);
	assert_int_equal(__atomic_load_n(region, __ATOMIC_RELAXED), 'n');
	writer_close(&w);
}

/* Neither does its end harm anyone, nor is the rest done. */
static void a_read_that_is_not_taken_ends_with_its_asker(void **state)
{
	struct fixture *x = *state;
	struct writer w;

	ask_much(&w, x);
	take_read(&w, 1);
	writer_close(&w);
	contract_wait(&x->node[0].gones, 1);
	assert_int_equal(x->node[0].region[0], 'o');
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

static void a_fence_ends_a_read_that_is_not_taken(void **state)
{
	struct tcp_frame fence = {.type = TCP_FENCE};
	struct fixture *x = *state;
	struct writer w;

	ask_much(&w, x);
	assert_int_equal(send(w.prim, &fence, sizeof(fence), MSG_NOSIGNAL),
			 sizeof(fence));
	assert_int_equal(recv(w.prim, &fence, sizeof(fence), MSG_WAITALL),
			 sizeof(fence));
	assert_int_equal(fence.type, TCP_FENCED);
	contract_tcp_expect_end(w.s);
	assert_int_equal(x->node[0].region[0], 'o');
	close(w.prim);
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		X(frames_that_break_the_rules_cost_the_connection),
		X(random_frames_never_harm_the_node),
		X(a_write_in_bits_is_whole),
		X(a_write_that_is_refused_leaves_no_byte),
		X(a_write_that_is_cut_short_harms_nobody),
		X(a_write_over_a_primary_connection_leaves_no_byte),
		X(what_follows_a_read_waits_until_it_is_taken),
		X(a_read_that_is_not_taken_ends_with_its_asker),
		X(a_fence_ends_a_read_that_is_not_taken),
		X(contract_tcp_read_of_what_is_gone),
	};
	int failed;

	failed = fabric_contract_main(argc, argv, &tcp_plain);
	failed += cmocka_run_group_tests_name("frames", tests, NULL, NULL);
	return failed != 0;
}
