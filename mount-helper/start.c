/* mount-helper/start.c - join a pool of this host, or make it first. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mount-helper/clock.h"
#include "mount-helper/memory.h"
#include "mount-helper/pool_hosts.h"
#include "mount-helper/pool_key.h"
#include "mount-helper/pooldir.h"
#include "mount-helper/program.h"
#include "mount-helper/start.h"

#define READY_MS   30000
#define RESTART_MS 3600000 /* all its data is read from the disk */
/* How long a pool that is ending may take; one with a directory writes it. */
#define ENDING_MS	  6000
#define ENDING_DURABLE_MS 300000
#define RETRY_MS	  50
#define GRACE_MS	  500
#define HOSTS_MS	  5000	/* for a pool over several hosts to be whole */
#define BOOT_MS		  60000 /* as all begin; systemd waits for 90 s */
#define HOSTS_RETRY_MS	  250

/* What start_once() returns when it is worth another try. */
#define AGAIN 1

static void sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* The key at @p is not @key any more: a new pool has begun just then. */
static bool is_another(const struct pool_place *p, const struct fab_key *key)
{
	struct fab_key now = {0};
	bool another;

	another = !p->hosts && pool_key_find(p, &now) == 0 &&
		  memcmp(&now, key, sizeof(now)) != 0;
	explicit_bzero(&now, sizeof(now));
	return another;
}

static int join(struct start *s, struct kv **out)
{
	struct kv_opts o = *s->kv;
	struct fab_key key = {0};
	const char *why;
	int rc = pool_key_find(s->place, &key);

	if (rc < 0) {
		why = pool_key_why(s->place, rc);
		snprintf(s->error, s->cap, "pool %s %s", s->place->name,
			 why != NULL ? why : strerror(-rc));
		return rc;
	}
	o.pool = pool_coords(s->place);
	o.key = &key;
	rc = kv_open(&o, out);
	if (rc < 0)
		snprintf(s->error, s->cap, "%s", kv_error());
	if (rc == -EACCES && is_another(s->place, &key))
		rc = -ECONNREFUSED;
	explicit_bzero(&key, sizeof(key));
	return rc;
}

/* Room for argv and the numbers in it. */
struct words {
	char *argv[28];
	int n;
	char text[8][24];
	int texts;
};

static void word(struct words *w, const char *name, const char *value)
{
	w->argv[w->n++] = (char *)name;
	if (value != NULL)
		w->argv[w->n++] = (char *)value;
}

static void number(struct words *w, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void number(struct words *w, const char *name, const char *fmt, ...)
{
	char *text = w->text[w->texts++];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(w->text[0]), fmt, ap);
	va_end(ap);
	word(w, name, text);
}

/* What is not asked for of a pool that is there already is left out. */
static void supervisor_words(const struct start *s, struct words *w)
{
	const struct conf_pool *p = s->pool;

	word(w, "aceso-node", "--supervise");
	word(w, "--pool", p->name);
	if (p->size != 0)
		number(w, "--size", "%" PRIu64, p->size);
	if (p->k != 0)
		number(w, "--code", "%u+%u", p->k, p->m);
	if (p->nodes != 0)
		number(w, "--nodes", "%u", p->nodes);
	number(w, "--grace-ms", "%d", s->named ? GRACE_MS : 0);
	number(w, "--ckpt-ms", "%u", p->ckpt_ms);
	if (p->rebuild_rate != 0)
		number(w, "--rebuild-rate", "%" PRIu64, p->rebuild_rate);
	if (p->dir[0] != '\0')
		word(w, "--pool-dir", p->dir);
	if (p->durable_ms != 0)
		number(w, "--durable-ms", "%u", p->durable_ms);
	if (p->readers != 0 && geteuid() == 0)
		number(w, "--readers", "%u", p->readers);
	if (p->respawn)
		word(w, "--respawn", NULL);
	if (s->foreground)
		word(w, "--foreground", NULL);
}

/* Start the supervisor of the pool; its link is *@link. */
static int spawn(struct start *s, pid_t *pid, int *pidfd, int *link)
{
	char program[PATH_MAX];
	struct words w = {.n = 0};
	int rc = program_find("aceso-node", program);

	if (rc < 0) {
		snprintf(s->error, s->cap,
			 "aceso-node is not installed "
			 "beside aceso-fuse: run make install");
		return rc;
	}
	supervisor_words(s, &w);
	rc = program_start(program, w.argv, s->foreground, pid, pidfd, link);
	if (rc < 0)
		snprintf(s->error, s->cap, "%s cannot be started: %s", program,
			 strerror(-rc));
	return rc;
}

static bool has_pool(const struct start *s)
{
	return s->pool->dir[0] != '\0' && pooldir_is_one(s->pool->dir);
}

/* What the supervisor says when it is ready, or not. */
static int await(struct start *s, int link)
{
	char line[PROGRAM_LINE_BYTES_MAX];
	int rc = program_line(link, line, has_pool(s) ? RESTART_MS : READY_MS);

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

	rc = has_pool(s) ? 0 : memory_plan(s->pool, s->error);
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

/* Is it worth another try? At a boot the others' hosts may not even be up. */
static bool may_come(const struct start *s, int rc)
{
	switch (rc) {
	case -EAGAIN:
	case -ECONNREFUSED:
		return true;
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -EHOSTDOWN:
	case -EIO: /* its nodes are not all there */
	case -ETIMEDOUT:
	case -ESTALE: /* it was shut out: the pool began again just then */
		return s->boot;
	default:
		return false;
	}
}

bool start_again(const struct start *s, int rc)
{
	if (!s->place->hosts || !may_come(s, rc) || now_ms() >= s->until)
		return false;
	sleep_ms(HOSTS_RETRY_MS);
	return true;
}

/* At a boot all hosts begin at once: the pool may be whole in a moment. */
static int join_hosts(struct start *s, struct kv **out)
{
	int rc;

	if (s->until == 0)
		s->until = now_ms() + (s->boot ? BOOT_MS : HOSTS_MS);
	do
		rc = join(s, out);
	while (rc < 0 && start_again(s, rc));
	return rc;
}

static int start_once(struct start *s, struct kv **out)
{
	int rc;

	if (s->place->looked_at)
		return join(s, out);
	if (pool_supervisor(s->place) == 0)
		return make(s, out);
	if (!s->named)
		return AGAIN; /* the last mount's pool is just ending */
	rc = join(s, out);
	return rc == -ENOENT || rc == -ECONNREFUSED ? AGAIN : rc;
}

int start_pool(struct start *s, struct kv **out)
{
	int ending = s->pool->dir[0] != '\0' ? ENDING_DURABLE_MS : ENDING_MS;
	int rc = AGAIN;

	s->error[0] = '\0';
	s->made = false;
	if (s->place->hosts)
		return join_hosts(s, out);
	for (int ms = 0; rc == AGAIN && ms < ending; ms += RETRY_MS) {
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
