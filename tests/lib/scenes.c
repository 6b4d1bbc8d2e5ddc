/* tests/lib/scenes.c - see scenes.h. */
#include "tests/lib/scenes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "ec/alloc.h"
#include "kv/client/addr_cache.h"
#include "kv/client/client_impl.h"
#include "kv/node/node_impl.h"
#include "kv/proto.h"
#include "tests/lib/cluster_check.h"
#include "tests/lib/sim.h"

#define TIMEOUT_MS  1000u
#define KEYS	    40u
#define PAGE_KEYS   4u
#define MS	    UINT64_C(1000000)
#define FOLD_NS	    (5 * MS)
#define BIG_VALUES  6000u
#define IMAGE_NS    (3 * MS)  /* for checkpoints, if there are any */
#define REST_NS	    (20 * MS) /* clients have the blocks that they asked for */
#define RESPAWN_NS  (MS / 2)
#define NODES	    5u
#define FULL_KEYS   100u /* with pages, where space is scarce */
#define FULL_USABLE (2u << 20)

struct play {
	const struct scene *scene;
	struct stage stage;
	struct sim *sim;
	struct player actor, rival;
	struct fab_net *net; /* the actor's */
	struct strike *strike;
	uint32_t strikes, at; /* the next one */
	uint32_t count;
	bool acted, rivalled;
	bool replaced; /* dead nodes are */
};

/* --- scenes
 * ------------------------------------------------------------------- */

static void some_keys(struct player *p)
{
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(player_do(p, KV_INSERT, i), 0);
}

static void insert_first(struct player *p)
{
	player_do(p, KV_INSERT, 20);
}

static void a_tombstone(struct player *p)
{
	some_keys(p);
	assert_int_equal(player_do(p, KV_DEL, 5), 0);
	assert_int_equal(player_do(p, KV_DEL, 6), 0);
}

/* Over one that it knows, and over one as if another client had left it. */
static void insert_again(struct player *p)
{
	player_do(p, KV_INSERT, 5);
	if (p->dead)
		return;
	cache_clear(p->kv->cache);
	player_do(p, KV_INSERT, 6);
}

static void put_known(struct player *p)
{
	for (uint32_t i = 0; i < 2 && !p->dead; i++)
		player_do(p, KV_PUT, 3);
}

static void put_unknown(struct player *p)
{
	player_do(p, KV_PUT, 21);
}

static void put_at_version(struct player *p)
{
	for (uint32_t i = 0; i < 2 && !p->dead; i++)
		player_do(p, KV_PUT_IF, 4); /* reads, if the first failed */
}

static void delete_it(struct player *p)
{
	player_do(p, KV_DEL, 2);
}

static void delete_and_insert(struct player *p)
{
	player_do(p, KV_DEL, 2);
	if (!p->dead)
		player_do(p, KV_INSERT, 2);
}

/* Both want the same keys, again and again. */
static void put_the_same(struct player *p)
{
	for (uint32_t i = 0; i < 3 && !p->dead; i++)
		player_do(p, KV_PUT, 3);
}

static void insert_the_same(struct player *p)
{
	for (uint32_t i = 0; i < 3 && !p->dead; i++) {
		player_do(p, KV_INSERT, 24);
		if (!p->dead)
			player_do(p, KV_DEL, 24);
	}
}

static void put_if_the_same(struct player *p)
{
	for (uint32_t i = 0; i < 4 && !p->dead; i++)
		player_do(p, KV_PUT_IF, 4); /* or reads */
}

static void txn_of_the_same(struct player *p)
{
	static const uint8_t kind[] = {KV_PUT_IF, KV_PUT_IF};
	static const uint32_t key[] = {6, 7};

	for (uint32_t i = 0; i < 2 && !p->dead; i++) {
		player_do(p, KV_GET, key[0]);
		if (!p->dead)
			player_do(p, KV_GET, key[1]);
		if (!p->dead)
			player_txn(p, kind, key, 2);
	}
}

static void txn_of_two(struct player *p)
{
	static const uint8_t kind[] = {KV_PUT_IF, KV_INSERT};
	static const uint32_t key[] = {6, 22};

	player_txn(p, kind, key, 2);
}

