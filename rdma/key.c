/* rdma/key.c - the key of those who may only look, out of the pool's own. */
#include <errno.h>
#include <openssl/hmac.h>
#include <string.h>

#include "rdma/fabric.h"

static const char label[] = "aceso reader's key 1";

int fab_key_reader(const struct fab_key *key, struct fab_key *out)
{
	unsigned len = 0;

	if (key->reader || key->len < FAB_KEY_BYTES_MIN ||
	    key->len > FAB_KEY_BYTES_MAX)
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	if (HMAC(EVP_sha256(), key->bytes, (int)key->len, (const void *)label,
		 sizeof(label), out->bytes, &len) == NULL)
		return -EIO;
	out->len = len;
	out->reader = true;
	return 0;
}
