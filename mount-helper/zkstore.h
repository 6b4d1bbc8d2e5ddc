/* mount-helper/zkstore.h - the view's store in ZooKeeper, and who leads.
 *
 *	/aceso/NAME/view		the bytes; setData names the version
 *	/aceso/NAME/lead/n-TOKEN-SERIAL	ephemeral: a candidate; the lowest leads
 *
 * A leader whose session has ended can put nothing: its candidate is gone, and
 * the bytes have another version as soon as the next one has put. It is sure to
 * lead for three quarters of the session's timeout after it asked for a write
 * that was done. Who lost its session starts anew (-ESTALE).
 * They are for who has the pool's key: zkacl.h.
 * Threads: as of viewstore.h; zkstore_lead() by who opened it. */
#ifndef ACESO_MOUNT_HELPER_ZKSTORE_H
#define ACESO_MOUNT_HELPER_ZKSTORE_H
#include <stdint.h>

#include "kv/node/viewstore.h"
#include "rdma/fabric.h"

#define ZKSTORE_SESSION_MS 4000u

/* Begin to reach @servers ("h1:2181,h2:2181") for pool @name, whose @key is not
 * needed after. Does not wait for them. Errors: -EINVAL, -ENAMETOOLONG;
 * -ENOMEM; -EIO; those of zookeeper_init(). */
int zkstore_open(const char *servers, const char *name,
		 const struct fab_key *key, uint32_t session_ms,
		 struct viewstore **out);

/* Wait until it leads, at most @timeout_ms. Errors: -ETIMEDOUT another does, or
 * no server answers; -EACCES another key's pool has the name there; -ESTALE its
 * session has ended: close it. */
int zkstore_lead(struct viewstore *vs, uint32_t timeout_ms);

#endif
