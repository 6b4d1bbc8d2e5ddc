/* What a coordinator must not forget: its bytes, and the file they are in. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "ec/crc.h"
#include "kv/node/viewstate.h"
#include "kv/node/viewstore.h"

static struct viewstate in, out;
static uint8_t buf[512 * 1024], other[sizeof(buf)];

static void example(struct viewstate *s)
{
	memset(s, 0, sizeof(*s));
	memset(s->uuid, 0xab, sizeof(s->uuid));
	view_first(&s->set.view, 5, 3, 2);
	assert_int_equal(view_node_dies(&s->set.view, 4), 0);
	for (int i = 0; i < 5; i++) {
		sprintf(s->set.address[i], "tcp:host%d:7601#%016x", i, i + 1);
		s->least[i] = (uint64_t)i << 32;
	}
	s->next_client = 42;
	s->clients = 3;
	s->client[0] = (struct viewstate_client){.id = 3};
	s->client[1] = (struct viewstate_client){.id = 7, .fenced = 1};
	s->client[2] = (struct viewstate_client){.id = 41};
	s->orphans = 1;
	s->orphan[0] = 5;
}

static void written_and_read(void **state)
{
	size_t len;

	example(&in);
	len = viewstate_write(&in, buf);
	assert_true(len <= viewstate_bytes_max());
	memset(&out, 0xff, sizeof(out));
	assert_int_equal(viewstate_read(buf, len, &out), 0);
	assert_memory_equal(&in, &out, sizeof(in));
}

/* kv/FORMAT.md, "The stored view". */
static void golden(void **state)
{
	static const uint8_t head[] = {
		'A', 'C', 'V', 'I',  'E', 'W', '0', '1',  1,
		0,   0,	  0,   0xcc, 0x3, 0,   0,   0xab, 0xab,
	};
	size_t len;
	uint32_t crc;

	example(&in);
	len = viewstate_write(&in, buf);
	assert_int_equal(len, 972);
	assert_memory_equal(buf, head, sizeof(head));
	assert_int_equal(buf[344], 42); /* next_client */
	assert_int_equal(buf[348], 3);	/* clients */
	assert_int_equal(buf[352], 1);	/* orphans */
	assert_memory_equal(buf + 360 + 108, "tcp:host1", 9);
	assert_int_equal(buf[360 + 540 + 12], 1); /* least[1] */
	assert_int_equal(buf[360 + 580 + 8], 7);  /* client[1].id */
	assert_int_equal(buf[360 + 580 + 12], 1); /* ... .fenced */
	assert_int_equal(buf[360 + 580 + 24], 5); /* orphan[0] */
	len = viewstate_write(&in, buf);
	memcpy(&crc, buf + len - 4, 4);
	assert_int_equal(crc, crc_of(0, buf, len - 4));
}

/* No byte may be another and no byte may be missing. */
static void damage_is_noticed(void **state)
{
	size_t len;
	int rc;

	example(&in);
	len = viewstate_write(&in, buf);
	for (size_t i = 0; i < len; i++) {
		buf[i] ^= 0x10;
		rc = viewstate_read(buf, len, &out);
		assert_true(rc == -EBADMSG || (i < 8 && rc == -ENOTUNIQ) ||
			    (i >= 8 && i < 12 && rc == -EPROTO));
		buf[i] ^= 0x10;
		memcpy(other, buf, i); /* an exact copy, for the sanitizer */
		assert_int_not_equal(viewstate_read(other, i, &out), 0);
	}
	assert_int_equal(viewstate_read(buf, len, &out), 0);
}

static void crc_again(size_t len)
{
	uint32_t crc = crc_of(0, buf, len - 4);

	memcpy(buf + len - 4, &crc, 4);
}

/* Whole, but senseless. */
static void lies_are_noticed(void **state)
{
	static const struct {
		size_t at;
		uint8_t byte;
	} lies[] = {
		{344, 0},	     /* the next client is none */
		{344, 41},	     /* ... or one there is */
		{348, 4},	     /* more clients than bytes */
		{351, 0x80},	     /* a great many */
		{355, 0xff},	     /* orphans likewise */
		{356, 1},	     /* padding */
		{360 + 580 + 12, 2}, /* fenced how? */
		{360 + 580 + 8, 0},  /* nobody */
		{360 + 580 + 24, 0}, /* nobody's orphan */
	};
	size_t len;

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		example(&in);
		len = viewstate_write(&in, buf);
		buf[lies[i].at] = lies[i].byte;
		crc_again(len);
		assert_int_equal(viewstate_read(buf, len, &out), -EBADMSG);
	}
	example(&in);
	memset(in.set.address[2], 'x', PROTO_ADDRESS_BYTES); /* endless */
	len = viewstate_write(&in, buf);
	assert_int_equal(viewstate_read(buf, len, &out), -EBADMSG);
}

/* --- the file ------------------------------------------------------------- */

struct place {
	char root[64], dir[96];
};

static void place_open(struct place *p)
{
	strcpy(p->root, "/tmp/aceso-viewstore-XXXXXX");
	assert_non_null(mkdtemp(p->root));
	snprintf(p->dir, sizeof(p->dir), "%s/pool", p->root);
}

static void place_close(struct place *p)
{
	static const char *const names[] = {"view", "view.new", "view.lock"};
	char path[128];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", p->dir, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(p->dir), 0);
	assert_int_equal(rmdir(p->root), 0);
}

static void put_is_there_afterwards(void **state)
{
	struct viewstore *vs, *second;
	struct place p;
	size_t len = 1;

	place_open(&p);
	assert_int_equal(viewstore_file_open(p.dir, &vs), 0);
	assert_int_equal(viewstore_load(vs, buf, sizeof(buf), &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(viewstore_put(vs, "one", 3), 0);
	assert_int_equal(viewstore_put(vs, "three", 5), 0);
	assert_true(viewstore_sure(vs));
	assert_int_equal(viewstore_file_open(p.dir, &second), -EBUSY);
	viewstore_close(vs);
	assert_int_equal(viewstore_file_open(p.dir, &vs), 0);
	assert_int_equal(viewstore_load(vs, buf, sizeof(buf), &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(buf, "three", 5);
	assert_int_equal(viewstore_load(vs, buf, 4, &len), -EMSGSIZE);
	viewstore_close(vs);
	place_close(&p);
}

/* A crash between writing aside and renaming leaves the old bytes; an empty
 * file is nothing that was ever put. */
static void half_a_put_is_none(void **state)
{
	struct viewstore *vs;
	struct place p;
	char path[128];
	size_t len;
	int fd;

	place_open(&p);
	assert_int_equal(viewstore_file_open(p.dir, &vs), 0);
	assert_int_equal(viewstore_put(vs, "old", 3), 0);
	snprintf(path, sizeof(path), "%s/view.new", p.dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "torn and long", 13), 13);
	close(fd);
	assert_int_equal(viewstore_load(vs, buf, sizeof(buf), &len), 0);
	assert_int_equal(len, 3);
	assert_int_equal(viewstore_put(vs, "new", 3), 0);
	assert_int_equal(viewstore_load(vs, buf, sizeof(buf), &len), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(buf, "new", 3);
	snprintf(path, sizeof(path), "%s/view", p.dir);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(viewstore_load(vs, buf, sizeof(buf), &len), -EBADMSG);
	viewstore_close(vs);
	place_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_and_read),
		cmocka_unit_test(golden),
		cmocka_unit_test(damage_is_noticed),
		cmocka_unit_test(lies_are_noticed),
		cmocka_unit_test(put_is_there_afterwards),
		cmocka_unit_test(half_a_put_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
