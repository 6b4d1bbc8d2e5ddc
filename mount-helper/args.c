/* mount-helper/args.c - the words that our daemons are started with. */
#include "mount-helper/args.h"

#include <errno.h>
#include <stdlib.h>

#include "mount-helper/exitcode.h"
#include "mount-helper/say.h"

static void answer(const struct args_form *form, int letter)
{
	if (letter == 'V')
		printf("%s %s\n", form->program, ACESO_VERSION);
	else if (letter == 'h')
		form->usage(stdout);
	else
		return;
	exit(EXIT_OK);
}

int args_parse(const struct args_form *form, void *arg, int argc, char **argv)
{
	int letter, at = 0;

	while ((letter = getopt_long(argc, argv, "Vh", form->longs, &at)) !=
	       -1) {
		answer(form, letter);
		if (letter == '?')
			return -EINVAL; /* getopt said why */
		if (form->take(arg, letter, optarg) < 0) {
			say_err("--%s '%s' makes no sense",
				form->longs[at].name, optarg);
			return -EINVAL;
		}
	}
	return optind == argc ? 0 : -EINVAL;
}
