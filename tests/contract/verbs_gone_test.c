/* tests/contract/verbs_gone_test.c - a host is switched off, or stopped and
 * given up, under what goes there over verbs. tests/verbs_hosts.py starts both
 * ends, each in a guest of its own, and does that to one of the guests.
 *
 *	verbs_gone_test serve ADDRESS	a node, until it is killed; on SIGUSR1
 *it cuts its peer off
 *	verbs_gone_test ask ADDRESS	the node's host is going to be switched
 *					off: is that noticed?
 *	verbs_gone_test write ADDRESS	this host is going to be stopped, and
 *cut off: does what it sends then fail?
 *
 * Both that ask say "under way" when some WRITEs in a row have gone well. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rdma/fabric_impl.h"
#include "tests/contract/fabric_contract.h"

#define NOTICED_MS  1000u
#define LOST_MS_MAX 300u
#define DEADLINE_NS UINT64_C(30000000000)
#define PATIENCE_MS 60000u
#define WORD	    64u /* where in the node's region */
#define STOOD_STILL 3	/* exit status */

static const struct fab_key key = {.len = 32,
				   .bytes = "0123456789abcdef0123456789abcdef"};
static const char *where;

static void say(const char *what)
{
	printf("%s\n", what);
	fflush(stdout);
}

/* --- this guest's own time ------------------------------------------------ */

#define TICK_NS 5000000
#define LATE_NS UINT64_C(8000000)

static _Atomic(uint64_t) lost_ns;

/* A guest's processor is a thread of a busy machine: now and then it gets no
 * time for a while, and nothing here can run or notice anything. It has one
 * processor, and nobody here goes before this thread: so a tick that is late
 * tells how long. */
static void *watch_time(void *arg)
{
	const struct timespec tick = {.tv_nsec = TICK_NS};
	uint64_t then, took;

	(void)arg;
	for (;;) {
		then = fab_clock_now(NULL);
		nanosleep(&tick, NULL);
		took = fab_clock_now(NULL) - then;
		if (took > LATE_NS)
			lost_ns += took - TICK_NS;
	}
	return NULL;
}

static void begin_own_time(void)
{
	struct sched_param first = {.sched_priority = 50};
	pthread_t t;

	assert_int_equal(sysconf(_SC_NPROCESSORS_ONLN), 1);
	assert_int_equal(pthread_create(&t, NULL, watch_time, NULL), 0);
	assert_int_equal(pthread_setschedparam(t, SCHED_FIFO, &first), 0);
	pthread_detach(t);
}

static uint64_t own_now(void)
{
	return fab_clock_now(NULL) - lost_ns;
}

static unsigned ms(uint64_t from, uint64_t to)
{
	return (unsigned)((to - from) / 1000000u);
}

/* --- the node ------------------------------------------------------------- */

static _Atomic(struct fab_peer *) peer_now; /* the last, while it is there */
static _Atomic(unsigned) hellos;

static int hello(void *arg, struct fab_peer *peer, const void *said, size_t len)
{
	(void)arg;
	(void)said;
	(void)len;
	peer_now = peer;
	hellos++;
	return 0;
}

static void called(void *arg, struct fab_request *rq, uint16_t type,
		   const void *req, size_t len)
{
	(void)arg;
	(void)type;
	fab_reply(rq, 0, req, len);
}

static void gone(void *arg, struct fab_peer *peer)
{
	(void)arg;
	if (peer_now == peer)
		peer_now = NULL;
}

