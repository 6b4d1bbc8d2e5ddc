/* rdma/tcp_bio.c - a socket as the TLS library sees it. Its own raises SIGPIPE
 * when the other end has gone, which is the program's to handle, not ours. */
#include <errno.h>
#include <openssl/bio.h>
#include <pthread.h>

#include "rdma/tcp_impl.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;

static int bio_write(BIO *b, const char *buf, int len)
{
	ssize_t n = tcp_wire_send(BIO_get_data(b), buf, (size_t)len);

	BIO_clear_retry_flags(b);
	if (n == -EAGAIN)
		BIO_set_retry_write(b);
	return n < 0 ? -1 : (int)n;
}

static int bio_read(BIO *b, char *buf, int len)
{
	ssize_t n = tcp_wire_recv(BIO_get_data(b), buf, (size_t)len);

	BIO_clear_retry_flags(b);
	if (n == -EAGAIN)
		BIO_set_retry_read(b);
	return n < 0 ? -1 : (int)n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

static void make(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
				     "aceso socket");

	if (m != NULL && BIO_meth_set_write(m, bio_write) == 1 &&
	    BIO_meth_set_read(m, bio_read) == 1 &&
	    BIO_meth_set_ctrl(m, bio_ctrl) == 1)
		method = m;
	else
		BIO_meth_free(m);
}

int tcp_bio_set(SSL *ssl, struct tcp_wire *w)
{
	BIO *b;

	pthread_once(&once, make);
	b = method != NULL ? BIO_new(method) : NULL;
	if (b == NULL)
		return -ENOMEM;
	BIO_set_data(b, w);
	BIO_set_init(b, 1);
	SSL_set_bio(ssl, b, b);
	return 0;
}
