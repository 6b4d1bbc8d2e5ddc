/* mount-helper/pooldir_lock.c - see pooldir_lock.h. */
#include "mount-helper/pooldir_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "mount-helper/clock.h"
#include "mount-helper/mnt.h"

#define ENDING	       ", which is ending"
#define WAIT_MS	       3000   /* its last mount may be leaving */
#define WAIT_MOUNT_MS  1000   /* or died: its pool hears of it in 500 */
#define WAIT_ENDING_MS 300000 /* it writes its last checkpoint */
#define RETRY_MS       50

/* Written over, then cut: a reader finds one line or the other. */
void pooldir_lock_say(int fd, const char *name, bool ending)
{
	char line[POOLDIR_WHO_BYTES];
	int len = snprintf(line, sizeof(line), "pool %.99s (pid %d)%s\n", name,
			   getpid(), ending ? ENDING : "");

	if (pwrite(fd, line, (size_t)len, 0) == len)
		(void)!ftruncate(fd, len);
}

static void read_who(int fd, char who[POOLDIR_WHO_BYTES])
{
	ssize_t n = pread(fd, who, POOLDIR_WHO_BYTES - 1, 0);

	who[n > 0 ? n : 0] = '\0';
	who[strcspn(who, "\n")] = '\0';
	if (who[0] == '\0')
		strcpy(who, "another pool");
}

static bool is_ending(const char *who)
{
	size_t n = strlen(who), end = strlen(ENDING);

	return n > end && strcmp(who + n - end, ENDING) == 0;
}

static int is_of(void *who, const char *dir, const char *source)
{
	char line[POOLDIR_WHO_BYTES];
	int len = snprintf(line, sizeof(line), "pool %.99s (", source);

	return strncmp(who, line, (size_t)len) == 0;
}

/* Who says that it is ending is waited for; who is mounted will hardly say so;
 * and umount(8) takes a mount from the table before it leaves. */
static int64_t patience_ms(char *who)
{
	if (is_ending(who))
		return WAIT_ENDING_MS;
	return mnt_each(is_of, who) == 1 ? WAIT_MOUNT_MS : WAIT_MS;
}

static int wait_for(int fd, char who[POOLDIR_WHO_BYTES])
{
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000l};
	int64_t begun = now_ms();

	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK)
			return -errno;
		read_who(fd, who);
		if (now_ms() - begun >= patience_ms(who))
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int pooldir_lock(int dirfd, const char *name, int *out,
		 char who[POOLDIR_WHO_BYTES])
{
	int fd = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = wait_for(fd, who);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	pooldir_lock_say(fd, name, false);
	*out = fd;
	return 0;
}
