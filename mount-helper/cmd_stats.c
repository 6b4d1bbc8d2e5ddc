/* mount-helper/cmd_stats.c - aceso stats: what the nodes count, and what each
 * mount counts of its own operations. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "mount-helper/ask.h"
#include "mount-helper/cmd.h"

static int add_mount(void *arg, pid_t pid, const char *sock)
{
	json_t *o;

	if (ask_status(sock, &o) == 0)
		json_array_append_new(arg, o);
	return 0;
}

static bool in_status_table(const char *name)
{
	static const char *const names[] = {"id", "pid", "state", NULL};

	for (const char *const *n = names; *n != NULL; n++)
		if (strcmp(*n, name) == 0)
			return true;
	return false;
}

static void print_row(const json_t *nodes, const char *name)
{
	if (in_status_table(name))
		return;
	printf("%-16s", name);
	for (size_t i = 0; i < json_array_size(nodes); i++)
		printf(" %12llu", (unsigned long long)cmd_number(
					  json_array_get(nodes, i), name));
	putchar('\n');
}

/* Every number that a node has, one a line, the nodes side by side. */
static void print_nodes(const json_t *nodes)
{
	json_t *first = json_array_get(nodes, 0);
	void *it;

	printf("%-16s", "node");
	for (size_t i = 0; i < json_array_size(nodes); i++)
		printf(" %12u",
		       (unsigned)cmd_number(json_array_get(nodes, i), "id"));
	putchar('\n');
	for (it = json_object_iter(first); it != NULL;
	     it = json_object_iter_next(first, it))
		if (json_is_integer(json_object_iter_value(it)))
			print_row(nodes, json_object_iter_key(it));
}

static double per(uint64_t n, uint64_t calls)
{
	return calls > 0 ? (double)n / (double)calls : 0;
}

static void print_op(const char *name, const json_t *o)
{
	uint64_t calls = cmd_number(o, "calls");

	printf("  %-12s %10llu %8llu %8llu %8.2f %8.2f %10.0f\n", name,
	       (unsigned long long)calls,
	       (unsigned long long)cmd_number(o, "errors"),
	       (unsigned long long)cmd_number(o, "retries"),
	       per(cmd_number(o, "batches"), calls),
	       per(cmd_number(o, "ops"), calls),
	       per(cmd_number(o, "bytes"), calls));
}

static void print_mount(const json_t *m)
{
	json_t *stats = json_object_get(m, "stats");
	void *it;

	printf("\nmount %s (pid %d)\n", cmd_text(m, "mountpoint"),
	       (int)cmd_number(m, "pid"));
	printf("  %-12s %10s %8s %8s %8s %8s %10s\n", "operation", "calls",
	       "errors", "retries", "trips/op", "ops/op", "bytes/op");
	for (it = json_object_iter(stats); it != NULL;
	     it = json_object_iter_next(stats, it))
		if (json_is_object(json_object_iter_value(it)))
			print_op(json_object_iter_key(it),
				 json_object_iter_value(it));
	for (it = json_object_iter(stats); it != NULL;
	     it = json_object_iter_next(stats, it))
		if (json_is_integer(json_object_iter_value(it)))
			printf("  %-16s %llu\n", json_object_iter_key(it),
			       (unsigned long long)cmd_number(
				       stats, json_object_iter_key(it)));
}

static int show(const struct pool_place *p, bool json)
{
	json_t *o, *mounts, *all;
	int rc = cmd_ask(p, &o);

	if (rc != 0)
		return rc;
	mounts = json_array();
	pool_each_mount(p, add_mount, mounts);
	if (json) {
		all = json_pack("{ss,sO,sO}", "pool", p->name, "nodes",
				json_object_get(o, "nodes"), "mounts", mounts);
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(all);
	} else {
		print_nodes(json_object_get(o, "nodes"));
		for (size_t i = 0; i < json_array_size(mounts); i++)
			print_mount(json_array_get(mounts, i));
	}
	json_decref(mounts);
	json_decref(o);
	return CMD_OK;
}

int cmd_stats(const char *pool, int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	struct pool_place p;
	bool json = false;
	int letter, rc;

	while ((letter = getopt_long(argc, argv, "j", longs, NULL)) != -1) {
		if (letter == '?')
			return cmd_usage("stats");
		json = true;
	}
	if (optind < argc)
		return cmd_usage("stats");
	rc = cmd_find(pool, &p);
	return rc != 0 ? rc : show(&p, json);
}
