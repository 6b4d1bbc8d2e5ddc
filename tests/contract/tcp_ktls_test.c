/* tests/contract/tcp_ktls_test.c - who does the records of TLS once hands are
 * shaken: the kernel where it can, this process elsewhere; to the other end it
 * is the same. All of it holds on any machine. ACESO_TEST_KERNEL_TLS says that
 * this one's kernel must (a guest: everything is emulated there). */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rdma/tcp_impl.h"
#include "tests/contract/fabric_contract.h"
#include "tests/contract/fabric_tcp.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define FDS_MAX	   256
#define LONG_BYTES (1u << 20)

/* --- who does it ---------------------------------------------------------- */

static bool kernel_has_key(int fd, int way)
{
	struct tls12_crypto_info_aes_gcm_128 k = {.info = {.version = 0}};
	socklen_t len = sizeof(k);

	return getsockopt(fd, SOL_TLS, way, &k, &len) == 0 &&
	       k.info.version == TLS_1_3_VERSION &&
	       k.info.cipher_type == TLS_CIPHER_AES_GCM_128;
}

/* Connections' ends in this process; of those, the kernel's. */
static int ends(bool kernels)
{
	struct tcp_info info;
	socklen_t len;
	int n = 0;

	for (int fd = 0; fd < FDS_MAX; fd++) {
		len = sizeof(info);
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
		    info.tcpi_state != TCP_ESTABLISHED)
			continue;
		n += !kernels ||
		     (kernel_has_key(fd, TLS_TX) && kernel_has_key(fd, TLS_RX));
	}
	return n;
}

static void each_connection_is_the_kernels_where_it_can(void **state)
{
	struct fixture *x = *state;
	uint64_t word;
	struct fab_op op;

	for (uint8_t node = 0; node < 2; node++) {
		fab_read(&op, node, 0, &word, sizeof(word));
		contract_ops(x->f, &op, 1);
		assert_int_equal(op.status, 0);
	}
	assert_int_equal(ends(false), 8); /* two a node, both ends are here */
	assert_int_equal(ends(true), fab_tcp_kernel_tls() ? 8 : 0);
	if (getenv("ACESO_TEST_KERNEL_TLS") != NULL)
		assert_true(fab_tcp_kernel_tls());
}

/* --- an end whose TLS is its own, whatever the node's is ------------------ */

struct speaker {
	struct tcp_wire wire;
	struct tcp_tls *tls;
	SSL *ssl;
};

/* To be done again? The socket blocks; what it had is all read (see dry). */
static bool again(const struct speaker *p, int rc)
{
	int err = rc > 0 ? SSL_ERROR_NONE : SSL_get_error(p->ssl, rc);

	assert_true(err == SSL_ERROR_NONE || err == SSL_ERROR_WANT_READ);
	return err != SSL_ERROR_NONE;
}

static void speaker_open(struct speaker *p, const char *to)
{
	int rc;

	*p = (struct speaker){.wire.sock = contract_tcp_raw(to)};
	assert_int_equal(tcp_tls_open(&contract_tcp_key, false, &p->tls), 0);
	p->ssl = SSL_new(p->tls->ctx);
	assert_int_equal(tcp_bio_set(p->ssl, &p->wire), 0);
	SSL_set_connect_state(p->ssl);
	do
		rc = SSL_do_handshake(p->ssl);
	while (again(p, rc));
}

/* The socket is closed already, or is to be. */
static void speaker_free(struct speaker *p)
{
	SSL_free(p->ssl);
	tcp_tls_close(p->tls);
}

static void speaker_close(struct speaker *p)
{
	close(p->wire.sock);
	speaker_free(p);
}

static void say(struct speaker *p, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	int n;

	for (; len > 0; at += n, len -= (size_t)n) {
		n = SSL_write(p->ssl, at, (int)len);
		assert_true(n > 0);
	}
}

static void hear(struct speaker *p, void *bytes, size_t len)
{
	uint8_t *at = bytes;
	int n;

	while (len > 0) {
		n = SSL_read(p->ssl, at, (int)len);
		if (again(p, n))
			continue;
		at += n;
		len -= (size_t)n;
	}
}

static void greet(struct speaker *p, const char *to, uint8_t type)
{
	struct contract_hello m;

	speaker_open(p, to);
	contract_tcp_hello(&m, type);
	say(p, &m, sizeof(m));
}

static void hear_done(struct speaker *p, uint32_t op, uint32_t len)
{
	struct tcp_frame fr;

	hear(p, &fr, sizeof(fr));
	assert_int_equal(fr.type, TCP_DONE);
	assert_int_equal(fr.status, 0);
	assert_int_equal(fr.op, op);
	assert_int_equal(fr.len, len);
}

