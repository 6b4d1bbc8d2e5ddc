/* tests/unit/ckpt_world.h - a region's node and three peers on the simulated
 * network, and a model of what each version is. One sim at a time. */
#ifndef ACESO_TESTS_UNIT_CKPT_WORLD_H
#define ACESO_TESTS_UNIT_CKPT_WORLD_H
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "checkpoint/image.h"
#include "checkpoint/restore.h"
#include "checkpoint/round.h"
#include "tests/lib/faulty.h"
#include "tests/lib/sim.h"

#define PEERS	 3u
#define BIG	 300u /* pieces: full of noise, two messages */
#define SMALL	 6u
#define REGION	 4u
#define AREA	 UINT64_C(4096)
#define CALL	 77
#define ALL	 ((UINT64_C(1) << PEERS) - 1)
#define VERSIONS 16384u

struct node {
	uint32_t pieces;
	char *mem;
	struct ckpt_image *img;
	struct fab_server *server;
	uint64_t word; /* of the last CALL */
};

struct world {
	struct sim *sim;
	uint32_t pieces;
	uint64_t size, rng, note;
	uint64_t *live;
	struct node node[PEERS];
	struct fab_net *net;
	struct faulty *faulty;
	struct fab *f;
	struct ckpt_round *r;
	uint64_t *truth[VERSIONS]; /* what each version is, by the model */
};

static const char *const ADDRESS[PEERS] = {"sim:0", "sim:1", "sim:2"};

static inline uint64_t dice(struct world *w)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	return w->rng ^= w->rng << 17;
}

/* --- the world --- */

static inline void on_call(void *arg, struct fab_request *rq, uint16_t type,
			   const void *req, size_t len)
{
	struct node *n = arg;
	struct ckpt_ack ack;

	assert_int_equal(type, CALL);
	assert_int_equal(len, sizeof(struct ckpt_req));
	n->word = ((const struct ckpt_req *)req)->word;
	ckpt_image_serve(n->img, req, &ack);
	fab_reply(rq, 0, &ack, sizeof(ack));
}

static inline void node_start(struct world *w, uint32_t i)
{
	struct node *n = &w->node[i];
	struct fab_server_opts o = {
		.size = AREA + ckpt_area_bytes(w->size),
		.region_fd = -1,
		.address = ADDRESS[i],
		.arg = n,
		.on_call = on_call,
	};

	o.region = n->mem = calloc(1, o.size);
	assert_int_equal(
		ckpt_image_open(n->mem + AREA, REGION, w->size, &n->img), 0);
	assert_int_equal(fab_server_open(&o, &n->server), 0);
}

static inline void node_free(struct node *n)
{
	fab_server_close(n->server);
	ckpt_image_close(n->img);
	free(n->mem);
	memset(n, 0, sizeof(*n));
}

static inline void attach_all(struct fab_net *net)
{
	for (uint8_t i = 0; i < PEERS; i++)
		assert_int_equal(fab_net_attach(net, i, ADDRESS[i], "", 0), 0);
}

/* The node whose region it is: a process of its own. */
static inline void owner_start(struct world *w)
{
	struct ckpt_round_opts o = {
		.live = w->live,
		.size = w->size,
		.region = REGION,
		.call = CALL,
		.n_peers = PEERS,
	};
	struct fab_net *inner;

	assert_int_equal(sim_net_open(w->sim, "owner", &inner), 0);
	attach_all(inner);
	assert_int_equal(faulty_open(inner, 7, &w->net, &w->faulty), 0);
	assert_int_equal(fab_open(w->net, &w->f), 0);
	for (uint32_t i = 0; i < PEERS; i++)
		o.peer[i] =
			(struct ckpt_peer){.node = (uint8_t)i, .area = AREA};
	o.fab = w->f;
	assert_int_equal(ckpt_round_open(&o, &w->r), 0);
}

static inline void owner_free(struct world *w)
{
	ckpt_round_close(w->r);
	fab_close(w->f);
	fab_net_close(w->net);
	faulty_close(w->faulty);
}

