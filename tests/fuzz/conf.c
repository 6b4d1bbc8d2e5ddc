/* tests/fuzz/conf.c - a command line: words, each with its 0. */
#include <stdlib.h>
#include <string.h>

#include "mount-helper/conf.h"
#include "tests/lib/fuzz.h"
#include "tests/lib/must.h"

#define WORDS_MAX 16

void fuzz_seeds(void)
{
#define LINE(text) fuzz_seed(text, sizeof(text) - 1)
	LINE("-o\0size=1G,code=3+2,nodes=5\0/mnt");
	LINE("-f\0-d\0-s\0/mnt/aceso\0-o\0allow_other,fsname=a\\,b");
	LINE("-o\0pool=name,attr_timeout=1.5,cache=auto\0/mnt");
	LINE("--help");
	LINE("-V");
	LINE("-o\0size=50%,max_threads=8,clone_fd,ro,nosuid\0/x");
#undef LINE
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[WORDS_MAX + 2] = {"aceso-fuse"};
	char *text = malloc(size + 1);
	struct conf c;
	int argc = 1, rc;

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *p = text; p < text + size && argc <= WORDS_MAX;
	     p += strlen(p) + 1)
		argv[argc++] = p;
	rc = conf_read(&c, argc, argv);
	must(strnlen(c.error, sizeof(c.error)) < sizeof(c.error));
	must(strnlen(c.mount, sizeof(c.mount)) < sizeof(c.mount));
	must(strchr(c.error, '\n') == NULL);
	must(rc == 0 || c.error[0] != '\0');
	must(rc != 0 || c.pool.name[0] == '\0' ||
	     conf_check_name(c.pool.name) == 0);
	conf_free(&c);
	free(text);
	return 0;
}
