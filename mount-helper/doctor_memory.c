/* mount-helper/doctor_memory.c - what memory nodes live of. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mount-helper/doctor.h"
#include "mount-helper/memory.h"
#include "mount-helper/poolconf.h"
#include "mount-helper/size.h"

#define SMALL_BYTES (UINT64_C(256) << 20) /* less is for trying only */

/* What one node of the pool takes; 0 if no pool is asked about. */
static uint64_t node_bytes(const struct doctor *d)
{
	return d->pool != NULL ? d->pool->node_size : 0;
}

static void free_memory(struct doctor *d)
{
	char have[SIZE_TEXT_BYTES], want[SIZE_TEXT_BYTES];
	uint64_t need = node_bytes(d) != 0 ? node_bytes(d) : SMALL_BYTES;
	uint64_t bytes;

	if (memory_available(&bytes) < 0) {
		doctor_say(d, "memory", DOCTOR_FAIL,
			   "no pool can be made without knowing it",
			   "mount -t proc proc /proc",
			   "free memory cannot be told from /proc/meminfo");
		return;
	}
	size_text(bytes, have);
	size_text(need, want);
	if (bytes >= need)
		doctor_say(d, "memory", DOCTOR_OK, NULL, NULL, "%s are free",
			   have);
	else
		doctor_say(
			d, "memory",
			node_bytes(d) != 0 ? DOCTOR_FAIL : DOCTOR_WARN,
			node_bytes(d) != 0
				? "a memory node here would be killed when "
				  "the pool fills (if one runs here already, "
				  "its memory is not counted as free)"
				: "pools of this host will be small",
			"end what takes it: ps aux --sort -rss | head; or "
			"raise the limit of this container",
			"%s are free, %s are wanted", have, want);
}

static bool has_rdma(const struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];

	return access(doctor_path(d, "/sys/class/infiniband", path), F_OK) == 0;
}

static void locked(struct doctor *d)
{
	uint64_t need = node_bytes(d) != 0 ? node_bytes(d) : SMALL_BYTES;
	char have[SIZE_TEXT_BYTES], want[SIZE_TEXT_BYTES];
	struct rlimit r;

	if (getrlimit(RLIMIT_MEMLOCK, &r) < 0)
		return;
	size_text(need, want);
	size_text(r.rlim_max, have);
	if (r.rlim_max == RLIM_INFINITY || r.rlim_max >= need)
		doctor_say(d, "memlock", DOCTOR_OK, NULL, NULL,
			   "enough memory may be locked");
	else if (!has_rdma(d))
		doctor_say(d, "memlock", DOCTOR_OK, NULL, NULL,
			   "%s may be locked (more is needed with an RDMA "
			   "adapter only)",
			   have);
	else
		doctor_say(d, "memlock", DOCTOR_FAIL,
			   "a node cannot register its memory with the RDMA "
			   "adapter",
			   "printf '* - memlock unlimited\\nroot - memlock "
			   "unlimited\\n' | sudo tee "
			   "/etc/security/limits.d/aceso.conf, then log in "
			   "again (the systemd unit has LimitMEMLOCK=infinity)",
			   "%s may be locked, %s are wanted", have, want);
}

/* Bytes of huge pages that nobody has: of /proc/meminfo. */
static uint64_t huge_free(struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];
	uint64_t n, kib;

	doctor_path(d, "/proc/meminfo", path);
	if (memory_number(path, "HugePages_Free:", &n) < 0 ||
	    memory_number(path, "Hugepagesize:", &kib) < 0)
		return 0;
	return n * kib << 10;
}

/* What an adapter registers is best in pages that were set aside. */
static void huge_reserved(struct doctor *d)
{
	uint64_t need = node_bytes(d) != 0 ? node_bytes(d) : SMALL_BYTES;
	uint64_t have = huge_free(d);
	char free[SIZE_TEXT_BYTES], want[SIZE_TEXT_BYTES];

	size_text(have, free);
	size_text(need, want);
	if (have >= need)
		doctor_say(d, "huge-pages", DOCTOR_OK, NULL, NULL,
			   "%s of huge pages are free for a node's memory",
			   free);
	else
		doctor_say(d, "huge-pages", DOCTOR_WARN,
			   "the RDMA adapter has to know a node's memory in "
			   "pages of 4 KiB: it may be slower (a node that "
			   "runs here already has its huge pages)",
			   "sudo sysctl vm.nr_hugepages=N, N times 2 MiB "
			   "being what the nodes of this host take and a "
			   "tenth more",
			   "%s of huge pages are free, %s are wanted", free,
			   want);
}

static void huge(struct doctor *d)
{
	static const char file[] =
		"/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	char line[128];

	if (has_rdma(d))
		huge_reserved(d);
	else if (doctor_line(d, file, line, sizeof(line)) < 0)
		doctor_say(d, "huge-pages", DOCTOR_WARN,
			   "large operations are slower than they could be",
			   "boot a kernel with CONFIG_TRANSPARENT_HUGEPAGE",
			   "this kernel has none for shared memory");
	else if (strstr(line, "[never]") != NULL ||
		 strstr(line, "[deny]") != NULL)
		doctor_say(d, "huge-pages", DOCTOR_WARN,
			   "memory of nodes is mapped in pages of 4 KiB: large "
			   "operations are slower than they could be",
			   "echo advise | sudo tee "
			   "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
			   "shared memory gets no huge pages: %s", line);
	else
		doctor_say(d, "huge-pages", DOCTOR_OK, NULL, NULL,
			   "shared memory may have them: %s", line);
}

static void overcommit(struct doctor *d)
{
	char line[32] = "";

	if (doctor_line(d, "/proc/sys/vm/overcommit_memory", line,
			sizeof(line)) < 0 ||
	    atoi(line) != 2) {
		doctor_say(d, "overcommit", DOCTOR_OK, NULL, NULL,
			   "memory is taken as it is written to");
		return;
	}
	doctor_say(d, "overcommit", DOCTOR_WARN,
		   "all of a pool's memory counts as used at once: making one "
		   "may fail though there is room",
		   "sudo sysctl vm.overcommit_memory=0",
		   "vm.overcommit_memory is 2");
}

/* Memory of nodes is no file there, but the same kernel part makes it. */
static void shm(struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];

	if (access(doctor_path(d, "/dev/shm", path), W_OK) == 0)
		doctor_say(
			d, "shm", DOCTOR_OK, NULL, NULL,
			"/dev/shm is there (its size does not matter to us)");
	else
		doctor_say(d, "shm", DOCTOR_WARN,
			   "nodes do not need it, but a host without it is "
			   "rarely set up as it should be",
			   "sudo mount -t tmpfs tmpfs /dev/shm",
			   "/dev/shm cannot be written to");
}

void doctor_memory(struct doctor *d)
{
	free_memory(d);
	locked(d);
	huge(d);
	overcommit(d);
	shm(d);
}
