/* tests/contract/fabric_tcp.h - what the tests over TCP share. */
#ifndef ACESO_TESTS_FABRIC_TCP_H
#define ACESO_TESTS_FABRIC_TCP_H
#include <stddef.h>

#include "rdma/tcp_frame.h"

struct contract_transport;

extern const struct fab_key contract_tcp_key;

/* TCP inside TLS. Where ACESO_TEST_KERNEL_TLS is set, ciphers are emulated. */
const struct contract_transport *contract_tcp_tls(void);

/* An address on loopback whose port was free a moment ago. */
void contract_tcp_address(unsigned n, char *out, size_t cap);

/* A plain connection to @to, for bytes of our own making. */
int contract_tcp_raw(const char *to);
/* The other end hangs up on @sock, perhaps after some last bytes. */
void contract_tcp_expect_end(int sock);

struct contract_hello {
	struct tcp_frame fr;
	struct tcp_hello h;
};

void contract_tcp_hello(struct contract_hello *m, uint8_t type);

/* A test. Memory that cannot be had (a file cut short, a disk that fails): who
 * asks for it loses the connection that he asks over, and the node nothing. */
void contract_tcp_read_of_what_is_gone(void **state);

#endif
