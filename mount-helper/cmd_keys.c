/* mount-helper/cmd_keys.c - aceso ls, get, put, rm: on keys, and (a name that
 * begins with '/') on files of the mounted file system.
 *
 * A user's key is stored with the letter 'u' before it, so that it cannot meet
 * those of the file system and of transactions. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/kv.h"
#include "mount-helper/cmd.h"
#include "mount-helper/files.h"
#include "mount-helper/say.h"

#define USER_ROOM 'u'

struct user_key {
	size_t len;
	char byte[KV_KEY_BYTES_MAX];
};

static int make_key(const char *name, struct user_key *out)
{
	size_t n = strlen(name);

	if (n == 0 || n + 1 > sizeof(out->byte)) {
		say_err("a key has 1 to %zu bytes", sizeof(out->byte) - 1);
		return CMD_USAGE;
	}
	out->byte[0] = USER_ROOM;
	memcpy(out->byte + 1, name, n);
	out->len = n + 1;
	return 0;
}

static const char *why(int rc)
{
	if (rc == -ENOENT)
		return "no such key";
	if (rc == -EFBIG)
		return "a value has at most 68 KiB: put it in a file (/...)";
	return strerror(-rc);
}

/* The pool is open in what each of these gets. */
static int with_key(const char *pool, const char *name, const char *value,
		    int (*use)(struct kv *kv, const struct user_key *key,
			       const char *name, const char *value))
{
	struct user_key key;
	struct pool_place p;
	struct kv *kv;
	int rc;

	rc = make_key(name, &key);
	if (rc == 0)
		rc = cmd_find(pool, &p);
	if (rc == 0)
		rc = cmd_open(&p, &kv);
	if (rc != 0)
		return rc;
	rc = use(kv, &key, name, value);
	kv_close(kv);
	if (rc < 0)
		say_err("%s: %s", name, why(rc));
	return rc < 0 ? CMD_FAIL : CMD_OK;
}

/* Write all of it; an error is the caller's to say. */
static int write_out(const void *data, size_t len)
{
	if (fwrite(data, 1, len, stdout) != len || fflush(stdout) != 0)
		return -EIO;
	return 0;
}

static int get_key(struct kv *kv, const struct user_key *key, const char *name,
		   const char *value)
{
	char *buf = malloc(KV_VALUE_BYTES_MAX);
	size_t len;
	int rc;

	if (buf == NULL)
		return -ENOMEM;
	rc = kv_get(kv, key->byte, key->len, buf, KV_VALUE_BYTES_MAX, &len,
		    NULL);
	if (rc == 0)
		rc = write_out(buf, len);
	free(buf);
	return rc;
}

/* All of standard input, at most a value's bytes. */
static int read_in(char *buf, size_t *len)
{
	*len = fread(buf, 1, KV_VALUE_BYTES_MAX + 1, stdin);
	if (ferror(stdin))
		return -EIO;
	return *len <= KV_VALUE_BYTES_MAX ? 0 : -EFBIG;
}

static int put_key(struct kv *kv, const struct user_key *key, const char *name,
		   const char *value)
{
	size_t len;
	char *buf;
	int rc;

	if (value != NULL && strcmp(value, "-") != 0)
		return strlen(value) > KV_VALUE_BYTES_MAX
			       ? -EFBIG
			       : kv_put(kv, key->byte, key->len, value,
					strlen(value), NULL);
	buf = malloc(KV_VALUE_BYTES_MAX + 1);
	if (buf == NULL)
		return -ENOMEM;
	rc = read_in(buf, &len);
	if (rc == 0)
		rc = kv_put(kv, key->byte, key->len, buf, len, NULL);
	free(buf);
	return rc;
}

static int rm_key(struct kv *kv, const struct user_key *key, const char *name,
		  const char *value)
{
	return kv_del(kv, key->byte, key->len, 0);
}

/* --- ls ------------------------------------------------------------- */

/* Bytes that are no printable ASCII are shown as \xHH, a backslash as \\. */
static void print_key(const unsigned char *key, size_t len)
{
	for (; len > 0; key++, len--) {
		if (*key == '\\')
			fputs("\\\\", stdout);
		else if (*key >= 0x20 && *key < 0x7f)
			putchar(*key);
		else
			printf("\\x%02x", *key);
	}
}

struct listing {
	size_t skip; /* bytes of a key that are not shown */
	bool is_long;
};

static int list_one(void *arg, const void *key, size_t klen, const void *val,
		    size_t vlen, uint64_t version)
{
	const struct listing *l = arg;

	if (l->is_long)
		printf("%8zu  %016llx  ", vlen, (unsigned long long)version);
	print_key((const unsigned char *)key + l->skip, klen - l->skip);
	putchar('\n');
	return 0;
}

static int list_keys(const char *pool, const char *prefix, bool all,
		     bool is_long)
{
	struct listing l = {.skip = all ? 0 : 1, .is_long = is_long};
	char start[KV_KEY_BYTES_MAX + 2];
	struct pool_place p;
	struct kv *kv;
	int rc;

	if (strlen(prefix) >= KV_KEY_BYTES_MAX)
		return cmd_usage("ls");
	snprintf(start, sizeof(start), "%s%s", all ? "" : "u", prefix);
	rc = cmd_find(pool, &p);
	if (rc == 0)
		rc = cmd_open(&p, &kv);
	if (rc != 0)
		return rc;
	rc = kv_scan(kv, start, strlen(start), list_one, &l);
	kv_close(kv);
	if (rc < 0)
		say_err("the keys cannot all be read: %s", strerror(-rc));
	return rc < 0 ? CMD_FAIL : CMD_OK;
}

int cmd_ls(const char *pool, int argc, char **argv)
{
	static const struct option longs[] = {
		{"keys", no_argument, NULL, 'k'},
		{"all", no_argument, NULL, 'a'},
		{"long", no_argument, NULL, 'l'},
		{NULL, 0, NULL, 0},
	};
	bool keys = false, all = false, is_long = false;
	const char *name;
	int letter;

	while ((letter = getopt_long(argc, argv, "kal", longs, NULL)) != -1) {
		if (letter == '?')
			return cmd_usage("ls");
		keys = keys || letter == 'k';
		all = all || letter == 'a';
		is_long = is_long || letter == 'l';
	}
	name = optind < argc ? argv[optind] : NULL;
	if (argc - optind > 1 || (all && name != NULL))
		return cmd_usage("ls");
	if (keys || all)
		return list_keys(pool, name != NULL ? name : "", all, is_long);
	if (name != NULL && name[0] != '/') {
		say_err("'%s' is neither a path (/...) nor asked for as --keys",
			name);
		return CMD_USAGE;
	}
	return files_ls(pool, name != NULL ? name : "/", is_long);
}

/* --- get, put, rm --------------------------------------------------- */

int cmd_get(const char *pool, int argc, char **argv)
{
	if (argc != 2)
		return cmd_usage("get");
	if (argv[1][0] == '/')
		return files_get(pool, argv[1]);
	return with_key(pool, argv[1], NULL, get_key);
}

int cmd_put(const char *pool, int argc, char **argv)
{
	const char *value = argc == 3 ? argv[2] : NULL;

	if (argc != 2 && argc != 3)
		return cmd_usage("put");
	if (argv[1][0] == '/')
		return files_put(pool, argv[1], value);
	return with_key(pool, argv[1], value, put_key);
}

int cmd_rm(const char *pool, int argc, char **argv)
{
	if (argc != 2)
		return cmd_usage("rm");
	if (argv[1][0] == '/')
		return files_rm(pool, argv[1]);
	return with_key(pool, argv[1], NULL, rm_key);
}
