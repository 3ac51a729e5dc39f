/*
 * live_sight.c - what this kernel tells.
 *
 * Some things no kernel shows, or not of one process alone; others only newer ones do:
 *
 *	ksm_merge_any, ksm_mergeable in ksm_stat	6.18
 *	guard pages in PAGEMAP_SCAN			6.18
 *	tracepoints of KSM				6.12
 *	pages_scanned, general_profit, ksm_zero_pages	6.12
 *	PAGEMAP_SCAN, the line KSM in smaps		6.12
 *
 * What is missing is asked for here, once, and never compared. Without tracepoints a KSM page
 * is one that kpageflags calls so, which is right in these kernels; without pages_scanned
 * nobody knows how many pages a step has visited.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "live_parts.h"
#include "probe.h"

static const struct live *live_of(const struct sim_backend *backend)
{
	return (const struct live *)(const void *)backend;
}

/* ---- at the beginning ---- */

void live_sight_start(struct live *live)
{
	const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	live->sight.scan = pagemap >= 0 && live_pages_can_scan(pagemap, &live->sight.guard_pages);
	if (pagemap >= 0)
		close(pagemap);
}

bool sim_live_tells(const char **what)
{
	*what = "this kernel has no tracepoints of KSM: events are not compared";
	return access("/sys/kernel/mm/ksm/pages_scanned", F_OK) == 0;
}

/* ---- blind ---- */

static bool has_file(const struct live *live, const char *file)
{
	return strncmp(file, "ksm/", 4) || !faccessat(live->ksm, file + 4, F_OK, 0);
}

static void blind_counters(const struct live *live, struct sim_blind *blind)
{
	static const enum ksmsim_counter counters[] = {
		KSMSIM_COUNT_walk_entries, KSMSIM_COUNT_unmerge_entries, KSMSIM_COUNT_stale_links,
		KSMSIM_COUNT_file_collapses, KSMSIM_COUNT_nr_anon_frames, KSMSIM_COUNT_ksmd_cpu_ns,
		KSMSIM_COUNT_host_bytes,
		/* of the whole machine */
		KSMSIM_COUNT_pgfault, KSMSIM_COUNT_pgreuse,
		/* a level that others raise as well */
		KSMSIM_COUNT_nr_anon_thps, KSMSIM_COUNT_deferred_split_queue,
		/* its list is never empty here */
		KSMSIM_COUNT_khugepaged_full_scans
	};
	size_t i, nr;
	const struct ksmsim_row *rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);

	for (i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		blind->counters |= UINT64_C(1) << counters[i];
	for (i = 0; i < nr; i++)
		if (!has_file(live, rows[i].file))
			blind->counters |= UINT64_C(1) << i;
	/* live_vmstat.c has it from there */
	if (!has_file(live, rows[KSMSIM_COUNT_general_profit].file))
		blind->counters |= UINT64_C(1) << KSMSIM_COUNT_rmap_items;
	if (live->thp.zero_is_held)
		blind->counters |= UINT64_C(1) << KSMSIM_COUNT_thp_zero_page_alloc;
}

static void blind_figures(struct sim_blind *blind)
{
	/* a processor marks entries as accessed ahead of a program, too, which then does not come there */
	static const enum sim_figure figures[] = { SIM_FIGURE_registered, SIM_FIGURE_nr_ptes,
						   SIM_FIGURE_referenced };
	/* newer kernels say more */
	static const struct {
		enum sim_figure figure;
		const char *file, *key;
	} lines[] = {
		{ SIM_FIGURE_merging_pages, "ksm_merging_pages", "" },
		{ SIM_FIGURE_zero_pages, "ksm_stat", "ksm_zero_pages" },
		{ SIM_FIGURE_profit, "ksm_stat", "ksm_process_profit" },
		{ SIM_FIGURE_mergeable, "ksm_stat", "ksm_mergeable" },
		{ SIM_FIGURE_merge_any, "ksm_stat", "ksm_merge_any" },
		{ SIM_FIGURE_ksm_pages, "smaps_rollup", "KSM:" },
	};
	char path[64], text[2048];
	size_t i;

	for (i = 0; i < sizeof(figures) / sizeof(*figures); i++)
		blind->figures |= UINT64_C(1) << figures[i];
	for (i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", lines[i].file);
		if (!live_read_at(AT_FDCWD, path, text, sizeof(text)) ||
		    !strstr(text, lines[i].key))
			blind->figures |= UINT64_C(1) << lines[i].figure;
	}
}

void live_blind(struct sim_backend *backend, struct sim_blind *blind)
{
	const struct live *live = live_of(backend);

	blind_counters(live, blind);
	blind_figures(blind);
	blind->pages |= UINT64_C(1) << SIM_SIGHT_file | UINT64_C(1) << SIM_SIGHT_failed |
			UINT64_C(1) << SIM_SIGHT_writable | UINT64_C(1) << SIM_SIGHT_refs;
	if (!live->sight.events)
		blind->pages |= UINT64_C(1) << SIM_SIGHT_ksm_zero;
	if (!sim_has_soft_dirty(""))
		blind->pages |= UINT64_C(1) << SIM_SIGHT_soft_dirty;
	if (!live->sight.scan)
		blind->pages |= UINT64_C(1) << SIM_SIGHT_huge;
}
