#include "tests/lib/ec_pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ec/former.h"

/* --- life ----------------------------------------------------------------- */

static uint64_t round_page(uint64_t x)
{
	return (x + 4095) & ~UINT64_C(4095);
}

static void lay_out(struct ec_pool *p)
{
	struct group *g = &p->g;

	g->rec_off = 4096;
	g->map_off = round_page(g->rec_off + group_rec_bytes(g));
	g->delta_off = round_page(g->map_off + group_map_bytes(g));
	g->block_off = g->delta_off + (uint64_t)g->deltas * g->block_bytes;
	p->size = g->block_off + (uint64_t)g->blocks * g->block_bytes;
	assert(group_check(g) == 0);
}

/* With memory that is zeroed, but for what was left there. */
static void open_node(struct ec_pool *p, uint32_t node)
{
	struct alloc_opts o = {.group = &p->g,
			       .code = p->c,
			       .node = node,
			       .region = p->region[node],
			       .region_fd = -1,
			       .reserve = p->reserve,
			       .hold = true, /* as long as no cut is made */
			       .former = p->former[node],
			       .rest = p->rest,
			       .rest_ns = p->rest_ns};

	if (o.former != NULL)
		former_clear(o.former, p->region[node], -1, p->size);
	else
		memset(p->region[node], 0, p->size);
	assert(alloc_open(&o, &p->a[node]) == 0);
}

void ec_pool_open(struct ec_pool *p, uint32_t n, uint32_t k, uint32_t m,
		  uint32_t block_bytes, uint32_t periods, uint32_t deltas,
		  uint32_t reserve)
{
	*p = (struct ec_pool){
		.g = {.nodes = n,
		      .k = k,
		      .m = m,
		      .block_bytes = block_bytes,
		      .blocks = periods * (k + m),
		      .deltas = deltas},
		.up = (UINT64_C(1) << n) - 1,
	};
	fab_init(&p->fab, &ec_pool_ops);
	lay_out(p);
	assert(code_open(k, m, &p->c) == 0);
	p->truth = calloc(group_stripes(&p->g) * k, sizeof(*p->truth));
	p->reserve = reserve;
	for (uint32_t i = 0; i < n; i++) {
		p->region[i] = aligned_alloc(4096, p->size);
		assert(p->region[i] != NULL);
		open_node(p, i);
	}
	ec_pool_set_up(p, p->up);
}

void ec_pool_rest(struct ec_pool *p, uint32_t blocks, uint64_t ns)
{
	p->rest = blocks;
	p->rest_ns = ns;
	for (uint32_t i = 0; i < p->g.nodes; i++) {
		alloc_close(p->a[i]);
		open_node(p, i);
	}
	ec_pool_set_up(p, p->up);
}

void ec_pool_close(struct ec_pool *p)
{
	for (uint32_t i = 0; i < p->g.nodes; i++) {
		alloc_close(p->a[i]);
		former_close(p->former[i]);
		free(p->region[i]);
	}
	for (uint64_t s = 0; s < group_stripes(&p->g) * p->g.k; s++)
		free(p->truth[s]);
	free(p->truth);
	code_close(p->c);
}

static void leaving_stops(struct ec_pool *p);
static void free_strays(struct ec_pool *p, uint32_t node);

void ec_pool_set_up(struct ec_pool *p, uint64_t up)
{
	p->up = up;
	for (uint32_t i = 0; i < p->g.nodes; i++)
		if (ec_pool_is_member(p, i))
			alloc_set_view(p->a[i], up, up | p->coming);
	for (uint32_t i = 0; i < p->g.nodes; i++)
		if (ec_pool_is_up(p, i))
			free_strays(p, i);
	leaving_stops(p);
}

void ec_pool_kill(struct ec_pool *p, uint32_t node)
{
	p->coming &= ~(UINT64_C(1) << node);
	ec_pool_set_up(p, p->up & ~(UINT64_C(1) << node));
}

static void come(struct ec_pool *p, uint32_t node, struct former *f)
{
	alloc_close(p->a[node]);
	former_close(p->former[node]);
	p->former[node] = f;
	open_node(p, node);
	p->coming |= UINT64_C(1) << node;
	ec_pool_set_up(p, p->up);
}

