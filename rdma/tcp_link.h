/* rdma/tcp_link.h - private to rdma/tcp*.c: one connection, a stream of bytes
 * in both directions, plain or inside TLS 1.3.
 *
 * With a key both ends prove that they have it, in the handshake (a pre-shared
 * key with an ephemeral Diffie-Hellman exchange): whoever has not gets no byte
 * further. Threads: one at a time per link. */
#ifndef ACESO_RDMA_TCP_LINK_H
#define ACESO_RDMA_TCP_LINK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "rdma/fabric.h"

#define TCP_HELLO_NS UINT64_C(2000000000) /* for connecting, all in all */

/* --- tcp_tls.c: what both ends know -------------------------------------- */

struct tcp_tls; /* NULL: plain */

/* Errors: -EINVAL a key shorter than FAB_KEY_BYTES_MIN; -ENOMEM. No key: *out
 * is NULL. */
int tcp_tls_open(const struct fab_key *key, bool server, struct tcp_tls **out);
void tcp_tls_close(struct tcp_tls *t); /* NULL is fine; links may live on */

/* --- tcp_link.c ---------------------------------------------------------- */

struct tcp_link;

/* Takes over @sock, non-blocking and connected or about to be, on success. */
int tcp_link_open(int sock, struct tcp_tls *tls, struct tcp_link **out);
void tcp_link_close(struct tcp_link *l); /* NULL is fine */
int tcp_link_fd(const struct tcp_link *l);

/* Connect and shake hands: 0 when done, -EAGAIN to be called again when the
 * socket is ready for tcp_link_wants(), -EACCES if the other end has not the
 * key, -EPROTO, -ECONNRESET, as of connect(). */
int tcp_link_shake(struct tcp_link *l);

/* A server's, after the handshake: the other end may only look. */
bool tcp_link_reader(const struct tcp_link *l);

/* Read up to @cap bytes: how many, 0 it hung up, -EAGAIN, -errno. */
ssize_t tcp_link_read(struct tcp_link *l, void *buf, size_t cap);

/* Write: how many bytes were taken (they may wait in here: see flush), -EAGAIN
 * none, -errno. What was not taken must be given again, the same bytes. @more:
 * others follow at once, so that the last packet need not be sent half full. */
ssize_t tcp_link_write(struct tcp_link *l, const void *buf, size_t len,
		       bool more);
/* What was taken and waits: 0 none left, -EAGAIN, -errno. */
int tcp_link_flush(struct tcp_link *l);

/* poll() events that the last -EAGAIN waits for, beyond POLLIN. */
short tcp_link_wants(const struct tcp_link *l);

/* --- tcp_sock.c: addresses "tcp:HOST:PORT" -------------------------------- */

/* Where a name leads to loopback and elsewhere, elsewhere: loopback.h.
 * Errors: -EINVAL no such form; -ENOENT no such host. */
int tcp_listen(const char *address, int *out);
/* A connected, non-blocking socket, within @timeout_ns. Errors: as above;
 * -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, ... */
int tcp_connect(const char *address, uint64_t timeout_ns, int *out);

struct tcp_peer_addr {
	socklen_t len;
	struct sockaddr_storage sa;
};

/* Where @sock leads; begin another connection to there, which has its end in
 * tcp_connect_end(): 0, -EAGAIN, -errno. */
int tcp_peer_addr(int sock, struct tcp_peer_addr *out);
int tcp_connect_begin(const struct tcp_peer_addr *to, int *out);
int tcp_connect_end(int sock);
/* No delay, dead peers noticed in about a second. */
void tcp_tune(int sock);

#endif