static void txn_of_four(struct player *p)
{
	static const uint8_t kind[] = {KV_PUT_IF, KV_DEL, KV_GET, KV_INSERT};
	static const uint32_t key[] = {6, 7, 1, 23};

	player_txn(p, kind, key, 4);
}

static void keys_with_pages(struct player *p)
{
	some_keys(p);
	for (uint32_t i = 0; i < PAGE_KEYS - 1; i++)
		assert_int_equal(player_do(p, KV_INSERT, STAGE_PAGES_FROM + i),
				 0);
}

/* A few pages by deltas; once in a while enough of them for rows. */
static void pages_changed(struct player *p)
{
	for (uint32_t i = 0; i < PAGE_KEYS && !p->dead; i++)
		player_do(p, KV_PUT, STAGE_PAGES_FROM + i);
}

static void blocks_filled(struct player *p)
{
	for (uint32_t i = 0; i < 30 && !p->dead; i++)
		player_do(p, KV_PUT, i);
	cluster_sleep(p->stage->c, FOLD_NS);
}

static void much(struct player *p)
{
	p->stage->value_max = BIG_VALUES;
	for (uint32_t i = 0; i < 60; i++)
		player_do(p, KV_PUT, i % 30);
}

/* What lies in blocks that were filled before is written anew. */
static void blocks_emptied(struct player *p)
{
	for (uint32_t i = 0; i < 60 && !p->dead; i++)
		player_do(p, KV_PUT, i % 30);
	kv_sync(p->kv);
	cluster_sleep(p->stage->c, FOLD_NS);
}

/* Values of many pages: whole rows, their parity encoded by the writer. */
static void rows_written(struct player *p)
{
	p->stage->pages_least = STAGE_PAGES_MAX;
	for (uint32_t i = 0; i < PAGE_KEYS && !p->dead; i++)
		player_do(p, KV_PUT, STAGE_PAGES_FROM + i);
}

/* Rounds of checkpoints while their slots move. */
static void changed_for_a_while(struct player *p)
{
	for (uint32_t i = 0; i < 20 && !p->dead; i++) {
		player_do(p, i % 4 == 3 ? KV_DEL : KV_PUT, i % 8);
		cluster_sleep(p->stage->c, MS / 4);
	}
}

/* The last key of FULL_KEYS stays, the others are written again. */
static void overwrite_some(struct player *p, uint32_t n)
{
	struct sim *s = cluster_sim(p->stage->c);

	for (uint32_t i = 0; i < n && !p->dead; i++)
		player_do(p, KV_PUT,
			  STAGE_PAGES_FROM + (uint32_t)sim_dice(s, FULL_KEYS));
}

static void nearly_full(struct player *p)
{
	some_keys(p);
	for (uint32_t i = 0; i < FULL_KEYS; i++)
		assert_int_equal(player_do(p, KV_INSERT, STAGE_PAGES_FROM + i),
				 0);
	overwrite_some(p, FULL_KEYS);
}

static void overwritten_in_place(struct player *p)
{
	overwrite_some(p, FULL_KEYS / 2);
	kv_sync(p->kv);
	cluster_sleep(p->stage->c, FOLD_NS);
}

#define SCENE(what, before, does, ...)                                         \
	{                                                                      \
		.name = what, .prepare = before, .act = does, __VA_ARGS__      \
	}

