/* mount-helper/doctor_system.c - versions, programs, the clock, the file of
 * options, and what FUSE needs. */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

#include "mount-helper/conf.h"
#include "mount-helper/doctor.h"
#include "mount-helper/program.h"

#define KERNEL_MAJOR_MIN 5 /* close_range(2), pidfd_open(2) */
#define KERNEL_MINOR_MIN 9

/* --- versions, programs, clock -------------------------------------- */

static void kernel(struct doctor *d)
{
	char line[128] = "?";
	int major = 0, minor = 0;

	doctor_line(d, "/proc/sys/kernel/osrelease", line, sizeof(line));
	if (sscanf(line, "%d.%d", &major, &minor) == 2 &&
	    (major > KERNEL_MAJOR_MIN ||
	     (major == KERNEL_MAJOR_MIN && minor >= KERNEL_MINOR_MIN)))
		doctor_say(d, "kernel", DOCTOR_OK, NULL, NULL, "Linux %s",
			   line);
	else
		doctor_say(d, "kernel", DOCTOR_FAIL,
			   "our programs use system calls of Linux 5.9",
			   "sudo apt-get install linux-image-amd64 && sudo "
			   "reboot",
			   "Linux %s", line);
}

static void programs(struct doctor *d)
{
	static const char *const names[] = {"aceso-fuse", "aceso-node",
					    "mount.aceso"};
	char path[PATH_MAX], missing[128] = "";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bool helper = strcmp(names[i], "mount.aceso") == 0;

		/* mount(8) looks in /sbin only */
		if (program_find(names[i], path) == 0 ||
		    (helper && access("/sbin/mount.aceso", X_OK) == 0))
			continue;
		strcat(strcat(missing, " "), names[i]);
	}
	if (missing[0] == '\0')
		doctor_say(d, "programs", DOCTOR_OK, NULL, NULL,
			   "aceso %s, libfuse %s", ACESO_VERSION,
			   fuse_pkgversion());
	else
		doctor_say(d, "programs", DOCTOR_FAIL,
			   "a part of the programs is not installed",
			   "sudo make install", "aceso %s is here, but not:%s",
			   ACESO_VERSION, missing);
}

static void system_clock(struct doctor *d)
{
	struct timex t = {0};

	if (adjtimex(&t) == TIME_ERROR || (t.status & STA_UNSYNC) != 0)
		doctor_say(d, "clock", DOCTOR_WARN,
			   "times of files are those of the host that writes "
			   "them: hosts that differ confuse make and rsync. "
			   "(Leases do not lean on it.)",
			   "sudo apt-get install chrony && sudo systemctl "
			   "enable --now chrony",
			   "nobody keeps this host's clock right");
	else
		doctor_say(d, "clock", DOCTOR_OK, NULL, NULL,
			   "kept right, to %ld ms at most", t.maxerror / 1000);
}

void doctor_system(struct doctor *d)
{
	kernel(d);
	programs(d);
	system_clock(d);
}

/* What is wrong may stand in the environment, too. */
static const char *conf_mend(const char *error, char out[DOCTOR_PATH_BYTES])
{
	if (strstr(error, conf_file()) == NULL)
		return "unset ACESO_OPTIONS (or export it without the fault)";
	return doctor_editor(conf_file(), error, out);
}

void doctor_conf(struct doctor *d)
{
	static struct conf c;
	char *argv[] = {"aceso", NULL};
	bool there = access(conf_file(), F_OK) == 0;
	char mend[DOCTOR_PATH_BYTES];

	if (conf_gather(&c, 1, argv) < 0)
		doctor_say(d, "aceso.conf", DOCTOR_FAIL,
			   "no mount and no tool works before it is right",
			   conf_mend(c.error, mend), "%s", c.error);
	else
		doctor_say(d, "aceso.conf", DOCTOR_OK, NULL, NULL,
			   there ? "%s: every line is understood"
				 : "%s: not there, defaults hold",
			   conf_file());
	conf_free(&c);
}

/* --- FUSE ----------------------------------------------------------- */

