/* kv/node/viewstore.h - where a coordinator keeps what it must not forget: one
 * string of bytes (kv/node/viewstate.h), replaced as a whole, by whoever leads.
 *
 *   load --> put --> put --> put        each takes the place of the last
 *              \ -ESTALE: somebody else has put since: this one leads no more
 *
 * What put() has acknowledged is there after any crash, and a put that failed
 * in another way than -ESTALE may be or not: it is tried again, with the same
 * bytes or newer ones.
 * Threads: load, put and close by one at a time; sure and lost by any. Calls
 * may block, for seconds at worst. */
#ifndef ACESO_KV_NODE_VIEWSTORE_H
#define ACESO_KV_NODE_VIEWSTORE_H
#include <stdbool.h>
#include <stddef.h>

#define VIEWSTORE_BYTES_MAX (256u << 10)

struct viewstore; /* the first member of an implementation's own structure */

struct viewstore_ops {
	int (*load)(struct viewstore *vs, void *buf, size_t cap, size_t *len);
	int (*put)(struct viewstore *vs, const void *buf, size_t len);
	bool (*sure)(struct viewstore *vs);
	bool (*lost)(struct viewstore *vs);
	void (*close)(struct viewstore *vs);
};

struct viewstore {
	const struct viewstore_ops *ops;
};

/* What is there; *len 0: nothing was ever put. Errors: -EMSGSIZE more than
 * @cap; -EBADMSG damaged; -EIO and the like. */
static inline int viewstore_load(struct viewstore *vs, void *buf, size_t cap,
				 size_t *len)
{
	return vs->ops->load(vs, buf, cap, len);
}

/* Put @buf in place of what was loaded or put last. Errors: -ESTALE that is
 * not there any more; others: try again. */
static inline int viewstore_put(struct viewstore *vs, const void *buf,
				size_t len)
{
	return vs->ops->put(vs, buf, len);
}

/* No other may have put at this moment: who is asked leads still. Quick. */
static inline bool viewstore_sure(struct viewstore *vs)
{
	return vs->ops->sure(vs);
}

/* It will never lead again: it is to be closed. Quick. */
static inline bool viewstore_lost(struct viewstore *vs)
{
	return vs->ops->lost(vs);
}

static inline void viewstore_close(struct viewstore *vs) /* NULL is fine */
{
	if (vs != NULL)
		vs->ops->close(vs);
}

/* In a file: @dir/view, written aside, synced and renamed. @dir is made if need
 * be and locked while this is open: one coordinator at a time.
 * Errors: -EBUSY another has it; those of mkdir() and open(). */
int viewstore_file_open(const char *dir, struct viewstore **out);

#endif
