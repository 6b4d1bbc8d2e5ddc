/* mount-helper/pool_key.c - see pool_key.h. */
#include "mount-helper/pool_key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mount-helper/poolkey.h"

#define PATH_BYTES (POOL_PATH_BYTES + sizeof(POOL_KEY_READERS))

/* Beside the socket: p->dir may be our own, of a pool that is root's. */
static void path_of(const struct pool_place *p, const char *file,
		    char out[PATH_BYTES])
{
	const char *slash = strrchr(p->sock, '/');

	snprintf(out, PATH_BYTES, "%.*s/%s", (int)(slash - p->sock), p->sock,
		 file);
}

static int put_readers(const struct pool_place *p, uint32_t group,
		       const struct fab_key *key)
{
	struct fab_key reader;
	char path[PATH_BYTES];
	int rc = fab_key_reader(key, &reader);

	path_of(p, POOL_KEY_READERS, path);
	if (rc == 0)
		rc = poolkey_put(path, &reader, 0640, (gid_t)group);
	explicit_bzero(&reader, sizeof(reader));
	return rc;
}

int pool_key_make(const struct pool_place *p, uint32_t readers,
		  struct fab_key *out)
{
	char path[PATH_BYTES];
	int rc = poolkey_draw(out);

	path_of(p, POOL_KEY, path);
	if (rc == 0)
		rc = poolkey_put(path, out, 0600, (gid_t)-1);
	if (rc == 0 && readers != 0)
		rc = put_readers(p, readers, out);
	return rc;
}

int pool_key_own(const struct pool_place *p, struct fab_key *out)
{
	char path[PATH_BYTES];

	path_of(p, POOL_KEY, path);
	return fab_key_load(path, 0600, out);
}

int pool_key_find(const struct pool_place *p, struct fab_key *out)
{
	int rc;

	if (p->hosts) {
		*out = p->key;
		return 0;
	}
	rc = fab_key_beside(p->sock, out);
	if (rc == -ENOENT)
		return pool_listens(p) ? -ENOKEY : -ENOENT;
	return rc == -EPERM || rc == -EINVAL ? -EKEYREJECTED : rc;
}

const char *pool_key_why(const struct pool_place *p, int rc)
{
	if (p->hosts)
		return rc == -EACCES ? "has another key than this host: copy "
				       "the key file from where the pool was "
				       "made"
				     : NULL;
	switch (rc) {
	case -ENOKEY:
		return "has no key (" POOL_KEY " beside its socket): an older "
		       "aceso made it, or the file was removed: unmount it "
		       "everywhere and mount it again";
	case -EKEYREJECTED:
		return "has a key file (" POOL_KEY " beside its socket) that "
		       "was changed, or that others may read: unmount it "
		       "everywhere and mount it again";
	case -EACCES:
		return "refuses us or our key (" POOL_KEY " beside its "
		       "socket): use sudo; if that is refused too, unmount it "
		       "everywhere and mount it again";
	default:
		return NULL;
	}
}
