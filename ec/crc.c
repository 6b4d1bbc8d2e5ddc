#include "ec/crc.h"

#include <limits.h>

#include <isa-l/crc.h>

uint32_t crc_of(uint32_t seed, const void *buf, size_t len)
{
	unsigned char *p = (unsigned char *)buf; /* isa-l takes no const */
	uint32_t crc = ~seed;

	while (len > INT_MAX) {
		crc = crc32_iscsi(p, INT_MAX, crc);
		p += INT_MAX;
		len -= INT_MAX;
	}
	return ~crc32_iscsi(p, (int)len, crc);
}
