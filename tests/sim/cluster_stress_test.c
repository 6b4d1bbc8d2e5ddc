/* tests/sim/cluster_stress_test.c - clients at work while nodes and clients
 * die, from many seeds. What is checked [I7] [I8] [I9]:
 *  - a key read by its own writer is what that writer was last told is written,
 *    or what it was writing when it got no answer;
 *  - versions that any reader sees of a key never go back;
 *  - at the end a new client sees the same.
 * A failing seed is printed; run it alone: cluster_stress_test SEED. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/cluster.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/seeds.h"
#include "tests/lib/sim.h"

#define WRITERS 3u
#define KEYS	12u /* of each writer */
#define ROUNDS	120u
#define MS	UINT64_C(1000000)

static struct seeds seeds;

/* What a writer knows of one of its keys. 0: not there. */
struct truth {
	uint32_t told;	  /* what it was last told is written */
	uint32_t maybe;	  /* what it may be too; UINT32_MAX: nothing else */
	uint64_t version; /* the highest that anyone has seen */
};

struct writer {
	struct cluster *c;
	struct kv *kv;
	uint32_t id;
	bool dies; /* is killed; then errors mean nothing */
	bool dead;
	uint32_t serial;
	struct truth truth[KEYS];
};

struct world {
	struct cluster *c;
	struct writer w[WRITERS];
	int running;
};

static size_t key_of(char key[32], uint32_t writer, uint32_t i)
{
	return (size_t)snprintf(key, 32, "w%u-key%u", writer, i);
}

/* A value says whose it is, and is of a length of its own. */
static size_t value_of(char *buf, uint32_t serial)
{
	size_t len = 8 + serial * 37 % 900;

	memset(buf, (int)serial & 0xff, len);
	memcpy(buf, &serial, sizeof(serial));
	return len;
}

static void check_value(const char *buf, size_t len, uint32_t *serial)
{
	char want[1024];

	assert_true(len >= sizeof(*serial));
	memcpy(serial, buf, sizeof(*serial));
	assert_int_equal(len, value_of(want, *serial));
	assert_memory_equal(buf, want, len);
}

/* Read it: the serial of its value, 0 if absent. */
static int look(struct kv *kv, uint32_t writer, uint32_t i, uint32_t *serial,
		uint64_t *version)
{
	char key[32], buf[1024];
	size_t len, klen = key_of(key, writer, i);
	int rc = kv_get(kv, key, klen, buf, sizeof(buf), &len, version);

	*serial = 0;
	if (rc == 0)
		check_value(buf, len, serial);
	return rc == -ENOENT ? 0 : rc;
}

static void expect(const struct truth *t, uint32_t serial)
{
	if (serial != t->told && serial != t->maybe)
		print_error("read %u, written %u or %d\n", serial, t->told,
			    (int)t->maybe);
	assert_true(serial == t->told || serial == t->maybe);
}

static void seen(struct truth *t, uint64_t version)
{
	assert_true(version >= t->version);
	t->version = version;
}

static void do_read(struct writer *w, uint32_t i)
{
	struct truth *t = &w->truth[i];
	uint64_t version = 0;
	uint32_t serial;
	int rc = look(w->kv, w->id, i, &serial, &version);

	if (w->dead)
		return;
	assert_int_equal(rc, 0);
	expect(t, serial);
	t->told = serial; /* seen is settled */
	t->maybe = UINT32_MAX;
	if (serial != 0)
		seen(t, version);
}

