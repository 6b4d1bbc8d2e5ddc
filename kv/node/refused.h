/* kv/node/refused.h - a line for each connection that a node or a coordinator
 * refused: from where, and why. Below kv/ nothing prints. */
#ifndef ACESO_KV_NODE_REFUSED_H
#define ACESO_KV_NODE_REFUSED_H

/* fab_server_opts.on_refused; @arg is not looked at. How much it prints is
 * bounded (kv/log.h), whatever comes. */
void refused_say(void *arg, const char *address, int why);

#endif