const struct scene scenes[] = {
	SCENE("insert", some_keys, insert_first, .step = 1, .least = 8),
	SCENE("insert over a tombstone", a_tombstone, insert_again, .step = 1,
	      .least = 16),
	SCENE("put", some_keys, put_known, .step = 1, .least = 10),
	SCENE("put in company", some_keys, put_known, .company = true,
	      .step = 1, .least = 12),
	SCENE("put of a new key", some_keys, put_unknown, .step = 1,
	      .least = 8),
	SCENE("put_if", some_keys, put_at_version, .step = 1, .least = 10),
	SCENE("put_if in company", some_keys, put_at_version, .company = true,
	      .step = 1, .least = 12),
	SCENE("delete", some_keys, delete_it, .step = 1, .least = 5),
	SCENE("delete in company", some_keys, delete_it, .company = true,
	      .step = 1, .least = 6),
	SCENE("delete and insert", some_keys, delete_and_insert, .step = 1,
	      .least = 12),
	SCENE("two put", some_keys, put_the_same, .rival = put_the_same,
	      .everybodys = true, .step = 2, .least = 15),
	SCENE("two insert and delete", some_keys, insert_the_same,
	      .rival = insert_the_same, .everybodys = true, .step = 5,
	      .least = 15),
	SCENE("two put_if", some_keys, put_if_the_same,
	      .rival = put_if_the_same, .everybodys = true, .step = 3,
	      .least = 12),
	SCENE("two in txns", some_keys, txn_of_the_same,
	      .rival = txn_of_the_same, .everybodys = true, .step = 13,
	      .least = 12),
	SCENE("txn of 2", some_keys, txn_of_two, .step = 2, .least = 15),
	SCENE("txn of 4", some_keys, txn_of_four, .step = 3, .least = 20),
	SCENE("pages", keys_with_pages, pages_changed, .step = 4, .least = 11),
	SCENE("seal and fold", much, blocks_filled, .everybodys = true,
	      .step = 13, .least = 12, .folds = true),
	SCENE("retire", much, blocks_emptied, .everybodys = true, .step = 31,
	      .least = 12, .folds = true, .retires = true),
	SCENE("rows", keys_with_pages, rows_written, .step = 3, .least = 12),
	SCENE("checkpoint rounds", some_keys, changed_for_a_while,
	      .everybodys = true, .step = 17, .least = 12, .images = true),
	SCENE("reopen", nearly_full, overwritten_in_place, .everybodys = true,
	      .step = 271, .least = 4, .folds = true, .reopens = true),
};
const uint32_t scenes_n = sizeof(scenes) / sizeof(scenes[0]);

/* --- strikes
 * ----------------------------------------------------------------------- */

static void strike_now(struct play *y, struct strike *st)
{
	st->hit = true;
	y->at++;
	y->count = 0;
	if (st->who == STRIKE_CLIENT) {
		y->actor.dead = true;
		cluster_client_kill(y->stage.c, y->actor.kv);
	} else {
		cluster_kill_node(y->stage.c, st->who);
	}
}

/* Who is dead already cannot die before it is replaced. */
static bool may_strike(struct play *y)
{
	uint32_t who = y->strike[y->at].who;

	return who == STRIKE_CLIENT || cluster_node(y->stage.c, who) != NULL;
}

static void on_effect(void *arg, struct fab_net *net)
{
	struct play *y = arg;

	if (y->at == y->strikes)
		return;
	if (y->at == 0 && !y->scene->everybodys && net != y->net)
		return;
	if (++y->count >= y->strike[y->at].n && may_strike(y))
		strike_now(y, &y->strike[y->at]);
}

/* --- a play
 * ---------------------------------------------------------------------------
 */

static uint32_t page_keys(const struct play *y)
{
	return y->scene->reopens ? FULL_KEYS : PAGE_KEYS;
}

static void settle_and_look(struct play *y)
{
	struct player other;

	cluster_settle(y->stage.c);
	player_init(&other, &y->stage, 1);
	player_read_all(&other, KEYS, page_keys(y));
	/* Nobody is in the way of who goes on. */
	player_do(&other, KV_PUT, 3);
	player_do(&other, KV_PUT, 6);
	player_do(&other, KV_INSERT, 20);
	cluster_settle(y->stage.c);
	sim_on_effect(y->sim, NULL, NULL);
	cluster_settle(y->stage.c);
	player_read_all(&other, KEYS, page_keys(y));
	assert_true(history_check(y->stage.h, stderr));
	cluster_sleep(y->stage.c, REST_NS);
	cluster_check(y->stage.c, other.kv, y->actor.dead);
}

/* All that was lost is back if it can be lost once more. */
static void lose_others(struct play *y)
{
	uint32_t first = (y->strike[0].who + 1) % NODES;
	struct player last;

	cluster_respawn(y->stage.c, 0);
	cluster_kill_node(y->stage.c, first);
	cluster_kill_node(y->stage.c, (first + 1 + first % 3) % NODES);
	cluster_settle(y->stage.c);
	player_init(&last, &y->stage, 3);
	player_read_all(&last, KEYS, page_keys(y));
	assert_true(history_check(y->stage.h, stderr));
	cluster_sleep(y->stage.c, REST_NS);
	cluster_check(y->stage.c, last.kv, y->actor.dead);
}

