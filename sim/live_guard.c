/*
 * live_guard.c - a strict guest: one at a time, nobody else, everything put back.
 *
 * Before anything is changed the driver makes a guard: a process that knows the
 * value of every knob and waits at a pipe. When the other end closes, because the
 * run is over or because the driver was killed, by whatever signal, the guard
 * stops ksmd, un-merges what there is, writes every knob back, of KSM and of huge pages, lets
 * ksmd run on the CPUs it had, as nice as it was, and removes the trace instance and the memory cgroup. There
 * is no other way to the old state: the end of a good run takes it, too.
 *
 * The guard is apart from the terminal (setsid) and ignores what a terminal sends. The
 * lock is a file lock that driver and guard share: the next run begins when the
 * last guard is done.
 *
 * Refused is: somebody is mergeable or has rmap items, ksmd runs, no root.
 * Tracing is on before the look around, so nobody slips in between.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "live_parts.h"

#define KSM_DIR "/sys/kernel/mm/ksm"
#define THP_DIR "/sys/kernel/mm/transparent_hugepage"
#define KNOBS_MAX 64
#define KHUGEPAGED_NICE 19 /* as it makes itself */
#define UNMERGE_TRIES 5
#define BUSY_TRIES 1000

static void doze(long ms)
{
	const struct timespec time = { .tv_nsec = ms * 1000000 };

	nanosleep(&time, NULL);
}

/* ---- is this a machine for it ---- */

const char *sim_live_profile(void)
{
	struct utsname name;
	size_t i, nr, length;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_PROFILES, &nr);

	if (uname(&name) || strcmp(name.machine, "x86_64"))
		return NULL;
	for (i = 0; i < nr; i++) {
		length = strlen(rows[i].name) - strlen("linux-");
		if (!strncmp(name.release, rows[i].name + strlen("linux-"), length) &&
		    (name.release[length] < '0' || name.release[length] > '9'))
			return rows[i].name;
	}
	return NULL;
}

bool sim_live_supported(char *why, size_t size)
{
	const char *profile = sim_live_profile();
	struct utsname name;

	if (!profile && !uname(&name))
		snprintf(why, size, "no profile is for this kernel: %s on %s", name.release,
			 name.machine);
	else if (geteuid())
		snprintf(why, size, "the live kernel needs root");
	else if (access("/sys/kernel/mm/ksm/run", W_OK))
		snprintf(why, size, "this kernel is built without KSM");
	else if (access("/proc/kpageflags", R_OK) || access("/proc/kpagecount", R_OK))
		snprintf(why, size, "this kernel has no /proc/kpageflags and kpagecount");
	else
		return profile != NULL;
	return false;
}

/* ---- one at a time ---- */

