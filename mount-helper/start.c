/* mount-helper/start.c - join a pool of this host, or make it first. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mount-helper/memory.h"
#include "mount-helper/program.h"
#include "mount-helper/start.h"

#define READY_MS  30000
#define ENDING_MS 6000 /* how long a pool that is ending may take */
#define RETRY_MS  50
#define GRACE_MS  500

/* What start_once() returns when it is worth another try. */
#define AGAIN 1

static void sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

static int join(struct start *s, struct kv **out)
{
	struct kv_opts o = *s->kv;
	int rc;

	o.pool = s->place->sock;
	rc = kv_open(&o, out);
	if (rc < 0)
		snprintf(s->error, s->cap, "%s", kv_error());
	return rc;
}

/* Start the supervisor of the pool; its link is *@link. */
static int spawn(struct start *s, pid_t *pid, int *pidfd, int *link)
{
	char program[PATH_MAX], size[24], code[16], nodes[8], grace[8];
	char *argv[] = {
		"aceso-node", "--supervise", "--pool", s->pool->name, "--size",
		size,	      "--code",	     code,     "--nodes",     nodes,
		"--grace-ms", grace,	     NULL, /* flags, and the end */
		NULL,	      NULL};
	unsigned flags = 12;
	int rc = program_find("aceso-node", program);

	if (rc < 0) {
		snprintf(s->error, s->cap,
			 "aceso-node is not installed "
			 "beside aceso-fuse: run make install");
		return rc;
	}
	if (s->pool->respawn)
		argv[flags++] = "--respawn";
	if (s->foreground)
		argv[flags++] = "--foreground";
	snprintf(size, sizeof(size), "%" PRIu64, s->pool->size);
	snprintf(code, sizeof(code), "%u+%u", s->pool->k, s->pool->m);
	snprintf(nodes, sizeof(nodes), "%u", s->pool->nodes);
	snprintf(grace, sizeof(grace), "%d", s->named ? GRACE_MS : 0);
	rc = program_start(program, argv, s->foreground, pid, pidfd, link);
	if (rc < 0)
		snprintf(s->error, s->cap, "%s cannot be started: %s", program,
			 strerror(-rc));
	return rc;
}

/* What the supervisor says when it is ready, or not. */
static int await(struct start *s, int link)
{
	char line[PROGRAM_LINE_BYTES_MAX];
	int rc = program_line(link, line, READY_MS);

	if (rc < 0) {
		snprintf(s->error, s->cap,
			 "the pool's supervisor %s: see the "
			 "system's log",
			 rc == -EPIPE ? "died" : "hangs");
		return -EIO;
	}
	if (strncmp(line, "ready ", 6) == 0)
		return 0;
	if (strncmp(line, "busy ", 5) == 0)
		return AGAIN;
	snprintf(s->error, s->cap, "%s",
		 strncmp(line, "error ", 6) == 0 ? line + 6 : line);
	return -EIO;
}

static int make(struct start *s, struct kv **out)
{
	int pidfd, link, rc;
	pid_t pid;

	rc = memory_plan(s->pool, s->error);
	if (rc == 0)
		rc = spawn(s, &pid, &pidfd, &link);
	if (rc < 0)
		return rc;
	rc = await(s, link);
	if (rc == 0) {
		rc = join(s, out);
		s->made = rc == 0;
	}
	close(link); /* from here on it lives by its clients */
	if (rc != 0 && program_ended(pidfd, READY_MS))
		waitpid(pid, NULL, 0); /* nothing is left behind */
	close(pidfd);
	return rc;
}

static int start_once(struct start *s, struct kv **out)
{
	int rc;

	if (pool_supervisor(s->place) == 0)
		return make(s, out);
	if (!s->named)
		return AGAIN; /* the last mount's pool is just ending */
	rc = join(s, out);
	return rc == -ENOENT || rc == -ECONNREFUSED ? AGAIN : rc;
}

int start_pool(struct start *s, struct kv **out)
{
	int rc = AGAIN;

	s->error[0] = '\0';
	s->made = false;
	for (int ms = 0; rc == AGAIN && ms < ENDING_MS; ms += RETRY_MS) {
		rc = start_once(s, out);
		if (rc == AGAIN)
			sleep_ms(RETRY_MS);
	}
	if (rc != AGAIN)
		return rc;
	snprintf(s->error, s->cap,
		 "pool %s is in use: say -o pool=%s to mount "
		 "it here too, or -o pool= another name",
		 s->place->name, s->place->name);
	return -EBUSY;
}
