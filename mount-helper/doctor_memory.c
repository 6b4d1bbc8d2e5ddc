/* mount-helper/doctor_memory.c - what memory nodes live of. */
#include <inttypes.h>
#include <linux/capability.h>
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

/* What we tell people to set is kept there, for the next boot too. */
#define HUGE_CONF	"/etc/sysctl.d/aceso-huge-pages.conf"
#define OVERCOMMIT_CONF "/etc/sysctl.d/aceso-overcommit.conf"
#define THP		"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define THP_CONF	"/etc/tmpfiles.d/aceso-huge-pages.conf"

/* What nodes of this host take. */
struct want {
	struct doctor_own own; /* of the pool that is asked about */
	uint64_t all;	       /* bytes of all of them */
	uint64_t more;	       /* that they have not taken yet */
	uint64_t idle;	       /* of those that do not run */
};

static uint64_t bytes_of(const struct doctor *d, uint64_t nodes)
{
	uint64_t bytes;

	return __builtin_mul_overflow(d->pool->node_size,
				      (uint64_t)__builtin_popcountll(nodes),
				      &bytes)
		       ? UINT64_MAX
		       : bytes;
}

static void find_want(const struct doctor *d, struct want *w)
{
	*w = (struct want){
		.all = SMALL_BYTES, .more = SMALL_BYTES, .idle = SMALL_BYTES};
	if (d->pool == NULL)
		return;
	doctor_own(d, &w->own);
	w->all = bytes_of(d, w->own.nodes);
	w->more = w->all - w->own.held;
	w->idle = bytes_of(d, w->own.nodes & ~w->own.running);
}

/* A pool is asked about of which this host serves no node. */
static bool serves_none(const struct doctor *d, const struct want *w)
{
	return d->pool != NULL && w->own.nodes == 0;
}

static void enough_memory(struct doctor *d, const struct want *w,
			  const char *have)
{
	char held[SIZE_TEXT_BYTES];

	size_text(w->own.held, held);
	if (serves_none(d, w))
		doctor_say(d, "memory", DOCTOR_OK, NULL, NULL,
			   "%s are free (this host serves no node of pool %s)",
			   have, d->pool->name);
	else if (w->own.running != 0)
		doctor_say(d, "memory", DOCTOR_OK, NULL, NULL,
			   "%s are free, and the nodes that run here have "
			   "taken %s already",
			   have, held);
	else
		doctor_say(d, "memory", DOCTOR_OK, NULL, NULL, "%s are free",
			   have);
}

static void free_memory(struct doctor *d, const struct want *w)
{
	char have[SIZE_TEXT_BYTES], more[SIZE_TEXT_BYTES];
	uint64_t bytes;

	if (memory_available(&bytes) < 0) {
		doctor_say(d, "memory", DOCTOR_FAIL,
			   "no pool can be made without knowing it",
			   "mount -t proc proc /proc",
			   "free memory cannot be told from /proc/meminfo");
		return;
	}
	size_text(bytes, have);
	size_text(w->more, more);
	if (bytes >= w->more)
		enough_memory(d, w, have);
	else
		doctor_say(d, "memory",
			   d->pool != NULL ? DOCTOR_FAIL : DOCTOR_WARN,
			   d->pool != NULL
				   ? "a memory node here would be killed when "
				     "the pool fills"
				   : "pools of this host will be small",
			   "end what takes it: ps aux --sort -rss | head; or "
			   "raise the limit of this container",
			   w->own.running != 0
				   ? "%s are free, %s more are wanted"
				   : "%s are free, %s are wanted",
			   have, more);
}

static bool has_rdma(const struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];

	return access(doctor_path(d, "/sys/class/infiniband", path), F_OK) == 0;
}

/* CAP_IPC_LOCK: the kernel asks for no limit then. */
static bool locks_all(void)
{
	char line[64];
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long caps = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return (caps >> CAP_IPC_LOCK & 1) != 0;
}

/* The unit that serves pools is installed, and lifts the limit. */
static bool unit_locks_all(const struct doctor *d)
{
	static const char *const dirs[] = {"/etc", "/run", "/usr/local/lib",
					   "/usr/lib"};
	char path[DOCTOR_PATH_BYTES], name[128], line[256];
	bool lifts = false;
	FILE *f = NULL;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && f == NULL;
	     i++) {
		snprintf(name, sizeof(name),
			 "%s/systemd/system/aceso-pool@.service", dirs[i]);
		f = fopen(doctor_path(d, name, path), "re");
	}
	while (f != NULL && !lifts && fgets(line, sizeof(line), f) != NULL)
		lifts = strcmp(line, "LimitMEMLOCK=infinity\n") == 0;
	if (f != NULL)
		fclose(f);
	return lifts;
}

