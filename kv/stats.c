/* kv/stats.c - take, subtract, print. struct kv_stats is an array of uint64_t
 * with names. */
#include "kv/stats.h"

#include <inttypes.h>

#define WORDS (sizeof(struct kv_stats) / sizeof(uint64_t))
_Static_assert(sizeof(struct kv_stats) % sizeof(uint64_t) == 0, "only words");

void stats_add(struct kv_stats *sum, const struct kv_stats *s)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)s;

	for (unsigned i = 0; i < WORDS; i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void stats_sub(struct kv_stats *now, const struct kv_stats *then)
{
	uint64_t *to = (uint64_t *)now;
	const uint64_t *from = (const uint64_t *)then;

	for (unsigned i = 0; i < WORDS; i++)
		to[i] -= from[i];
}

static double per(uint64_t a, uint64_t b)
{
	return b ? (double)a / (double)b : 0;
}

static void print_op(FILE *f, const char *name, const struct kv_op_stats *s)
{
	if (s->calls == 0)
		return;
	fprintf(f,
		"%-10s %12" PRIu64 " %10" PRIu64 " %10" PRIu64
		" %8.2f %8.2f %10.1f\n",
		name, s->calls, s->errors, s->retries,
		per(s->batches, s->calls), per(s->ops, s->calls),
		per(s->bytes, s->calls));
}

void stats_print(FILE *f, const struct kv_stats *s)
{
	fprintf(f, "%-10s %12s %10s %10s %8s %8s %10s\n", "operation", "calls",
		"errors", "retries", "trips", "ops", "bytes");
	print_op(f, "get", &s->get);
	print_op(f, "put", &s->put);
	print_op(f, "insert", &s->insert);
	print_op(f, "del", &s->del);
	print_op(f, "txn", &s->txn);
	print_op(f, "page write", &s->page_write);
	print_op(f, "page read", &s->page_read);
	fprintf(f,
		"cache: %" PRIu64 " hits, %" PRIu64 " misses\n"
		"degraded reads: %" PRIu64 "\nchecksum errors: %" PRIu64 "\n"
		"blocks: %" PRIu64 " opened, %" PRIu64 " sealed; %" PRIu64
		" marks sent\npages: %" PRIu64 " in rows, %" PRIu64
		" by deltas\nwithout a copy: %" PRIu64 " operations\n",
		s->cache_hits, s->cache_misses, s->degraded_reads,
		s->crc_errors, s->blocks_opened, s->blocks_sealed,
		s->marks_sent, s->row_pages, s->delta_pages, s->direct);
}
