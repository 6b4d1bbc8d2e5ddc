/* mount-helper/conf_name.c - names: of pools, and of options misspelt. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "mount-helper/conf.h"

static bool letter(char ch)
{
	return (isascii((unsigned char)ch) && isalnum((unsigned char)ch)) ||
	       ch == '.' || ch == '_' || ch == '-';
}

int conf_check_name(const char *name)
{
	if (strlen(name) > CONF_POOL_BYTES_MAX)
		return -ENAMETOOLONG;
	if (name[0] == '\0' || name[0] == '.' || name[0] == '-')
		return -EINVAL;
	for (; *name != '\0'; name++)
		if (!letter(*name))
			return -EINVAL;
	return 0;
}

void conf_name_of(const char *dir, char name[CONF_POOL_BYTES_MAX + 1])
{
	size_t keep = CONF_POOL_BYTES_MAX - 9; /* "-" and 8 digits follow */
	const char *p = dir + strspn(dir, "/");
	bool exact = *p != '.' && *p != '-' && *p != '\0';
	size_t n = 0;

	if (!exact)
		name[n++] = '_';
	for (; *p != '\0' && n < keep; p++) {
		bool good = letter(*p) && *p != '-';

		name[n++] = *p == '/' ? '-' : good ? *p : '_';
		exact = exact && (good || *p == '/');
	}
	name[n] = '\0';
	if (!exact || *p != '\0') /* two paths, two names */
		sprintf(name + n, "-%08x",
			(unsigned)XXH64(dir, strlen(dir), 0));
}

/* Levenshtein's distance, for words shorter than @row. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[n];
}

const char *conf_nearest(const char *word, const char *const *names)
{
	const char *near = NULL;
	/* two typing mistakes at most, one in a short word */
	unsigned least = strlen(word) < 5 ? 2 : 3;

	if (strlen(word) >= 64)
		return NULL;
	for (; *names != NULL; names++) {
		unsigned d = distance(word, *names);

		if (d < least && d < strlen(*names)) {
			least = d;
			near = *names;
		}
	}
	return near;
}
