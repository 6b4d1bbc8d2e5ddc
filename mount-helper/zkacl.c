/* mount-helper/zkacl.c - see zkacl.h. */
#define THREADED /* zookeeper.h: the calls that wait */
#include "mount-helper/zkacl.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define USER	     "aceso:"
#define SECRET_BYTES 32u
#define LOGIN_BYTES  (sizeof(USER) + 2 * SECRET_BYTES)

static int make_login(const struct fab_key *key, const char *name,
		      char login[LOGIN_BYTES])
{
	uint8_t md[SECRET_BYTES];
	unsigned md_len = 0;
	char text[128];
	int n = snprintf(text, sizeof(text), "aceso zookeeper 1%s", name);

	if (key->reader || key->len < FAB_KEY_BYTES_MIN ||
	    n >= (int)sizeof(text))
		return -EINVAL;
	if (HMAC(EVP_sha256(), key->bytes, (int)key->len, (const void *)text,
		 (size_t)n, md, &md_len) == NULL)
		return -EIO;
	n = snprintf(login, LOGIN_BYTES, USER);
	for (unsigned i = 0; i < md_len; i++)
		n += snprintf(login + n, LOGIN_BYTES - (size_t)n, "%02x",
			      md[i]);
	OPENSSL_cleanse(md, sizeof(md));
	return 0;
}

int zkacl_login(zhandle_t *zh, const struct fab_key *key, const char *name)
{
	char login[LOGIN_BYTES];
	int rc = make_login(key, name, login);

	/* the library says it again to each server that it comes to */
	if (rc == 0 && zoo_add_auth(zh, "digest", login, (int)strlen(login),
				    NULL, NULL) != ZOK)
		rc = -EIO;
	OPENSSL_cleanse(login, sizeof(login));
	return rc;
}

/* One digest's alone: ours, as nobody else may look at it. */
static bool is_shut(const struct ACL_vector *acl)
{
	return acl->count == 1 && strcmp(acl->data[0].id.scheme, "digest") == 0;
}

int zkacl_shut(zhandle_t *zh, const char *path)
{
	struct ACL_vector acl = {0};
	struct Stat stat;
	int rc = zoo_get_acl(zh, path, &acl, &stat);

	if (rc == ZOK && !is_shut(&acl))
		rc = zoo_set_acl(zh, path, -1, &ZOO_CREATOR_ALL_ACL);
	deallocate_ACL_vector(&acl);
	return rc;
}
