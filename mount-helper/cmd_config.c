/* mount-helper/cmd_config.c - aceso config: what holds, and who says so. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/cmd.h"
#include "mount-helper/conf.h"
#include "mount-helper/say.h"

/* One list for both kinds of output. */
struct show {
	json_t *list; /* NULL: print it */
	const char *section;
};

static const char *const sources[] = {
	[CONF_DEFAULT] = "default",
	[CONF_FILE_LINE] = "file",
	[CONF_ENV] = "environment",
	[CONF_FLAG] = "flag",
};

/* "/etc/aceso/aceso.conf:7", "$ACESO_OPTIONS", "-o". */
static void where(enum conf_source source, const char *env, unsigned line,
		  char *out, size_t cap)
{
	switch (source) {
	case CONF_FILE_LINE:
		snprintf(out, cap, "%s:%u", conf_file(), line);
		break;
	case CONF_ENV:
		snprintf(out, cap, "$%s", env);
		break;
	case CONF_FLAG:
		snprintf(out, cap, "-o");
		break;
	default:
		snprintf(out, cap, "default");
	}
}

static int show_one(struct show *s, const char *section, const char *name,
		    const char *env, const char *value, enum conf_source source,
		    unsigned line)
{
	char from[CONF_DIR_BYTES_MAX + 32];
	json_t *o;

	where(source, env, line, from, sizeof(from));
	if (s->list != NULL) {
		o = json_pack("{ss ss so ss ss}", "section", section, "name",
			      name, "value", cmd_json_text(value), "source",
			      sources[source], "where", from);
		return json_array_append_new(s->list, o) == 0 ? 0 : -ENOMEM;
	}
	if (s->section == NULL || strcmp(s->section, section) != 0)
		printf("%s[%s]\n", s->section != NULL ? "\n" : "", section);
	s->section = section;
	printf("%-16s = %-28s ; %s\n", name, value, from);
	return 0;
}

static int show_option(void *arg, const char *name, const char *value,
		       enum conf_source source, unsigned line)
{
	return show_one(arg, "mount", name, "ACESO_OPTIONS", value, source,
			line);
}

static int show_var(void *arg, const char *section, const char *name,
		    const char *env, const char *value, enum conf_source source,
		    unsigned line)
{
	return show_one(arg, section, name, env, value, source, line);
}

static int show_all(struct show *s, const struct conf *c)
{
	int rc = conf_each(c, show_option, s);

	return rc != 0 ? rc : conf_each_var(show_var, s);
}

static int print_json(const struct conf *c)
{
	struct show s = {.list = json_array()};
	bool there = access(conf_file(), R_OK) == 0;
	json_t *o;
	int rc = s.list == NULL ? -ENOMEM : show_all(&s, c);

	o = json_pack("{so so}", "file",
		      there ? cmd_json_text(conf_file()) : json_null(),
		      "options", s.list);
	if (rc == 0 && o != NULL)
		rc = json_dumpf(o, stdout, JSON_INDENT(2));
	json_decref(o);
	putchar('\n');
	return rc == 0 && o != NULL ? CMD_OK : CMD_FAIL;
}

static int print_words(const struct conf *c)
{
	struct show s = {0};

	printf("; %s%s\n", conf_file(),
	       access(conf_file(), R_OK) == 0 ? "" : " (not there)");
	return show_all(&s, c) == 0 ? CMD_OK : CMD_FAIL;
}

/* The options of a mount, as if it were asked for with @options. */
static int show(const char *options, bool json)
{
	char *argv[] = {"aceso", "-o", (char *)options, NULL};
	static struct conf c;
	int code = CMD_FAIL;

	if (conf_gather(&c, options != NULL ? 3 : 1, argv) < 0)
		say_err("%s", c.error);
	else
		code = json ? print_json(&c) : print_words(&c);
	conf_free(&c);
	return code;
}

int cmd_config(const char *pool, int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	const char *options = NULL;
	bool json = false;
	int letter;

	if (argc < 2 || strcmp(argv[1], "show") != 0)
		return cmd_usage("config");
	while ((letter = getopt_long(argc - 1, argv + 1, "jo:", longs, NULL)) !=
	       -1) {
		if (letter == '?')
			return cmd_usage("config");
		if (letter == 'o')
			options = optarg;
		else
			json = true;
	}
	return optind == argc - 1 ? show(options, json) : cmd_usage("config");
}
