/* tests/lib/cluster_check.h - is what lies in the memory of a cluster's nodes
 * as it should be? Looks at every byte, by the formats alone. Nothing may be
 * under way: settle first, and let clients be idle. (Blocks that are being
 * given back are waited for, by virtual time.) */
#ifndef ACESO_TESTS_LIB_CLUSTER_CHECK_H
#define ACESO_TESTS_LIB_CLUSTER_CHECK_H
#include "tests/lib/cluster.h"

/* Fail the test unless, on all nodes that are up:
 *  - D1, D2, S1 of ec/block.h hold for every stripe whose data can be seen;
 *  - members of a stripe agree on each block's life and kind;
 *  - every firm slot names a whole record that belongs there, no key has two,
 *    and no slot is tentative (but for those of clients that died, or of
 *    operations that ran out of time, if @some_died: then a record may be
 *    PENDING, too, and rows may be torn).
 * @kv reads what lies on nodes that are down. */
void cluster_check(struct cluster *c, struct kv *kv, bool some_died);

#endif