struct chores {
	uint64_t folds, retires, images, reopened;
};

static struct chores chores_done(struct play *y)
{
	struct chores sum = {0};
	struct alloc_usage use;
	struct proto_stats st;

	for (uint32_t id = 0; id < NODES; id++) {
		struct node *n = cluster_node(y->stage.c, id);

		node_stats(n, &st);
		alloc_usage(n->alloc, &use);
		sum.folds += st.folds;
		sum.retires += st.retires;
		sum.images += st.ckpt.rounds;
		sum.reopened += use.reopened;
	}
	return sum;
}

/* Nobody has died: then the scene was what it is called. */
static void check_chores(struct play *y, const struct chores *before)
{
	struct chores now = chores_done(y);

	assert_true(!y->scene->folds || now.folds > before->folds);
	assert_true(!y->scene->retires || now.retires > before->retires);
	assert_true(!y->scene->images || now.images > before->images + NODES);
	assert_true(!y->scene->reopens || now.reopened > before->reopened);
}

/* A client that is dead finds that out too late to be waited for. */
static void act(void *arg)
{
	struct play *y = arg;

	y->scene->act(&y->actor);
	y->acted = true;
}

static void rival_act(void *arg)
{
	struct play *y = arg;

	y->scene->rival(&y->rival);
	y->rivalled = true;
}

static void start_acts(struct play *y)
{
	y->rivalled = y->scene->rival == NULL;
	cluster_spawn(y->stage.c, act, y);
	if (!y->rivalled)
		cluster_spawn(y->stage.c, rival_act, y);
}

static void body(struct cluster *c, void *arg)
{
	struct play *y = arg;
	struct chores before;

	y->stage.c = c;
	y->sim = cluster_sim(c);
	player_init(&y->actor, &y->stage, 0);
	y->net = cluster_client_net(c, y->actor.kv);
	y->scene->prepare(&y->actor);
	cluster_sleep(c, IMAGE_NS);
	if (y->scene->rival != NULL || y->scene->company)
		player_init(&y->rival, &y->stage, 2);
	while (y->scene->company && kv_clients(y->actor.kv) < 2)
		cluster_sleep(c, MS / 100);
	before = chores_done(y);
	sim_on_effect(y->sim, on_effect, y);
	start_acts(y);
	while (!y->rivalled || (!y->acted && !y->actor.dead))
		cluster_sleep(c, MS / 100);
	if (y->at == 0) {
		sim_on_effect(y->sim, NULL, NULL); /* it is over */
		check_chores(y, &before);
	}
	settle_and_look(y);
	if (y->replaced)
		lose_others(y);
}

static void play(const struct scene *scene, uint64_t seed,
		 struct strike *strike, uint32_t strikes, bool replaced)
{
	struct cluster_opts o = {.mode = CLUSTER_SIM,
				 .seed = seed,
				 .usable = scene->reopens ? FULL_USABLE
							  : 4u << 20,
				 .slots = 1024,
				 .op_timeout_ms = TIMEOUT_MS,
				 .clients = 4,
				 .respawn_ns = replaced ? RESPAWN_NS : 0};
	/* with checkpoints, of all ages, mostly */
	static const uint32_t ckpt_ms[] = {1, 2, 1, 0};
	struct play *y = calloc(1, sizeof(*y));

	assert_non_null(y);
	o.ckpt_ms = scene->images
			    ? 1
			    : ckpt_ms[(seed + strike[0].n / scene->step) % 4];
	y->scene = scene;
	y->replaced = replaced;
	y->strike = strike;
	y->strikes = strikes;
	y->stage.h = history_new();
	cluster_run(&o, body, y);
	history_free(y->stage.h);
	free(y);
}

void scene_play(const struct scene *scene, uint64_t seed, struct strike *strike,
		uint32_t strikes)
{
	play(scene, seed, strike, strikes, false);
}

void scene_play_replaced(const struct scene *scene, uint64_t seed,
			 struct strike *strike, uint32_t strikes)
{
	play(scene, seed, strike, strikes, true);
}
