/* mount-helper/poolkey.h - a pool's key: 32 random bytes, in hexadecimal in
 * a file that only its owner may read. Who has it belongs to the pool. */
#ifndef ACESO_MOUNT_HELPER_POOLKEY_H
#define ACESO_MOUNT_HELPER_POOLKEY_H
#include <stdint.h>
#include <sys/types.h>

#include "rdma/fabric.h"

/* The key in @path; or in the file of that name that systemd has handed to this
 * service. @error (CONF_ERROR_BYTES_MAX) has a line for people. Errors: -EPERM
 * others may read it; -EINVAL it is no key; those of open(2). */
int poolkey_read(const char *path, struct fab_key *out, char *error);

/* A new key. Errors: -EIO. */
int poolkey_draw(struct fab_key *out);

/* Put @key into a file of @mode and @group ((gid_t)-1: ours), which is at @path
 * when it is whole; one that was there is replaced. For a key that lives no
 * longer than the host: nothing is synced. Errors: those of open(2), write(2),
 * chown(2). */
int poolkey_put(const char *path, const struct fab_key *key, mode_t mode,
		gid_t group);

/* What a host that may only look has in its file instead: the reader's key that
 * belongs to @key, as a line ("reader:" and digits) into @out. Errors: those of
 * fab_key_reader(). */
#define POOLKEY_READER_BYTES 80u
int poolkey_reader_line(const struct fab_key *key,
			char out[POOLKEY_READER_BYTES]);

/* A new key in a new file. Errors: -EEXIST; those of open(2), write(2). */
int poolkey_make(const char *path);

/* What seeds the pool's CRCs: so that nobody without the key can make what
 * looks like a record. Errors: -EIO. */
int poolkey_secret(const struct fab_key *key, const uint8_t uuid[16],
		   uint64_t *out);

#endif
