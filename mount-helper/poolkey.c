/* mount-helper/poolkey.c - see poolkey.h. */
#include "mount-helper/poolkey.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount-helper/poolconf.h"

static int fail(char *error, int rc, const char *path, const char *why)
{
	snprintf(error, CONF_ERROR_BYTES_MAX, "the pool's key %.300s %s", path,
		 why);
	return rc;
}

/* A service of systemd is handed its key: a file of the same name in a
 * directory that only it can look into, whatever the file's mode. */
static int open_handed(const char *path)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	const char *slash = strrchr(path, '/');
	char handed[POOLCONF_PATH_BYTES];

	if (dir == NULL || dir[0] != '/' ||
	    snprintf(handed, sizeof(handed), "%s/%s", dir,
		     slash != NULL ? slash + 1 : path) >= (int)sizeof(handed))
		return -1;
	return open(handed, O_RDONLY | O_CLOEXEC);
}

static int check_owner(int fd, const char *path, char *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || (st.st_uid != geteuid() && st.st_uid != 0))
		return fail(error, -EPERM, path,
			    "belongs to another user: chown it");
	return 0;
}

int poolkey_read(const char *path, struct fab_key *out, char *error)
{
	int fd = open_handed(path), rc;
	bool handed = fd >= 0;

	if (!handed)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(error, -errno, path,
			    errno == EACCES ? "cannot be read by you: use sudo"
			    : errno == ENOENT
				    ? "is not there: copy it from the host "
				      "where the pool was made"
				    : strerror(errno));
	rc = fab_key_read(fd, handed ? 07777 : 07700, out);
	if (rc == -EPERM)
		fail(error, rc, path,
		     "can be read by others: chmod 600 it, and make a new pool "
		     "if they may have done so");
	else if (rc != 0)
		fail(error, rc, path,
		     "is no key: a file of 64 hexadecimal digits was expected");
	else if (!handed)
		rc = check_owner(fd, path, error);
	close(fd);
	return rc;
}

/* --- writing -------------------------------------------------------- */

/* As a line, without its end. */
static void line_of(const struct fab_key *key, char out[POOLKEY_READER_BYTES])
{
	size_t at = strlen(strcpy(out, key->reader ? FAB_KEY_FILE_READER : ""));

	for (size_t i = 0; i < key->len; i++)
		snprintf(out + at + 2 * i, 3, "%02x", key->bytes[i]);
}

int poolkey_reader_line(const struct fab_key *key,
			char out[POOLKEY_READER_BYTES])
{
	struct fab_key reader;
	int rc = fab_key_reader(key, &reader);

	if (rc == 0)
		line_of(&reader, out);
	explicit_bzero(&reader, sizeof(reader));
	return rc;
}

int poolkey_draw(struct fab_key *out)
{
	memset(out, 0, sizeof(*out));
	out->len = FAB_KEY_FILE_BYTES;
	return getrandom(out->bytes, out->len, 0) == FAB_KEY_FILE_BYTES ? 0
									: -EIO;
}

static int write_key(int fd, const struct fab_key *key)
{
	char text[POOLKEY_READER_BYTES + 1];
	ssize_t n, len;

	line_of(key, text);
	len = (ssize_t)strlen(strcat(text, "\n"));
	n = write(fd, text, (size_t)len);
	explicit_bzero(text, sizeof(text));
	if (n != len)
		return n < 0 ? -errno : -EIO;
	return 0;
}

static int create(const char *path)
{
	int fd =
		open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		     0600);

	return fd < 0 ? -errno : fd;
}

int poolkey_make(const char *path)
{
	struct fab_key key;
	int fd, rc;

	rc = poolkey_draw(&key);
	if (rc != 0)
		return rc;
	fd = rc = create(path);
	if (fd >= 0) {
		rc = write_key(fd, &key);
		if (rc == 0 && fsync(fd) < 0)
			rc = -errno;
		close(fd);
	}
	if (fd >= 0 && rc < 0)
		unlink(path);
	explicit_bzero(&key, sizeof(key));
	return rc;
}

int poolkey_put(const char *path, const struct fab_key *key, mode_t mode,
		gid_t group)
{
	char aside[POOLCONF_PATH_BYTES];
	int fd, rc;

	if (snprintf(aside, sizeof(aside), "%s.new", path) >=
	    (int)sizeof(aside))
		return -ENAMETOOLONG;
	unlink(aside);
	fd = create(aside);
	if (fd < 0)
		return fd;
	rc = write_key(fd, key);
	if (rc == 0 && (fchown(fd, (uid_t)-1, group) < 0 ||
			fchmod(fd, mode) < 0 || rename(aside, path) < 0))
		rc = -errno;
	close(fd);
	if (rc < 0)
		unlink(aside);
	return rc;
}

int poolkey_secret(const struct fab_key *key, const uint8_t uuid[16],
		   uint64_t *out)
{
	static const char label[] = "aceso record secret";
	uint8_t msg[sizeof(label) + 16], md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (key->reader)
		return -EINVAL; /* it is not known to readers */
	memcpy(msg, label, sizeof(label));
	memcpy(msg + sizeof(label), uuid, 16);
	if (HMAC(EVP_sha256(), key->bytes, (int)key->len, msg, sizeof(msg), md,
		 &len) == NULL ||
	    len < sizeof(*out))
		return -EIO;
	memcpy(out, md, sizeof(*out));
	explicit_bzero(md, sizeof(md));
	return 0;
}
