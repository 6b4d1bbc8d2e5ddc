/* mount-helper/cmd_status.c - aceso status, aceso df. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mount-helper/cmd.h"
#include "mount-helper/say.h"
#include "mount-helper/size.h"

#define WATCH_S_MAX 86400.0
#define BAR_WIDTH   24

struct look {
	bool json, watch, colour;
	double seconds;
};

static const char *paint(const struct look *l, const char *word)
{
	static const struct {
		const char *word, *colour;
	} table[] = {{"full", "\033[32m"},     {"up", "\033[32m"},
		     {"degraded", "\033[33m"}, {"rebuilding", "\033[33m"},
		     {"coming", "\033[33m"},   {"forming", "\033[33m"},
		     {"lost", "\033[1;31m"},   {"down", "\033[31m"},
		     {"silent", "\033[31m"}};

	if (!l->colour)
		return "";
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(word, table[i].word) == 0)
			return table[i].colour;
	return "";
}

static const char *plain(const struct look *l)
{
	return l->colour ? "\033[0m" : "";
}

static int code_of(const json_t *o)
{
	const char *r = cmd_text(o, "redundancy");

	if (strcmp(r, "full") == 0)
		return CMD_FULL;
	return strcmp(r, "degraded") == 0 || strcmp(r, "forming") == 0
		       ? CMD_DEGRADED
		       : CMD_LOST;
}

/* A pool with a directory: where, and how far behind it is. */
static void print_durable(const json_t *o)
{
	const json_t *d = json_object_get(o, "durable");

	if (!json_is_object(d))
		return;
	printf("durable     ");
	if (cmd_number(d, "version") == 0)
		printf("nothing yet");
	else if (json_is_true(json_object_get(d, "current")))
		printf("all of it");
	else
		printf("all but the last %.1f s",
		       (double)cmd_number(d, "age_ms") / 1000);
	printf(", in %s\n", cmd_text(d, "dir"));
	if (json_is_string(json_object_get(d, "trouble")))
		printf("            no more can be written: %s\n",
		       cmd_text(d, "trouble"));
}

/* Only while something is brought back. */
static void print_recovery(const struct look *l, const json_t *r)
{
	const char *tier = cmd_text(r, "tier");
	char lost[SIZE_TEXT_BYTES], unknown[SIZE_TEXT_BYTES];

	if (cmd_number(r, "lost") + cmd_number(r, "unknown") != 0)
		printf("lost        %s%s%s cannot be brought back; of blocks "
		       "of %s nobody knows what they held\n",
		       paint(l, "lost"), size_text(cmd_number(r, "lost"), lost),
		       plain(l), size_text(cmd_number(r, "unknown"), unknown));
	if (strcmp(tier, "none") != 0)
		printf("recovery    %s%s%s are being brought back\n",
		       paint(l, "coming"),
		       strcmp(tier, "index") == 0 ? "names and places"
						  : "blocks",
		       plain(l));
}

/* Nodes without which it cannot begin, or go on. */
static void print_waits(const struct look *l, const json_t *list)
{
	size_t n = json_array_size(list);

	if (n == 0)
		return;
	printf("waits for   %smemory node%s", paint(l, "coming"),
	       n == 1 ? "" : "s");
	for (size_t i = 0; i < n; i++)
		printf("%s %lld", i == 0 ? "" : ",",
		       json_integer_value(json_array_get(list, i)));
	printf("%s\n", plain(l));
}

/* Over what the nodes are reached; an older coordinator says it of itself
 * alone. */
static void print_code(const json_t *o)
{
	bool said = json_object_get(o, "nodes_transport") != NULL;
	const char *way = cmd_text(o, said ? "nodes_transport" : "transport");

	printf("code        %s%s%s\n", cmd_text(o, "code"),
	       way[0] != '\0' ? " over " : "", way);
}

static void print_head(const struct look *l, const json_t *o)
{
	char capacity[SIZE_TEXT_BYTES], used[SIZE_TEXT_BYTES],
		raw[SIZE_TEXT_BYTES], all[SIZE_TEXT_BYTES];
	const char *redundancy = cmd_text(o, "redundancy");

	printf("pool        %s\n", cmd_text(o, "pool"));
	print_code(o);
	printf("redundancy  %s%s%s\n", paint(l, redundancy), redundancy,
	       plain(l));
	print_waits(l, json_object_get(o, "waits_for"));
	print_recovery(l, json_object_get(o, "recovery"));
	printf("used        %s of %s\n", size_text(cmd_number(o, "used"), used),
	       size_text(cmd_number(o, "capacity"), capacity));
	printf("memory      %s of %s hold data, parity and deltas\n",
	       size_text(cmd_number(o, "raw_used"), raw),
	       size_text(cmd_number(o, "raw_capacity"), all));
	print_durable(o);
	printf("clients     %zu\n",
	       json_array_size(json_object_get(o, "clients")));
}

