/* kv/client/adopt.h - a new view from the coordinator becomes this client's:
 * the part of member.c that only client.c calls. */
#ifndef ACESO_KV_CLIENT_ADOPT_H
#define ACESO_KV_CLIENT_ADOPT_H
#include "kv/client/member.h"
#include "kv/proto.h"

/* Make @set's view the one that holds: cut its dead nodes off, wait until
 * operations begun before have settled, attach to nodes that have come, tell
 * space. When it returns, the coordinator may be told. One caller at a time,
 * not inside member_enter(). Returns 1; 0 if it is no newer; -EBADMSG. */
int member_adopt(struct member *m, struct kv_thread *t,
		 const struct proto_view_set *set);

/* Attach to members that could not be attached to when their view was adopted.
 * As above. */
void member_attach(struct member *m, struct kv_thread *t);

/* The newest epoch in which this client has nothing open that it should not:
 * the one to tell the coordinator. One caller at a time. */
uint64_t member_settled(struct member *m);
/* The last that member_settled() returned: while a view is being adopted. */
uint64_t member_told(const struct member *m);

unsigned member_clients(struct member *m);
#endif
