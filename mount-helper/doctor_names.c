/* mount-helper/doctor_names.c - where the names of a pool's hosts lead here. */
#include <stdio.h>
#include <string.h>

#include "mount-helper/doctor.h"
#include "mount-helper/host_names.h"

/* Those that lead nowhere, and a line of /etc/hosts for each. */
static void say_unknown(struct doctor *d, const struct host_names *names,
			uint32_t unknown)
{
	char found[512], mend[512];
	size_t f = 0, m = 0;

	for (uint32_t i = 0; i < names->n; i++) {
		const char *name = names->host[i].name;

		if (names->host[i].where != HOST_NOWHERE)
			continue;
		if (f + strlen(name) + 3 > sizeof(found) ||
		    m + strlen(name) + 16 > sizeof(mend) - 64)
			continue;
		f += (size_t)sprintf(found + f, "%s%s", f > 0 ? ", " : "",
				     name);
		m += (size_t)sprintf(mend + m, "%sADDRESS %s",
				     m > 0 ? "\\n" : "printf '", name);
	}
	strcpy(mend + m, "\\n' | sudo tee -a /etc/hosts");
	doctor_say(d, "names", DOCTOR_WARN,
		   "these cannot be reached from here by their names", mend,
		   "%s: %u of the pool's %u names lead to no address", found,
		   unknown, names->n);
}

void doctor_names(struct doctor *d)
{
	char found[HOST_NAMES_WORDS_MAX], mend[DOCTOR_PATH_BYTES + 160];
	const struct host_name *shut;
	struct host_names names;
	uint32_t unknown = 0;

	host_names_look(d->pool, &names);
	for (uint32_t i = 0; i < names.n; i++)
		unknown += names.host[i].where == HOST_NOWHERE;
	shut = host_names_shut(&names);
	if (shut != NULL) {
		host_names_found(shut, found);
		host_names_mend(&names, shut, d->pool->path, mend,
				sizeof(mend));
		doctor_say(d, "names", DOCTOR_FAIL,
			   "aceso pool serve refuses to serve there", mend,
			   "%s", found);
	} else if (unknown > 0) {
		say_unknown(d, &names, unknown);
	} else {
		doctor_say(d, "names", DOCTOR_OK, NULL, NULL,
			   "all %u of them lead to an address", names.n);
	}
}