static int take_lock(struct live *live)
{
	static const char *const places[] = { "/run/lock/ksmsim.lock", "/tmp/ksmsim.lock" };
	const uint64_t since = live_clock_ms();
	size_t i;

	for (i = 0; live->guard.lock < 0 && i < 2; i++)
		live->guard.lock = open(places[i], O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (live->guard.lock < 0)
		return live_fail_errno(live, places[1]);
	while (flock(live->guard.lock, LOCK_EX | LOCK_NB)) {
		if (live_clock_ms() - since > SIM_LIVE_WAIT_MS)
			return live_fail(live, SIM_LIVE_EREFUSED,
					 "another run on the live kernel does not end");
		doze(1); /* between two runs of another program there is not much time */
	}
	return 0;
}

/* ---- nobody else ---- */

static bool uses_ksm(const char *text)
{
	int64_t items = 0;

	live_number_of(text, "ksm_rmap_items", &items);
	return items > 0 || strstr(text, "ksm_merge_any: yes") ||
	       strstr(text, "ksm_mergeable: yes");
}

static int check_process(struct live *live, int proc, const char *pid)
{
	char path[64], text[512], comm[64] = "?";

	snprintf(path, sizeof(path), "%.20s/ksm_stat", pid);
	if (!live_read_at(proc, path, text, sizeof(text)) || !uses_ksm(text))
		return 0; /* gone, or nothing to see */
	snprintf(path, sizeof(path), "%.20s/comm", pid);
	live_read_at(proc, path, comm, sizeof(comm));
	comm[strcspn(comm, "\n")] = '\0';
	return live_fail(live, SIM_LIVE_EREFUSED, "KSM is in use: process %.20s (%s) is mergeable",
			 pid, comm);
}

static int check_alone(struct live *live)
{
	const int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = proc < 0 ? NULL : fdopendir(proc);
	const struct dirent *entry;
	int64_t run = 0;
	int error = 0;

	if (!dir)
		return live_fail_errno(live, "/proc");
	while (!error && (entry = readdir(dir)) != NULL)
		if (live_is_pid(entry->d_name))
			error = check_process(live, proc, entry->d_name);
	closedir(dir);
	if (!error && live_read_number(live->ksm, "run", &run) && run)
		error = live_fail(live, SIM_LIVE_EREFUSED,
				  "KSM is in use: /sys/kernel/mm/ksm/run is %lld", (long long)run);
	return error;
}

/* ---- what to put back ---- */

struct saved {
	struct knob {
		char path[128], value[64];
	} knobs[KNOBS_MAX];
	size_t nr;
	cpu_set_t ksmd_cpus;
	int ksmd_nice, khugepaged_nice;
};

static void save_file(struct saved *saved, const char *path)
{
	struct knob *knob = &saved->knobs[saved->nr];
	const char *open, *close;

	if (saved->nr == KNOBS_MAX || access(path, W_OK) ||
	    !live_read_at(AT_FDCWD, path, knob->value, sizeof(knob->value)))
		return;
	open = strchr(knob->value, '[');
	close = open ? strchr(open, ']') : NULL;
	if (close) {
		const size_t length = (size_t)(close - open) - 1;

		memmove(knob->value, open + 1, length);
		knob->value[length] = '\0';
	}
	snprintf(knob->path, sizeof(knob->path), "%s", path);
	saved->nr++;
}

/* scan_sleep_millisecs last: it wakes khugepaged. */
static void save_thp_knobs(struct saved *saved)
{
	static const char *const names[] = {
		"enabled",
		"defrag",
		"use_zero_page",
		"shrink_underused",
		"khugepaged/defrag",
		"khugepaged/max_ptes_none",
		"khugepaged/max_ptes_swap",
		"khugepaged/max_ptes_shared",
		"khugepaged/pages_to_scan",
		"khugepaged/alloc_sleep_millisecs",
		"khugepaged/scan_sleep_millisecs",
		"hugepages-2048kB/shmem_enabled",
	};
	char path[128];
	unsigned kib;
	size_t i;

	for (kib = 8; kib <= 65536; kib *= 2) {
		snprintf(path, sizeof(path), THP_DIR "/hugepages-%ukB/enabled", kib);
		save_file(saved, path);
	}
	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), THP_DIR "/%s", names[i]);
		save_file(saved, path);
	}
}

/* Mode and limits of the advisor first: the mode overwrites pages_to_scan. */
static void save_knobs(struct saved *saved)
{
	static const char *const first[] = {
		"advisor_mode",
		"advisor_max_cpu",
		"advisor_min_pages_to_scan",
		"advisor_max_pages_to_scan",
		"advisor_target_scan_time",
		"pages_to_scan",
		"sleep_millisecs",
		"merge_across_nodes",
		"max_page_sharing",
		"use_zero_pages",
		"smart_scan",
		"stable_node_chains_prune_millisecs",
	};
	char path[300];
	size_t i;

	for (i = 0; i < sizeof(first) / sizeof(*first); i++) {
		snprintf(path, sizeof(path), KSM_DIR "/%s", first[i]);
		save_file(saved, path);
	}
	save_thp_knobs(saved);
}

