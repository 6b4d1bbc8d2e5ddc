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

#define TEXT_BYTES (2 * POOLCONF_KEY_BYTES)
#define READER	   "reader:" /* before the digits of such a key */

static int fail(char *error, int rc, const char *path, const char *why)
{
	snprintf(error, CONF_ERROR_BYTES_MAX, "the pool's key %.300s %s", path,
		 why);
	return rc;
}

/* Others may neither read it nor put another in its place. */
static int check_mode(int fd, const char *path, char *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(error, -errno, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(error, -EINVAL, path, "is no file");
	if ((st.st_mode & 077) != 0)
		return fail(error, -EPERM, path,
			    "can be read by others: chmod 600 it, and make a "
			    "new pool if they may have done so");
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return fail(error, -EPERM, path,
			    "belongs to another user: chown it");
	return 0;
}

static int digits(const char *text, struct fab_key *out)
{
	unsigned byte;

	out->reader = strncmp(text, READER, strlen(READER)) == 0;
	if (out->reader)
		text += strlen(READER);
	if (strspn(text, "0123456789abcdefABCDEF") != TEXT_BYTES ||
	    strspn(text + TEXT_BYTES, " \t\r\n") != strlen(text + TEXT_BYTES))
		return -EINVAL;
	for (size_t i = 0; i < POOLCONF_KEY_BYTES; i++) {
		sscanf(text + 2 * i, "%2x", &byte);
		out->bytes[i] = (uint8_t)byte;
	}
	out->len = POOLCONF_KEY_BYTES;
	return 0;
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

int poolkey_read(const char *path, struct fab_key *out, char *error)
{
	char text[TEXT_BYTES + 24] = "";
	int fd = open_handed(path), rc = 0;
	bool handed = fd >= 0;
	ssize_t n;

	if (!handed)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(error, -errno, path,
			    errno == EACCES ? "cannot be read by you: use sudo"
			    : errno == ENOENT
				    ? "is not there: copy it from the host "
				      "where the pool was made"
				    : strerror(errno));
	if (!handed)
		rc = check_mode(fd, path, error);
	if (rc == 0) {
		n = read(fd, text, sizeof(text) - 1);
		rc = n < 0 ? -errno : digits(text, out);
		if (rc != 0)
			fail(error, rc, path,
			     "is no key: 64 hexadecimal digits were expected");
	}
	close(fd);
	explicit_bzero(text, sizeof(text));
	return rc;
}

int poolkey_reader_line(const struct fab_key *key,
			char out[POOLKEY_READER_BYTES])
{
	struct fab_key reader;
	int rc = fab_key_reader(key, &reader);
	size_t at = strlen(strcpy(out, READER));

	for (size_t i = 0; rc == 0 && i < reader.len; i++)
		snprintf(out + at + 2 * i, 3, "%02x", reader.bytes[i]);
	explicit_bzero(&reader, sizeof(reader));
	return rc;
}

static int write_all(int fd, const char *text, size_t len)
{
	ssize_t n = write(fd, text, len);

	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	return fsync(fd) < 0 ? -errno : 0;
}

int poolkey_make(const char *path)
{
	uint8_t bytes[POOLCONF_KEY_BYTES];
	char text[TEXT_BYTES + 2];
	int fd, rc;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	strcpy(text + TEXT_BYTES, "\n");
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		  0600);
	rc = fd < 0 ? -errno : write_all(fd, text, TEXT_BYTES + 1);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && rc < 0)
		unlink(path);
	explicit_bzero(bytes, sizeof(bytes));
	explicit_bzero(text, sizeof(text));
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
