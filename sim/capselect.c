/*
 * capselect.c - which processes to look at.
 *
 * First what the options name, then what the filters leave of it, then descendants: a
 * child of a selected process is taken whatever it is called.
 */
#define _GNU_SOURCE
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capselect.h"

#define PATH_BYTES 4096u

static bool is_named(const struct sim_proc *proc, const char **patterns, size_t nr, int dir)
{
	char exe[PATH_BYTES] = "";
	const char *base;
	size_t i;

	for (i = 0; i < nr; i++) {
		if (!fnmatch(patterns[i], proc->comm, 0))
			return true;
		/* comm has 15 letters at most, and programs change theirs. */
		if (!*exe && dir >= 0)
			sim_proc_link(dir, "exe", exe, sizeof(exe));
		base = strrchr(exe, '/');
		if (base && !fnmatch(patterns[i], base + 1, 0))
			return true;
	}
	return false;
}

static bool is_in_cgroup(const char **cgroups, size_t nr, int dir)
{
	static const char mount[] = "/sys/fs/cgroup";
	char lines[PATH_BYTES];
	size_t i;

	if (!nr || dir < 0)
		return false;
	sim_proc_text(dir, "cgroup", lines, sizeof(lines));
	for (i = 0; i < nr; i++) {
		const char *path = cgroups[i];

		if (!strncmp(path, mount, sizeof(mount) - 1) &&
		    (path[sizeof(mount) - 1] == '/' || !path[sizeof(mount) - 1]))
			path += sizeof(mount) - 1;
		if (sim_proc_in_cgroup(lines, *path ? path : "/"))
			return true;
	}
	return false;
}

static bool is_pid(const struct sim_capture_select *s, int64_t pid)
{
	size_t i;

	for (i = 0; i < s->nr_pids; i++)
		if (s->pids[i] == pid)
			return true;
	return false;
}

static bool is_meant(const struct sim_capture_select *s, const struct sim_proc *proc)
{
	const int dir = sim_proc_open(proc->pid);
	bool meant = s->all || is_named(proc, s->names, s->nr_names, dir) ||
		     is_in_cgroup(s->cgroups, s->nr_cgroups, dir);

	if (s->uid != SIM_CAP_UNKNOWN && s->uid != proc->uid)
		meant = false;
	if (proc->rss < s->rss_min)
		meant = false;
	if (meant && is_named(proc, s->excludes, s->nr_excludes, dir))
		meant = false;
	if (dir >= 0)
		close(dir);
	return meant;
}

static struct sim_proc *find(struct sim_proc *procs, size_t nr, int64_t pid)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (procs[i].pid == pid)
			return &procs[i];
	return NULL;
}

/* Children may have lower numbers than their parents: until nothing more is found. */
static size_t add_descendants(struct sim_proc *procs, size_t nr, int64_t own)
{
	size_t added = 0, before, i;

	do {
		before = added;
		for (i = 0; i < nr; i++) {
			const struct sim_proc *parent;

			if (procs[i].selected || procs[i].pid == own || procs[i].kernel_thread)
				continue;
			parent = find(procs, nr, procs[i].ppid);
			procs[i].selected = parent && parent->selected;
			added += procs[i].selected;
		}
	} while (added != before);
	return added;
}

size_t sim_capselect(const struct sim_capture_select *select, int64_t own, struct sim_proc *procs,
		     size_t nr)
{
	size_t found = 0, i;

	for (i = 0; i < nr; i++) {
		procs[i].selected = procs[i].pid != own && !procs[i].kernel_thread &&
				    (is_pid(select, procs[i].pid) || is_meant(select, &procs[i]));
		found += procs[i].selected;
	}
	return select->tree ? found + add_descendants(procs, nr, own) : found;
}