/* ksmd at rest, nothing merged. */
static void empty_ksm(void)
{
	int i;

	for (i = 0; i < UNMERGE_TRIES && live_write_at(AT_FDCWD, KSM_DIR "/run", "2", 1); i++)
		doze(20);
	live_write_at(AT_FDCWD, KSM_DIR "/run", "0", 1);
}

/* Busy: pages are still mapped by processes that are just being killed. */
static void put_back_knob(const struct knob *knob)
{
	const size_t length = strcspn(knob->value, "\n");
	int i;

	for (i = 0; i < BUSY_TRIES; i++) {
		if (live_write_at(AT_FDCWD, knob->path, knob->value, length) != -EBUSY)
			break;
		doze(10);
		empty_ksm();
	}
}

static void put_back(struct live *live, const struct saved *saved)
{
	const struct live_guard *guard = &live->guard;
	size_t i;

	live_write_at(AT_FDCWD, KSM_DIR "/run", "0", 1);
	empty_ksm();
	for (i = 0; i < saved->nr; i++)
		put_back_knob(&saved->knobs[i]);
	sched_setaffinity(guard->ksmd, sizeof(saved->ksmd_cpus), &saved->ksmd_cpus);
	live_nice_set(guard->ksmd, saved->ksmd_nice);
	/* it may be another one by now */
	live_nice_set(live_thread_find("khugepaged"), saved->khugepaged_nice);
	for (i = 0; i < 100 && guard->instance_name[0]; i++) {
		if (!unlinkat(guard->tracefs, guard->instance_name, AT_REMOVEDIR) || errno != EBUSY)
			break;
		doze(10); /* a reader that is being killed */
	}
	live_group_remove(guard);
}

/* So that nobody who reads our output waits for the guard, and the trace can be removed. */
static void close_others(const struct live_guard *guard, int read_end)
{
	const int keep[] = { guard->lock, guard->tracefs, read_end };
	int fd, i, last = 2;

	for (i = 0; i < 3; i++)
		last = keep[i] > last ? keep[i] : last;
	for (fd = 0; fd <= last; fd++) {
		for (i = 0; i < 3 && keep[i] != fd; i++)
			;
		if (i == 3)
			close(fd);
	}
	syscall(SYS_close_range, last + 1, ~0u, 0);
}

static void guard_main(struct live *live, const struct saved *saved, int read_end)
{
	char byte;

	setsid();
	prctl(PR_SET_THP_DISABLE, 1, 0, 0,
	      0); /* khugepaged has it on its list if it had the driver */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	close_others(&live->guard, read_end);
	while (read(read_end, &byte, 1) < 0 && errno == EINTR)
		;
	put_back(live, saved);
	_exit(0);
}

static int start_guard(struct live *live, const struct saved *saved)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return live_fail_errno(live, "a pipe");
	live->guard.pid = fork();
	if (live->guard.pid == 0)
		guard_main(live, saved, ends[0]);
	close(ends[0]);
	live->guard.pipe = ends[1];
	if (live->guard.pid > 0)
		return 0;
	close(ends[1]);
	live->guard.pipe = -1;
	return live_fail_errno(live, "a process");
}

/* ---- tracefs and the CPU ---- */