void ec_pool_replace(struct ec_pool *p, uint32_t node)
{
	assert(!ec_pool_is_member(p, node));
	come(p, node, NULL);
}

void ec_pool_return(struct ec_pool *p, uint32_t node)
{
	struct former *f;

	assert(!ec_pool_is_member(p, node));
	assert(former_take(&p->g, node, p->region[node], p->former[node], &f) ==
	       0);
	come(p, node, f);
}

void ec_pool_whole(struct ec_pool *p, uint32_t node)
{
	assert((p->coming >> node & 1) != 0);
	p->coming &= ~(UINT64_C(1) << node);
	ec_pool_set_up(p, p->up | UINT64_C(1) << node);
}

void ec_pool_forget(const struct ec_pool *p, struct ec_block *b, uint32_t node)
{
	for (uint32_t j = 0; j < p->g.m; j++)
		if (ec_pool_node(p, b->stripe, p->g.k + j) == node)
			b->delta[j] = 0;
}

bool ec_pool_is_up(const struct ec_pool *p, uint32_t node)
{
	return (p->up >> node & 1) != 0;
}

uint32_t ec_pool_node(const struct ec_pool *p, uint64_t stripe, uint32_t role)
{
	uint32_t node, block;

	group_member(&p->g, stripe, role, &node, &block);
	return node;
}

bool ec_pool_is_member(const struct ec_pool *p, uint32_t node)
{
	return ((p->up | p->coming) >> node & 1) != 0;
}

uint32_t ec_pool_leader(const struct ec_pool *p, uint64_t stripe)
{
	for (uint32_t j = 0; j < p->g.m; j++)
		if (ec_pool_is_up(p, ec_pool_node(p, stripe, p->g.k + j)))
			return ec_pool_node(p, stripe, p->g.k + j);
	return UINT32_MAX;
}

static char *mem_at(const struct ec_pool *p, uint64_t stripe, uint32_t role)
{
	uint32_t node, block;

	group_member(&p->g, stripe, role, &node, &block);
	return p->region[node] + group_block_off(&p->g, block);
}

char *ec_pool_truth(const struct ec_pool *p, uint64_t stripe, uint32_t role)
{
	return p->truth[stripe * p->g.k + role];
}

struct block_rec ec_pool_rec(const struct ec_pool *p, uint32_t node,
			     uint64_t stripe, uint32_t role)
{
	uint32_t n = p->g.nodes, block, who;
	uint32_t mine = (node + n - (uint32_t)(stripe % n)) % n;
	struct block_rec rec;

	group_member(&p->g, stripe, mine, &who, &block);
	assert(who == node && mine < p->g.k + p->g.m);
	block_load(
		(void *)(p->region[node] + group_rec_off(&p->g, block, role)),
		&rec);
	return rec;
}

/* --- the client's part ---------------------------------------------------- */

/* First and last data role that a call about @b is about. */
static uint32_t first_role(const struct ec_block *b)
{
	return b->kind == BLOCK_ROWS ? 0 : b->role;
}

static uint32_t end_role(const struct ec_pool *p, const struct ec_block *b)
{
	return b->kind == BLOCK_ROWS ? p->g.k : b->role + 1;
}

static void truth_begins(struct ec_pool *p, const struct ec_block *b)
{
	for (uint32_t r = first_role(b); r < end_role(p, b); r++) {
		char **t = &p->truth[b->stripe * p->g.k + r];

		assert(*t == NULL); /* granted while it is not free */
		*t = calloc(1, p->g.block_bytes);
	}
}

static void truth_ends(struct ec_pool *p, const struct ec_block *b)
{
	for (uint32_t r = first_role(b); r < end_role(p, b); r++) {
		free(ec_pool_truth(p, b->stripe, r));
		p->truth[b->stripe * p->g.k + r] = NULL;
	}
}

/* Is node of @role one that must hear about @b? */
static bool concerns(const struct ec_pool *p, const struct ec_block *b,
		     uint32_t role)
{
	if (!ec_pool_is_member(p, ec_pool_node(p, b->stripe, role)))
		return false;
	return role >= p->g.k || role == b->role || b->kind == BLOCK_ROWS;
}

