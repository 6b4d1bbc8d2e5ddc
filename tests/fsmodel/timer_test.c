/* tests/fsmodel/timer_test.c - the thread of a mount that works unasked is not
 * woken for nothing. */
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "fs/timer.h"
#include "tests/fsmodel/bytes.h"

#define WAKES 2000

static struct mnt m;

static int setup(void **state)
{
	mnt_open(&m);
	return 0;
}

static int teardown(void **state)
{
	mnt_close(&m);
	kv_model_drop(POOL);
	return 0;
}

/* How often thread @tid went to sleep so far. */
static unsigned long sleeps_of(const char *tid)
{
	char path[300], line[200];
	unsigned long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%s/status", tid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
			break;
	fclose(f);
	return n;
}

/* Of all threads but this one. */
static unsigned long sleeps(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned long sum = 0;
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && atol(e->d_name) != getpid())
			sum += sleeps_of(e->d_name);
	closedir(d);
	return sum;
}

/* What is touched waits for its second: that there is more of it tells the
 * thread nothing new. It sleeps on, but for a few times a second. */
static void a_touch_wakes_nobody_who_knows_already(void **state)
{
	const struct timespec moment = {0, 20000};
	unsigned long before, seconds;
	time_t begin = time(NULL);

	assert_int_equal(fs_timer_start(m.fs), 0);
	before = sleeps();
	for (int i = 0; i < WAKES; i++) {
		fs_timer_wake(m.fs->timer);
		nanosleep(&moment, NULL);
	}
	seconds = (unsigned long)(time(NULL) - begin) + 1;
	assert_in_range(sleeps() - before, 0, 50 + 10 * seconds);
	fs_timer_stop(m.fs->timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_touch_wakes_nobody_who_knows_already, setup,
			teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
