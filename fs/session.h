/* fs/session.h - our FUSE session: what it needs beyond what libfuse 3.14
 * offers, and what we tell the kernel without being asked.
 * Threads: attach before the loop starts, detach after it; the others any. */
#ifndef ACESO_FS_SESSION_H
#define ACESO_FS_SESSION_H
#include <stdint.h>

struct fs;
struct fuse_session;

/* Call once, after fuse_session_mount() and before the loop.
 *
 * Before every write(2) the kernel asks for "security.capability": a second
 * request for each write, unless the file system says at INIT that it drops
 * privileges itself, FUSE_HANDLE_KILLPRIV_V2. And with cache=none a file can be
 * mapped shared only with FUSE_DIRECT_IO_ALLOW_MMAP. libfuse 3.14 knows neither
 * flag, and forgets to say FUSE_PARALLEL_DIROPS, without which one lookup that
 * waits (for a rebuild) holds up all others in its directory, uninterruptibly.
 * So they are put into the answer to INIT on its way out, if the kernel
 * offered them. Without them all else works, small writes at a third of the
 * speed.
 * Errors: -ENOMEM and what fuse_session_custom_io() says; the session is then
 * as it was. */
int fs_session_attach(struct fs *fs, struct fuse_session *se);

/* After the loop, before fuse_session_unmount(): nobody speaks to the session
 * from now on. Ends the timer, too: what it has left is fs_close()'s. */
void fs_session_detach(struct fs *fs);

/* The kernel's attributes of @ino are not to be believed any more: it asks
 * again when it needs them. Its pages stay. Nothing without a session. */
void fs_session_doubt_attr(struct fs *fs, uint64_t ino);

/* Nor its pages, also mapped ones: they go, and come back by a READ. Waits for
 * READs that are under way. */
void fs_session_doubt_pages(struct fs *fs, uint64_t ino);

#endif
