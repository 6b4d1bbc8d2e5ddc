/* tests/fuzz/pool.c - what a client believes of a pool: superblock, view. The
 * superblock's CRC is made right first. */
#include <stdlib.h>
#include <string.h>

#include "ec/crc.h"
#include "ec/group.h"
#include "kv/layout.h"
#include "kv/view.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define SUPER_BYTES  4096u
#define SUPER_CRC_AT 128u /* kv/FORMAT.md */

static void look_super(const uint8_t *data, size_t size)
{
	uint8_t *region = calloc(1, SUPER_BYTES);
	struct layout_super s;
	uint32_t crc, role, at;
	uint64_t stripe;

	if (region == NULL)
		return;
	memcpy(region, data, size < SUPER_BYTES ? size : SUPER_BYTES);
	crc = crc_of(0, region, SUPER_CRC_AT);
	memcpy(region + SUPER_CRC_AT, &crc, sizeof(crc));
	if (layout_super_read(region, &s) == 0) {
		const struct group *g = &s.layout.group;

		must(group_check(g) == 0 && g->nodes <= FAB_NODES_MAX);
		must(group_width(g) <= g->nodes);
		must(group_locate(g, group_addr(g, 0, 0, 0), &stripe, &role,
				  &at) == 0);
		must(stripe == 0 && role == 0 && at == 0);
	}
	free(region);
}

static void look_view(const uint8_t *data, size_t size)
{
	struct view v = {.epoch = 0};

	memcpy(&v, data, size < sizeof(v) ? size : sizeof(v));
	if (view_check(&v) != 0 || v.epoch > UINT64_MAX / 2) /* no time */
		return;
	must(v.nodes <= FAB_NODES_MAX && view_down(&v) <= v.nodes);
	must((view_up(&v) & ~view_members(&v)) == 0);
	for (uint32_t i = 0; i < v.nodes; i++) {
		struct view next = v;

		if (view_node_dies(&next, i) == 0)
			must(view_check(&next) == 0 && next.epoch != v.epoch);
		if (view_node_comes(&next, i) == 0)
			must(view_check(&next) == 0 &&
			     !(view_up(&next) >> i & 1));
		if (view_node_is_up(&next, i) == 0)
			must(view_check(&next) == 0 && view_up(&next) >> i & 1);
		if (view_shard_goes_home(&next, i) == 0)
			must(view_check(&next) == 0 && next.host[i] == i);
	}
}

void fuzz_seeds(void)
{
	struct layout_shape shape = {
		.nodes = 5, .k = 3, .m = 2, .usable = 64u << 20};
	struct layout_super super = {.node = 1, .secret = 3};
	uint8_t region[SUPER_BYTES] = {0};
	struct view v;

	must(layout_of(&shape, &super.layout) == 0);
	layout_super_write(region, &super);
	fuzz_seed(region, 160);
	view_first(&v, 5, 3, 2);
	fuzz_seed(&v, sizeof(v));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	look_super(data, size);
	look_view(data, size);
	return 0;
}
