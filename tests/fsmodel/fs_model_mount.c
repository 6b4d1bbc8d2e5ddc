/* fs_model_mount DIR [none|auto|writeback] [pages]: mount fs/ on the model of
 * the store, in the foreground, until unmounted or told to stop. What is in it
 * is gone then. For tests of real mounts that do not need a pool. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs_impl.h"
#include "fs/session.h"
#include "tests/lib/kv_model.h"

static enum fs_cache cache_of(const char *word)
{
	if (word != NULL && strcmp(word, "none") == 0)
		return FS_CACHE_NONE;
	if (word != NULL && strcmp(word, "writeback") == 0)
		return FS_CACHE_WRITEBACK;
	return FS_CACHE_AUTO;
}

static int loop(struct fs *fs, struct fuse_session *se, const char *dir)
{
	struct fuse_loop_config *config;
	int err = -1;

	if (fuse_set_signal_handlers(se) != 0)
		return -1;
	if (fuse_session_mount(se, dir) == 0) {
		(void)fs_session_attach(fs, se); /* slower without */
		config = fuse_loop_cfg_create();
		fuse_loop_cfg_set_clone_fd(config, 1);
		err = fuse_session_loop_mt(se, config);
		fuse_loop_cfg_destroy(config);
		fs_session_detach(fs);
		fuse_session_unmount(se);
	}
	fuse_remove_signal_handlers(se);
	return err;
}

static int serve(struct fs *fs, const char *dir)
{
	char *argv[] = {"fs_model_mount", "-o",
			"default_permissions,allow_other,fsname=model"};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_session *se =
		fuse_session_new(&args, fs_ops(), sizeof(*fs_ops()), fs);
	int err = -1;

	if (se != NULL) {
		err = loop(fs, se, dir);
		fuse_session_destroy(se);
	}
	fuse_opt_free_args(&args);
	return err;
}

int main(int argc, char **argv)
{
	struct kv_opts kv_opts = {.pool = "model"};
	struct fs_opts opts = {.attr_timeout = -1,
			       .entry_timeout = -1,
			       .negative_timeout = -1};
	struct kv *kv;
	struct fs *fs;
	int err;

	if (argc < 2) {
		fprintf(stderr, "usage: %s DIR [none|auto|writeback] [pages]\n",
			argv[0]);
		return 2;
	}
	opts.cache = cache_of(argv[2]);
	if (kv_open(&kv_opts, &kv) != 0)
		return 1;
	if (argc > 3)
		kv_model_limit(kv, strtoull(argv[3], NULL, 10));
	err = fs_open(kv, &opts, &fs);
	if (err != 0) {
		fprintf(stderr, "fs_open: %s\n", strerror(-err));
		return 1;
	}
	err = serve(fs, argv[1]);
	fs_close(fs);
	kv_close(kv);
	kv_model_drop("model");
	return err != 0;
}
