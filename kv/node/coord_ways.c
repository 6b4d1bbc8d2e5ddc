/* kv/node/coord_ways.c - over what peers are reached, and why, for the status.
 *
 * A node listens at an address whose scheme says over what it is reached; by
 * whom does not matter, as who has no such way is not let in. Coordinators of a
 * pool over several hosts listen by TCP alone. */
#include <string.h>

#include "kv/node/coord_impl.h"

#define WHY_HERE "on this host"

/* JSON takes UTF-8 alone: of other bytes there are as many question marks. */
json_t *coord_said(const char *text, size_t len)
{
	char plain[PROTO_ADDRESS_BYTES];
	json_t *o = json_stringn(text, len);

	if (o != NULL || len > sizeof(plain))
		return o;
	for (size_t i = 0; i < len; i++)
		plain[i] = (char)((text[i] & 0x80) != 0 ? '?' : text[i]);
	return json_stringn(plain, len);
}

/* Up to the first colon: "tcp:host:7601#...". A path is shared memory; where
 * there is no address, there is no way. NULL: no memory. */
static json_t *scheme(const char *address)
{
	size_t len = strcspn(address, ":");

	if (address[0] != '\0' && (address[0] == '/' || address[len] == '\0'))
		return json_string("shm");
	return coord_said(address, len);
}

/* --- nodes ---------------------------------------------------------------- */

static const char *node_address(const struct coord *c, uint32_t id)
{
	const struct coord_node *node = &c->node[id];

	return node->came ? node->came_address : node->address;
}

static const char *node_why(const struct coord *c, uint32_t id)
{
	const struct coord_node *node = &c->node[id];

	if (!c->opts.remote)
		return WHY_HERE;
	return node->came ? node->came_why : node->why;
}

void coord_ways_node(const struct coord *c, uint32_t id, json_t *o)
{
	const struct coord_node *node = &c->node[id];
	const char *address = node_address(c, id), *why = node_why(c, id);
	const char *host = node->came ? node->came_host : node->host;

	json_object_set_new(o, "transport", scheme(address));
	json_object_set_new(o, "why", coord_said(why, strlen(why)));
	json_object_set_new(o, "host", coord_said(host, strlen(host)));
	json_object_set_new(o, "address",
			    coord_said(address, strcspn(address, "#")));
}

/* "tcp" to "tcp and verbs"; what is in it already stays. Takes both. */
static json_t *and_way(json_t *text, json_t *way)
{
	const char *had = json_string_value(text);
	const char *name = json_string_value(way);
	json_t *both = NULL;

	if (had != NULL && name != NULL && strstr(had, name) == NULL)
		both = json_sprintf("%s%s%s", had,
				    had[0] != '\0' ? " and " : "", name);
	json_decref(way);
	if (both == NULL)
		return text;
	json_decref(text);
	return both;
}

json_t *coord_ways_nodes(const struct coord *c)
{
	uint64_t members = view_members(&c->view);
	json_t *text = json_string("");

	for (uint32_t id = 0; id < c->view.nodes; id++)
		if (c->node[id].came || members >> id & 1)
			text = and_way(text, scheme(node_address(c, id)));
	return text;
}

/* --- clients and coordinators --------------------------------------------- */

static const char *client_why(const struct coord *c, const char *way)
{
	if (way[0] == '\0')
		return "";
	if (!c->opts.remote)
		return WHY_HERE;
	return strstr(way, " and ") != NULL ? "each node as it listens"
					    : "the nodes listen by it";
}

void coord_ways_client(const struct coord *c, json_t *way, json_t *o)
{
	const char *text = json_string_value(way);

	json_object_set(o, "transport", way);
	json_object_set_new(
		o, "why", json_string(client_why(c, text != NULL ? text : "")));
}

static json_t *coordinator_json(const struct coord *c, size_t id,
				const char *address, size_t len)
{
	bool own = strlen(c->address) == len &&
		   memcmp(c->address, address, len) == 0;

	return json_pack(
		"{s:I, s:o, s:s, s:s, s:o}", "id", (json_int_t)id, "address",
		coord_said(address, len), "transport", c->transport, "why",
		c->opts.remote ? "coordinators are reached by TCP" : WHY_HERE,
		"leads", coord_is_sure(c) ? json_boolean(own) : json_null());
}

/* A path may have commas in it. */
json_t *coord_ways_coordinators(const struct coord *c)
{
	const char *at = c->coords;
	json_t *list = json_array();

	while (*at != '\0') {
		size_t len = at[0] == '/' ? strlen(at) : strcspn(at, ",");

		json_array_append_new(
			list,
			coordinator_json(c, json_array_size(list), at, len));
		at += len;
		at += *at == ',';
	}
	return list;
}