static void locked(struct doctor *d, const struct want *w)
{
	/* a mount locks little beside a node */
	uint64_t need = serves_none(d, w) ? SMALL_BYTES : w->all;
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
	else if (locks_all())
		doctor_say(d, "memlock", DOCTOR_OK, NULL, NULL,
			   "this user may lock all memory (CAP_IPC_LOCK)");
	else if (unit_locks_all(d))
		doctor_say(d, "memlock", DOCTOR_OK, NULL, NULL,
			   "aceso-pool@.service may lock all memory "
			   "(LimitMEMLOCK=infinity); this user: %s",
			   have);
	else
		doctor_say(d, "memlock",
			   serves_none(d, w) ? DOCTOR_WARN : DOCTOR_FAIL,
			   serves_none(d, w)
				   ? "a mount of this user may be unable to "
				     "register "
				     "its buffers with the RDMA adapter"
				   : "a node cannot register its memory with "
				     "the RDMA "
				     "adapter",
			   "printf '* - memlock unlimited\\nroot - memlock "
			   "unlimited\\n' | sudo tee "
			   "/etc/security/limits.d/aceso.conf, then log in "
			   "again (the systemd unit has LimitMEMLOCK=infinity)",
			   "%s may be locked, %s are wanted", have, want);
}

struct huge_pages {
	uint64_t total, free; /* pages, of /proc/meminfo */
	uint64_t size;	      /* of one, in bytes; 0: there are none */
};

static void huge_find(const struct doctor *d, struct huge_pages *h)
{
	char path[DOCTOR_PATH_BYTES];
	uint64_t kib = 0;

	*h = (struct huge_pages){0};
	doctor_path(d, "/proc/meminfo", path);
	memory_number(path, "HugePages_Total:", &h->total);
	memory_number(path, "HugePages_Free:", &h->free);
	memory_number(path, "Hugepagesize:", &kib);
	h->size = kib << 10;
}

/* All that are to be set aside for @w: those of others, and a tenth more than
 * is wanted. */
static uint64_t huge_pages_for(const struct huge_pages *h, const struct want *w)
{
	uint64_t pages = w->idle / h->size + 1;

	return h->total - h->free + pages + pages / 10;
}

static void huge_lacking(struct doctor *d, const struct huge_pages *h,
			 const struct want *w, const char *free)
{
	static const char means[] =
		"the RDMA adapter has to know a node's memory in pages of "
		"4 KiB: it may be slower";
	char want[SIZE_TEXT_BYTES], mend[256];

	size_text(w->idle, want);
	if (h->size == 0) {
		doctor_say(d, "huge-pages", DOCTOR_WARN, means,
			   "boot a kernel with CONFIG_HUGETLBFS",
			   "this kernel has no huge pages");
		return;
	}
	snprintf(mend, sizeof(mend),
		 "echo vm.nr_hugepages=%" PRIu64 " | sudo tee " HUGE_CONF
		 " && sudo sysctl -p " HUGE_CONF,
		 huge_pages_for(h, w));
	doctor_say(d, "huge-pages", DOCTOR_WARN, means, mend,
		   "%s of huge pages are free, %s are wanted", free, want);
}

/* What an adapter registers is best in pages that were set aside. A node takes
 * them when it starts. */
static void huge_reserved(struct doctor *d, const struct want *w)
{
	char free[SIZE_TEXT_BYTES];
	struct huge_pages h;

	huge_find(d, &h);
	size_text(h.free * h.size, free);
	if (serves_none(d, w))
		doctor_say(d, "huge-pages", DOCTOR_OK, NULL, NULL,
			   "this host serves no node of pool %s",
			   d->pool->name);
	else if (w->idle == 0)
		doctor_say(d, "huge-pages", DOCTOR_OK, NULL, NULL,
			   "the nodes of this host run: aceso status tells "
			   "which pages they have");
	else if (h.size != 0 && h.free * h.size >= w->idle)
		doctor_say(d, "huge-pages", DOCTOR_OK, NULL, NULL,
			   "%s of huge pages are free for a node's memory",
			   free);
	else
		huge_lacking(d, &h, w, free);
}

static void huge(struct doctor *d, const struct want *w)
{
	char line[128];

	if (has_rdma(d))
		huge_reserved(d, w);
	else if (doctor_line(d, THP, line, sizeof(line)) < 0)
		doctor_say(d, "huge-pages", DOCTOR_WARN,
			   "large operations are slower than they could be",
			   "boot a kernel with CONFIG_TRANSPARENT_HUGEPAGE",
			   "this kernel has none for shared memory");
	else if (strstr(line, "[never]") != NULL ||
		 strstr(line, "[deny]") != NULL)
		doctor_say(d, "huge-pages", DOCTOR_WARN,
			   "memory of nodes is mapped in pages of 4 KiB: large "
			   "operations are slower than they could be",
			   "echo advise | sudo tee " THP " && echo 'w " THP
			   " - - - - advise' | sudo tee " THP_CONF,
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
		   "echo vm.overcommit_memory=0 | sudo tee " OVERCOMMIT_CONF
		   " && sudo sysctl -p " OVERCOMMIT_CONF,
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
			   "echo 'tmpfs /dev/shm tmpfs nosuid,nodev 0 0' | "
			   "sudo tee -a /etc/fstab && sudo mount /dev/shm",
			   "/dev/shm cannot be written to");
}

void doctor_memory(struct doctor *d)
{
	struct want w;

	find_want(d, &w);
	free_memory(d, &w);
	locked(d, &w);
	huge(d, &w);
	overcommit(d);
	shm(d);
}
