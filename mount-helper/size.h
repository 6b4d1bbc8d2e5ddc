/* mount-helper/size.h - amounts and codes as people write them.
 * Pure functions; any thread. */
#ifndef ACESO_MOUNT_HELPER_SIZE_H
#define ACESO_MOUNT_HELPER_SIZE_H
#include <stddef.h>
#include <stdint.h>

#define SIZE_TEXT_BYTES 16

/* "4096", "512m", "1.5g", "2TiB": bytes; k, m, g and t are powers of 1024.
 * Errors: -EINVAL for anything else; -ERANGE past 2^63. */
int size_parse(const char *text, uint64_t *bytes);

/* As size_parse(), or "50%" (above 0, up to 100): then *@percent is set and
 * *@bytes is 0, else the reverse. */
int size_parse_share(const char *text, uint64_t *bytes, double *percent);

/* "3+2". Errors: -EINVAL; limits of the code are the store's to check. */
int size_parse_code(const char *text, uint32_t *k, uint32_t *m);

/* A whole number in [@min, @max]. Errors: -EINVAL; -ERANGE. */
int size_parse_count(const char *text, uint32_t min, uint32_t max,
		     uint32_t *out);

/* Seconds, "0.5", in [0, @max]. Errors: -EINVAL; -ERANGE. */
int size_parse_seconds(const char *text, double max, double *out);

/* "1.5 GiB" into @out; returns it. */
const char *size_text(uint64_t bytes, char out[SIZE_TEXT_BYTES]);

#endif
