/* ec/crc.h - CRC32C, as the CPU and ISA-L compute it. Pure; any thread. */
#ifndef ACESO_EC_CRC_H
#define ACESO_EC_CRC_H
#include <stddef.h>
#include <stdint.h>

/* Continue @seed (0 to begin) over @len bytes. */
uint32_t crc_of(uint32_t seed, const void *buf, size_t len);

#endif
