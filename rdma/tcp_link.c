/* rdma/tcp_link.c - a connection's bytes, plain or inside TLS. Where the kernel
 * does the records, TLS is for shaking hands only: what follows goes the way of
 * plain bytes. */
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/tcp_impl.h"

#define RECORD_BYTES 16384u /* of TLS, at most */
#define ALONE_BYTES  32768u

/* Small pieces gather in @stage, so that a frame is no packet or record of its
 * own; what is there has been taken and goes out before anything else. */
struct tcp_link {
	struct tcp_wire wire;
	SSL *ssl; /* NULL: plain, or the kernel's */
	short wants;
	bool connected, shaken;
	bool reader;	     /* see tcp_link_reader() */
	size_t staged, sent; /* of it */
	uint8_t stage[RECORD_BYTES];
};

/* --- the socket ----------------------------------------------------------- */

/* Where the kernel does the records: one that is none, or not its sender's; one
 * that holds no data, which only the last words of an end do. */
static int meaning(int err)
{
	switch (err) {
	case EBADMSG:
	case EINVAL:
	case EMSGSIZE:
		return -EPROTO;
	case EIO:
		return -ECONNRESET;
	default:
		return err == EWOULDBLOCK ? -EAGAIN : -err;
	}
}

static ssize_t result(ssize_t n)
{
	return n >= 0 ? n : meaning(errno);
}

ssize_t tcp_wire_recv(struct tcp_wire *w, void *buf, size_t cap)
{
	ssize_t n;

	if (w->dry) {
		w->dry = false;
		return -EAGAIN;
	}
	do
		n = recv(w->sock, buf, cap, 0);
	while (n < 0 && errno == EINTR);
	w->dry = n > 0 && (size_t)n < cap;
	return result(n);
}

ssize_t tcp_wire_send(const struct tcp_wire *w, const void *buf, size_t len)
{
	int flags = MSG_NOSIGNAL | (w->more ? MSG_MORE : 0);
	ssize_t n;

	do
		n = send(w->sock, buf, len, flags);
	while (n < 0 && errno == EINTR);
	return result(n);
}

/* --- its life ------------------------------------------------------------- */

