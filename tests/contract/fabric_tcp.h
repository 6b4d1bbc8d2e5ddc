/* tests/contract/fabric_tcp.h - what the tests over TCP share. */
#ifndef ACESO_TESTS_FABRIC_TCP_H
#define ACESO_TESTS_FABRIC_TCP_H
#include <stddef.h>

/* An address on loopback whose port was free a moment ago. */
void contract_tcp_address(unsigned n, char *out, size_t cap);

/* A plain connection to @to, for bytes of our own making. */
int contract_tcp_raw(const char *to);
/* The other end hangs up on @sock, perhaps after some last bytes. */
void contract_tcp_expect_end(int sock);

#endif