int ec_pool_open_others(struct ec_pool *p, const struct alloc_grant *grant,
			uint32_t leader, uint8_t kind, struct ec_block *b)
{
	int rc = 0;

	*b = (struct ec_block){.stripe = grant->stripe,
			       .role = grant->role,
			       .life = grant->life,
			       .kind = kind};
	for (uint32_t r = 0; rc == 0 && r < group_width(&p->g); r++) {
		uint32_t node = ec_pool_node(p, b->stripe, r);
		uint32_t delta = grant->delta;

		if (!concerns(p, b, r))
			continue;
		if (node != leader)
			rc = alloc_open_block(p->a[node], b->stripe, b->role,
					      kind, EC_POOL_OWNER, 1, 10,
					      b->life, &delta);
		if (r >= p->g.k)
			b->delta[r - p->g.k] = delta;
		else if (rc == 0)
			assert(delta == 0 || node == leader);
	}
	truth_begins(p, b);
	if (rc != 0)
		ec_pool_cancel(p, b);
	return rc;
}

int ec_pool_take(struct ec_pool *p, uint32_t leader, uint8_t kind, bool urgent,
		 struct ec_block *b)
{
	struct alloc_grant grant;
	int rc = alloc_block(p->a[leader], kind, EC_POOL_OWNER, 1, 10, urgent,
			     0, 1, &grant);

	if (rc != 0)
		return rc;
	assert(ec_pool_leader(p, grant.stripe) == leader);
	return ec_pool_open_others(p, &grant, leader, kind, b);
}

typedef int (*on_member)(struct alloc *a, const struct ec_block *b,
			 uint32_t arg);

/* A node that is being rebuilt may not know of @b yet; and -EAGAIN is what it
 * says to who wants to retire it. */
static int tell(struct ec_pool *p, const struct ec_block *b, uint32_t node,
		on_member on, uint32_t arg)
{
	int rc = on(p->a[node], b, arg);

	if (ec_pool_is_up(p, node))
		assert(rc == 0 || rc == -EAGAIN);
	else if (rc == -EINVAL || rc == -ESTALE)
		rc = 0;
	return rc;
}

/* Call @on for each member; the leader last. Stops at the first that wants to
 * be asked again. */
static int each_member(struct ec_pool *p, const struct ec_block *b,
		       on_member on, uint32_t arg)
{
	uint32_t leader = ec_pool_leader(p, b->stripe);
	int rc = 0;

	for (uint32_t r = 0; r < group_width(&p->g); r++) {
		uint32_t node = ec_pool_node(p, b->stripe, r);

		if (concerns(p, b, r) && node != leader && rc == 0)
			rc = tell(p, b, node, on, arg);
	}
	if (leader != UINT32_MAX && rc == 0)
		rc = tell(p, b, leader, on, arg);
	return rc;
}

static int on_seal(struct alloc *a, const struct ec_block *b, uint32_t used)
{
	return alloc_seal(a, b->stripe, b->role, EC_POOL_OWNER, b->life, used,
			  20, false);
}

void ec_pool_seal(struct ec_pool *p, const struct ec_block *b, uint32_t used)
{
	assert(each_member(p, b, on_seal, used) == 0);
	if (used == 0)
		truth_ends(p, b);
}

static int on_cancel(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	int rc = alloc_cancel(a, b->stripe, b->role, EC_POOL_OWNER, b->life);

	return rc == -EINVAL ? 0 : rc; /* never opened there */
}

void ec_pool_cancel(struct ec_pool *p, const struct ec_block *b)
{
	assert(each_member(p, b, on_cancel, 0) == 0);
	truth_ends(p, b);
}

static int on_orphan(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	return alloc_orphan(a, b->stripe, b->role, b->life, 20);
}

void ec_pool_orphan(struct ec_pool *p, const struct ec_block *b)
{
	assert(each_member(p, b, on_orphan, 0) == 0);
}

void ec_pool_mark(struct ec_pool *p, const struct ec_block *b, uint32_t role,
		  uint32_t at, uint32_t len)
{
	for (uint32_t r = 0; r < group_width(&p->g); r++) {
		uint32_t node = ec_pool_node(p, b->stripe, r);

		if ((r == role || r >= p->g.k) && ec_pool_is_member(p, node))
			assert(alloc_mark(p->a[node], b->stripe, role, b->life,
					  at, len) == 0);
	}
}

