/* tests/bench/netraw.c - see netraw.h. TLS as the pool has it: 1.3,
 * AES-128-GCM, by a pre-shared key; full records, blocking sockets. */
#include "tests/bench/netraw.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_MAX    (4u << 20)
#define SOCKET_BYTES (4 << 20)

struct ask {
	uint32_t read, write; /* bytes */
	uint64_t pad[5];      /* as long as a frame of ours */
};

struct netraw {
	int sock;
	SSL *ssl;
	pid_t pid;
};

static void must(bool truth, const char *what)
{
	if (truth)
		return;
	perror(what);
	_exit(1);
}

/* --- bytes ---------------------------------------------------------------- */

static void send_all(struct netraw *r, const void *buf, size_t len)
{
	const char *p = buf;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = r->ssl != NULL ? SSL_write(r->ssl, p, (int)len)
				   : send(r->sock, p, len, MSG_NOSIGNAL);
		must(n > 0, "netraw: send");
	}
}

static bool recv_all(struct netraw *r, void *buf, size_t len)
{
	char *p = buf;
	ssize_t n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = r->ssl != NULL ? SSL_read(r->ssl, p, (int)len)
				   : recv(r->sock, p, len, 0);
		if (n <= 0)
			return false;
	}
	return true;
}

void netraw_read(struct netraw *r, void *buf, uint32_t len)
{
	struct ask ask = {.read = len};

	send_all(r, &ask, sizeof(ask));
	must(recv_all(r, buf, len), "netraw: read");
}

void netraw_write(struct netraw *r, const void *buf, uint32_t len)
{
	struct ask ask = {.write = len};

	send_all(r, &ask, sizeof(ask));
	send_all(r, buf, len);
	must(recv_all(r, &ask, sizeof(ask)), "netraw: write");
}

/* --- the other end -------------------------------------------------------- */

static void serve(struct netraw *r)
{
	char *room = malloc(BYTES_MAX);
	struct ask ask;

	must(room != NULL, "netraw: memory");
	memset(room, 'r', BYTES_MAX);
	while (recv_all(r, &ask, sizeof(ask))) {
		if (ask.write > 0 && !recv_all(r, room, ask.write))
			break;
		if (ask.read > 0)
			send_all(r, room, ask.read);
		else
			send_all(r, &ask, sizeof(ask));
	}
	_exit(0);
}

/* --- TLS ------------------------------------------------------------------ */

static SSL_SESSION *session_of(SSL *ssl)
{
	static const unsigned char suite[] = {0x13, 0x01}, key[32] = "bench";
	SSL_SESSION *s = SSL_SESSION_new();

	must(s != NULL &&
		     SSL_SESSION_set1_master_key(s, key, sizeof(key)) == 1 &&
		     SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, suite)) ==
			     1 &&
		     SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) == 1,
	     "netraw: session");
	return s;
}

static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **id,
		       size_t *len, SSL_SESSION **out)
{
	*id = (const unsigned char *)"bench";
	*len = 5;
	*out = session_of(ssl);
	return 1;
}

static int find_session(SSL *ssl, const unsigned char *id, size_t len,
			SSL_SESSION **out)
{
	*out = session_of(ssl);
	return 1;
}

static void wrap(struct netraw *r, bool server)
{
	SSL_CTX *c =
		SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	must(c != NULL, "netraw: TLS");
	SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
	SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256");
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_psk_find_session_callback(c, find_session);
	SSL_CTX_set_psk_use_session_callback(c, use_session);
	r->ssl = SSL_new(c);
	SSL_set_fd(r->ssl, r->sock);
	must((server ? SSL_accept(r->ssl) : SSL_connect(r->ssl)) == 1,
	     "netraw: handshake");
	SSL_CTX_free(c);
}

/* --- its life ------------------------------------------------------------- */

static void tune(int sock)
{
	int one = 1, size = SOCKET_BYTES;

	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int listen_somewhere(struct sockaddr_in *sa)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*sa);

	*sa = (struct sockaddr_in){.sin_family = AF_INET};
	sa->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(s >= 0 && bind(s, (struct sockaddr *)sa, len) == 0 &&
		     getsockname(s, (struct sockaddr *)sa, &len) == 0 &&
		     listen(s, 1) == 0,
	     "netraw: listen");
	return s;
}

struct netraw *netraw_open(bool tls)
{
	struct netraw *r = calloc(1, sizeof(*r));
	struct sockaddr_in sa;
	int l = listen_somewhere(&sa);

	must(r != NULL, "netraw: memory");
	r->pid = fork();
	must(r->pid >= 0, "netraw: fork");
	if (r->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		r->sock = accept(l, NULL, NULL);
	} else {
		r->sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		must(connect(r->sock, (struct sockaddr *)&sa, sizeof(sa)) == 0,
		     "netraw: connect");
	}
	must(r->sock >= 0, "netraw: accept");
	close(l);
	tune(r->sock);
	if (tls)
		wrap(r, r->pid == 0);
	if (r->pid == 0)
		serve(r);
	return r;
}

pid_t netraw_pid(const struct netraw *r)
{
	return r->pid;
}

void netraw_close(struct netraw *r)
{
	close(r->sock);
	SSL_free(r->ssl);
	waitpid(r->pid, NULL, 0);
	free(r);
}
