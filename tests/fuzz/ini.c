/* tests/fuzz/ini.c - a configuration file of any content: read as an INI file,
 * and as aceso.conf by the mount. What is refused is refused in one line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mount-helper/conf.h"
#include "mount-helper/inifile.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

static char path[64];
static int file = -1;

static int each(void *arg, const struct inifile_entry *e, char *why, size_t cap)
{
	unsigned *last = arg;

	must(e->line >= *last); /* in order */
	*last = e->line;
	must(strlen(e->section) <= INIFILE_LINE_BYTES_MAX);
	must(strlen(e->name) <= INIFILE_LINE_BYTES_MAX);
	must(strlen(e->value) <= INIFILE_LINE_BYTES_MAX);
	return 0;
}

static void look_ini(void)
{
	char error[200] = "";
	unsigned last = 0;
	int rc = inifile_read(path, each, &last, error, sizeof(error));

	must(strnlen(error, sizeof(error)) < sizeof(error));
	must(rc == 0 || (error[0] != '\0' && strchr(error, '\n') == NULL));
}

static void look_conf(void)
{
	char *argv[] = {"aceso-fuse", "/mnt", NULL};
	struct conf c;
	int rc = conf_read(&c, 2, argv);

	must(strnlen(c.error, sizeof(c.error)) < sizeof(c.error));
	must(rc == 0 || (c.error[0] != '\0' && strchr(c.error, '\n') == NULL));
	conf_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (file < 0) {
		file = memfd_create("ini", 0);
		must(file >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
		setenv("ACESO_CONF", path, 1);
	}
	must(ftruncate(file, 0) == 0);
	must(pwrite(file, data, size, 0) == (ssize_t)size);
	look_ini();
	look_conf();
	return 0;
}

void fuzz_seeds(void)
{
#define TEXT(text) fuzz_seed(text, sizeof(text) - 1)
	TEXT("[mount]\nsize = 1G ; so much\ncode=3+2\nnodes = 5\n"
	     "allow_other = yes\n");
	TEXT("# nothing\n\n[tools]\npool = x\n[paths]\nruntime-dir = /run/x\n");
	TEXT("[pool]\nname = NAME\nuuid = 0123456789abcdef0123456789abcdef\n"
	     "code = 3+2\nnode-size = 4G\ntransport = auto\nkey = NAME.key\n"
	     "lease-ms = 2000\n[nodes]\n0 = h1:7601\n1 = h2:7601\n"
	     "[coordinators]\n0 = h1:7600\n[zookeeper]\nservers = h1:2181\n");
	TEXT("[mount\nx\n= y\n  indented = 1\r\n\xef\xbb\xbf[a]\n");
#undef TEXT
}
