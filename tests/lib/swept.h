/* tests/lib/swept.h - a dead client's records are looked through by the pool
 * some time after its death. Threads: as cluster.h. */
#ifndef ACESO_TESTS_LIB_SWEPT_H
#define ACESO_TESTS_LIB_SWEPT_H
#include <stdint.h>

struct cluster;
struct kv;

/* Wait until @kv, which lives, hears that client @id is. Fails the test if that
 * never comes. */
void swept_wait(struct cluster *c, struct kv *kv, uint32_t id);

#endif