static void do_change(struct writer *w, uint32_t i, bool del, bool insert)
{
	struct truth *t = &w->truth[i];
	uint32_t serial = del ? 0 : ++w->serial;
	char key[32], val[1024];
	size_t klen = key_of(key, w->id, i), len = value_of(val, serial);
	uint64_t version = 0;
	int rc;

	t->maybe = serial;
	rc = del      ? kv_del(w->kv, key, klen, 0)
	     : insert ? kv_insert(w->kv, key, klen, val, len, &version)
		      : kv_put(w->kv, key, klen, val, len, &version);
	if (w->dead)
		return;
	t->maybe = UINT32_MAX;
	if ((del && rc == -ENOENT && t->told == 0) ||
	    (insert && rc == -EEXIST && t->told != 0))
		return;
	if (rc != 0)
		print_error("writer %u key %u: %s %s: %s (told %u)\n", w->id, i,
			    del	     ? "del"
			    : insert ? "insert"
				     : "put",
			    key, strerror(-rc), t->told);
	assert_int_equal(rc, 0);
	t->told = serial;
	if (!del)
		seen(t, version);
}

static void writer_main(void *arg)
{
	struct writer *w = arg;
	struct sim *s = cluster_sim(w->c);
	uint32_t n;

	for (n = 0; n < ROUNDS && !w->dead; n++) {
		uint32_t i = (uint32_t)sim_dice(s, KEYS);

		switch (sim_dice(s, 10)) {
		case 0:
			do_change(w, i, true, false);
			break;
		case 1:
		case 2:
			do_change(w, i, false, true);
			break;
		case 3:
		case 4:
		case 5:
			do_read(w, i);
			break;
		default:
			do_change(w, i, false, false);
			break;
		}
		cluster_sleep(w->c, sim_dice(s, MS));
	}
}

static void start_writers(struct world *wd)
{
	uint32_t i, k;

	for (i = 0; i < WRITERS; i++) {
		struct writer *w = &wd->w[i];

		w->c = wd->c;
		w->id = i;
		w->kv = cluster_client(wd->c);
		for (k = 0; k < KEYS; k++)
			w->truth[k].maybe = UINT32_MAX;
		cluster_spawn(wd->c, writer_main, w);
	}
}

static void kill_somebody(struct world *wd, uint32_t *down)
{
	struct sim *s = cluster_sim(wd->c);
	struct writer *w = &wd->w[WRITERS - 1];
	uint32_t id = (uint32_t)sim_dice(s, 5);

	cluster_sleep(wd->c, sim_dice(s, 60 * MS));
	if (w->dies && !w->dead && sim_dice(s, 3) == 0) {
		w->dead = true;
		cluster_client_kill(wd->c, w->kv);
	} else if (*down < 2 && cluster_node(wd->c, id) != NULL) {
		cluster_kill_node(wd->c, id);
		(*down)++;
	}
}

static void check_all(struct world *wd)
{
	struct kv *kv = cluster_client(wd->c);
	uint32_t i, k, serial;
	uint64_t version;

	for (i = 0; i < WRITERS; i++)
		for (k = 0; k < KEYS; k++) {
			assert_int_equal(look(kv, i, k, &serial, &version), 0);
			expect(&wd->w[i].truth[k], serial);
		}
}

static void stress(struct cluster *c, void *arg)
{
	struct world wd = {.c = c};
	uint32_t down = 0, n;

	wd.w[WRITERS - 1].dies = sim_dice(cluster_sim(c), 2) == 0;
	start_writers(&wd);
	for (n = 0; n < 4; n++)
		kill_somebody(&wd, &down);
	cluster_join(c);
	check_all(&wd);
	cluster_settle(c);
	check_all(&wd);
	cluster_settle(c);
	cluster_check(c, cluster_client(c), wd.w[WRITERS - 1].dead);
}

static void test_stress(void **state)
{
	uint64_t seed;

	for (seed = seeds.first; seed <= seeds.last; seed++) {
		struct cluster_opts o = {.mode = CLUSTER_SIM,
					 .seed = seed,
					 .ckpt_ms = (uint32_t)seed % 3 * 10,
					 .rest_ms = cluster_rest_ms(seed)};

		seeds_tell(seed);
		cluster_run(&o, stress, NULL);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stress),
	};

	seeds = seeds_of(argc, argv, 25);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
