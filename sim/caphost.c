/*
 * caphost.c - what a capture says about the host it was made on.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "caphost.h"

#define VALUE_BYTES 256
#define KEY_BYTES 600

static void put_number(struct sim_capwriter *w, const char *key, long long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", number);
	sim_capwriter_meta(w, key, text);
}

/* The first line of a file as the value of a key, if it can be read. */
static void put_file(struct sim_capwriter *w, int dir, const char *name, const char *key)
{
	const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char value[VALUE_BYTES];
	ssize_t got = -1;

	if (fd >= 0) {
		got = read(fd, value, sizeof(value) - 1);
		close(fd);
	}
	if (got < 0)
		return;
	value[got] = 0;
	value[strcspn(value, "\n")] = 0;
	sim_capwriter_meta(w, key, value);
}

/* The files of a directory and, once, of those in it. */
static void put_dir(struct sim_capwriter *w, int at, const char *path, const char *key, bool deep)
{
	const int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char inner[KEY_BYTES];
	struct dirent *entry;
	struct stat info;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir)) != NULL) {
		if (*entry->d_name == '.' || fstatat(fd, entry->d_name, &info, 0))
			continue;
		if (snprintf(inner, sizeof(inner), "%s/%s", key, entry->d_name) >= KEY_BYTES)
			continue;
		if (S_ISDIR(info.st_mode) && deep)
			put_dir(w, fd, entry->d_name, inner, false);
		else if (S_ISREG(info.st_mode) && info.st_mode & 0444)
			put_file(w, fd, entry->d_name, inner);
	}
	if (dir)
		closedir(dir);
}

int sim_caphost_meta(struct sim_capwriter *w)
{
	struct utsname name;

	if (uname(&name))
		memset(&name, 0, sizeof(name));
	sim_capwriter_meta(w, SIM_CAP_META_HOST, name.nodename);
	sim_capwriter_meta(w, SIM_CAP_META_KERNEL, name.release);
	sim_capwriter_meta(w, SIM_CAP_META_ARCH, name.machine);
	put_number(w, SIM_CAP_META_CLOCK, (long long)time(NULL));
	put_number(w, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
	put_number(w, "memory_bytes", (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
	put_dir(w, AT_FDCWD, "/sys/kernel/mm/ksm", "sys/ksm", false);
	put_dir(w, AT_FDCWD, "/sys/kernel/mm/transparent_hugepage", "sys/transparent_hugepage",
		true);
	return sim_capwriter_meta(w, SIM_CAP_META_TOOL, "ksmsim " KSMSIM_VERSION);
}
