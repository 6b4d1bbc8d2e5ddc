/* rdma/region.c - the memory a node gives: a memfd, so that other processes
 * can map it, sealed at its size, so that no access of theirs can fault. Or a
 * file of the owner's, for pools that outlive their processes. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "rdma/fabric.h"

#define REGION_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* What is mapped of @fd for @size bytes: of huge pages only whole ones can be.
 */
static uint64_t mapped_bytes(int fd, uint64_t size)
{
	struct statfs fs;
	uint64_t page;

	if (fstatfs(fd, &fs) != 0 || fs.f_type != HUGETLBFS_MAGIC)
		return size;
	page = (uint64_t)fs.f_bsize;
	return (size + page - 1) / page * page;
}

static int open_memfd(const char *name, unsigned flags, uint64_t size,
		      void **base, int *fd)
{
	uint64_t len;
	void *p;
	int mfd, rc;

	assert(name != NULL && base != NULL && fd != NULL);
	if (size == 0 || size > INT64_MAX / 2)
		return -EINVAL;
	mfd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	if (mfd < 0)
		return -errno;
	/* Whoever is handed it for reading must not open it again to write. */
	if (fchmod(mfd, 0600) != 0)
		goto err_close;
	len = mapped_bytes(mfd, size);
	if (ftruncate(mfd, (off_t)len) != 0)
		goto err_close;
	if (fcntl(mfd, F_ADD_SEALS, REGION_SEALS) != 0)
		goto err_close;
	/* huge pages are reserved here, so that no access fails later */
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, mfd, 0);
	if (p == MAP_FAILED)
		goto err_close;
	*base = p;
	*fd = mfd;
	return 0;

err_close:
	rc = -errno;
	close(mfd);
	return rc;
}

int fab_region_open(const char *name, uint64_t size, void **base, int *fd)
{
	return open_memfd(name, 0, size, base, fd);
}

int fab_region_open_huge(const char *name, uint64_t size, void **base, int *fd,
			 bool *huge)
{
	int rc = open_memfd(name, MFD_HUGETLB, size, base, fd);

	*huge = rc == 0;
	if (rc == 0)
		return 0;
	rc = open_memfd(name, 0, size, base, fd);
	if (rc == 0)
		madvise(*base, size, MADV_HUGEPAGE); /* if the system lets us */
	return rc;
}

void fab_region_close(void *base, uint64_t size, int fd)
{
	if (base != NULL)
		munmap(base, fd >= 0 ? mapped_bytes(fd, size) : size);
	if (fd >= 0)
		close(fd);
}

void fab_region_map(void *base, uint64_t offset, uint64_t len)
{
#ifdef MADV_POPULATE_READ
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t at = (uintptr_t)base + offset, from = at & ~(page - 1);

	madvise((void *)from, at + len - from, MADV_POPULATE_READ);
#endif
}

int fab_region_of_file(int fd, uint64_t size, void **base)
{
	struct stat st;
	void *p;

	assert(base != NULL);
	if (size == 0 || size > INT64_MAX || fstat(fd, &st) != 0 ||
	    !S_ISREG(st.st_mode) || (uint64_t)st.st_size < size)
		return -EINVAL;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*base = p;
	return 0;
}

/* A memfd gives its memory back. A hole in a file would have to be filled by
 * the disk again, which may be full by then: its writer would die of SIGBUS. */
static int discard_mode(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && (seals & F_SEAL_SHRINK) != 0)
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
}

void fab_region_discard(void *base, int fd, uint64_t offset, uint64_t len)
{
	if (fd >= 0 &&
	    fallocate(fd, discard_mode(fd), (off_t)offset, (off_t)len) == 0)
		return;
	memset((char *)base + offset, 0, len);
}
