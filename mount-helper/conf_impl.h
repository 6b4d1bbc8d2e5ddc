/* mount-helper/conf_impl.h - private to mount-helper/conf*.c: the options that
 * there are, and how one is taken. */
#ifndef ACESO_MOUNT_HELPER_CONF_IMPL_H
#define ACESO_MOUNT_HELPER_CONF_IMPL_H
#include "mount-helper/conf.h"

enum conf_what {
	CONF_VALUE,   /* name=value, handed to set() */
	CONF_SWITCH,  /* a bool of struct conf becomes @on */
	CONF_FORWARD, /* libfuse's or the kernel's */
	CONF_IGNORE,  /* mount(8)'s own */
};

struct conf_option {
	const char *name;
	enum conf_what what;
	int (*set)(struct conf *c, const char *value);
	size_t flag; /* offset in struct conf */
	bool on;
	const char *of;	  /* it is the contrary of that one: "ro" of "rw" */
	bool line_only;	  /* makes sense for one mount only: not in the file */
	const char *dflt; /* in words; NULL: yes as root, else no */
};

extern const struct conf_option conf_options[];
extern const size_t conf_options_n; /* <= CONF_OPTIONS_MAX */

/* Set @c->error, one line. Returns -EINVAL. */
int conf_fail(struct conf *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Take one word of an -o list: "name" or "name=value". Errors: -EINVAL. */
int conf_take(struct conf *c, const char *text);

/* Take @name = @value of the file's [mount]. Errors: -EINVAL. */
int conf_take_entry(struct conf *c, const char *name, const char *value);

/* Take the file: conf_file.c. 0 if there is none and nobody named one.
 * Errors: -EINVAL. */
int conf_file_read(struct conf *c);

/* An entry of the sections that are not about mounts: conf_vars.c.
 * Errors: -EINVAL, *@near is then the nearest name (or NULL); -ERANGE the
 * value. */
int conf_vars_take(const char *section, const char *name, const char *value,
		   unsigned line, const char **near);

/* Append @opt to the list for libfuse; its commas are escaped. */
int conf_forward(struct conf *c, const char *opt);

/* --- setters: conf_set.c -------------------------------------------- */

int conf_set_size(struct conf *c, const char *v);
int conf_set_code(struct conf *c, const char *v);
int conf_set_nodes(struct conf *c, const char *v);
int conf_set_respawn(struct conf *c, const char *v);
int conf_set_readers(struct conf *c, const char *v);
int conf_set_ckpt_ms(struct conf *c, const char *v);
int conf_set_rebuild_rate(struct conf *c, const char *v);
int conf_set_pool(struct conf *c, const char *v);
int conf_set_pool_dir(struct conf *c, const char *v);
int conf_set_backing(struct conf *c, const char *v);
int conf_set_durable_ms(struct conf *c, const char *v);
int conf_set_sync(struct conf *c, const char *v);
int conf_set_cache(struct conf *c, const char *v);
int conf_set_attr_timeout(struct conf *c, const char *v);
int conf_set_entry_timeout(struct conf *c, const char *v);
int conf_set_negative_timeout(struct conf *c, const char *v);
int conf_set_op_timeout(struct conf *c, const char *v);
int conf_set_lanes(struct conf *c, const char *v);
int conf_set_cache_size(struct conf *c, const char *v);
int conf_set_max_threads(struct conf *c, const char *v);
int conf_set_uid(struct conf *c, const char *v);
int conf_set_gid(struct conf *c, const char *v);
int conf_set_mode(struct conf *c, const char *v);
int conf_set_netdev(struct conf *c, const char *v);
int conf_set_fsname(struct conf *c, const char *v);
int conf_set_subtype(struct conf *c, const char *v);

#endif
