/* mount-helper/inifile.c - INI files: libinih, and what it does not say. */
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/inifile.h"

struct reading {
	const char *path;
	FILE *f;
	unsigned line; /* the last one that libinih was given */
	int (*each)(void *arg, const struct inifile_entry *e, char *why,
		    size_t cap);
	void *arg;
	char *error;
	size_t cap;
	int rc; /* the first fault */
};

static void fault(struct reading *r, int rc, const char *why)
{
	if (r->rc != 0)
		return;
	r->rc = rc;
	snprintf(r->error, r->cap, "%s:%u: %s", r->path, r->line, why);
	for (char *p = r->error; *p != '\0'; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?'; /* one line, whatever was in the file */
}

/* libinih takes a line that begins with a blank for more of the last value. */
static void trim(char *text)
{
	memmove(text, text + strspn(text, " \t"),
		strlen(text + strspn(text, " \t")) + 1);
}

/* One line for libinih, which has no other way to tell us which one it is. */
static char *next_line(char *text, int cap, void *stream)
{
	struct reading *r = stream;

	if (r->rc != 0 || fgets(text, cap, r->f) == NULL)
		return NULL;
	r->line++;
	if (strchr(text, '\n') == NULL && !feof(r->f)) {
		fault(r, -EINVAL, "the line is too long, or no text");
		return NULL;
	}
	trim(text);
	return text;
}

static int on_entry(void *user, const char *section, const char *name,
		    const char *value)
{
	struct reading *r = user;
	const struct inifile_entry e = {section, name,
					value != NULL ? value : "", r->line};
	char *why;
	int rc;

	if (r->rc != 0)
		return 1;
	why = calloc(1, r->cap);
	rc = why == NULL ? -ENOMEM : r->each(r->arg, &e, why, r->cap);
	if (rc < 0)
		fault(r, rc,
		      why != NULL && why[0] != '\0' ? why : strerror(-rc));
	free(why);
	return 1;
}

static void bad_syntax(struct reading *r, int line)
{
	r->line = (unsigned)line;
	fault(r, line > 0 ? -EINVAL : -ENOMEM,
	      "neither [section], nor name = value, nor a comment (# or ;)");
}

int inifile_read(const char *path,
		 int (*each)(void *arg, const struct inifile_entry *e,
			     char *why, size_t cap),
		 void *arg, char *error, size_t cap)
{
	struct reading r = {.path = path,
			    .f = fopen(path, "re"),
			    .each = each,
			    .arg = arg,
			    .error = error,
			    .cap = cap};
	int line;

	if (r.f == NULL) {
		r.rc = -errno;
		snprintf(error, cap, "%s: %s", path, strerror(errno));
		return r.rc;
	}
	line = ini_parse_stream(next_line, &r, on_entry, &r);
	if (r.rc == 0 && ferror(r.f)) {
		r.rc = -EIO;
		snprintf(error, cap, "%s: cannot be read", path);
	} else if (line != 0) {
		bad_syntax(&r, line);
	}
	fclose(r.f);
	return r.rc;
}
