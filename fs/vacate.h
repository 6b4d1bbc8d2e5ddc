/* fs/vacate.h - pages written once more, elsewhere, so that blocks of the store
 * empty: a nearly full pool needs their room for records
 * (kv/client/clean_pages.c).
 *
 *   every chunk's node -> those that name a page that is to go
 *     -> read it, write it elsewhere -> store the node if nobody changed it
 *     -> give the old page back
 *
 * To everybody else it is as if another mount had written the same bytes: no
 * lock is needed, and times stay.
 * Threads: one at a time, beside any other work. */
#ifndef ACESO_FS_VACATE_H
#define ACESO_FS_VACATE_H
#include "kv/kv.h"

struct fs;

/* For kv_on_vacate(); @arg: struct fs. Errors: -ECANCELED fs_vacate_stop();
 * -ENOMEM; those of kv.h. */
int fs_vacate(void *arg, kv_is_in *is_in, const void *set);

/* Let the store call it, and no more: waits. */
void fs_vacate_start(struct fs *fs);
void fs_vacate_stop(struct fs *fs);

#endif
