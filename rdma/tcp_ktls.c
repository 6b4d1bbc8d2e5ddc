/* rdma/tcp_ktls.c - when hands are shaken, the kernel may do the records of
 * TLS: the socket then takes and gives the bytes themselves, and the library is
 * done.
 *
 * The library hands its keys over by itself (SSL_OP_ENABLE_KTLS), but only to a
 * socket BIO of its own (see tcp_bio.c), and of TLS 1.3 before 3.2 only those
 * for sending. So the secrets are noted as it makes them (its key log), and the
 * keys follow from them as RFC 8446, 7.3 says. */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>
#include <unistd.h>

#include "rdma/tcp_impl.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* --- secrets -------------------------------------------------------------- */

enum { CLIENT, SERVER };
static const char *const of[] = {[CLIENT] = "CLIENT_TRAFFIC_SECRET_0 ",
				 [SERVER] = "SERVER_TRAFFIC_SECRET_0 "};

static int digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* As many bytes as there is room for, and no more. */
static bool from_hex(const char *hex, uint8_t *out, size_t len)
{
	if (strlen(hex) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* "LABEL RANDOM SECRET", the latter two in hexadecimal. */
void tcp_ktls_note(const SSL *ssl, const char *line)
{
	struct tcp_wire *w = BIO_get_data(SSL_get_rbio(ssl));
	const char *secret = strrchr(line, ' ');

	for (int i = CLIENT; i <= SERVER; i++)
		if (strncmp(line, of[i], strlen(of[i])) == 0)
			w->noted[i] = from_hex(secret + 1, w->secret[i],
					       sizeof(w->secret[i]));
}

/* HKDF-Expand-Label without a context, of up to 32 bytes. */
static void expand(const uint8_t *secret, const char *label, uint8_t *out,
		   size_t len)
{
	uint8_t text[32] = {0, (uint8_t)len}, block[EVP_MAX_MD_SIZE];
	size_t n = 3 + strlen("tls13 ") + strlen(label);

	text[2] = (uint8_t)(n - 3);
	memcpy(text + 3, "tls13 ", 6);
	memcpy(text + 9, label, strlen(label));
	text[n + 1] = 1; /* behind the context's length, 0: the first block */
	HMAC(EVP_sha256(), secret, TCP_SECRET_BYTES, text, n + 2, block, NULL);
	memcpy(out, block, len);
	OPENSSL_cleanse(block, sizeof(block));
}

/* --- the kernel ----------------------------------------------------------- */

static bool attach(int sock)
{
	return setsockopt(sock, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ==
	       0;
}

/* No record has been done with these keys: there are no tickets, and nothing of
 * ours was said. */
static bool set_keys(int sock, int way, const uint8_t *secret)
{
	struct tls12_crypto_info_aes_gcm_128 k = {
		.info = {TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_128}};
	uint8_t iv[sizeof(k.salt) + sizeof(k.iv)];
	bool set;

	expand(secret, "key", k.key, sizeof(k.key));
	expand(secret, "iv", iv, sizeof(iv));
	memcpy(k.salt, iv, sizeof(k.salt));
	memcpy(k.iv, iv + sizeof(k.salt), sizeof(k.iv));
	set = setsockopt(sock, SOL_TLS, way, &k, sizeof(k)) == 0;
	OPENSSL_cleanse(&k, sizeof(k));
	OPENSSL_cleanse(iv, sizeof(iv));
	return set;
}

/* Nobody pads here, so records can be opened right where they are wanted. */
static void expect_no_padding(int sock)
{
#ifdef TLS_RX_EXPECT_NO_PAD
	int one = 1;

	setsockopt(sock, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &one, sizeof(one));
#endif
}

int tcp_ktls_begin(struct tcp_wire *w, const SSL *ssl)
{
	const uint8_t *in = w->secret[SSL_is_server(ssl) ? CLIENT : SERVER];
	const uint8_t *out = w->secret[SSL_is_server(ssl) ? SERVER : CLIENT];
	int rc = -EOPNOTSUPP;

	if (w->noted[CLIENT] && w->noted[SERVER] && SSL_has_pending(ssl) == 0 &&
	    attach(w->sock) && set_keys(w->sock, TLS_RX, in)) {
		expect_no_padding(w->sock);
		rc = set_keys(w->sock, TLS_TX, out) ? 0 : -ECONNABORTED;
	}
	OPENSSL_cleanse(w->secret, sizeof(w->secret));
	return rc;
}

/* A socket that is not connected is refused as such, where there is TLS. */
bool fab_tcp_kernel_tls(void)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool has;

	if (s < 0)
		return false;
	has = attach(s) || errno == ENOTCONN;
	close(s);
	return has;
}