int tcp_link_open(int sock, struct tcp_tls *tls, struct tcp_link **out)
{
	struct tcp_link *l;

	l = malloc(sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	memset(l, 0, offsetof(struct tcp_link, stage));
	l->wire.sock = sock;
	if (tls != NULL) {
		l->ssl = SSL_new(tls->ctx);
		if (l->ssl == NULL || tcp_bio_set(l->ssl, &l->wire) != 0)
			goto err_free;
		if (tls->server)
			SSL_set_accept_state(l->ssl);
		else
			SSL_set_connect_state(l->ssl);
	}
	*out = l;
	return 0;

err_free:
	SSL_free(l->ssl);
	free(l);
	return -ENOMEM;
}

void tcp_link_close(struct tcp_link *l)
{
	if (l == NULL)
		return;
	SSL_free(l->ssl);
	close(l->wire.sock);
	OPENSSL_cleanse(l->wire.secret, sizeof(l->wire.secret));
	free(l);
}

int tcp_link_fd(const struct tcp_link *l)
{
	return l->wire.sock;
}

short tcp_link_wants(const struct tcp_link *l)
{
	return l->wants;
}

/* What an SSL call that returned @rc means. */
static int ssl_status(struct tcp_link *l, int rc)
{
	int err = SSL_get_error(l->ssl, rc);

	switch (err) {
	case SSL_ERROR_WANT_READ: /* POLLIN is always looked for */
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		l->wants = POLLOUT;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		return -ECONNRESET;
	default:
		return -EPROTO;
	}
}

static int connected(struct tcp_link *l)
{
	int rc;

	if (l->connected)
		return 0;
	rc = tcp_connect_end(l->wire.sock);
	if (rc == -EAGAIN)
		l->wants = POLLOUT;
	l->connected = rc == 0;
	return rc;
}

/* By the kernel from here on, if it can. Nothing was read ahead until now, or
 * it would not see all of it. */
static int choose(struct tcp_link *l)
{
	int rc;

	l->reader = tcp_tls_reader(l->ssl);
	rc = tcp_ktls_begin(&l->wire, l->ssl);
	if (rc == 0) {
		SSL_free(l->ssl);
		l->ssl = NULL;
	}
	if (rc != -EOPNOTSUPP)
		return rc;
	SSL_set_read_ahead(l->ssl, 1);
	return 0;
}

int tcp_link_shake(struct tcp_link *l)
{
	int rc;

	l->wants = 0;
	rc = connected(l);
	if (rc != 0)
		return rc;
	if (l->ssl == NULL)
		l->shaken = true;
	if (l->shaken)
		return 0;
	ERR_clear_error();
	rc = SSL_do_handshake(l->ssl);
	if (rc == 1) {
		/* only ever by the key: nothing else is offered */
		l->shaken = SSL_session_reused(l->ssl) == 1;
		return l->shaken ? choose(l) : -EACCES;
	}
	rc = ssl_status(l, rc);
	return rc == -EPROTO ? -EACCES : rc == 0 ? -ECONNRESET : rc;
}

bool tcp_link_reader(const struct tcp_link *l)
{
	return l->reader;
}

ssize_t tcp_link_read(struct tcp_link *l, void *buf, size_t cap)
{
	int rc;

	assert(l->shaken);
	if (l->ssl != NULL) {
		ERR_clear_error();
		rc = SSL_read(l->ssl, buf,
			      cap > INT32_MAX ? INT32_MAX : (int)cap);
		return rc > 0 ? rc : ssl_status(l, rc);
	}
	return tcp_wire_recv(&l->wire, buf, cap);
}

/* --- writing -------------------------------------------------------------- */

static ssize_t write_plain(struct tcp_link *l, const void *buf, size_t len)
{
	ssize_t n = tcp_wire_send(&l->wire, buf, len);

	if (n == -EAGAIN)
		l->wants = POLLOUT;
	return n;
}

/* @more: bytes that follow have been asked for already. */
static ssize_t write_now(struct tcp_link *l, const void *buf, size_t len,
			 bool more)
{
	int rc;

	l->wire.more = more;
	if (l->ssl == NULL)
		return write_plain(l, buf, len);
	if (len > RECORD_BYTES) {
		len = RECORD_BYTES;
		l->wire.more = true;
	}
	ERR_clear_error();
	rc = SSL_write(l->ssl, buf, (int)len);
	if (rc > 0)
		return rc;
	rc = ssl_status(l, rc);
	return rc == 0 ? -EPIPE : rc;
}

static int write_stage(struct tcp_link *l, bool more)
{
	ssize_t rc;

	l->wants = 0;
	while (l->sent < l->staged) {
		rc = write_now(l, l->stage + l->sent, l->staged - l->sent,
			       more);
		if (rc < 0)
			return (int)rc;
		l->sent += (size_t)rc;
	}
	l->staged = l->sent = 0;
	return 0;
}

int tcp_link_flush(struct tcp_link *l)
{
	return write_stage(l, false);
}

/* In TLS what is staged would be a record of its own; a socket joins it to what
 * follows for the price of a call, which is less than to copy a stage full. */
static bool goes_alone(const struct tcp_link *l, size_t len)
{
	return l->ssl == NULL && l->staged > 0 && len >= ALONE_BYTES;
}

/* Into the stage, or, if it is long and nothing is there, at once. The head of
 * a frame so shares a record, and a packet, with what follows it. */
ssize_t tcp_link_write(struct tcp_link *l, const void *buf, size_t len,
		       bool more)
{
	size_t room;
	int rc;

	if (l->staged == sizeof(l->stage) || goes_alone(l, len)) {
		rc = write_stage(l, true);
		if (rc != 0)
			return rc;
	}
	if (l->staged == 0 && len >= sizeof(l->stage))
		return write_now(l, buf, len, more);
	room = sizeof(l->stage) - l->staged;
	if (len > room)
		len = room;
	memcpy(l->stage + l->staged, buf, len);
	l->staged += len;
	return (ssize_t)len;
}