static void device(struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES];
	int fd = open(doctor_path(d, "/dev/fuse", path), O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		doctor_say(d, "fuse", DOCTOR_OK, NULL, NULL,
			   "/dev/fuse can be opened");
	} else if (errno == EACCES || errno == EPERM) {
		doctor_say(
			d, "fuse", DOCTOR_FAIL,
			"nothing can be mounted by this user",
			"sudo chmod 666 /dev/fuse && echo 'KERNEL==\"fuse\", "
			"MODE=\"0666\"' | sudo tee "
			"/etc/udev/rules.d/99-fuse.rules (in a container: "
			"give it --device /dev/fuse --cap-add SYS_ADMIN)",
			"/dev/fuse: not permitted");
	} else {
		doctor_say(d, "fuse", DOCTOR_FAIL, "nothing can be mounted",
			   "sudo modprobe fuse && echo fuse | sudo tee "
			   "/etc/modules-load.d/fuse.conf (in a container: "
			   "give it --device /dev/fuse)",
			   "/dev/fuse: %s", strerror(errno));
	}
}

static void fusermount(struct doctor *d)
{
	static const char *const paths[] = {"/usr/bin/fusermount3",
					    "/bin/fusermount3",
					    "/usr/local/bin/fusermount3"};
	char path[DOCTOR_PATH_BYTES];
	struct stat st = {0};
	bool found = false;

	for (size_t i = 0; i < 3 && !found; i++)
		found = stat(doctor_path(d, paths[i], path), &st) == 0;
	if (!found)
		doctor_say(d, "fusermount3",
			   geteuid() == 0 ? DOCTOR_WARN : DOCTOR_FAIL,
			   "only root can mount", "sudo apt-get install fuse3",
			   "fusermount3 is not installed");
	else if ((st.st_mode & S_ISUID) == 0 || st.st_uid != 0)
		doctor_say(d, "fusermount3",
			   geteuid() == 0 ? DOCTOR_WARN : DOCTOR_FAIL,
			   "only root can mount",
			   "sudo chown root /usr/bin/fusermount3 && sudo chmod "
			   "u+s /usr/bin/fusermount3",
			   "fusermount3 is not set-uid root");
	else
		doctor_say(d, "fusermount3", DOCTOR_OK, NULL, NULL,
			   "%s is set-uid root", path);
}

static void allow_other(struct doctor *d)
{
	char path[DOCTOR_PATH_BYTES], line[256];
	FILE *f = fopen(doctor_path(d, "/etc/fuse.conf", path), "re");
	bool found = false;

	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, " \t\n")] = '\0';
		found = strcmp(line, "user_allow_other") == 0;
	}
	if (f != NULL)
		fclose(f);
	if (found)
		doctor_say(d, "allow_other", DOCTOR_OK, NULL, NULL,
			   "everybody may let others use their mounts");
	else
		doctor_say(d, "allow_other", DOCTOR_WARN,
			   "mounts of users other than root are for themselves "
			   "alone; root's are not touched by this",
			   "echo user_allow_other | sudo tee -a /etc/fuse.conf",
			   "user_allow_other is not in /etc/fuse.conf");
}

/* Linux 6.14 and later may have it; it is off until root says so. */
static void requests(struct doctor *d)
{
	static const char path[] = "/sys/module/fuse/parameters/enable_uring";
	char line[8];

	if (doctor_line(d, path, line, sizeof(line)) != 0)
		return;
	if (line[0] == 'Y')
		doctor_say(d, "io_uring", DOCTOR_OK, NULL, NULL,
			   "the kernel offers requests by io_uring");
	else
		doctor_say(d, "io_uring", DOCTOR_WARN,
			   "small reads and writes take up to twice as long as "
			   "they could, in mounts that are made from now on",
			   "echo Y | sudo tee "
			   "/sys/module/fuse/parameters/enable_uring && echo "
			   "options fuse enable_uring=1 | sudo tee "
			   "/etc/modprobe.d/aceso-fuse.conf",
			   "the kernel could offer requests by io_uring");
}

void doctor_fuse(struct doctor *d)
{
	device(d);
	fusermount(d);
	allow_other(d);
	requests(d);
}