void ec_pool_write(struct ec_pool *p, const struct ec_block *b, uint32_t at,
		   const void *bytes, uint32_t len, unsigned copies)
{
	char *truth = ec_pool_truth(p, b->stripe, b->role) + at;
	char *diff = malloc(len);

	memcpy(diff, truth, len);
	code_xor(diff, bytes, len);
	for (uint32_t j = 0; j < p->g.m; j++) {
		uint32_t node = ec_pool_node(p, b->stripe, p->g.k + j);

		if (b->delta[j] != 0 && (copies >> (1 + j) & 1) != 0)
			code_xor(p->region[node] +
					 group_delta_off(&p->g,
							 b->delta[j] - 1) +
					 at,
				 diff, len);
	}
	if (copies & 1) {
		memcpy(truth, bytes, len);
		memcpy(mem_at(p, b->stripe, b->role) + at, bytes, len);
	}
	free(diff);
}

static void noise(char *to, uint32_t len, uint64_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = (char)ec_pool_mix(seed + i);
}

static void fill_rows(struct ec_pool *p, const struct ec_block *b, uint32_t at,
		      uint32_t len, uint64_t seed)
{
	const void *data[CODE_DATA_MAX];
	void *parity[CODE_PARITY_MAX];

	for (uint32_t r = 0; r < p->g.k; r++) {
		char *t = ec_pool_truth(p, b->stripe, r) + at;

		noise(t, len, seed + r * UINT64_C(1000003));
		memcpy(mem_at(p, b->stripe, r) + at, t, len);
		data[r] = t;
	}
	for (uint32_t j = 0; j < p->g.m; j++)
		parity[j] = mem_at(p, b->stripe, p->g.k + j) + at;
	code_encode(p->c, len, data, parity);
}

void ec_pool_fill(struct ec_pool *p, const struct ec_block *b, uint32_t at,
		  uint32_t len, uint64_t seed)
{
	char *bytes;

	if (b->kind == BLOCK_ROWS) {
		fill_rows(p, b, at, len, seed);
		return;
	}
	bytes = malloc(len);
	noise(bytes, len, seed);
	ec_pool_write(p, b, at, bytes, len, EC_POOL_ALL_COPIES);
	free(bytes);
}

/* --- the nodes' part ------------------------------------------------------ */

void ec_pool_fold(struct ec_pool *p)
{
	bool more = true;

	for (unsigned rounds = 0; more; rounds++) {
		assert(rounds < 1000000);
		more = false;
		for (uint32_t i = 0; i < p->g.nodes; i++)
			if (ec_pool_is_member(p, i) &&
			    fold_due(p->a[i], p->now) <= p->now)
				more |= fold_work(p->a[i], &p->fab, 1u << 20) >
					0;
	}
}

static int on_retire(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	return fold_retire(a, b->stripe, b->role, b->life, false);
}

static int on_retired(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	return fold_retired(a, b->stripe, b->role, b->life) ? 0 : -EAGAIN;
}

static int on_free(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	return fold_free(a, b->stripe, b->role, b->life);
}

unsigned ec_pool_retire(struct ec_pool *p)
{
	struct ec_block b = {0};
	unsigned n = 0;

	for (uint32_t i = 0; i < p->g.nodes; i++) {
		while (ec_pool_is_up(p, i) &&
		       fold_victim(p->a[i], &b.stripe, &b.role, &b.kind,
				   &b.life) == 0) {
			if (each_member(p, &b, on_retire, 0) != 0)
				break;
			ec_pool_fold(p);
			if (each_member(p, &b, on_retired, 0) != 0)
				break;	   /* is just being rebuilt there */
			truth_ends(p, &b); /* before it can be given again */
			assert(each_member(p, &b, on_free, 0) == 0);
			n++;
		}
	}
	return n;
}

/* --- opened again --------------------------------------------------------- */

static int on_again(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	int rc = again_split(a, b->stripe, b->role);

	return rc != 0 ? rc : fold_retire(a, b->stripe, b->role, b->life, true);
}

