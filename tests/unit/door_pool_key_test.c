/* tests/unit/door_pool_key_test.c - the key of a pool of this host: made with
 * it, found beside its socket, gone with it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "mount-helper/pool_key.h"
#include "mount-helper/poolkey.h"

#define READERS	 61234u
#define STRANGER 61236u

static char base[64];
static struct pool_place place;
static int lock;

/* A place that is taken. */
static int take(void **state)
{
	strcpy(base, "/tmp/door_key_XXXXXX");
	if (mkdtemp(base) == NULL || chmod(base, 0711) != 0)
		return -1;
	setenv("ACESO_RUNTIME_DIR", base, 1);
	if (pool_place("p", &place) != 0)
		return -1;
	return pool_take(&place, &lock);
}

/* Fails if anything stays. */
static int leave(void **state)
{
	pool_remove(&place, lock);
	return rmdir(base);
}

static const char *at(const char *file)
{
	static char path[POOL_PATH_BYTES + 32];

	snprintf(path, sizeof(path), "%s/%s", place.dir, file);
	return path;
}

static void write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void it_is_its_owners_alone(void **state)
{
	mode_t mask = umask(0); /* which changes nothing */
	struct fab_key made, found;
	struct stat st;

	assert_int_equal(pool_key_make(&place, 0, &made), 0);
	umask(mask);
	assert_int_equal(made.len, 32);
	assert_int_equal(stat(at(POOL_KEY), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(access(at(POOL_KEY_READERS), F_OK), -1);
	assert_int_equal(pool_key_find(&place, &found), 0);
	assert_memory_equal(&found, &made, sizeof(made));
	assert_int_equal(pool_key_own(&place, &found), 0);
	assert_memory_equal(&found, &made, sizeof(made));
}

static void every_pool_has_another(void **state)
{
	struct fab_key one, two, found;

	assert_int_equal(pool_key_make(&place, 0, &one), 0);
	write_text(at(POOL_KEY ".new"), "of one that died halfway");
	assert_int_equal(pool_key_make(&place, 0, &two), 0);
	assert_memory_not_equal(one.bytes, two.bytes, one.len);
	assert_int_equal(pool_key_find(&place, &found), 0);
	assert_memory_equal(&found, &two, sizeof(two));
	assert_int_equal(access(at(POOL_KEY ".new"), F_OK), -1);
}

/* Its supervisor was killed: nothing of it lets anybody into the next one. */
static void what_a_dead_pool_left_is_cleared(void **state)
{
	struct fab_key key;

	if (geteuid() != 0)
		skip(); /* another's group is not ours to give */
	assert_int_equal(pool_key_make(&place, READERS, &key), 0);
	write_text(at(POOL_KEY ".new"), "half");
	close(lock);
	assert_int_equal(pool_take(&place, &lock), 0);
	assert_int_equal(access(at(POOL_KEY), F_OK), -1);
	assert_int_equal(access(at(POOL_KEY_READERS), F_OK), -1);
	assert_int_equal(access(at(POOL_KEY ".new"), F_OK), -1);
}

static int listen_at(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_int_equal(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(sock, 4), 0);
	return sock;
}

static void a_pool_without_one_is_told_from_no_pool(void **state)
{
	struct fab_key key;
	int sock;

	assert_int_equal(pool_key_find(&place, &key), -ENOENT);
	assert_null(pool_key_why(&place, -ENOENT));
	sock = listen_at(place.sock);
	assert_int_equal(pool_key_find(&place, &key), -ENOKEY);
	assert_non_null(strstr(pool_key_why(&place, -ENOKEY), "older"));
	close(sock);
}

static void what_is_no_key_is_refused(void **state)
{
	struct fab_key key;

	assert_int_equal(pool_key_make(&place, 0, &key), 0);
	assert_int_equal(chmod(at(POOL_KEY), 0640), 0);
	assert_int_equal(pool_key_find(&place, &key), -EKEYREJECTED);
	assert_int_equal(chmod(at(POOL_KEY), 0600), 0);
	assert_int_equal(pool_key_find(&place, &key), 0);
	write_text(at(POOL_KEY), "no key\n");
	assert_int_equal(pool_key_find(&place, &key), -EKEYREJECTED);
	assert_int_equal(unlink(at(POOL_KEY)), 0);
	assert_int_equal(symlink("/etc/passwd", at(POOL_KEY)), 0);
	assert_int_equal(pool_key_find(&place, &key), -ELOOP);
}

/* What pool_key_find() says to STRANGER of @group; its key goes to @out. */
static int find_as(gid_t group, struct fab_key *out)
{
	struct {
		int rc;
		struct fab_key key;
	} said = {0};
	int ends[2], status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		if (syscall(SYS_setgroups, 0, NULL) != 0 ||
		    setresgid(group, group, group) != 0 ||
		    setresuid(STRANGER, STRANGER, STRANGER) != 0)
			_exit(1);
		said.rc = pool_key_find(&place, &said.key);
		_exit(write(ends[1], &said, sizeof(said)) != sizeof(said));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(read(ends[0], &said, sizeof(said)), sizeof(said));
	close(ends[0]);
	close(ends[1]);
	*out = said.key;
	return said.rc;
}

static void readers_find_the_readers_key(void **state)
{
	struct fab_key key, reader, got;
	struct stat st;

	if (geteuid() != 0)
		skip();
	assert_int_equal(pool_key_make(&place, READERS, &key), 0);
	assert_int_equal(stat(at(POOL_KEY_READERS), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_gid, READERS);
	assert_int_equal(fab_key_reader(&key, &reader), 0);
	assert_int_equal(find_as(READERS, &got), 0);
	assert_true(got.reader && got.len == reader.len);
	assert_memory_equal(got.bytes, reader.bytes, reader.len);
	/* who is not of the group finds none, and is told what to do */
	assert_int_equal(find_as(READERS + 1, &got), -EACCES);
	assert_non_null(strstr(pool_key_why(&place, -EACCES), "sudo"));
	assert_int_equal(pool_key_find(&place, &got), 0); /* we: the pool's */
	assert_false(got.reader);
}

static void without_readers_a_stranger_finds_none(void **state)
{
	struct fab_key key, got;

	if (geteuid() != 0)
		skip();
	assert_int_equal(pool_key_make(&place, 0, &key), 0);
	assert_int_equal(find_as(READERS, &got), -EACCES);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, take, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_is_its_owners_alone),
		T(every_pool_has_another),
		T(what_a_dead_pool_left_is_cleared),
		T(a_pool_without_one_is_told_from_no_pool),
		T(what_is_no_key_is_refused),
		T(readers_find_the_readers_key),
		T(without_readers_a_stranger_finds_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
