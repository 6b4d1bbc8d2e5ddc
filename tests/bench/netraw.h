/* tests/bench/netraw.h - what a transport could do at best: the plainest loop
 * over a socket, or over OpenSSL on one, that asks for bytes or hands them
 * over, one request after the other. Not part of the product. */
#ifndef ACESO_TESTS_BENCH_NETRAW_H
#define ACESO_TESTS_BENCH_NETRAW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct netraw; /* a connection to a process that serves it */

/* Start that process and connect. Ends the program if it cannot. */
struct netraw *netraw_open(bool tls);
void netraw_close(struct netraw *r);

/* Have @len bytes sent to @buf; send @len bytes and have them acknowledged. */
void netraw_read(struct netraw *r, void *buf, uint32_t len);
void netraw_write(struct netraw *r, const void *buf, uint32_t len);
pid_t netraw_pid(const struct netraw *r);

#endif
