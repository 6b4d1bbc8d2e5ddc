/* rdma/key_file.c - a key in a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rdma/fabric.h"

#define DIGITS	   (2 * FAB_KEY_FILE_BYTES)
#define PATH_BYTES 4096u

static int digits(const char *text, struct fab_key *out)
{
	unsigned byte;

	out->reader = strncmp(text, FAB_KEY_FILE_READER,
			      strlen(FAB_KEY_FILE_READER)) == 0;
	if (out->reader)
		text += strlen(FAB_KEY_FILE_READER);
	if (strspn(text, "0123456789abcdefABCDEF") != DIGITS ||
	    strspn(text + DIGITS, " \t\r\n") != strlen(text + DIGITS))
		return -EINVAL;
	for (size_t i = 0; i < FAB_KEY_FILE_BYTES; i++) {
		sscanf(text + 2 * i, "%2x", &byte);
		out->bytes[i] = (uint8_t)byte;
	}
	out->len = FAB_KEY_FILE_BYTES;
	return 0;
}

/* Others may neither read it nor put another in its place. */
static int check_mode(int fd, mode_t most)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return (st.st_mode & 07777 & ~most) != 0 ? -EPERM : 0;
}

int fab_key_read(int fd, mode_t most, struct fab_key *out)
{
	char text[DIGITS + 24] = "";
	int rc = check_mode(fd, most);
	ssize_t n;

	memset(out, 0, sizeof(*out));
	if (rc != 0)
		return rc;
	n = read(fd, text, sizeof(text) - 1);
	rc = n < 0 ? -errno : digits(text, out);
	explicit_bzero(text, sizeof(text));
	return rc;
}

int fab_key_load(const char *path, mode_t most, struct fab_key *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc;

	if (fd < 0)
		return -errno;
	rc = fab_key_read(fd, most, out);
	close(fd);
	return rc;
}

static int load_beside(const char *sock, const char *file, mode_t most,
		       struct fab_key *out)
{
	const char *slash = strrchr(sock, '/');
	char path[PATH_BYTES];
	int n = snprintf(path, sizeof(path), "%.*s%s",
			 slash != NULL ? (int)(slash + 1 - sock) : 0, sock,
			 file);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return fab_key_load(path, most, out);
}

int fab_key_beside(const char *sock, struct fab_key *out)
{
	int rc = load_beside(sock, FAB_KEY_FILE, 0600, out), readers;

	if (rc != -EACCES)
		return rc;
	readers = load_beside(sock, FAB_KEY_FILE_READERS, 0640, out);
	return readers == -ENOENT ? rc : readers;
}