/* Long ones: many records, and bytes that are sent from the region itself. */
static void whoever_does_it_both_ends_agree(void **state)
{
	struct tcp_frame write = {.type = TCP_WRITE,
				  .flags = TCP_F_ACK,
				  .offset = 24,
				  .len = LONG_BYTES};
	struct tcp_frame read = {.type = TCP_READ,
				 .flags = TCP_F_LOOSE,
				 .op = 1,
				 .offset = 24,
				 .want = LONG_BYTES};
	struct fixture *x = *state;
	uint8_t *bytes = malloc(LONG_BYTES), *got = malloc(LONG_BYTES);
	struct speaker prim, p;
	struct tcp_frame fr;

	for (uint32_t i = 0; i < LONG_BYTES; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	greet(&prim, x->node[0].address, TCP_HELLO);
	hear(&prim, &fr, sizeof(fr));
	assert_int_equal(fr.type, TCP_WELCOME);
	greet(&p, x->node[0].address, TCP_HELLO_QUEUE);
	for (int i = 0; i < 3; i++) {
		bytes[i]++;
		say(&p, &write, sizeof(write));
		say(&p, bytes, LONG_BYTES);
		hear_done(&p, 0, 0);
		assert_memory_equal(x->node[0].region + 24, bytes, LONG_BYTES);
		say(&p, &read, sizeof(read));
		hear_done(&p, 1, LONG_BYTES);
		hear(&p, got, LONG_BYTES);
		assert_memory_equal(got, bytes, LONG_BYTES);
	}
	speaker_close(&p);
	speaker_close(&prim);
	free(bytes);
	free(got);
}

/* --- records that are wrong ----------------------------------------------- */

static void expect_refusal(struct fixture *x, const uint8_t *record, size_t len)
{
	uint64_t before = fab_server_malformed(x->node[0].server);
	int refused = contract_get(&x->node[0].refused);
	struct speaker p;

	speaker_open(&p, x->node[0].address);
	assert_int_equal(send(p.wire.sock, record, len, MSG_NOSIGNAL), len);
	contract_tcp_expect_end(p.wire.sock);
	speaker_free(&p);
	contract_wait(&x->node[0].refused, refused + 1);
	assert_int_equal(x->node[0].refused_why, -EPROTO);
	assert_int_equal(fab_server_malformed(x->node[0].server), before + 1);
}

static void a_record_that_is_not_its_senders_is_refused(void **state)
{
	struct fixture *x = *state;
	uint8_t record[5 + 64] = {23, 3, 3, 0, 64};

	expect_refusal(x, record, sizeof(record));
	record[3] = 0x7f; /* longer than any */
	expect_refusal(x, record, sizeof(record));
	memcpy(record, "GET /", 5);
	expect_refusal(x, record, sizeof(record));
	assert_int_equal(
		fab_call_run(x->f, 0, CALL_ECHO, NULL, 0, NULL, 0, NULL, 0), 0);
}

/* An alert, the only other record that comes after hands are shaken. */
static void who_takes_leave_is_let_go(void **state)
{
	struct fixture *x = *state;
	struct speaker p;

	speaker_open(&p, x->node[0].address);
	assert_int_equal(SSL_shutdown(p.ssl), 0);
	contract_tcp_expect_end(p.wire.sock);
	speaker_free(&p);
	assert_int_equal(fab_server_malformed(x->node[0].server), 0);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The node may have to end shaking hands first: in one of these it is quiet,
 * before it sends the stranger away. */
static bool gets_quiet(void)
{
	uint64_t cpu, wall;

	for (int i = 0; i < 15; i++) {
		cpu = cpu_ns();
		wall = contract_now();
		usleep(100000);
		if (cpu_ns() - cpu < (contract_now() - wall) / 5)
			return true;
	}
	return false;
}

static void half_a_record_keeps_nobody_busy(void **state)
{
	static const uint8_t record[5 + 64] = {23, 3, 3, 0, 128};
	struct fixture *x = *state;
	struct speaker p;

	speaker_open(&p, x->node[0].address);
	assert_int_equal(
		send(p.wire.sock, record, sizeof(record), MSG_NOSIGNAL),
		sizeof(record));
	assert_true(gets_quiet());
	assert_int_equal(fab_server_malformed(x->node[0].server), 0);
	speaker_close(&p);
}

#define X(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, contract_setup, contract_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		X(each_connection_is_the_kernels_where_it_can),
		X(whoever_does_it_both_ends_agree),
		X(a_record_that_is_not_its_senders_is_refused),
		X(who_takes_leave_is_let_go),
		X(half_a_record_keeps_nobody_busy),
	};
	const struct CMUnitTest kernels[] = {
		X(contract_tcp_read_of_what_is_gone),
	};
	int failed;

	contract = contract_tcp_tls();
	failed = cmocka_run_group_tests_name("whose TLS", tests, NULL, NULL);
	if (fab_tcp_kernel_tls())
		failed += cmocka_run_group_tests_name("kernel TLS", kernels,
						      NULL, NULL);
	return failed != 0;
}