/* tracefs without a mount that others could see; or where it is mounted. */
static int open_tracefs(void)
{
	const int fs = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC);
	int dir = -1;

	if (fs >= 0 && !syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		dir = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (fs >= 0)
		close(fs);
	return dir >= 0 ? dir : open("/sys/kernel/tracing", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int make_instance(struct live *live)
{
	struct live_guard *guard = &live->guard;

	snprintf(guard->instance_name, sizeof(guard->instance_name), "instances/ksmsim-%d",
		 (int)getpid());
	if (mkdirat(guard->tracefs, guard->instance_name, 0700) && errno != EEXIST) {
		guard->instance_name[0] = '\0';
		return live_fail(live, SIM_LIVE_EREFUSED, "tracefs: no instance: %s",
				 strerror(errno));
	}
	guard->instance =
		openat(guard->tracefs, guard->instance_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return guard->instance < 0 ? live_fail_errno(live, guard->instance_name) : 0;
}

/* The less time an operation takes, the less others do in between. */
static void be_quick(struct live *live)
{
	struct live_guard *guard = &live->guard;

	guard->nice = live_nice_get(getpid());
	live_nice_set(getpid(), -20);
	live_nice_set(guard->ksmd, -20);
	live_nice_set(guard->khugepaged, -20);
}

/* Driver, processes and ksmd on one CPU. */
static int share_cpu(struct live *live)
{
	struct live_guard *guard = &live->guard;
	cpu_set_t one;
	int cpu;

	guard->before = sim_alloc(live->mem, sizeof(*guard->before));
	if (!guard->before)
		return live_no_memory(live);
	if (sched_getaffinity(0, sizeof(*guard->before), guard->before))
		return live_fail_errno(live, "the CPUs");
	for (cpu = CPU_SETSIZE - 1; cpu > 0 && !CPU_ISSET((size_t)cpu, guard->before); cpu--)
		;
	guard->cpu = cpu;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) ||
	    sched_setaffinity(guard->ksmd, sizeof(one), &one))
		return live_fail_errno(live, "one CPU for all");
	return 0;
}

static int look_around(struct live *live)
{
	struct live_guard *guard = &live->guard;
	char why[256];

	if (!sim_live_supported(why, sizeof(why)))
		return live_fail(live, SIM_LIVE_EREFUSED, "%s", why);
	live->ksm = open(KSM_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	guard->ksmd = live_thread_find("ksmd");
	guard->tracefs = open_tracefs();
	if (live->ksm < 0 || !guard->ksmd)
		return live_fail(live, SIM_LIVE_EREFUSED, "there is no ksmd");
	return guard->tracefs < 0
		       ? live_fail(live, SIM_LIVE_EREFUSED, "tracefs: %s", strerror(errno))
		       : 0;
}

int live_guard_start(struct live *live)
{
	struct saved saved = { .nr = 0 };
	int error = look_around(live);

	if (!error)
		error = take_lock(live);
	if (!error)
		error = make_instance(live);
	if (!error)
		error = live_trace_start(live);
	if (!error)
		error = check_alone(live);
	if (error)
		return error;
	live_group_make(live);
	save_knobs(&saved);
	sched_getaffinity(live->guard.ksmd, sizeof(saved.ksmd_cpus), &saved.ksmd_cpus);
	saved.ksmd_nice = live_nice_get(live->guard.ksmd);
	live->guard.khugepaged = live_thread_find("khugepaged");
	saved.khugepaged_nice =
		live->guard.khugepaged ? live_nice_get(live->guard.khugepaged) : KHUGEPAGED_NICE;
	error = start_guard(live, &saved);
	if (error)
		return error;
	empty_ksm();
	be_quick(live);
	return share_cpu(live);
}

void live_guard_end(struct live *live)
{
	struct live_guard *guard = &live->guard;

	if (guard->instance >= 0)
		close(guard->instance);
	if (guard->pid > 0) {
		close(guard->pipe);
		while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
			;
	} else {
		if (guard->instance_name[0])
			unlinkat(guard->tracefs, guard->instance_name, AT_REMOVEDIR);
		live_group_remove(guard);
	}
	if (guard->before) {
		sched_setaffinity(0, sizeof(*guard->before), guard->before);
		live_nice_set(getpid(), guard->nice);
	}
	sim_free(live->mem, guard->before);
	if (guard->tracefs >= 0)
		close(guard->tracefs);
	if (guard->lock >= 0)
		close(guard->lock);
	if (live->ksm >= 0)
		close(live->ksm);
}