/* As each_member(), but errors are told; the last one. */
static int try_members(struct ec_pool *p, const struct ec_block *b,
		       int (*on)(struct alloc *a, const struct ec_block *b,
				 uint32_t arg),
		       uint32_t arg)
{
	uint32_t leader = ec_pool_leader(p, b->stripe);
	int rc = 0, one;

	for (uint32_t r = 0; r < group_width(&p->g); r++) {
		uint32_t node = ec_pool_node(p, b->stripe, r);

		if (!ec_pool_is_up(p, node) || node == leader ||
		    (r < p->g.k && r != b->role))
			continue;
		one = on(p->a[node], b, arg);
		rc = one != 0 ? one : rc;
	}
	one = on(p->a[leader], b, arg);
	return one != 0 ? one : rc;
}

int ec_pool_again_retire(struct ec_pool *p, const struct ec_block *b)
{
	int rc = try_members(p, b, on_again, 0);

	return rc != 0 ? rc : try_members(p, b, on_retired, 0);
}

static uint64_t *uniting_map; /* of the call under way */

static int on_unite(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	return again_unite(a, b->stripe, b->role, b->life, uniting_map);
}

static int on_ready(struct alloc *a, const struct ec_block *b, uint32_t arg)
{
	return again_ready(a, b->stripe, b->role, b->life, uniting_map, arg);
}

static int make_ready(struct ec_pool *p, const struct ec_block *b,
		      uint64_t *map, bool zero)
{
	int rc;

	memset(map, 0, again_map_bytes(&p->g));
	uniting_map = map;
	rc = try_members(p, b, on_unite, 0);
	return rc != 0 ? rc : try_members(p, b, on_ready, zero);
}

int ec_pool_again_ready(struct ec_pool *p, const struct ec_block *b,
			uint64_t *map)
{
	return make_ready(p, b, map, true);
}

int ec_pool_again_wait(struct ec_pool *p, const struct ec_block *b,
		       uint64_t *map)
{
	return make_ready(p, b, map, false);
}

static int on_resume(struct alloc *a, const struct ec_block *b, uint32_t life)
{
	return again_resume(a, b->stripe, b->role, life);
}

int ec_pool_again_resume(struct ec_pool *p, const struct ec_block *b,
			 uint32_t life)
{
	return try_members(p, b, on_resume, life);
}

void ec_pool_again_zeroed(struct ec_pool *p, const struct ec_block *b,
			  const uint64_t *map)
{
	char *truth = ec_pool_truth(p, b->stripe, b->role);

	for (uint32_t u = 0; u < p->g.block_bytes / GROUP_UNIT_BYTES; u++)
		if (map[u / 64] >> (u % 64) & 1)
			memset(truth + (size_t)u * GROUP_UNIT_BYTES, 0,
			       GROUP_UNIT_BYTES);
}

int ec_pool_again_open(struct ec_pool *p, const struct alloc_grant *grant,
		       uint8_t kind, unsigned members, struct ec_block *b)
{
	uint32_t leader = ec_pool_leader(p, grant->stripe), delta;
	int rc = 0;

	*b = (struct ec_block){.stripe = grant->stripe,
			       .role = grant->role,
			       .life = grant->life,
			       .kind = kind};
	for (uint32_t n = 0; n <= group_width(&p->g); n++) {
		bool last = n == group_width(&p->g);
		uint32_t r = last ? p->g.k : n;
		uint32_t node = last ? leader : ec_pool_node(p, b->stripe, r);

		while (last && ec_pool_node(p, b->stripe, r) != leader)
			r++;
		if (!concerns(p, b, r) || (node == leader && !last))
			continue;
		if (members-- == 0)
			return -EINTR;
		rc = alloc_open_block(p->a[node], b->stripe, b->role, kind,
				      EC_POOL_OWNER, 1, 10, b->life, &delta);
		if (rc != 0)
			return rc;
		if (r >= p->g.k)
			b->delta[r - p->g.k] = delta;
	}
	return 0;
}

/* --- given back, a message at a time ------------------------------------- */

/* Has every member of @b freed it that knew of it? */
static bool all_freed(struct ec_pool *p, const struct ec_block *b)
{
	for (uint32_t r = 0; r < group_width(&p->g); r++) {
		uint32_t node = ec_pool_node(p, b->stripe, r);
		uint32_t role = r < p->g.k ? r : b->role;

		if (concerns(p, b, r) &&
		    ec_pool_rec(p, node, b->stripe, role).state != BLOCK_FREE)
			return false;
	}
	return true;
}

