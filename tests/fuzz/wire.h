/* tests/fuzz/wire.h - what the targets of the transports share: a node whose
 * region lies between two fences of memory that nobody may touch, and bytes
 * written to a socket that may be closed at any time; and a client's batch. */
#ifndef ACESO_TESTS_FUZZ_WIRE_H
#define ACESO_TESTS_FUZZ_WIRE_H
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdma/fabric.h"
#include "tests/lib/must.h"

#define WIRE_REGION   (64u << 10)
#define WIRE_OPS      6u
#define WIRE_BUF      40u
#define WIRE_REPLY    24u
#define WIRE_DEADLINE UINT64_C(2000000000)
/* A machine may stand still for seconds; what hangs does so for ever. */
#define WIRE_PATIENCE_NS UINT64_C(30000000000)

/* Echoes. */
static inline void wire_on_call(void *arg, struct fab_request *rq,
				uint16_t type, const void *req, size_t len)
{
	fab_reply(rq, type % 8 == 7 ? -EINVAL : 0, req, len);
}

/* Any access beyond the region ends the process. */
static inline void *wire_region(void)
{
	uint8_t *all = mmap(NULL, 3 * WIRE_REGION, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(all != MAP_FAILED);
	must(mprotect(all + WIRE_REGION, WIRE_REGION, PROT_READ | PROT_WRITE) ==
	     0);
	return all + WIRE_REGION;
}

/* Node 0 of @net is at @address. Connecting has a deadline of its own, which
 * a machine that stands still may miss. */
static inline void wire_attach(struct fab_net *net, const char *address)
{
	int rc;

	for (int tries = 0; tries < 20; tries++) {
		rc = fab_net_attach(net, 0, address, "", 0);
		if (rc == 0)
			return;
	}
	must(rc == 0);
}

/* One operation of each kind to node 0, the last one a CALL. Buffers are of
 * exactly their size. */
struct wire_batch {
	struct fab_batch b;
	struct fab_op op[WIRE_OPS];
	void *buf[WIRE_OPS];
};

static inline void wire_batch_open(struct wire_batch *x, struct fab *f)
{
	memset(x, 0, sizeof(*x));
	for (unsigned i = 0; i < WIRE_OPS; i++) {
		x->buf[i] = calloc(1, i == 5 ? WIRE_REPLY : WIRE_BUF);
		must(x->buf[i] != NULL);
	}
	fab_read(&x->op[0], 0, 0, x->buf[0], WIRE_BUF);
	fab_write(&x->op[1], 0, 64, x->buf[1], WIRE_BUF);
	fab_cas(&x->op[2], 0, 8, 1, 2);
	fab_faa(&x->op[3], 0, 16, 1);
	fab_write(&x->op[4], 0, 128, x->buf[4], WIRE_BUF);
	fab_call(&x->op[5], 0, 1, x->buf[4], WIRE_BUF, x->buf[5], WIRE_REPLY);
	x->b.ops = x->op;
	x->b.n = WIRE_OPS;
	x->b.deadline_ns = fab_now(f) + WIRE_DEADLINE;
}

/* It has been posted: every operation ends. */
static inline void wire_batch_close(struct wire_batch *x, struct fab *f)
{
	struct fab_batch *done;

	while (x->b.left > 0)
		must(fab_poll(f, &done, 1, WIRE_PATIENCE_NS) == 1);
	for (unsigned i = 0; i < WIRE_OPS; i++) {
		must(x->op[i].status <= 0 && !x->op[i].under_way);
		free(x->buf[i]);
	}
}

/* The messages of an input: each its length (2), then so many bytes; the last
 * one may be cut short. Take the next one off *@data; false: there is none. */
static inline bool wire_next(const uint8_t **data, size_t *size,
			     const uint8_t **message, uint16_t *len)
{
	if (*size < sizeof(*len))
		return false;
	memcpy(len, *data, sizeof(*len));
	*data += sizeof(*len);
	*size -= sizeof(*len);
	if (*len > *size)
		*len = (uint16_t)*size;
	*message = *data;
	*data += *len;
	*size -= *len;
	return true;
}

/* Something happens within WIRE_PATIENCE_NS. libFuzzer's timer does not count.
 */
static inline bool wire_wait(struct pollfd *p)
{
	int rc;

	do
		rc = poll(p, 1, (int)(WIRE_PATIENCE_NS / 1000000));
	while (rc < 0 && errno == EINTR);
	return rc > 0;
}

/* Send what the other end takes; it may hang up. Its answers are read along,
 * so that neither waits for the other. */
static inline void wire_talk(int sock, const uint8_t *data, size_t size)
{
	struct pollfd p = {.fd = sock, .events = POLLIN | POLLOUT};
	uint8_t in[4096];
	ssize_t n;

	while (p.events != 0 && wire_wait(&p)) {
		if ((p.revents & POLLOUT) != 0 && size > 0) {
			n = send(sock, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
			size = n < 0 ? 0 : size - (size_t)n;
			data += n < 0 ? 0 : n;
		}
		if (size == 0 && (p.events & POLLOUT) != 0) {
			shutdown(sock, SHUT_WR);
			p.events = POLLIN;
		}
		if ((p.revents & (POLLIN | POLLHUP | POLLERR)) == 0)
			continue;
		n = recv(sock, in, sizeof(in), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			p.events = 0;
	}
	must(p.events == 0); /* it ended: the node hung up in the end */
}

#endif
