/* mount-helper/lay_out.c - see lay_out.h. */
#include "mount-helper/lay_out.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "mount-helper/program.h"

static int lay_out_new(const struct conf_pool *p, struct layout_super *head)
{
	struct layout_shape shape = {
		.nodes = p->nodes, .k = p->k, .m = p->m, .usable = p->size};

	head->magic = LAYOUT_MAGIC;
	head->version = LAYOUT_VERSION;
	if (getrandom(head->uuid, sizeof(head->uuid), 0) < 0 ||
	    getrandom(&head->secret, sizeof(head->secret), 0) < 0)
		return -errno;
	return layout_of(&shape, &head->layout);
}

static int say_new(int rc, char *error)
{
	if (rc < 0)
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "the pool cannot be laid out: %s", strerror(-rc));
	return rc;
}

/* The pool's files: made, or brought back to the last durable checkpoint. */
static int lay_out_dir(const struct conf_pool *p, struct lay_out *l,
		       char *error)
{
	int rc = pooldir_open(p, &l->dir, error);

	if (rc != 0)
		return rc;
	if (pooldir_has_pool(l->dir)) {
		l->head = pooldir_file(l->dir)->super;
		l->restarted = true;
		return pooldir_restart(l->dir, error);
	}
	if (p->size == 0) {
		snprintf(error, PROGRAM_LINE_BYTES_MAX,
			 "%.300s holds no pool (any more)", p->dir);
		return -EINVAL;
	}
	rc = say_new(lay_out_new(p, &l->head), error);
	return rc != 0 ? rc : pooldir_create(l->dir, &l->head, error);
}

int lay_out(const struct conf_pool *pool, struct lay_out *out, char *error)
{
	if (pool->dir[0] != '\0')
		return lay_out_dir(pool, out, error);
	return say_new(lay_out_new(pool, &out->head), error);
}