/* Other members now: whoever leads goes on with it, if it is not done. */
static void leaving_stops(struct ec_pool *p)
{
	p->leaving.on = false;
	if (!p->leaving.freeing || !all_freed(p, &p->leaving.b))
		return;
	p->leaving.freeing = false;
	truth_ends(p, &p->leaving.b);
}

/* In one go, as what is half freed is told of one block at a time only. */
static void leaves_at_once(struct ec_pool *p, const struct ec_block *b)
{
	if (each_member(p, b, on_retire, 0) != 0)
		return;
	ec_pool_fold(p);
	if (each_member(p, b, on_retired, 0) != 0)
		return;
	truth_ends(p, b);
	assert(each_member(p, b, on_free, 0) == 0);
}

static bool leaving_starts(struct ec_pool *p)
{
	struct ec_leaving *l = &p->leaving;
	struct ec_block b = {0};

	for (uint32_t i = 0; i < p->g.nodes; i++) {
		if (!ec_pool_is_up(p, i) ||
		    fold_victim(p->a[i], &b.stripe, &b.role, &b.kind,
				&b.life) != 0)
			continue;
		if (l->freeing && !ec_pool_is_leaving(p, b.stripe, b.role)) {
			leaves_at_once(p, &b);
			continue; /* what was begun may come now */
		}
		l->on = true;
		l->b = b;
		l->next = 0;
		return true;
	}
	return false;
}

/* Data nodes, then parities: those that cannot lead first, then from the last
 * to the first, so that the next leader is one that has not freed it. */
static uint32_t nth_freed(const struct ec_pool *p, uint32_t n)
{
	uint32_t k = p->g.k, m = p->g.m, i = n - k;
	uint64_t s = p->leaving.b.stripe;

	if (n < k)
		return n;
	for (uint32_t r = k + m; r-- > k;)
		if (!ec_pool_is_up(p, ec_pool_node(p, s, r)) && i-- == 0)
			return r;
	for (uint32_t r = k + m; r-- > k;)
		if (ec_pool_is_up(p, ec_pool_node(p, s, r)) && i-- == 0)
			return r;
	abort();
}

static unsigned leaving_frees(struct ec_pool *p)
{
	struct ec_leaving *l = &p->leaving;
	uint32_t leader = ec_pool_leader(p, l->b.stripe);

	l->freeing = true;
	while (l->next < group_width(&p->g)) {
		uint32_t r = nth_freed(p, l->next++);
		uint32_t node = ec_pool_node(p, l->b.stripe, r);

		if (!concerns(p, &l->b, r) || node == leader)
			continue;
		if (tell(p, &l->b, node, on_free, 0) != 0)
			l->next--;
		return 1;
	}
	l->on = l->freeing = false;
	truth_ends(p, &l->b); /* before it can be given again */
	assert(tell(p, &l->b, leader, on_free, 0) == 0);
	return 2;
}

/* With each view every node looks for what was left half freed. */
static void free_strays(struct ec_pool *p, uint32_t node)
{
	uint32_t at = 0, role, life, leader;
	struct block_rec rec;
	uint64_t s;

	while (fold_stray(p->a[node], &at, &s, &role, &life) == 0) {
		leader = ec_pool_leader(p, s);
		if (leader == UINT32_MAX)
			continue;
		rec = ec_pool_rec(p, leader, s, role);
		if (rec.state == BLOCK_FREE && rec.life >= life)
			assert(fold_free(p->a[node], s, role, life) == 0);
	}
}

unsigned ec_pool_retire_step(struct ec_pool *p)
{
	struct ec_leaving *l = &p->leaving;

	if (!l->on && !leaving_starts(p))
		return 0;
	if (l->next == 0 && (each_member(p, &l->b, on_retire, 0) != 0 ||
			     each_member(p, &l->b, on_retired, 0) != 0))
		return 1;
	return leaving_frees(p);
}

/* --- checking ------------------------------------------------------------- */

static void must(bool ok, const char *what, uint64_t stripe, uint32_t role)
{
	if (ok)
		return;
	fprintf(stderr, "ec_pool: %s: stripe %llu role %u\n", what,
		(unsigned long long)stripe, role);
	abort();
}

static bool all_zero(const char *at, uint32_t len)
{
	return len == 0 || (at[0] == 0 && memcmp(at, at + 1, len - 1) == 0);
}

