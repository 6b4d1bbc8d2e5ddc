/* rdma/serve_refuse.c - connections that are ended for what came over them, and
 * where they came from. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "rdma/serve.h"

void server_conn_from(struct server_conn *c, const struct sockaddr *from,
		      socklen_t len)
{
	char host[SERVER_ADDRESS_BYTES - 10], port[8];
	bool six = from->sa_family == AF_INET6;

	if (getnameinfo(from, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(c->address, sizeof(c->address), "somewhere");
	else
		snprintf(c->address, sizeof(c->address),
			 six ? "[%s]:%s" : "%s:%s", host, port);
}

void server_conn_from_process(struct server_conn *c, int32_t pid, uint32_t uid)
{
	snprintf(c->address, sizeof(c->address), "process %d of user %u", pid,
		 uid);
}

static bool is_offence(int why)
{
	return why == -EACCES || why == -EPROTO;
}

void server_refused(struct server *s, const char *address, int why)
{
	if (is_offence(why))
		atomic_fetch_add(&s->malformed, 1);
	if (s->opts.on_refused != NULL)
		s->opts.on_refused(s->opts.arg, address, why);
}

void server_hang_up_for(struct server_conn *c, int why)
{
	if (!c->over && is_offence(why))
		server_refused(c->server, c->address, why);
	server_hang_up(c);
}
