/* mount-helper/conf_vars.c - what the file says about programs, not mounts:
 * each name stands for a variable of the environment, and so reaches the
 * programs that we start, too. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/conf_impl.h"

static int is_name(const char *v)
{
	return conf_check_name(v) == 0;
}

static int is_path(const char *v)
{
	return v[0] == '/' && strlen(v) < CONF_DIR_BYTES_MAX;
}

static int is_yes_or_no(const char *v)
{
	return strcmp(v, "yes") == 0 || strcmp(v, "no") == 0;
}

static struct var {
	const char *section, *name, *env;
	int (*fits)(const char *value);
	const char *dflt;
	const char *word; /* the variable is set to "1" by this value */
	struct conf_origin from;
} vars[] = {
	{"tools",
	 "pool",
	 "ACESO_POOL",
	 is_name,
	 "the only one running",
	 NULL,
	 {0}},
	{"tools", "color", "NO_COLOR", is_yes_or_no, "yes", "no", {0}},
	{"paths",
	 "runtime-dir",
	 "ACESO_RUNTIME_DIR",
	 is_path,
	 "/run/aceso as root",
	 NULL,
	 {0}},
	{"paths",
	 "state-dir",
	 "ACESO_STATE_DIR",
	 is_path,
	 "/var/lib/aceso",
	 NULL,
	 {0}},
	{"paths",
	 "conf-dir",
	 "ACESO_CONF_DIR",
	 is_path,
	 "/etc/aceso",
	 NULL,
	 {0}},
};

#define VARS (sizeof(vars) / sizeof(vars[0]))

static bool applied; /* what is found from now on is no news */

int conf_vars_take(const char *section, const char *name, const char *value,
		   unsigned line, const char **near)
{
	const char *names[VARS + 1] = {NULL};
	size_t n = 0;

	for (size_t i = 0; i < VARS; i++) {
		struct var *v = &vars[i];

		if (strcmp(v->section, section) != 0)
			continue;
		names[n++] = v->name;
		if (strcmp(v->name, name) != 0)
			continue;
		if (!v->fits(value))
			return -ERANGE;
		if (applied)
			return 0;
		v->from.source = CONF_FILE_LINE;
		v->from.line = line;
		snprintf(v->from.value, sizeof(v->from.value), "%s", value);
		return 0;
	}
	*near = conf_nearest(name, names);
	return -EINVAL;
}

/* The environment wins; what it does not say it is told. */
static int apply(struct var *v)
{
	const char *text = getenv(v->env);

	if (text != NULL && *text != '\0') {
		v->from.source = CONF_ENV;
		v->from.line = 0;
		snprintf(v->from.value, sizeof(v->from.value), "%s",
			 v->word != NULL ? v->word : text);
		return 0;
	}
	if (v->from.source != CONF_FILE_LINE)
		return 0;
	if (v->word != NULL && strcmp(v->from.value, v->word) != 0)
		return 0;
	return setenv(v->env, v->word != NULL ? "1" : v->from.value, 1);
}

int conf_apply_vars(char *error)
{
	struct conf *c = calloc(1, sizeof(*c));
	int rc = c == NULL ? -ENOMEM : 0;

	if (c != NULL) {
		c->source = CONF_FILE_LINE;
		rc = conf_file_read(c);
	}
	for (size_t i = 0; i < VARS && rc == 0; i++)
		rc = apply(&vars[i]) == 0 ? 0 : -ENOMEM;
	if (rc < 0)
		snprintf(error, CONF_ERROR_BYTES_MAX, "%s",
			 rc == -ENOMEM ? "out of memory" : c->error);
	free(c);
	applied = true;
	return rc;
}

int conf_each_var(int (*each)(void *arg, const char *section, const char *name,
			      const char *env, const char *value,
			      enum conf_source source, unsigned line),
		  void *arg)
{
	int rc = 0;

	for (size_t i = 0; i < VARS && rc == 0; i++) {
		const struct var *v = &vars[i];

		rc = each(arg, v->section, v->name, v->env,
			  v->from.source == CONF_DEFAULT ? v->dflt
							 : v->from.value,
			  v->from.source, v->from.line);
	}
	return rc;
}
