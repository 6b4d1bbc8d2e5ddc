/* mount-helper/doctor_rdma.c - RDMA adapters, as the kernel shows them in
 * /sys/class/infiniband. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/doctor.h"

#define CLASS	 "/sys/class/infiniband"
#define GIDS_MAX 64
/* A packet's head besides its bytes: with less room than this the adapter
 * sends pieces of 1024 bytes or fewer. */
#define MTU_2048 2200

struct port {
	char dev[64], net[64], gid[64];
	unsigned number;
	int index; /* of the GID; -1: none is usable */
	int mtu;   /* of its network interface; 0: has none */
	bool active, is_v2;
};

static int port_line(struct doctor *d, const struct port *p, const char *file,
		     char *out, size_t cap)
{
	char path[256];

	snprintf(path, sizeof(path), CLASS "/%s/ports/%u/%s", p->dev, p->number,
		 file);
	return doctor_line(d, path, out, cap);
}

static bool is_zero(const char *gid)
{
	return strspn(gid, "0:") == strlen(gid);
}

/* The first usable GID; one of RoCE v2, which routers understand, if any. */
static void find_gid(struct doctor *d, struct port *p)
{
	char file[64], gid[64], type[64];

	p->index = -1;
	for (int i = 0; i < GIDS_MAX; i++) {
		snprintf(file, sizeof(file), "gids/%d", i);
		if (port_line(d, p, file, gid, sizeof(gid)) < 0)
			break;
		if (is_zero(gid))
			continue;
		snprintf(file, sizeof(file), "gid_attrs/types/%d", i);
		if (port_line(d, p, file, type, sizeof(type)) < 0)
			continue;
		if (p->index >= 0 && (p->is_v2 || strcmp(type, "RoCE v2") != 0))
			continue;
		p->index = i;
		p->is_v2 = strcmp(type, "RoCE v2") == 0;
		strcpy(p->gid, gid);
		snprintf(file, sizeof(file), "gid_attrs/ndevs/%d", i);
		if (port_line(d, p, file, p->net, sizeof(p->net)) < 0)
			p->net[0] = '\0';
	}
}

static void find_mtu(struct doctor *d, struct port *p)
{
	char path[128], line[32];

	snprintf(path, sizeof(path), "/sys/class/net/%s/mtu", p->net);
	if (p->net[0] != '\0' && doctor_line(d, path, line, sizeof(line)) == 0)
		p->mtu = atoi(line);
}

static void say_port(struct doctor *d, const struct port *p)
{
	char mend[256];

	if (!p->active) {
		snprintf(mend, sizeof(mend), "sudo ip link set dev %s up%s",
			 p->net[0] != '\0' ? p->net : "INTERFACE",
			 p->net[0] != '\0' ? "" : "; look at its cable");
		doctor_say(d, "rdma", DOCTOR_FAIL,
			   "nothing goes through it; TCP is used instead", mend,
			   "%s port %u is not active", p->dev, p->number);
		return;
	}
	if (p->index < 0) {
		doctor_say(d, "rdma-gid", DOCTOR_FAIL,
			   "nobody can address it; TCP is used instead",
			   "sudo ip addr add ADDRESS/24 dev INTERFACE",
			   "%s port %u has no GID", p->dev, p->number);
		return;
	}
	doctor_say(d, "rdma", DOCTOR_OK, NULL, NULL,
		   "%s port %u is active, GID %d %s (%s)", p->dev, p->number,
		   p->index, p->gid, p->is_v2 ? "RoCE v2" : "InfiniBand");
	if (p->mtu == 0 || p->mtu >= MTU_2048)
		return;
	snprintf(mend, sizeof(mend),
		 "sudo ip link set dev %s mtu 9000 (on all hosts and switches "
		 "between them; to keep it: mtu 9000 in "
		 "/etc/network/interfaces)",
		 p->net);
	doctor_say(d, "rdma-mtu", DOCTOR_WARN,
		   "the adapter sends pieces of at most 1024 bytes: large "
		   "operations are slower than they could be",
		   mend, "%s has an MTU of %d", p->net, p->mtu);
}

/* Port @number of @dev; false: there is none. */
static bool look(struct doctor *d, const char *dev, unsigned number)
{
	struct port p = {.number = number};
	char state[64];

	snprintf(p.dev, sizeof(p.dev), "%.63s", dev);
	if (port_line(d, &p, "state", state, sizeof(state)) < 0)
		return false;
	p.active = strstr(state, "ACTIVE") != NULL;
	find_gid(d, &p);
	find_mtu(d, &p);
	say_port(d, &p);
	return true;
}

static void connection_manager(struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];
	int fd = open(doctor_path(d, "/dev/infiniband/rdma_cm", path),
		      O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return;
	}
	doctor_say(d, "rdma-cm", DOCTOR_FAIL,
		   "no connection can be made over RDMA; TCP is used instead",
		   errno == ENOENT
			   ? "sudo modprobe rdma_ucm && echo rdma_ucm | "
			     "sudo tee /etc/modules-load.d/rdma_ucm.conf"
			   : "sudo chmod 666 /dev/infiniband/rdma_cm",
		   "/dev/infiniband/rdma_cm: %s", strerror(errno));
}

/* It goes without, so there is nothing to mend. */
static void kernel_tls(struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];

	doctor_path(d, "/proc/net/tls_stat", path);
	doctor_say(d, "tls", DOCTOR_OK, NULL, NULL,
		   access(path, F_OK) == 0
			   ? "the kernel does the TLS of pools over TCP"
			   : "programs do the TLS of pools over TCP "
			     "themselves; the kernel would with its module "
			     "tls (sudo modprobe tls)");
}

void doctor_rdma(struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];
	DIR *dir = opendir(doctor_path(d, CLASS, path));
	unsigned found = 0;
	struct dirent *e;

	while (dir != NULL && (e = readdir(dir)) != NULL)
		for (unsigned n = 1; e->d_name[0] != '.'; n++) {
			if (!look(d, e->d_name, n))
				break;
			found++;
		}
	if (dir != NULL)
		closedir(dir);
	kernel_tls(d);
	d->rdma = found > 0;
	if (found > 0)
		connection_manager(d);
	else
		doctor_say(d, "rdma", DOCTOR_OK, NULL, NULL,
			   "no RDMA adapter on this host: pools over several "
			   "hosts use TCP");
}