bool ec_pool_is_leaving(const struct ec_pool *p, uint64_t s, uint32_t r)
{
	const struct ec_leaving *l = &p->leaving;

	return l->freeing && l->b.stripe == s &&
	       (l->b.kind == BLOCK_ROWS || l->b.role == r);
}

static void check_data(struct ec_pool *p, uint64_t s, uint32_t r)
{
	uint32_t node = ec_pool_node(p, s, r), bytes = p->g.block_bytes;
	const char *truth = ec_pool_truth(p, s, r), *mem = mem_at(p, s, r);

	if (!ec_pool_is_up(p, node) || ec_pool_is_leaving(p, s, r))
		return;
	must((ec_pool_rec(p, node, s, r).state == BLOCK_FREE) ==
		     (truth == NULL),
	     "state of the data block", s, r);
	if (truth == NULL)
		must(all_zero(mem, bytes), "D2: free is zero", s, r);
	else
		must(memcmp(mem, truth, bytes) == 0, "data", s, r);
}

static void check_delta(struct ec_pool *p, uint32_t node, uint64_t s,
			uint32_t r, const struct block_rec *rec)
{
	const char *truth = ec_pool_truth(p, s, r);

	if (!block_has_copy(rec))
		return;
	must(truth != NULL, "a delta of nothing", s, r);
	must(memcmp(p->region[node] + group_delta_off(&p->g, rec->delta - 1),
		    truth, p->g.block_bytes) == 0,
	     "D1: the delta is a full copy", s, r);
}

static void check_parity(struct ec_pool *p, uint64_t s, uint32_t j)
{
	uint32_t node = ec_pool_node(p, s, p->g.k + j);
	uint32_t bytes = p->g.block_bytes;
	char *sum;

	if (!ec_pool_is_member(p, node) ||
	    (ec_pool_is_leaving(p, s, 0) && p->leaving.b.kind == BLOCK_ROWS))
		return;
	sum = calloc(1, bytes);
	for (uint32_t r = 0; r < p->g.k; r++) {
		struct block_rec rec = ec_pool_rec(p, node, s, r);
		uint32_t lo = 0, hi = bytes;

		must((rec.state == BLOCK_FREE) ==
				     (ec_pool_truth(p, s, r) == NULL) ||
			     !ec_pool_is_up(p, node) ||
			     ec_pool_is_leaving(p, s, r),
		     "state at a parity", s, r);
		check_delta(p, node, s, r, &rec);
		if (block_in_parity(&rec, &lo, &hi))
			code_fold(p->c, j, r, hi - lo,
				  ec_pool_truth(p, s, r) + lo, sum + lo);
	}
	must(memcmp(sum, mem_at(p, s, p->g.k + j), bytes) == 0,
	     "S1: the parity is the sum", s, p->g.k + j);
	free(sum);
}

/* What a leader would give back next holds nothing, and nobody writes there. */
static void check_victim(struct ec_pool *p, uint32_t node)
{
	struct block_rec rec;
	uint64_t stripe;
	uint32_t role, life;
	uint8_t kind;

	if (!ec_pool_is_up(p, node) ||
	    fold_victim(p->a[node], &stripe, &role, &kind, &life) != 0)
		return;
	rec = ec_pool_rec(p, node, stripe, role);
	must(rec.state != BLOCK_OPEN &&
		     rec.dead * (uint64_t)GROUP_UNIT_BYTES >= rec.used,
	     "a victim that is in use", stripe, role);
}

void ec_pool_check(struct ec_pool *p)
{
	for (uint32_t n = 0; n < p->g.nodes; n++)
		check_victim(p, n);
	for (uint64_t s = 0; s < group_stripes(&p->g); s++) {
		for (uint32_t r = 0; r < p->g.k; r++)
			check_data(p, s, r);
		for (uint32_t j = 0; j < p->g.m; j++)
			check_parity(p, s, j);
	}
}

int ec_pool_read(struct ec_pool *p, uint64_t stripe, uint32_t role, uint32_t at,
		 uint32_t len, void *buf)
{
	return stripe_read_run(&p->fab, &p->g, p->c,
			       group_addr(&p->g, stripe, role, at), len, p->up,
			       buf, p->now + UINT64_C(1000000000));
}
