/*
 * probe.c - which model fits the running kernel.
 *
 * A release is known by its first two numbers. One that has no profile of its
 * own gets the nearest older one, with a note. Then the files are looked for
 * whose presence a feature stands for, and at a page of our own: a kernel may have
 * been built without, or have got a change of a later one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kpf.h"
#include "probe.h"

static const char *const profile_names[] = {
#define PROFILE(id, name, source) name,
#include "ksmsim/profiles.def"
};
#define NR_PROFILES (sizeof(profile_names) / sizeof(*profile_names))

/* A file that is there if, and only if, the kernel has the feature. */
static const struct {
	const char *feature, *file;
} signs[] = {
	{ "smart_scan", "/sys/kernel/mm/ksm/smart_scan" },
	{ "advisor", "/sys/kernel/mm/ksm/advisor_mode" },
	{ "scan_counters", "/sys/kernel/mm/ksm/pages_scanned" },
	{ "zero_tracking", "/sys/kernel/mm/ksm/ksm_zero_pages" },
	{ "memory_failure", "/proc/sys/vm/memory_failure_early_kill" },
};

/* Is there one that reads what is told of a new page? */
bool sim_has_soft_dirty(const char *root)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t entry = 0;
	char path[256];
	int fd;

	if (page == MAP_FAILED)
		return false;
	snprintf(path, sizeof(path), "%s/proc/self/pagemap", root);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / size * 8)) != 8)
			entry = 0;
		close(fd);
	}
	munmap(page, size);
	return (entry & PAGEMAP_SOFT_DIRTY) != 0;
}

static unsigned version_of(const char *text)
{
	char *dot, *end;
	const unsigned long major = strtoul(text, &dot, 10);
	const unsigned long minor = *dot == '.' ? strtoul(dot + 1, &end, 10) : 0;

	if (dot == text || *dot != '.' || end == dot + 1 || major > 999 || minor > 999)
		return 0;
	return (unsigned)(major * 1000 + minor);
}

/* The newest one that is not newer; the oldest if all are. */
static size_t nearest(unsigned version)
{
	size_t i, best = 0;

	for (i = 0; i < NR_PROFILES; i++)
		if (version_of(strchr(profile_names[i], '-') + 1) <= version)
			best = i;
	return best;
}

static void compare(struct sim_probe *probe, struct ksmsim *model, const char *feature, bool found)
{
	bool expected;

	if (!ksmsim_feature_get(model, feature, &expected) && found != expected)
		probe->features[probe->nr_features++] =
			(struct sim_setting){ feature, found ? "1" : "0" };
}

static void compare_files(struct sim_probe *probe, const char *root)
{
	const struct ksmsim_config config = { .profile = probe->profile };
	struct ksmsim *model;
	char path[256];
	size_t i;

	if (ksmsim_new(&config, &model))
		return;
	for (i = 0; i < sizeof(signs) / sizeof(*signs); i++) {
		snprintf(path, sizeof(path), "%s%s", root, signs[i].file);
		compare(probe, model, signs[i].feature, access(path, F_OK) == 0);
	}
	compare(probe, model, "soft_dirty", sim_has_soft_dirty(root));
	ksmsim_free(model);
}

void sim_probe(struct sim_probe *probe, const char *release, const char *root)
{
	struct utsname name;
	unsigned version, chosen;
	size_t i;
	int length = 0;

	memset(probe, 0, sizeof(*probe));
	if (!release)
		release = uname(&name) ? "" : name.release;
	version = version_of(release);
	probe->profile = profile_names[nearest(version)];
	chosen = version_of(strchr(probe->profile, '-') + 1);
	if (root)
		compare_files(probe, root);
	if (chosen != version)
		length = snprintf(probe->note, sizeof(probe->note),
				  "there is no profile of kernel %s; %s is the nearest", release,
				  probe->profile);
	for (i = 0; i < probe->nr_features && (size_t)length < sizeof(probe->note); i++)
		length +=
			snprintf(probe->note + length, sizeof(probe->note) - (size_t)length,
				 "%sthis kernel is not like %s: %s is %s", length ? "; " : "",
				 probe->profile, probe->features[i].name, probe->features[i].value);
}
