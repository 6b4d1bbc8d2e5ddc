/* tests/contract/fabric_reader.c - who has the reader's key may look at
 * everything and change nothing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/contract/fabric_contract.h"

static int role(struct fab *f)
{
	return fab_call_run(f, 0, CALL_ROLE, NULL, 0, NULL, 0, NULL, 0);
}

/* Attach to node 0 with @key; the net and a queue of it. */
static int open_with(const struct fixture *x, const struct fab_key *key,
		     struct fab_net **net, struct fab **f)
{
	int rc;

	assert_int_equal(contract->net_open_with(key, net), 0);
	rc = fab_net_attach(*net, 0, x->node[0].address, "r", 1);
	assert_int_equal(fab_open(*net, f), 0);
	return rc;
}

static void close_both(struct fab_net *net, struct fab *f)
{
	fab_close(f);
	fab_net_close(net);
}

/* Each of these alone: refused, by name, and the connection goes on. */
static void each_is_refused(struct fab *f)
{
	uint64_t word = 9;
	struct fab_op op[3];

	for (int i = 0; i < 3; i++) {
		fab_write(&op[0], 0, 64, &word, sizeof(word));
		if (i == 1)
			fab_cas(&op[0], 0, 64, 7, 9);
		if (i == 2)
			fab_faa(&op[0], 0, 64, 1);
		contract_ops(f, op, 1);
		assert_int_equal(op[0].status, -EREMOTEIO);
		assert_int_equal(role(f), -EROFS);
	}
	/* what follows one in its batch is not done; what precedes it is */
	fab_read(&op[0], 0, 64, &word, sizeof(word));
	fab_faa(&op[1], 0, 64, 1);
	fab_read(&op[2], 0, 72, &word, sizeof(word));
	contract_ops(f, op, 3);
	assert_int_equal(op[0].status, 0);
	assert_int_equal(op[1].status, -EREMOTEIO);
	assert_int_equal(op[2].status, -ECANCELED);
	assert_int_equal(word, 7);
}

void contract_a_reader_only_looks(void **state)
{
	struct fixture *x = *state;
	uint8_t many[9000], got[9000];
	struct fab_key reader;
	struct fab_net *net;
	struct fab_op op;
	struct fab *f;
	uint64_t seven = 7;

	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(x->node[0].region + 64, &seven, sizeof(seven));
	memcpy(x->node[0].region + 4096, many, sizeof(many));
	assert_int_equal(fab_key_reader(contract->key, &reader), 0);
	assert_int_equal(open_with(x, &reader, &net, &f), 0);
	assert_int_equal(role(x->f), 0);
	assert_int_equal(role(f), -EROFS);

	fab_read(&op, 0, 4096, got, sizeof(got));
	contract_ops(f, &op, 1);
	assert_int_equal(op.status, 0);
	assert_memory_equal(got, many, sizeof(many));
	each_is_refused(f);
	assert_memory_equal(x->node[0].region + 64, &seven, sizeof(seven));

	/* it sees what writers do meanwhile */
	fab_faa(&op, 0, 64, 1);
	contract_ops(x->f, &op, 1);
	fab_read(&op, 0, 64, got, 8);
	contract_ops(f, &op, 1);
	assert_int_equal(got[0], 8);
	close_both(net, f);
}

/* Neither key does for the other, and a node has to have the pool's own. */
void contract_keys_are_of_one_kind(void **state)
{
	struct fab_server_opts o = {.address = "tcp:127.0.0.1:0"};
	struct fixture *x = *state;
	struct fab_key reader, wrong, again;
	struct fab_server *server;
	struct fab_net *net;
	struct fab *f;

	assert_int_equal(fab_key_reader(contract->key, &reader), 0);
	assert_true(reader.reader && reader.len >= FAB_KEY_BYTES_MIN);
	assert_int_equal(fab_key_reader(&reader, &again), -EINVAL);

	wrong = reader;
	wrong.reader = false; /* "I have the pool's own" */
	assert_int_equal(open_with(x, &wrong, &net, &f), -EACCES);
	close_both(net, f);
	wrong = *contract->key;
	wrong.reader = true;
	assert_int_equal(open_with(x, &wrong, &net, &f), -EACCES);
	close_both(net, f);
	wrong = reader;
	wrong.bytes[0] ^= 1;
	assert_int_equal(open_with(x, &wrong, &net, &f), -EACCES);
	close_both(net, f);

	o.key = &reader;
	o.on_call = (void (*)(void *, struct fab_request *, uint16_t,
			      const void *, size_t))abort;
	assert_int_equal(fab_server_open(&o, &server), -EINVAL);
}
