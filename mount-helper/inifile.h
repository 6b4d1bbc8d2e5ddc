/* mount-helper/inifile.h - INI files as our programs read them: libinih's
 * syntax ("[section]", "name = value", comments with # and ;), with names of
 * files and lines in every error. Indentation means nothing: no value is
 * continued on another line.
 * Threads: any. */
#ifndef ACESO_MOUNT_HELPER_INIFILE_H
#define ACESO_MOUNT_HELPER_INIFILE_H
#include <stddef.h>

#define INIFILE_LINE_BYTES_MAX 198u /* libinih's */

struct inifile_entry {
	const char *section; /* "" before the first */
	const char *name;
	const char *value; /* "" if nothing is behind the = */
	unsigned line;	   /* from 1 */
};

/* Call @each with every entry of @path, in order, until one is refused: by
 * -errno, with the cause in words in @why (of @cap bytes, "" if none). Then,
 * and for a line that is none, @error (of @cap bytes) is "PATH:LINE: cause".
 * Errors: those of open(2), said in @error too; -EINVAL a line that is none;
 * what @each returned. */
int inifile_read(const char *path,
		 int (*each)(void *arg, const struct inifile_entry *e,
			     char *why, size_t cap),
		 void *arg, char *error, size_t cap);

#endif
