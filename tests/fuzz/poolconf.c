/* tests/fuzz/poolconf.c - the file of a pool over several hosts, with any
 * content. What is refused is refused in one line; what is taken keeps to its
 * limits, and makes a superblock or says why not. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/layout.h"
#include "mount-helper/poolconf.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

static char dir[] = "/tmp/aceso-fuzz-XXXXXX";
static char path[64];
static int file = -1;
static unsigned taken; /* files that were */

static void tidy(void)
{
	unlink(path);
	rmdir(dir);
}

static void set_up(void)
{
	must(mkdtemp(dir) != NULL);
	must(setenv("ACESO_CONF_DIR", dir, 1) == 0);
	snprintf(path, sizeof(path), "%s/p.conf", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(file >= 0);
	atexit(tidy);
}

static void must_be_a_line(const char *error)
{
	must(strnlen(error, CONF_ERROR_BYTES_MAX) < CONF_ERROR_BYTES_MAX);
	must(error[0] != '\0' && strchr(error, '\n') == NULL);
}

static void look_place(const struct poolconf_place *p)
{
	char address[POOLCONF_HOST_BYTES + 16];
	struct poolconf_place again;

	must(strnlen(p->host, sizeof(p->host)) < sizeof(p->host));
	must(p->host[0] != '\0' && p->port != 0);
	poolconf_address("tcp", p, address, sizeof(address));
	must(poolconf_parse_place(address + strlen("tcp:"), 1, &again) == 0);
	must(strcmp(again.host, p->host) == 0 && again.port == p->port);
}

static void look(const struct poolconf *c)
{
	char error[CONF_ERROR_BYTES_MAX] = "", list[POOLCONF_LIST_BYTES];
	struct layout_super super;

	must(c->k + c->m <= c->nodes && c->nodes <= FAB_NODES_MAX);
	must(c->coords >= 1 && c->coords <= POOLCONF_COORDS_MAX);
	must(strcmp(c->name, "p") == 0);
	for (uint32_t i = 0; i < c->nodes; i++)
		look_place(&c->node[i]);
	for (uint32_t i = 0; i < c->coords; i++)
		look_place(&c->coord[i]);
	poolconf_coords(c, list);
	must(strnlen(list, sizeof(list)) < sizeof(list));
	if (poolconf_super(c, &super, error) != 0)
		must_be_a_line(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[CONF_ERROR_BYTES_MAX] = "";
	struct poolconf c;

	if (file < 0)
		set_up();
	must(ftruncate(file, 0) == 0);
	must(pwrite(file, data, size, 0) == (ssize_t)size);
	if (poolconf_read("p", &c, error) != 0) {
		must_be_a_line(error);
		return 0;
	}
	look(&c);
	taken++;
	return 0;
}

void fuzz_seeds(void)
{
#define TEXT(text) fuzz_seed(text, sizeof(text) - 1)
	TEXT("[pool]\nname = p\nuuid = 0123456789abcdef0123456789abcdef\n"
	     "code = 3+2\nnode-size = 64M\ntransport = tcp\nkey = p.key\n"
	     "lease-ms = 500\n[nodes]\n0 = a:7601\n1 = b\n2 = c:99\n"
	     "3 = [fe80::1]:7\n4 = ::1\n[coordinators]\n0 = a\n1 = [::1]:7\n"
	     "[zookeeper]\nservers = a:2181,b:2181\n");
	TEXT("[pool]\nname = p\nuuid = 0123456789abcdef0123456789abcdef\n"
	     "code = 2+1\nnode-size = 4G\ntransport = verbs\nkey = /k\n"
	     "[nodes]\n0 = h1\n1 = h2\n2 = h3\n[coordinators]\n0 = h1\n");
	TEXT("[pool]\nname = q\ncode = 255+255\n[nodes]\n99 = :0\n");
#undef TEXT
}
