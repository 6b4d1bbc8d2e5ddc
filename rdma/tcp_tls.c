/* rdma/tcp_tls.c - TLS 1.3 with the pool's key as a pre-shared key: the key is
 * all that either end must have, there are no certificates. */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/tcp_impl.h"

/* Which key it is; a server looks it up by that. */
#define IDENTITY	"aceso-pool"
#define IDENTITY_READER "aceso-pool-reader"

/* What a server's connection notes: whose key proved it. */
static char full_key;

static const unsigned char TLS_AES_128_GCM_SHA256_ID[] = {0x13, 0x01};

static pthread_once_t slot_once = PTHREAD_ONCE_INIT;
static int slot_at;

static void slot_make(void)
{
	slot_at = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* Where a context keeps its tcp_tls. */
static int slot(void)
{
	pthread_once(&slot_once, slot_make);
	return slot_at;
}

static struct tcp_tls *tls_of(SSL *ssl)
{
	return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), slot());
}

/* What both ends start from: a key, as if from an earlier session. */
static SSL_SESSION *session_of(SSL *ssl, const struct fab_key *key)
{
	const SSL_CIPHER *c = SSL_CIPHER_find(ssl, TLS_AES_128_GCM_SHA256_ID);
	SSL_SESSION *s = SSL_SESSION_new();

	if (s != NULL && c != NULL &&
	    SSL_SESSION_set1_master_key(s, key->bytes, key->len) == 1 &&
	    SSL_SESSION_set_cipher(s, c) == 1 &&
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) == 1)
		return s;
	SSL_SESSION_free(s);
	return NULL;
}

static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **id,
		       size_t *id_len, SSL_SESSION **out)
{
	const struct fab_key *key = &tls_of(ssl)->key;

	*out = session_of(ssl, key);
	*id = (const unsigned char *)(key->reader ? IDENTITY_READER : IDENTITY);
	*id_len = strlen((const char *)*id);
	return *out != NULL;
}

static bool is(const unsigned char *id, size_t len, const char *name)
{
	return len == strlen(name) && memcmp(id, name, len) == 0;
}

/* The last one that is found here is the one that the handshake is bound to:
 * without it there is none. */
static int find_session(SSL *ssl, const unsigned char *id, size_t id_len,
			SSL_SESSION **out)
{
	struct tcp_tls *t = tls_of(ssl);

	*out = NULL;
	SSL_set_app_data(ssl, NULL);
	if (is(id, id_len, IDENTITY)) {
		*out = session_of(ssl, &t->key);
		SSL_set_app_data(ssl, &full_key);
	} else if (is(id, id_len, IDENTITY_READER)) {
		*out = session_of(ssl, &t->reader);
	}
	return 1; /* none: the handshake ends for want of a certificate */
}

bool tcp_tls_reader(const SSL *ssl)
{
	return SSL_get_app_data(ssl) != &full_key;
}

static int set_up(struct tcp_tls *t, bool server)
{
	SSL_CTX *c = t->ctx;

	if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set_num_tickets(c, 0) != 1 ||
	    SSL_CTX_set_ex_data(c, slot(), t) != 1)
		return -EPROTO;
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE |
				    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_default_read_buffer_len(c, 64u << 10);
	SSL_CTX_set_keylog_callback(c, tcp_ktls_note);
	if (server)
		SSL_CTX_set_psk_find_session_callback(c, find_session);
	else
		SSL_CTX_set_psk_use_session_callback(c, use_session);
	return 0;
}

int tcp_tls_open(const struct fab_key *key, bool server, struct tcp_tls **out)
{
	struct tcp_tls *t;
	int rc = -ENOMEM;

	*out = NULL;
	if (key == NULL || key->len == 0)
		return 0;
	if (key->len < FAB_KEY_BYTES_MIN || key->len > FAB_KEY_BYTES_MAX)
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return -ENOMEM;
	t->server = server;
	t->key = *key;
	if (server)
		rc = fab_key_reader(key, &t->reader);
	if (server && rc != 0)
		goto err_free;
	rc = -ENOMEM;
	t->ctx =
		SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (t->ctx == NULL)
		goto err_free;
	rc = set_up(t, server);
	if (rc != 0)
		goto err_free;
	*out = t;
	return 0;

err_free:
	tcp_tls_close(t);
	return rc;
}

void tcp_tls_close(struct tcp_tls *t)
{
	if (t == NULL)
		return;
	SSL_CTX_free(t->ctx);
	OPENSSL_cleanse(&t->key, sizeof(t->key));
	OPENSSL_cleanse(&t->reader, sizeof(t->reader));
	free(t);
}
