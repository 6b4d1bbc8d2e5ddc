/* fs/session.h - what our FUSE session needs beyond what libfuse 3.14 offers.
 * Threads: attach before the loop starts. */
#ifndef ACESO_FS_SESSION_H
#define ACESO_FS_SESSION_H

struct fuse_session;

/* Call once, after fuse_session_mount() and before the loop.
 *
 * Before every write(2) the kernel asks for "security.capability": a second
 * request for each write, unless the file system says at INIT that it drops
 * privileges itself, FUSE_HANDLE_KILLPRIV_V2. And with cache=none a file can be
 * mapped shared only with FUSE_DIRECT_IO_ALLOW_MMAP. libfuse 3.14 knows neither
 * flag, so they are put into the answer to INIT on its way out, if the kernel
 * offered them. Without them all else works, small writes at a third of the
 * speed.
 * Errors: -ENOMEM and what fuse_session_custom_io() says; the session is then
 * as it was. */
int fs_session_attach(struct fuse_session *se);

#endif
