/* tests/contract/fabric_contract.h - what rdma/fabric.h promises, as tests
 * that every transport runs. */
#ifndef ACESO_TESTS_FABRIC_CONTRACT_H
#define ACESO_TESTS_FABRIC_CONTRACT_H
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "rdma/fabric.h"

/* What differs between transports. */
struct contract_transport {
	const char *name;
	int (*net_open)(struct fab_net **out);
	/* With another key than @key; NULL: there are none. */
	int (*net_open_with)(const struct fab_key *key, struct fab_net **out);
	/* An address where server @n of this run may listen. */
	void (*address)(unsigned n, char *out, size_t cap);
	const struct fab_key *key; /* of its servers; NULL: none */
	int absent;		   /* what attaching to nobody says */
	/* A node's processor serves its memory: one that hangs does not. */
	bool by_processor;
	bool pinned;  /* a region's pages must stay what they are */
	bool direct;  /* registered memory goes without a copy */
	bool no_pids; /* who asks is not known by process */
	int slow;     /* a round trip takes so many times as long; 0: 1 */
};

extern const struct contract_transport *contract; /* the one under test */

/* A millisecond; ten where everything is emulated, and deadlines with it. */
#define MS (contract->slow < 100 ? UINT64_C(1000000) : UINT64_C(10000000))
/* Emulated ciphers besides: a few MB/s. */
#define CONTRACT_CRAWLS (contract != NULL && contract->slow >= 1000)

/* Run everything; for main(). Also serves as the node that is killed, when
 * started so by the tests themselves. Returns the exit code. */
int fabric_contract_main(int argc, char **argv,
			 const struct contract_transport *t);

/* The same, and then @own, with a directory of the template @dir for its
 * addresses. */
int contract_main_in(char *dir, int argc, char **argv,
		     const struct contract_transport *t, int (*own)(void));

/* --- shared by the files of the suite ------------------------------------- */

#define CONTRACT_REGION (8u << 20)

/* Types of CALL that a test node understands. */
enum contract_call {
	CALL_ECHO = 1, /* the request's bytes */
	CALL_FAIL,     /* status: the request's int32 */
	CALL_HOLD,     /* not answered until contract_node_release() */
	CALL_LATER,    /* echo, 20 ms later, from another thread */
	CALL_ORDER,    /* request: a number; status -EBADMSG if it is not the
			* last one + 1 */
	CALL_PEEK,     /* request: an offset; answer: the word there */
	CALL_ROLE,     /* status: -EROFS if the asker is a reader */
};

#define HELD_MAX 8

struct test_node {
	uint8_t *region;
	int fd;
	char address[200];
	struct fab_server *server;
	/* below: written in the server's thread, atomically */
	int refuse; /* what on_hello says */
	int hellos, gones, refused;
	int refused_why; /* the last, and where it came from */
	char refused_from[64];
	size_t hello_len;
	char hello[64];
	int32_t pid;
	uint32_t uid;
	int words_kept;	       /* on_gone found what on_hello had set */
	struct fab_peer *peer; /* the last to say hello */
	struct fab_request *held[HELD_MAX];
	int n_held;
	uint64_t last; /* CALL_ORDER */
};

/* Start a node in this process, at the next free address. */
void contract_node_open(struct test_node *n);
void contract_node_close(struct test_node *n);
/* Answer the requests that CALL_HOLD left; there is at least one. */
void contract_node_release(struct test_node *n, int status, const void *data,
			   size_t len);
/* Wait until there are @wanted of them. */
void contract_node_wait_held(struct test_node *n, int wanted);

/* Start a node in a process of its own; @address gets where. */
pid_t contract_node_spawn(char *address, size_t cap);
void contract_node_kill(pid_t pid);
/* Start a client of the node at @address in a process of its own, which waits
 * for the end of a CALL_HOLD, and then to be killed. */
pid_t contract_client_spawn(const char *address);
void contract_attach(struct fab_net *net, uint8_t id, const char *address);

/* A net with one queue and nodes 0 and 1 of this process. */
struct fixture {
	struct test_node node[2];
	struct fab_net *net;
	struct fab *f;
};

int contract_setup(void **state);
int contract_teardown(void **state);

/* Post @n operations and wait; every batch must be accepted. */
void contract_ops(struct fab *f, struct fab_op *ops, uint32_t n);
uint64_t contract_now(void);
int contract_get(const int *value);		  /* atomically */
void contract_wait(const int *value, int wanted); /* atomic; 5 s at most */

/* In a group of its own, for transports with keys: who has the reader's key. */
void contract_a_reader_only_looks(void **state);
void contract_keys_are_of_one_kind(void **state);

int contract_run_onesided(void);
int contract_run_calls(void);
int contract_run_failures(void);
int contract_run_forks(void);
int contract_run_memory(void);

#endif