static void print_left(long long seconds)
{
	if (seconds < 120)
		printf(" %lld s left", seconds);
	else
		printf(" %lld min left", seconds / 60);
}

/* "  [#######.............]  35%  1.2 GiB of 3.4 GiB  512 MiB/s  4 s left"; as
 * long as nobody knows how fast it is, "..." in place of that. */
static void print_bar(const json_t *r)
{
	char done[SIZE_TEXT_BYTES], all[SIZE_TEXT_BYTES], rate[SIZE_TEXT_BYTES];
	uint64_t got = cmd_number(r, "done"), total = cmd_number(r, "total");
	double share = total > 0 ? (double)got / (double)total : 0;
	long long seconds = (long long)json_integer_value(
		json_object_get(r, "seconds_left"));

	printf("      [");
	for (int i = 0; i < BAR_WIDTH; i++)
		putchar(i < (int)(share * BAR_WIDTH) ? '#' : '.');
	printf("] %3.0f%%  %s of %s  ", 100 * share, size_text(got, done),
	       size_text(total, all));
	if (cmd_number(r, "rate") == 0 || seconds < 0) {
		puts("...");
		return;
	}
	printf("%s/s ", size_text(cmd_number(r, "rate"), rate));
	print_left(seconds);
	putchar('\n');
}

/* It had been away and came back itself. */
static void print_kept(const json_t *r)
{
	char kept[SIZE_TEXT_BYTES], fetched[SIZE_TEXT_BYTES];

	if (cmd_number(r, "kept") != 0)
		printf("      came back with %s of its blocks, fetched %s\n",
		       size_text(cmd_number(r, "kept"), kept),
		       size_text(cmd_number(r, "fetched"), fetched));
}

/* Over what a peer is reached, and why; where, of a pool over several hosts. */
static void print_way(const json_t *peer)
{
	const char *why = cmd_text(peer, "why");
	const char *host = cmd_text(peer, "host");

	if (strcmp(why, "?") == 0 || why[0] == '\0')
		return;
	printf("  ");
	if (strcmp(host, "?") != 0 && host[0] != '\0')
		printf("%s, ", host);
	printf("%s: %s", cmd_text(peer, "transport"), why);
}

static void print_node(const struct look *l, const json_t *n)
{
	char capacity[SIZE_TEXT_BYTES], used[SIZE_TEXT_BYTES];
	const char *state = cmd_text(n, "state");

	if (strcmp(state, "up") == 0 &&
	    json_is_false(json_object_get(n, "answers")))
		state = "silent";
	printf("%4u %9d  %s%-10s%s %11s %11s", (unsigned)cmd_number(n, "id"),
	       (int)cmd_number(n, "pid"), paint(l, state), state, plain(l),
	       size_text(cmd_number(n, "used"), used),
	       size_text(cmd_number(n, "capacity"), capacity));
	print_way(n);
	putchar('\n');
	if (json_object_get(n, "recovery") != NULL)
		print_bar(json_object_get(n, "recovery"));
	print_kept(json_object_get(n, "restored"));
}

/* Shards that are where they should be are not worth a line. */
static void print_shards(const struct look *l, const json_t *o)
{
	json_t *shards = json_object_get(o, "shards");

	for (size_t i = 0; i < json_array_size(shards); i++) {
		json_t *s = json_array_get(shards, i);
		const char *state = cmd_text(s, "state");
		uint64_t total = cmd_number(s, "total");

		if (strcmp(state, "serving") == 0)
			continue;
		printf("index shard %u: %s%s%s", (unsigned)cmd_number(s, "id"),
		       paint(l, state), state, plain(l));
		if (total > 0)
			printf(" on node %u, %.0f%%",
			       (unsigned)cmd_number(s, "host"),
			       100.0 * (double)cmd_number(s, "done") /
				       (double)total);
		putchar('\n');
	}
}

static void print_client(const struct look *l, const json_t *c)
{
	const char *state = cmd_text(c, "state");

	printf("%6u %9d  %s%-10s%s %-11s", (unsigned)cmd_number(c, "id"),
	       (int)cmd_number(c, "pid"), paint(l, state), state, plain(l),
	       cmd_text(c, "what"));
	print_way(c);
	putchar('\n');
}