static void wait_ms(unsigned n)
{
	struct timespec t = {.tv_sec = n / 1000, .tv_nsec = n % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* Its peer's host stands still. When it goes on it comes as somebody else, and
 * what it still had to send as the one who was cut off has come before. */
static int cut_off(const _Atomic(uint64_t) *word)
{
	unsigned was = hellos;
	uint64_t then;

	if (peer_now == NULL)
		return -ENOTCONN;
	fab_peer_cut(peer_now);
	for (unsigned n = 0; peer_now != NULL && n < PATIENCE_MS; n++)
		wait_ms(1);
	if (peer_now != NULL)
		return -ETIMEDOUT;
	then = *word;
	say("cut off");
	for (unsigned n = 0; hellos == was && n < PATIENCE_MS; n++)
		wait_ms(1);
	if (hellos == was)
		return -ETIMEDOUT;
	printf("it comes again; then %llu, now %llu\n",
	       (unsigned long long)then, (unsigned long long)*word);
	return then == *word ? 0 : -EBADMSG;
}

static int serve(void)
{
	struct fab_server_opts opts = {.size = 65536,
				       .region_fd = -1,
				       .address = where,
				       .key = &key,
				       .on_hello = hello,
				       .on_call = called,
				       .on_gone = gone};
	struct fab_server *s;
	sigset_t wanted;
	int fd, sig, rc;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &wanted, NULL);
	if (fab_region_open("gone", opts.size, &opts.region, &fd) != 0)
		return 1;
	rc = fab_server_open(&opts, &s);
	printf("serving: %d\n", rc);
	fflush(stdout);
	while (rc == 0 && sigwait(&wanted, &sig) == 0) {
		rc = cut_off((void *)((uint8_t *)opts.region + WORD));
		printf("nothing of it took effect: %d\n", rc);
		fflush(stdout);
	}
	return 1;
}

/* --- who asks it ---------------------------------------------------------- */

static _Atomic(uint64_t) down_at;

static void on_down(void *arg, uint8_t id)
{
	(void)arg;
	assert_int_equal(id, 0);
	down_at = own_now();
}

struct asker {
	struct fab_net *net;
	struct fab *f;
	uint64_t word;	  /* written last */
	uint64_t lost_ns; /* when one last went well */
};

/* Where a machine is busy a handshake may take too long: then another. */
static void asker_open(struct asker *a)
{
	int rc, tries = 0;

	assert_int_equal(fab_verbs_open(&key, &a->net), 0);
	fab_net_on_down(a->net, on_down, NULL);
	do
		rc = fab_net_attach(a->net, 0, where, "", 0);
	while (rc != 0 && ++tries < 6);
	assert_int_equal(rc, 0);
	assert_int_equal(fab_open(a->net, &a->f), 0);
}

static void asker_close(struct asker *a)
{
	fab_net_cut(a->net, 0);
	fab_close(a->f);
	fab_net_close(a->net);
}

/* A guest got no time for so long that nothing can be told: the other seemed to
 * be gone before anything was done to it, or this one could not see. All begins
 * anew. */
static void stood_still(const char *which)
{
	printf("%s stood still\n", which);
	exit(STOOD_STILL);
}

/* One WRITE; 0 or what became of it. */
static int write_once(struct asker *a)
{
	struct fab_op op;
	struct fab_batch b = {.ops = &op, .n = 1};

	a->word++;
	fab_write(&op, 0, WORD, &a->word, sizeof(a->word));
	b.deadline_ns = fab_now(a->f) + DEADLINE_NS;
	assert_int_equal(fab_run(a->f, &b), 0);
	return op.status;
}

/* Until it fails, which its deadline is not waited for; when it last went
 * well. */
static uint64_t write_on(struct asker *a, uint64_t pause_ns)
{
	uint64_t good = own_now(), n = 0;
	int rc;

	while ((rc = write_once(a)) == 0) {
		good = own_now();
		a->lost_ns = lost_ns;
		if (++n == 20)
			say("under way");
		fab_sleep(a->f, pause_ns);
	}
	assert_int_equal(rc, -EHOSTDOWN);
	if (n < 20)
		stood_still("the other host");
	return good;
}

/* It was noticed in this time, after the last that went well. What
 * this guest stood still meanwhile does not count, but must not be much. */
static void check_noticed(unsigned own_ms, unsigned lost_ms)
{
	if (own_ms + lost_ms > NOTICED_MS && lost_ms > LOST_MS_MAX)
		stood_still("this host");
	assert_true(own_ms <= NOTICED_MS);
}

static void a_host_that_vanishes_is_noticed(void **state)
{
	uint64_t good, failed;
	struct asker a = {0};
	unsigned lost;

	(void)state;
	begin_own_time();
	asker_open(&a);
	good = write_on(&a, TICK_NS);
	failed = own_now();
	while (down_at == 0 && ms(good, own_now()) < 10 * NOTICED_MS)
		fab_sleep(a.f, 1000000);
	lost = ms(a.lost_ns, lost_ns);
	if (down_at == 0) /* it answers again; or else never twice */
		stood_still("the other host");
	printf("after the last that went well: a batch failed after %u ms, the "
	       "node was down after %u ms; and besides this host stood still "
	       "for %u ms\n",
	       ms(good, failed), ms(good, down_at), lost);
	check_noticed(ms(good, down_at), lost);
	check_noticed(ms(good, failed), lost);
	assert_false(fab_net_up(a.net, 0));
	assert_int_equal(write_once(&a), -EHOSTDOWN);
	assert_true(ms(down_at, own_now()) < NOTICED_MS);
	asker_close(&a);
}

static void who_was_cut_off_cannot_write(void **state)
{
	struct asker a = {0}, later = {0};

	(void)state;
	asker_open(&a);
	write_on(&a, 0);
	say("failed");
	assert_int_equal(write_once(&a), -EHOSTDOWN);
	asker_open(&later);
	asker_close(&later);
	asker_close(&a);
}

static int run_one(CMUnitTestFunction f, const char *name)
{
	const struct CMUnitTest tests[] = {{.name = name, .test_func = f}};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
#define RUN(f) run_one(f, #f)

int main(int argc, char **argv)
{
	if (argc != 3) {
		say("verbs_gone_test: skipped: needs two hosts (make "
		    "check-rdma has them)");
		return 0;
	}
	where = argv[2];
	if (strcmp(argv[1], "serve") == 0)
		return serve();
	return strcmp(argv[1], "ask") == 0
		       ? RUN(a_host_that_vanishes_is_noticed)
		       : RUN(who_was_cut_off_cannot_write);
}
