/* mount-helper/conf_file.c - the file of options: its sections. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/conf_impl.h"
#include "mount-helper/inifile.h"

static const char *const sections[] = {"mount", "tools", "paths", NULL};

const char *conf_file(void)
{
	const char *path = getenv("ACESO_CONF");

	return path != NULL && *path != '\0' ? path : CONF_FILE;
}

static int bad_section(const struct inifile_entry *e, char *why, size_t cap)
{
	const char *near = conf_nearest(e->section, sections);

	if (e->section[0] == '\0')
		snprintf(why, cap, "'%s' is in no section: begin with [mount]",
			 e->name);
	else if (near != NULL)
		snprintf(why, cap, "unknown section [%s]: did you mean [%s]?",
			 e->section, near);
	else
		snprintf(why, cap,
			 "unknown section [%s]: there are [mount], "
			 "[tools] and [paths]",
			 e->section);
	return -EINVAL;
}

static int take_var(const struct inifile_entry *e, char *why, size_t cap)
{
	const char *near = NULL;
	int rc = conf_vars_take(e->section, e->name, e->value, e->line, &near);

	if (rc == -ERANGE)
		snprintf(why, cap, "%s = %s makes no sense: see man aceso.conf",
			 e->name, e->value);
	else if (rc < 0 && near != NULL)
		snprintf(why, cap, "unknown name '%s': did you mean '%s'?",
			 e->name, near);
	else if (rc < 0)
		snprintf(why, cap,
			 "unknown name '%s' in [%s]: see man "
			 "aceso.conf",
			 e->name, e->section);
	return rc;
}

static int on_entry(void *arg, const struct inifile_entry *e, char *why,
		    size_t cap)
{
	struct conf *c = arg;
	int rc;

	if (strcmp(e->section, "tools") == 0 ||
	    strcmp(e->section, "paths") == 0)
		return take_var(e, why, cap);
	if (strcmp(e->section, "mount") != 0)
		return bad_section(e, why, cap);
	c->line = e->line;
	rc = conf_take_entry(c, e->name, e->value);
	c->line = 0;
	if (rc < 0)
		snprintf(why, cap, "%s", c->error);
	return rc;
}

int conf_file_read(struct conf *c)
{
	char error[CONF_ERROR_BYTES_MAX];
	bool named = conf_file() == getenv("ACESO_CONF");
	int rc = inifile_read(conf_file(), on_entry, c, error, sizeof(error));

	c->error[0] = '\0';
	if (rc == 0 || (rc == -ENOENT && !named))
		return 0;
	return conf_fail(c, "%s", error);
}
