/* tests/lib/disk_model.h - the disks of a pool, and the loss of power.
 *
 * A region is memory, of which the disk has what was there at the last sync and
 * any pages written later, as it likes. Files are whole or not there. Each
 * sync, write and commit is two steps, before and after it is done; power is
 * lost at the n-th. From then on the disks answer -EIO and keep what they have:
 * disk_model_restart() makes that the regions' contents.
 * One thread at a time, or fibers. */
#ifndef ACESO_TESTS_LIB_DISK_MODEL_H
#define ACESO_TESTS_LIB_DISK_MODEL_H
#include <stdbool.h>
#include <stdint.h>

#include "kv/node/restart.h"
#include "tests/lib/cluster.h"

struct disk_model;

struct disk_model *disk_model_open(uint64_t seed, uint64_t region_bytes,
				   uint32_t nodes);
void disk_model_close(struct disk_model *m);

/* Fill in what a cluster needs to be on these disks. */
void disk_model_opts(struct disk_model *m, struct cluster_opts *o);
/* While it runs: operations of the disk take time in it. NULL: none. */
void disk_model_cluster(struct disk_model *m, struct cluster *c);

/* Lose power at step @n from here; 0: never. */
void disk_model_lose(struct disk_model *m, uint64_t n);
bool disk_model_lost(const struct disk_model *m);
uint64_t disk_model_steps(const struct disk_model *m);

/* The cut that a restart goes by; durable 0: none. */
const struct coord_counters *disk_model_at(const struct disk_model *m);

/* Power is back (or was never lost: then all processes died): restart_run() on
 * what the disks have. Fails the test if that fails. */
void disk_model_restart(struct disk_model *m, const struct layout_super *super,
			struct restart_report *out);

#endif
