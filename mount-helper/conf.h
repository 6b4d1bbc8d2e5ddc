/* mount-helper/conf.h - the one reader of options: aceso.conf, ACESO_*, argv
 * and -o lists. Fills the options of each module; what it does not know it
 * refuses, with the nearest name it does know.
 * Threads: none, before any is started. */
#ifndef ACESO_MOUNT_HELPER_CONF_H
#define ACESO_MOUNT_HELPER_CONF_H
#include <stdbool.h>
#include <stdint.h>

#include "fs/fs.h"
#include "kv/kv.h"

#define CONF_POOL_BYTES_MAX  48u /* of a pool's name */
#define CONF_ERROR_BYTES_MAX 512u
#define CONF_MOUNT_BYTES_MAX 4096u
#define CONF_DIR_BYTES_MAX   256u
#define CONF_THREADS_MAX     256u
#define CONF_OPTIONS_MAX     80u
#define CONF_FILE	     "/etc/aceso/aceso.conf"

/* Where a value comes from; a later one wins. */
enum conf_source { CONF_DEFAULT, CONF_FILE_LINE, CONF_ENV, CONF_FLAG };

struct conf_origin {
	enum conf_source source;
	unsigned line;			/* of the file */
	char value[CONF_DIR_BYTES_MAX]; /* as it was said; else the default */
};

/* What blocks live in. With a directory they are files in it, without one they
 * are memory alone: to say so makes sure of it. */
enum conf_backing { CONF_BACKING_ANY, CONF_BACKING_MEMORY, CONF_BACKING_FILE };

/* The shape of a pool that is to be made. */
struct conf_pool {
	char name[CONF_POOL_BYTES_MAX + 1]; /* "": derive it */
	uint64_t size;	  /* bytes for users; 0: see percent */
	double percent;	  /* of free memory, for all of the pool; 0: default */
	uint32_t k, m;	  /* the code; 0: 3+2 */
	uint32_t nodes;	  /* 0: k + m */
	bool shaped;	  /* any of the above was asked for */
	bool has_respawn; /* it was said, one way or the other */
	bool respawn;	  /* dead nodes are started again */
	/* Where it lives on between mounts (absolute); "": nowhere. */
	char dir[CONF_DIR_BYTES_MAX];
	enum conf_backing backing;
	uint32_t durable_ms; /* between durable checkpoints; 0: default */
	uint32_t ckpt_ms; /* between checkpoints of an index shard; 0: none */
	/* Bytes a second that a node reads to have its own back; 0: any. */
	uint64_t rebuild_rate;
	uint32_t readers; /* the group that may look; 0: none */
};

struct conf {
	struct conf_pool pool;
	struct fs_opts fs;
	struct kv_opts kv;    /* .pool is not set here */
	char *dir;	      /* as given; NULL: none */
	uint32_t max_threads; /* 0: by the number of cpus */
	bool clone_fd;
	bool io_uring; /* requests that way, if the kernel offers it */
	bool foreground, debug, single_threaded;
	bool version, help;
	bool allow_other; /* default: as root */
	bool sloppy;	  /* unknown options are passed over */
	bool netdev;	  /* a line of fstab: it may be a boot */
	/* What libfuse and the kernel get: "-o" text, values escaped. */
	char mount[CONF_MOUNT_BYTES_MAX];
	bool has_fsname, has_subtype;
	struct conf_origin from[CONF_OPTIONS_MAX]; /* see conf_each() */
	enum conf_source source;		   /* of what is being read */
	unsigned line;
	char error[CONF_ERROR_BYTES_MAX]; /* one line, when reading failed */
};

/* Defaults, then the file's [mount], then ACESO_OPTIONS (as after -o), then the
 * command line: the last word holds. On error @c->error says what and what to
 * do. conf_free() is due in either case. Errors: -EINVAL; -ENOMEM. */
int conf_read(struct conf *c, int argc, char **argv);
void conf_free(struct conf *c);

/* As conf_read(), but that all of it makes a mount is not asked for. */
int conf_gather(struct conf *c, int argc, char **argv);

/* Call @each with every option of a mount, until it returns non-zero. */
int conf_each(const struct conf *c,
	      int (*each)(void *arg, const char *name, const char *value,
			  enum conf_source source, unsigned line),
	      void *arg);

/* The file's path: $ACESO_CONF, else CONF_FILE. */
const char *conf_file(void);

/* What the file says about programs ([tools], [paths]) becomes their
 * environment, but for what is there already. First thing in main(), once;
 * @error has CONF_ERROR_BYTES_MAX bytes. Errors: -EINVAL; -ENOMEM. */
int conf_apply_vars(char *error);

/* Likewise to conf_each(), after conf_apply_vars(). */
int conf_each_var(int (*each)(void *arg, const char *section, const char *name,
			      const char *env, const char *value,
			      enum conf_source source, unsigned line),
		  void *arg);

/* A pool's name: letters, digits, '.', '_', '-', not first a '.' or '-'.
 * Errors: -EINVAL; -ENAMETOOLONG. */
int conf_check_name(const char *name);

/* The name of an embedded pool mounted at @dir (absolute): "/mnt/aceso" gives
 * "mnt-aceso". Long or strange paths end in a hash. */
void conf_name_of(const char *dir, char name[CONF_POOL_BYTES_MAX + 1]);

/* The nearest of the NULL-ended @names to @word, NULL if none is near. */
const char *conf_nearest(const char *word, const char *const *names);

#endif
