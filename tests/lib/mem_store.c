#include "tests/lib/mem_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mem_store {
	struct viewstore vs;
	struct mem_disk *disk;
	uint64_t version; /* as it was seen last */
};

static struct mem_store *store_of(struct viewstore *vs)
{
	return (struct mem_store *)vs;
}

static int mem_load(struct viewstore *vs, void *buf, size_t cap, size_t *len)
{
	struct mem_store *s = store_of(vs);

	if (s->disk->away)
		return -EIO;
	if (s->disk->len > cap)
		return -EMSGSIZE;
	memcpy(buf, s->disk->bytes, s->disk->len);
	*len = s->disk->len;
	s->version = s->disk->version;
	return 0;
}

static int mem_put(struct viewstore *vs, const void *buf, size_t len)
{
	struct mem_store *s = store_of(vs);

	if (s->disk->away)
		return -EIO;
	if (s->version != s->disk->version)
		return -ESTALE;
	memcpy(s->disk->bytes, buf, len);
	s->disk->len = len;
	s->version = ++s->disk->version;
	return 0;
}

static bool mem_sure(struct viewstore *vs)
{
	const struct mem_disk *d = store_of(vs)->disk;

	return !d->away && d->leader == vs;
}

static bool mem_lost(struct viewstore *vs)
{
	const struct mem_disk *d = store_of(vs)->disk;

	return !d->away && d->leader != vs;
}

static void mem_close(struct viewstore *vs)
{
	free(vs);
}

static const struct viewstore_ops mem_ops = {
	.load = mem_load,
	.put = mem_put,
	.sure = mem_sure,
	.lost = mem_lost,
	.close = mem_close,
};

int mem_store_open(struct mem_disk *d, struct viewstore **out)
{
	struct mem_store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->vs.ops = &mem_ops;
	s->disk = d;
	s->version = UINT64_MAX; /* it has to be loaded first */
	d->leader = &s->vs;
	*out = &s->vs;
	return 0;
}
