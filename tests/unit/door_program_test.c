/* tests/unit/door_program_test.c - processes: started with a link, seen to
 * die, killed for certain. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "mount-helper/program.h"

/* A shell that runs @script with its link as file 3. */
static pid_t shell(const char *script, int *pidfd, int *link)
{
	char *argv[] = {"sh", "-c", (char *)script, NULL};
	pid_t pid;

	assert_int_equal(
		program_start("/bin/sh", argv, false, &pid, pidfd, link), 0);
	return pid;
}

static void end(pid_t pid, int pidfd, int link)
{
	assert_true(program_ended(pidfd, 10000));
	waitpid(pid, NULL, 0);
	close(pidfd);
	close(link);
}

static void lines_come_over_the_link(void **state)
{
	char line[PROGRAM_LINE_BYTES_MAX];
	int pidfd, link;
	pid_t pid = shell("echo ready here >&3; read x <&3; echo got $x >&3",
			  &pidfd, &link);

	assert_int_equal(program_line(link, line, 10000), 0);
	assert_string_equal(line, "ready here");
	assert_false(program_ended(pidfd, 0));
	assert_false(program_hung_up(link));
	program_tell(link, "go", "on\nand on");
	assert_int_equal(program_line(link, line, 10000), 0);
	assert_string_equal(line, "got go on");
	assert_int_equal(program_line(link, line, 10000), -EPIPE);
	assert_true(program_hung_up(link));
	end(pid, pidfd, link);
	program_tell(link, "nobody", "listens"); /* closed: is passed over */
}

static void the_link_hangs_up_when_we_die(void **state)
{
	int pidfd, link;
	pid_t pid = shell("read x <&3; exit 0", &pidfd, &link);

	assert_false(program_ended(pidfd, 50));
	close(link);
	assert_true(program_ended(pidfd, 10000));
	waitpid(pid, NULL, 0);
	close(pidfd);
}

static void a_silent_program_is_not_waited_for(void **state)
{
	char line[PROGRAM_LINE_BYTES_MAX];
	int pidfd, link;
	pid_t pid = shell("exec sleep 60", &pidfd, &link);

	assert_int_equal(program_line(link, line, 50), -ETIMEDOUT);
	assert_int_equal(program_kill(pid, 10000), 0);
	end(pid, pidfd, link);
	assert_int_equal(program_kill(pid, 0), 0); /* no such process */
	assert_int_equal(program_kill(1, 0), -EINVAL);
	assert_int_equal(program_kill(0, 0), -EINVAL);
}

static void nothing_of_ours_is_handed_on(void **state)
{
	char line[PROGRAM_LINE_BYTES_MAX];
	int pidfd, link;
	sigset_t set, old;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old);
	assert_int_equal(dup2(1, 77), 77); /* as of a careless parent */
	pid = shell("[ -e /proc/$$/fd/77 ] && i=yes || i=no; "
		    "echo $(ps -o sid= -p $$) inherited=$i >&3; "
		    "exec sleep 60 3>&-",
		    &pidfd, &link);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(77);
	assert_int_equal(program_line(link, line, 10000), 0);
	assert_int_equal(atoi(line), pid); /* a session of its own */
	assert_non_null(strstr(line, " inherited=no"));
	kill(pid, SIGTERM); /* not blocked there */
	end(pid, pidfd, link);
}

static void what_is_not_there_cannot_be_started(void **state)
{
	char *argv[] = {"nothing", NULL};
	int pidfd, link;
	pid_t pid;

	assert_int_equal(
		program_start("/nonexistent", argv, false, &pid, &pidfd, &link),
		-ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_come_over_the_link),
		cmocka_unit_test(the_link_hangs_up_when_we_die),
		cmocka_unit_test(a_silent_program_is_not_waited_for),
		cmocka_unit_test(nothing_of_ours_is_handed_on),
		cmocka_unit_test(what_is_not_there_cannot_be_started),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
