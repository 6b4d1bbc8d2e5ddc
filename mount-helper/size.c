/* mount-helper/size.c - amounts and codes as people write them. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mount-helper/size.h"

/* A number without sign, base, "inf" or leading blanks; *@end is set. */
static int number(const char *text, double *out, char **end)
{
	size_t digits = strspn(text, "0123456789.");

	if (digits == 0)
		return -EINVAL;
	*out = strtod(text, end);
	if (*end != text + digits || !isfinite(*out)) /* 0x10, 1e9 */
		return -EINVAL;
	return 0;
}

/* The power of two that a unit stands for, -1 for none of ours. */
static int unit_shift(const char *unit)
{
	static const char letters[] = "kmgt";
	const char *at;

	if (unit[0] == '\0' || strcasecmp(unit, "b") == 0)
		return 0;
	at = strchr(letters, tolower((unsigned char)unit[0]));
	if (at == NULL)
		return -1;
	if (unit[1] != '\0' && strcasecmp(unit + 1, "b") != 0 &&
	    strcasecmp(unit + 1, "ib") != 0)
		return -1;
	return 10 * (int)(at - letters + 1);
}

int size_parse(const char *text, uint64_t *bytes)
{
	double n;
	char *unit;
	int shift;

	if (number(text, &n, &unit) < 0)
		return -EINVAL;
	shift = unit_shift(unit);
	if (shift < 0)
		return -EINVAL;
	n = ldexp(n, shift);
	if (n >= 0x1p63)
		return -ERANGE;
	*bytes = (uint64_t)n;
	return 0;
}

int size_parse_share(const char *text, uint64_t *bytes, double *percent)
{
	size_t len = strlen(text);
	char *end;
	double n;

	*percent = 0;
	if (len < 2 || text[len - 1] != '%')
		return size_parse(text, bytes);
	if (number(text, &n, &end) < 0 || end != text + len - 1)
		return -EINVAL;
	if (n <= 0 || n > 100)
		return -ERANGE;
	*percent = n;
	*bytes = 0;
	return 0;
}

int size_parse_count(const char *text, uint32_t min, uint32_t max,
		     uint32_t *out)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (*end != '\0')
		return -EINVAL;
	if (errno != 0 || n < min || n > max)
		return -ERANGE;
	*out = (uint32_t)n;
	return 0;
}

int size_parse_code(const char *text, uint32_t *k, uint32_t *m)
{
	char left[8];
	const char *plus = strchr(text, '+');
	size_t len;

	if (plus == NULL)
		return -EINVAL;
	len = (size_t)(plus - text);
	if (len >= sizeof(left))
		return -EINVAL;
	memcpy(left, text, len);
	left[len] = '\0';
	if (size_parse_count(left, 1, 99, k) < 0 ||
	    size_parse_count(plus + 1, 1, 99, m) < 0)
		return -EINVAL;
	return 0;
}

int size_parse_seconds(const char *text, double max, double *out)
{
	double n;
	char *end;

	if (number(text, &n, &end) < 0)
		return -EINVAL;
	if (strcmp(end, "s") != 0 && *end != '\0')
		return -EINVAL;
	if (n > max)
		return -ERANGE;
	*out = n;
	return 0;
}

const char *size_text(uint64_t bytes, char out[SIZE_TEXT_BYTES])
{
	static const char *const unit[] = {"B",	  "KiB", "MiB", "GiB",
					   "TiB", "PiB", "EiB"};
	double n = (double)bytes;
	unsigned u = 0;

	while (n >= 1024 && u < 6) {
		n /= 1024;
		u++;
	}
	if (u == 0 || n >= 100)
		snprintf(out, SIZE_TEXT_BYTES, "%.0f %s", n, unit[u]);
	else
		snprintf(out, SIZE_TEXT_BYTES, "%.1f %s", n, unit[u]);
	return out;
}
