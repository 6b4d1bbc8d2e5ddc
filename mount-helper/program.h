/* mount-helper/program.h - our programs as processes: find, start, see them
 * die. Threads: any. */
#ifndef ACESO_MOUNT_HELPER_PROGRAM_H
#define ACESO_MOUNT_HELPER_PROGRAM_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROGRAM_LINK_FD	       3 /* where a started program finds its link */
#define PROGRAM_LINE_BYTES_MAX 512

/* The path of our program @name into @out (PATH_MAX bytes): beside the running
 * one, else in the usual places. Errors: -ENOENT. */
int program_find(const char *name, char *out);

/* Start @path with @argv in a session of its own, without our files but
 * stderr (if @keep_stderr; else it has none) and, as PROGRAM_LINK_FD, the
 * other end of *@link: a socket that hangs up when either side dies.
 * Errors: those of posix_spawn(3), socketpair(2), pidfd_open(2). */
int program_start(const char *path, char *const argv[], bool keep_stderr,
		  pid_t *pid, int *pidfd, int *link);

/* Read one line (without its end) from @link, waiting until @timeout_ms have
 * passed. Errors: -ETIMEDOUT; -EPIPE if it hung up before. */
int program_line(int link, char line[PROGRAM_LINE_BYTES_MAX], int timeout_ms);

/* Write "@word @text\n" to @link. Errors are passed over: who is to read it
 * may be dead. */
void program_tell(int link, const char *word, const char *text);

/* Was this program started with a link? It is not handed on then. */
bool program_is_linked(void);

/* Is the other side of @link gone? */
bool program_hung_up(int link);

/* Has the process behind @pidfd ended? Waits up to @timeout_ms for it. */
bool program_ended(int pidfd, int timeout_ms);

/* End @pid for certain: kill -9 and wait for its death. 0 also if there is no
 * such process. Errors: -EPERM; -ETIMEDOUT. */
int program_kill(pid_t pid, int timeout_ms);

/* Standard input, output and error are open, so that nothing else of ours can
 * come to lie there. First thing in main(). */
void program_open_std(void);

/* As many open files as the system allows us. */
void program_raise_files(void);

/* Is the process stopped (SIGSTOP and the like; not by a debugger)? */
bool program_stopped(pid_t pid);

/* Could this process be killed by us? False for another user's, and for one
 * that is not seen from here (0: of another pid namespace). */
bool program_killable(pid_t pid);

#endif
