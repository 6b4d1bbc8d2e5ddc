/* rdma/host_port.c - see host_port.h. */
#include "rdma/host_port.h"

#include <errno.h>
#include <string.h>

int fab_host_port(const char *address, const char *scheme, char *host,
		  size_t cap, const char **port)
{
	const char *h = address + strlen(scheme), *colon;
	size_t len;

	if (strncmp(address, scheme, strlen(scheme)) != 0)
		return -EINVAL;
	colon = strrchr(h, ':');
	if (colon == NULL || colon == h || colon[1] == '\0')
		return -EINVAL;
	len = (size_t)(colon - h);
	if (h[0] == '[' && h[len - 1] == ']' && len > 2) {
		h++;
		len -= 2;
	}
	if (len >= cap)
		return -EINVAL;
	memcpy(host, h, len);
	host[len] = '\0';
	if (strcmp(host, "*") == 0)
		host[0] = '\0';
	*port = colon + 1;
	return 0;
}
