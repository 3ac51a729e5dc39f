/*
 * live_khugepaged.c - khugepaged of the running kernel.
 *
 * khugepaged sleeps for ever, its cursor at the head of its list. It never sleeps
 * without a timeout, which an empty list would make it do, and of which the first
 * MADV_HUGEPAGE would wake it: this process is on its list. A write to
 * scan_sleep_millisecs is one pass over the list; so that file and
 * alloc_sleep_millisecs, which wakes it too, have a value of the scenario's beside the
 * kernel's.
 *
 * The thread ends when nobody can get a page of a size that it makes, and a new one
 * begins with a pass. So for as long as the scenario wants that, shared memory that asks
 * for huge pages may have them (hugepages-2048kB/shmem_enabled is advise). Kernels up to
 * 6.12 do not mind shared memory: there the thread ends, and when a new one begins the
 * processes of the scenario may have no huge pages until its pass is over.
 *
 * Since 7.3 smaller sizes count, and khugepaged makes folios of them. With one of them
 * always, it does so for every process on its list while the scenario runs it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live_parts.h"

#define KHUGEPAGED "khugepaged/"
#define FOR_EVER 4294967295u
#define PMD_SIZE "hugepages-2048kB/enabled"

/* ---- who gets what ---- */

/* Who gets the pages of a size: 'a'lways, 'm'advise or 'n'ever, as the scenario has it. */
static char who_gets(const struct live *live, size_t size)
{
	const struct live_thp *thp = &live->thp;
	char text[128], *chosen;

	if (!live_read_at(thp->dir, thp->enabled[size], text, sizeof(text)) ||
	    strstr(text, "[inherit]")) {
		size = 0;
		live_read_at(thp->dir, thp->enabled[size], text, sizeof(text));
	}
	chosen = strchr(text, '[');
	return thp->always[size] || !chosen ? 'a' : chosen[1];
}

/* The file of PMD-sized pages; with kernels of one size only that of all. */
static size_t pmd_size(const struct live *live)
{
	size_t i;

	for (i = 1; i < live->thp.nr_enabled; i++)
		if (!strcmp(live->thp.enabled[i], PMD_SIZE))
			return i;
	return 0;
}

/* Does it make folios of smaller sizes, too, and may anybody get one? */
static bool makes_smaller(const struct live *live)
{
	const size_t pmd = pmd_size(live);
	size_t i;

	if (live->vmstat.stats[KSMSIM_MTHP_collapse_alloc][LIVE_PMD_ORDER] < 0)
		return false;
	for (i = 1; i < live->thp.nr_enabled; i++)
		if (i != pmd && who_gets(live, i) != 'n')
			return true;
	return false;
}

static bool has_work(const struct live *live)
{
	return who_gets(live, pmd_size(live)) != 'n' || makes_smaller(live);
}

/* ---- passes ---- */

static int one_pass(struct live *live)
{
	int64_t budget = 0;
	int error;

	live_read_number(live->thp.dir, KHUGEPAGED "pages_to_scan", &budget);
	error = live_write_number(live->thp.dir, KHUGEPAGED "pages_to_scan", UINT32_MAX);
	if (!error)
		error = live_write_number(live->thp.dir, KHUGEPAGED "scan_sleep_millisecs",
					  FOR_EVER);
	if (error)
		return live_fail(live, SIM_LIVE_EBROKEN, "khugepaged cannot be woken: %s",
				 strerror(-error));
	error = live_thread_rest(live, live->thp.khugepaged, "khugepaged");
	live_write_number(live->thp.dir, KHUGEPAGED "pages_to_scan", (uint64_t)budget);
	return error;
}

/* THPs of all processes. */
static int64_t count_huge(struct live *live)
{
	struct ksmsim_process figures;
	int64_t nr = 0;
	size_t i;

	for (i = 0; i < live->nr_processes; i++)
		if (live->processes[i].alive && !live_process_get(live, (uint32_t)i, &figures))
			nr += (int64_t)figures.anon_huge;
	return nr;
}