static inline void world_open(struct world *w, uint32_t pieces, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->pieces = pieces;
	w->size = (uint64_t)pieces * CKPT_PIECE_BYTES;
	w->rng = seed * 2654435761u + 88172645463325252u;
	w->live = calloc(1, w->size);
	assert_int_equal(sim_open(&(struct sim_opts){.seed = seed}, &w->sim),
			 0);
	for (uint32_t i = 0; i < PEERS; i++)
		node_start(w, i);
	owner_start(w);
}

static inline void world_close(struct world *w)
{
	owner_free(w);
	for (uint32_t i = 0; i < PEERS; i++)
		node_free(&w->node[i]);
	sim_close(w->sim);
	for (uint32_t v = 0; v < VERSIONS; v++)
		free(w->truth[v]);
	free(w->live);
}

static inline void change(struct world *w, unsigned words)
{
	while (words-- > 0)
		w->live[dice(w) % (w->size / 8)] = dice(w) % 3 ? dice(w) : 0;
}

static inline void noise(struct world *w)
{
	for (uint64_t i = 0; i < w->size / 8; i++)
		w->live[i] = dice(w);
}

/* The version that a round will make has been written down before. */
static inline void expect(struct world *w, uint64_t version)
{
	assert_true(version < VERSIONS);
	if (w->truth[version] == NULL)
		w->truth[version] = malloc(w->size);
	memcpy(w->truth[version], w->live, w->size);
}

static inline uint64_t version_of(const struct world *w)
{
	struct ckpt_outcome out;

	ckpt_round_outcome(w->r, &out);
	return out.version;
}

/* A round with all that is in @alive; nobody else changes the region. */
static inline uint64_t round_with(struct world *w, uint64_t alive)
{
	struct ckpt_plan plan = {.alive = alive,
				 .note = ++w->note,
				 .word = 1000 + w->note,
				 .changed = true};
	struct ckpt_outcome out;

	ckpt_round_begin(w->r, &plan);
	ckpt_round_run(w->r, w->f);
	ckpt_round_outcome(w->r, &out);
	expect(w, out.version);
	assert_int_equal(out.note, w->note);
	return out.has;
}

static inline void assert_bytes_of(const struct world *w, uint64_t version,
				   const void *bytes)
{
	assert_true(version < VERSIONS);
	assert_non_null(w->truth[version]);
	assert_memory_equal(bytes, w->truth[version], w->size);
}

/* Each image is whole, and some version that there was. */
static inline void check_images(struct world *w)
{
	for (uint32_t i = 0; i < PEERS; i++) {
		const struct ckpt_image *img = w->node[i].img;

		if (img == NULL || ckpt_image_version(img) == 0)
			continue;
		assert_int_equal(ckpt_image_verify(w->node[i].img), 0);
		assert_bytes_of(w, ckpt_image_version(img),
				ckpt_image_bytes(img));
	}
}

/* Restore by another process, from the nodes in @alive. */
static inline int restore(struct world *w, uint64_t alive, uint64_t least,
			  void *to, struct ckpt_restored *out)
{
	struct ckpt_restore_opts o = {
		.size = w->size, .region = REGION, .least = least, .to = to};
	struct ckpt_restore *r;
	struct fab_net *net;
	struct fab *f;
	int rc;

	assert_int_equal(sim_net_open(w->sim, "heir", &net), 0);
	for (uint8_t i = 0; i < PEERS; i++)
		if (alive >> i & 1) {
			rc = fab_net_attach(net, i, ADDRESS[i], "", 0);
			o.peer[o.n_peers++] =
				(struct ckpt_peer){.node = i, .area = AREA};
		}
	assert_int_equal(fab_open(net, &f), 0);
	o.fab = f;
	assert_int_equal(ckpt_restore_open(&o, &r), 0);
	rc = ckpt_restore_run(r, f, out);
	ckpt_restore_close(r);
	fab_close(f);
	fab_net_close(net);
	return rc;
}

static inline void assert_restored(struct world *w, uint64_t version)
{
	struct ckpt_restored out;
	char *home = malloc(w->size);

	assert_int_equal(restore(w, ALL, 0, home, &out), 0);
	assert_int_equal(out.version, version);
	assert_bytes_of(w, version, home);
	free(home);
}

static inline void kill_node(void *arg, uint8_t id)
{
	struct world *w = arg;

	sim_server_kill(w->sim, ADDRESS[id]);
}

#endif
