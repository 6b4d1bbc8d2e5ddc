/* mount-helper/cmd_doctor.c - aceso doctor: asks the checks, prints what they
 * found. As JSON: {"ok", "findings": [{"check", "verdict": "ok" | "warn" |
 * "fail", "found", "means", "mend"}]}; names are stable. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/cmd.h"
#include "mount-helper/conf.h"
#include "mount-helper/doctor.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/say.h"

static const char *const verdicts[] = {
	[DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAIL] = "fail"};

void doctor_say(struct doctor *d, const char *check, enum doctor_verdict v,
		const char *means, const char *mend, const char *fmt, ...)
{
	char text[CONF_ERROR_BYTES_MAX];
	va_list ap;
	json_t *o;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	o = json_pack("{ss ss so so so}", "check", check, "verdict",
		      verdicts[v], "found", cmd_json_text(text), "means",
		      means != NULL ? cmd_json_text(means) : json_null(),
		      "mend", mend != NULL ? cmd_json_text(mend) : json_null());
	if (o == NULL || json_array_append_new(d->findings, o) != 0)
		d->lost = true;
	d->failed = d->failed || v == DOCTOR_FAIL;
}

const char *doctor_path(const struct doctor *d, const char *path,
			char out[DOCTOR_PATH_BYTES])
{
	snprintf(out, DOCTOR_PATH_BYTES, "%s%s", d->root, path);
	return out;
}

int doctor_line(const struct doctor *d, const char *path, char *out, size_t cap)
{
	char full[DOCTOR_PATH_BYTES];
	FILE *f = fopen(doctor_path(d, path, full), "re");
	int rc = 0;

	if (f == NULL)
		return -errno;
	if (fgets(out, (int)cap, f) == NULL)
		rc = -EIO;
	else
		out[strcspn(out, "\n")] = '\0';
	fclose(f);
	return rc;
}

const char *doctor_editor(const char *path, const char *error,
			  char out[DOCTOR_PATH_BYTES])
{
	const char *at = strstr(error, path);
	unsigned line = 0;

	if (at != NULL && sscanf(at + strlen(path), ":%u:", &line) == 1)
		snprintf(out, DOCTOR_PATH_BYTES, "sudo editor +%u %s", line,
			 path);
	else
		snprintf(out, DOCTOR_PATH_BYTES, "sudo editor %s", path);
	return out;
}

/* --- printing ------------------------------------------------------- */

static void print_one(const json_t *o, bool color)
{
	const char *v = cmd_text(o, "verdict");
	const char *tint = strcmp(v, "ok") == 0	    ? "\033[32m"
			   : strcmp(v, "warn") == 0 ? "\033[33m"
						    : "\033[31m";

	printf("%s%-5s%s %-14s %s\n", color ? tint : "", v,
	       color ? "\033[0m" : "", cmd_text(o, "check"),
	       cmd_text(o, "found"));
	if (json_is_string(json_object_get(o, "means")))
		printf("%20s %s\n", "", cmd_text(o, "means"));
	if (json_is_string(json_object_get(o, "mend")))
		printf("%20s mend: %s\n", "", cmd_text(o, "mend"));
}

static int print(const struct doctor *d, bool json)
{
	bool color = isatty(1) && getenv("NO_COLOR") == NULL;
	json_t *o;

	if (json) {
		o = json_pack("{sb sO}", "ok", !d->failed, "findings",
			      d->findings);
		json_dumpf(o, stdout, JSON_INDENT(2));
		json_decref(o);
		putchar('\n');
	} else {
		for (size_t i = 0; i < json_array_size(d->findings); i++)
			print_one(json_array_get(d->findings, i), color);
	}
	return d->failed ? CMD_FAIL : CMD_OK;
}

static void examine(struct doctor *d)
{
	doctor_system(d);
	doctor_conf(d);
	doctor_fuse(d);
	doctor_memory(d);
	doctor_rdma(d);
	if (d->pool == NULL)
		return;
	doctor_names(d);
	doctor_pool(d);
	doctor_firewall(d);
}

/* An embedded pool has no file; it runs, or it is not there. */
static bool is_local(const char *name)
{
	struct pool_place p;

	return !poolconf_exists(name) && pool_find(name, &p) == 0 &&
	       pool_supervisor(&p) != 0;
}

/* A pool whose file is wrong is a finding like others. */
static void load_pool(struct doctor *d, const char *name, struct poolconf *c)
{
	char error[CONF_ERROR_BYTES_MAX], mend[DOCTOR_PATH_BYTES];
	int rc = poolconf_read(name, c, error);

	if (rc == 0) {
		d->pool = c;
		return;
	}
	if (rc == -ENOENT)
		snprintf(mend, sizeof(mend),
			 "scp HOST:%s/%s.{conf,key} %s/ (from where aceso pool "
			 "create was run)",
			 poolconf_dir(), name, poolconf_dir());
	else
		doctor_editor(c->path, error, mend);
	doctor_say(d, "pool-file", DOCTOR_FAIL,
		   "without it this host does not know where the pool is", mend,
		   "%s", error);
}

int cmd_doctor(const char *pool, int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	const char *root = getenv("ACESO_DOCTOR_ROOT");
	struct doctor d = {.root = root != NULL ? root : ""};
	static struct poolconf c;
	bool json = false;
	int letter, code;

	while ((letter = getopt_long(argc, argv, "j", longs, NULL)) != -1) {
		if (letter == '?')
			return cmd_usage("doctor");
		json = true;
	}
	if (optind != argc)
		return cmd_usage("doctor");
	d.findings = json_array();
	if (d.findings != NULL && pool != NULL && !is_local(pool))
		load_pool(&d, pool, &c);
	if (d.findings != NULL)
		examine(&d);
	if (d.findings == NULL || d.lost) {
		say_err("out of memory");
		return CMD_FAIL;
	}
	code = print(&d, json);
	json_decref(d.findings);
	return code;
}
