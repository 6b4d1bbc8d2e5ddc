/* mount-helper/ways.c - see ways.h. */
#include "mount-helper/ways.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "mount-helper/ask.h"

static bool is(const json_t *node, const char *name, const char *value)
{
	const char *text = json_string_value(json_object_get(node, name));

	return text != NULL && strcmp(text, value) == 0;
}

static void take(const json_t *status, struct ways *out)
{
	const json_t *nodes = json_object_get(status, "nodes"), *node;

	for (size_t i = 0; i < json_array_size(nodes) && i < FAB_NODES_MAX;
	     i++) {
		node = json_array_get(nodes, i);
		if (is(node, "state", "down"))
			continue;
		if (is(node, "transport", "verbs"))
			out->verbs |= UINT64_C(1) << i;
		if (is(node, "transport", "tcp"))
			out->tcp |= UINT64_C(1) << i;
	}
}

int ways_ask(const struct poolconf *c, const struct fab_key *key,
	     struct ways *out)
{
	char coords[POOLCONF_LIST_BYTES];
	json_t *status;
	int rc;

	*out = (struct ways){0};
	poolconf_coords(c, coords);
	rc = ask_coords(coords, key, &status);
	if (rc != 0)
		return rc;
	take(status, out);
	json_decref(status);
	return 0;
}