static void print_coordinator(const struct look *l, const json_t *c)
{
	bool leads = json_is_true(json_object_get(c, "leads"));

	printf("%11u  %-5s  %s", (unsigned)cmd_number(c, "id"),
	       leads ? "leads" : "", cmd_text(c, "address"));
	print_way(c);
	putchar('\n');
}

static void print_each(const struct look *l, const json_t *list,
		       void (*print)(const struct look *, const json_t *))
{
	for (size_t i = 0; i < json_array_size(list); i++)
		print(l, json_array_get(list, i));
}

static void print_table(const struct look *l, const json_t *o)
{
	const json_t *clients = json_object_get(o, "clients");
	const json_t *coords = json_object_get(o, "coordinators");

	print_head(l, o);
	printf("\n%4s %9s  %-10s %11s %11s\n", "node", "pid", "state", "used",
	       "capacity");
	print_each(l, json_object_get(o, "nodes"), print_node);
	print_shards(l, o);
	if (json_array_size(clients) > 0)
		printf("\n%6s %9s  %-10s %s\n", "client", "pid", "state",
		       "program");
	print_each(l, clients, print_client);
	if (json_array_size(coords) > 0)
		printf("\n%11s  %-5s  %s\n", "coordinator", "", "address");
	print_each(l, coords, print_coordinator);
}

static int show(const struct look *l, const struct pool_place *p)
{
	json_t *o;
	int rc = cmd_ask(p, &o);

	if (rc != 0)
		return rc;
	if (l->watch && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	if (l->json) {
		json_dumpf(o, stdout, l->watch ? JSON_COMPACT : JSON_INDENT(2));
		putchar('\n');
	} else {
		print_table(l, o);
	}
	fflush(stdout);
	rc = code_of(o);
	json_decref(o);
	return rc;
}

static int parse(struct look *l, int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{"watch", optional_argument, NULL, 'w'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "jw::", longs, NULL)) != -1) {
		if (letter == '?')
			return -1;
		l->json = l->json || letter == 'j';
		if (letter != 'w')
			continue;
		l->watch = true;
		if (optarg != NULL &&
		    size_parse_seconds(optarg, WATCH_S_MAX, &l->seconds) < 0)
			return -1;
	}
	if (l->watch && optind < argc) /* "--watch 2" */
		return size_parse_seconds(argv[optind++], WATCH_S_MAX,
					  &l->seconds) < 0 ||
				       optind < argc
			       ? -1
			       : 0;
	return optind < argc ? -1 : 0;
}

int cmd_status(const char *pool, int argc, char **argv)
{
	struct look l = {.seconds = 1,
			 .colour = isatty(STDOUT_FILENO) &&
				   getenv("NO_COLOR") == NULL};
	struct pool_place p;
	struct timespec pause;
	int rc;

	if (parse(&l, argc, argv) < 0)
		return cmd_usage("status");
	rc = cmd_find_any(pool, &p);
	if (rc != 0)
		return rc;
	pause.tv_sec = (time_t)l.seconds;
	pause.tv_nsec = (long)((l.seconds - (double)pause.tv_sec) * 1e9);
	rc = show(&l, &p);
	while (l.watch && rc != CMD_NO_POOL) {
		nanosleep(&pause, NULL);
		rc = show(&l, &p);
	}
	return rc;
}

int cmd_df(const char *pool, int argc, char **argv)
{
	char text[3][SIZE_TEXT_BYTES];
	struct pool_place p;
	uint64_t capacity, used, left, slots, slots_used;
	json_t *o;
	int rc;

	if (argc > 1)
		return cmd_usage("df");
	rc = cmd_find_any(pool, &p);
	if (rc == 0)
		rc = cmd_ask(&p, &o);
	if (rc != 0)
		return rc;
	capacity = cmd_number(o, "capacity");
	used = cmd_number(o, "used");
	slots = cmd_number(o, "slots");
	slots_used = cmd_number(o, "slots_used");
	left = capacity > used ? capacity - used : 0;
	printf("%-24s %11s %11s %11s %5s\n", "pool", "size", "used", "left",
	       "use%");
	printf("%-24s %11s %11s %11s %4.0f%%\n", p.name,
	       size_text(capacity, text[0]), size_text(used, text[1]),
	       size_text(left, text[2]),
	       capacity > 0 ? 100.0 * (double)used / (double)capacity : 0.0);
	printf("%-24s %11llu %11llu %11llu %4.0f%%\n", "  keys",
	       (unsigned long long)slots, (unsigned long long)slots_used,
	       (unsigned long long)(slots - slots_used),
	       slots > 0 ? 100.0 * (double)slots_used / (double)slots : 0.0);
	json_decref(o);
	return CMD_OK;
}
