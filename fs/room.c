#include "fs/room.h"

#include <errno.h>
#include <time.h>

#include "fs/clock.h"
#include "fs/fs_impl.h"
#include "fs/orphan.h"
#include "fs/timer.h"

#define NAP_NS 2000000 /* 2 ms */

/* Until an orphan is destroyed that was not at the last try. False: none is
 * going to be. */
static bool wait_for_one(struct fs *fs, struct fs_room *room)
{
	const struct timespec nap = {0, NAP_NS};
	uint64_t was = room->seen;

	for (;;) {
		bool waits = fs_orphan_waits(fs);

		room->seen = fs_orphan_count(fs);
		if (room->seen != was)
			return true;
		if (!waits || fs_clock_ns() >= room->until_ns)
			return false;
		fs_timer_hurry(fs->timer);
		nanosleep(&nap, NULL);
	}
}

bool fs_room_again(struct fs *fs, int64_t err, struct fs_room *room)
{
	if (err != -ENOSPC || !fs_timer_runs(fs->timer))
		return false;
	if (room->until_ns == 0)
		room->until_ns =
			fs_clock_ns() + FS_ROOM_WAIT_MS * UINT64_C(1000000);
	if (!wait_for_one(fs, room))
		return false;
	(void)kv_sync(fs->kv); /* its marks go out now */
	return fs_clock_ns() < room->until_ns;
}
