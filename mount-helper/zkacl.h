/* mount-helper/zkacl.h - who may touch the pool's nodes in ZooKeeper: who has
 * the pool's key. Each session says the digest "aceso:SECRET", SECRET being
 * HMAC-SHA256(key, "aceso zookeeper 1" NAME) in hexadecimal: kv/FORMAT.md.
 * What it protects, and what not: docs/security.md. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_ZKACL_H
#define ACESO_MOUNT_HELPER_ZKACL_H
#include <zookeeper/zookeeper.h>

#include "rdma/fabric.h"

/* Have @zh say who it is, now and whenever it comes to a server, before all
 * that is asked for after this. Errors: -EINVAL @key is a reader's; -EIO. */
int zkacl_login(zhandle_t *zh, const struct fab_key *key, const char *name);

/* Shut @path to all others if any has rights there: an older version left it to
 * everybody. Waits. Returns ZOK or ZooKeeper's error; ZNOAUTH: another's. */
int zkacl_shut(zhandle_t *zh, const char *path);

#endif