int live_khugepaged(struct live *live, const struct sim_op *op, int64_t *result)
{
	const bool smaller = makes_smaller(live);
	int64_t before = 0, after = 0, huge = count_huge(live);
	uint64_t i;
	int error = 0;

	if (!has_work(live))
		return 0; /* it would not be there if it were not kept, see above */
	if (who_gets(live, pmd_size(live)) == 'a')
		return live_fail(live, SIM_LIVE_ESKIP,
				 "with always khugepaged would work on every process's memory");
	live_read_number(live->thp.dir, KHUGEPAGED "pages_collapsed", &before);
	for (i = 0; !error && i < op->times; i++)
		error = one_pass(live);
	live_read_number(live->thp.dir, KHUGEPAGED "pages_collapsed", &after);
	*result = after - before;
	huge = count_huge(live) - huge;
	if (!error && (smaller ? *result < huge : *result != huge))
		error = live_fail(live, SIM_LIVE_EDISTURBED,
				  "khugepaged collapsed memory of other processes");
	return error;
}

/* ---- the thread ---- */

/* Finds the thread, and has it at the head of its list, asleep for ever. */
static int park(struct live *live)
{
	const pid_t pid = live_thread_find("khugepaged");
	char path[64];
	int error;

	live->thp.khugepaged_pid = pid;
	live_nice_set(pid, -20);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	live->thp.khugepaged = pid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (live->thp.khugepaged < 0)
		return live_fail(live, SIM_LIVE_EREFUSED, "there is no khugepaged");
	error = live_thread_rest(live, live->thp.khugepaged, "khugepaged");
	live_nice_set(pid, -20); /* one that has just begun is first nice by itself */
	return error ? error : one_pass(live);
}

int live_khugepaged_start(struct live *live)
{
	return park(live);
}

void live_khugepaged_keep(const struct live *live, bool keep)
{
	const char *word = keep ? "advise" : "inherit";

	live_write_at(live->thp.dir, "hugepages-2048kB/shmem_enabled", word, strlen(word));
}

static bool is_gone(const struct live *live)
{
	char byte;

	return pread(live->thp.khugepaged, &byte, 1, 0) != 1;
}

/* Huge pages are taken from all processes, and given back as they had them. */
static int hide_processes(struct live *live, bool hide)
{
	int64_t mode, done;
	size_t i;
	int error = 0;

	for (i = 0; !error && i < live->nr_processes; i++) {
		struct live_process *p = &live->processes[i];

		if (!p->alive)
			continue;
		if (hide) {
			error = live_call(live, (uint32_t)i, &mode, SYS_prctl, PR_GET_THP_DISABLE,
					  0, 0, 0, 0);
			p->thp_mode = (uint64_t)mode;
		}
		if (!error)
			error = live_call(live, (uint32_t)i, &done, SYS_prctl, PR_SET_THP_DISABLE,
					  hide ? 1 : p->thp_mode & 1,
					  hide ? 0 : p->thp_mode & ~UINT64_C(1), 0, 0);
	}
	return error;
}

int live_khugepaged_before(struct live *live)
{
	live_khugepaged_keep(live, true);
	return live->thp.khugepaged_gone ? hide_processes(live, true) : 0;
}

int live_khugepaged_after(struct live *live)
{
	const bool was_gone = live->thp.khugepaged_gone;
	int error = 0, shown;

	live_khugepaged_keep(live, !has_work(live));
	live->thp.khugepaged_gone = is_gone(live);
	if (!was_gone)
		return 0;
	if (live->thp.khugepaged_gone && has_work(live)) {
		close(live->thp.khugepaged);
		error = park(live);
		live->thp.khugepaged_gone = error != 0;
	}
	shown = hide_processes(live, false);
	return error ? error : shown;
}
