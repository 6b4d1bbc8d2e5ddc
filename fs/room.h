/* fs/room.h - no room: is some on its way back?
 * With several mounts what was removed is destroyed some ten milliseconds later
 * (orphan.h); who fills the pool meanwhile waits for that instead of failing.
 *
 *	struct fs_room room = {0};
 *
 *	do
 *		err = ...;
 *	while (fs_room_again(fs, err, &room));
 *
 * Threads: any; no inode lock is held. */
#ifndef ACESO_FS_ROOM_H
#define ACESO_FS_ROOM_H
#include <stdbool.h>
#include <stdint.h>

struct fs;

#define FS_ROOM_WAIT_MS 10000u /* in all, for one request */

struct fs_room {
	uint64_t until_ns; /* 0: not begun */
	uint64_t seen;	   /* what had been given back at the last try */
};

/* True if @err is -ENOSPC and something was given back since, so that it is
 * worth trying again. */
bool fs_room_again(struct fs *fs, int64_t err, struct fs_room *room);

#endif
