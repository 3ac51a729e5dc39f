/*
 * doctor_worth.c - what KSM saves here, what it costs, and which settings eat it.
 *
 * The kernel's formula: a page that is shared saves one page for every mapping but
 * the first, and every page that KSM knows of costs a record of 64 bytes. So one
 * saved page pays for page / 64 records; it does not count stable nodes, page tables
 * of split huge pages, or time.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "doctor.h"
#include "human.h"

#define LOSERS_MAX 5u
#define SHARING_HIGH 4096 /* mappings of one page */
#define PRUNE_LONG_MS 600000
#define LOSS_PARTS 20 /* copies above one in so many of the savings are a warning */

static int64_t bytes_of(const struct doctor *d, int64_t pages)
{
	return pages * (int64_t)d->now->page;
}

/* Nothing can have merged yet. */
static bool is_early(const struct doctor *d)
{
	return doctor_knows(d, HOST_full_scans) && doctor_get(d, HOST_full_scans) < 2;
}

/* ---- does it pay? ---- */

/* Zero pages that no process has save nothing, whatever general_profit says. */
static int64_t really_saved(const struct doctor *d)
{
	return d->saved - d->leaked;
}

static void say_worth(struct doctor *d, int64_t profit)
{
	const int64_t page = (int64_t)d->now->page, cost = d->items * DOCTOR_ITEM_BYTES,
		      saved = really_saved(d), total = doctor_get(d, HOST_mem_total_kb);
	const int64_t ratio = saved > 0 ? doctor_times(d->items, 100) / saved : 0;

	doctor_say(d, "saved   = (pages_sharing + ksm_zero_pages) x %" PRId64, page);
	doctor_say(d, "        = (%s + %s) x %" PRId64 " = %s bytes (%s)",
		   sim_count(doctor_get(d, HOST_pages_sharing)).text,
		   sim_count(doctor_get(d, HOST_ksm_zero_pages) - d->leaked).text, page,
		   sim_count(bytes_of(d, saved)).text, sim_bytes(bytes_of(d, saved)).text);
	doctor_say(d, "records = items x %d = %s x %d = %s bytes (%s)", DOCTOR_ITEM_BYTES,
		   sim_count(d->items).text, DOCTOR_ITEM_BYTES, sim_count(cost).text,
		   sim_bytes(cost).text);
	doctor_say(d, "profit  = saved - records = %s bytes (%s)", sim_count(profit).text,
		   sim_bytes(profit).text);
	if (saved > 0)
		doctor_say(d, "items for each saved page: %s; it pays below %" PRId64,
			   sim_hundredths((uint64_t)ratio).text, page / DOCTOR_ITEM_BYTES);
	if (doctor_get(d, HOST_ksm_zero_pages) > 0 && !d->now->all_processes)
		doctor_say(
			d,
			"(whether processes have the zero pages shows only on the host, to root)");
	if (total && profit > 0)
		doctor_say(d, "of the memory of this host: %s %%",
			   sim_hundredths((uint64_t)(doctor_times(profit / 1024, 10000) / total))
				   .text);
	doctor_figure(d, "saved", bytes_of(d, saved));
	doctor_figure(d, "records", cost);
	doctor_figure(d, "profit", profit);
}

static void find_profit(struct doctor *d)
{
	const int64_t saved = really_saved(d),
		      profit = bytes_of(d, saved) - d->items * DOCTOR_ITEM_BYTES;

	if (!d->counted || (!d->items && !saved))
		return;
	if (profit <= 0 && is_early(d))
		return;
	doctor_find(d, profit > 0 ? FINDING_pays : FINDING_does_not_pay);
	say_worth(d, profit);
}

/* ---- which processes do not ---- */

struct loser {
	const struct host_process *process;
	int64_t profit;
};

/* The worst first; names decide between equals. */
static bool is_worse(const struct loser *a, const struct loser *b)
{
	return a->profit < b->profit;
}

static void keep(struct loser *worst, size_t nr, struct loser one)
{
	size_t i;

	for (i = nr; i > 0 && is_worse(&one, &worst[i - 1]); i--)
		if (i < LOSERS_MAX)
			worst[i] = worst[i - 1];
	if (i < LOSERS_MAX)
		worst[i] = one;
}

static void find_losers(struct doctor *d)
{
	struct loser worst[LOSERS_MAX], one;
	int64_t nr = 0, sum = 0;
	size_t i, kept = 0;

	for (i = 0; i < d->now->nr_processes; i++) {
		const struct host_figures *f = &d->now->processes[i].figures;

		one.process = &d->now->processes[i];
		one.profit = bytes_of(d, f->value[HOST_stat_merging] + f->value[HOST_stat_zero]) -
			     f->value[HOST_stat_items] * DOCTOR_ITEM_BYTES;
		if (one.profit >= 0 || !f->known[HOST_stat_merging])
			continue;
		keep(worst, kept, one);
		kept += kept < LOSERS_MAX;
		sum = sum < INT64_MIN / 2 ? sum : sum + one.profit;
		nr++;
	}
	if (!nr || is_early(d))
		return;
	doctor_find(d, FINDING_processes_lose);
	for (i = 0; i < kept; i++)
		doctor_say(d, "%s: (%s + %s) x %" PRIu64 " - %s x %d = %s bytes",
			   worst[i].process->name,
			   sim_count(worst[i].process->figures.value[HOST_stat_merging]).text,
			   sim_count(worst[i].process->figures.value[HOST_stat_zero]).text,
			   d->now->page,
			   sim_count(worst[i].process->figures.value[HOST_stat_items]).text,
			   DOCTOR_ITEM_BYTES, sim_count(worst[i].profit).text);
	doctor_say(d, "%s processes lose %s together", sim_count(nr).text, sim_bytes(-sum).text);
	doctor_figure(d, "processes", nr);
	doctor_figure(d, "bytes", sum);
}

static void find_coverage(struct doctor *d)
{
	const int64_t anon = doctor_get(d, HOST_anon_kb);
	const int64_t known = bytes_of(d, d->items) / 1024;

	if (!anon || !d->counted || !d->items)
		return;
	doctor_find(d, FINDING_coverage);
	doctor_say(d, "items x %" PRIu64 " = %s of %s anonymous memory: %" PRId64 " %%",
		   d->now->page, sim_bytes(known * 1024).text, sim_bytes(anon * 1024).text,
		   doctor_times(known, 100) / anon);
	doctor_figure(d, "percent", doctor_times(known, 100) / anon);
}

/* ---- limits on sharing ---- */

static void say_chains(struct doctor *d, int64_t extra)
{
	const int64_t chains = doctor_get(d, HOST_stable_node_chains),
		      dups = doctor_get(d, HOST_stable_node_dups);

	doctor_say(d, "stable_node_dups - stable_node_chains = %s - %s = %s copies too many: %s",
		   sim_count(dups).text, sim_count(chains).text, sim_count(extra).text,
		   sim_bytes(bytes_of(d, extra)).text);
	if (doctor_get(d, HOST_max_page_sharing))
		doctor_say(
			d,
			"max_page_sharing = %s: each content costs one page for so many mappings",
			sim_count(doctor_get(d, HOST_max_page_sharing)).text);
	doctor_figure(d, "chains", chains);
	doctor_figure(d, "dups", dups);
	doctor_figure(d, "bytes", bytes_of(d, extra));
}

static void find_chains(struct doctor *d)
{
	const int64_t chains = doctor_get(d, HOST_stable_node_chains),
		      dups = doctor_get(d, HOST_stable_node_dups);
	const int64_t extra = dups - chains;

	if (extra < 0) {
		doctor_find(d, FINDING_empty_chains);
		doctor_say(d, "stable_node_chains = %s, stable_node_dups = %s",
			   sim_count(chains).text, sim_count(dups).text);
	} else if (extra > 0) {
		doctor_find(d, extra > doctor_get(d, HOST_pages_sharing) / LOSS_PARTS
				       ? FINDING_sharing_low
				       : FINDING_chains);
		say_chains(d, extra);
	}
	if (chains && doctor_get(d, HOST_stable_node_chains_prune_millisecs) > PRUNE_LONG_MS) {
		doctor_find(d, FINDING_prune);
		doctor_say(
			d, "a chain is pruned at most every %s",
			sim_wait((uint64_t)doctor_get(d, HOST_stable_node_chains_prune_millisecs))
				.text);
	}
}

static void find_high_limit(struct doctor *d)
{
	const int64_t limit = doctor_get(d, HOST_max_page_sharing);

	if (limit <= SHARING_HIGH)
		return;
	doctor_find(d, FINDING_sharing_high);
	doctor_say(d, "max_page_sharing = %s (default 256)", sim_count(limit).text);
	if (doctor_get(d, HOST_pages_shared))
		doctor_say(d, "mappings of a merged page now, on average: %s",
			   sim_count(d->merged / doctor_get(d, HOST_pages_shared)).text);
}

/* ---- huge pages ---- */

static void find_huge(struct doctor *d)
{
	const int64_t mergeable = doctor_sum(d, HOST_mergeable_anon_kb),
		      huge = doctor_sum(d, HOST_mergeable_huge_kb);
	const bool always = doctor_is(d, HOST_huge_enabled, 0);

	if (!huge && !(always && d->items))
		return;
	doctor_find(d, FINDING_huge_pages);
	if (doctor_knows(d, HOST_huge_enabled))
		doctor_say(d, "transparent_hugepage/enabled = %s",
			   always				? "always"
			   : doctor_is(d, HOST_huge_enabled, 1) ? "madvise"
								: "never");
	if (mergeable)
		doctor_say(d, "of %s in mergeable mappings, %s is in huge pages (%" PRId64 " %%)",
			   sim_bytes(mergeable * 1024).text, sim_bytes(huge * 1024).text,
			   doctor_times(huge, 100) / mergeable);
	doctor_figure(d, "mergeable_kb", mergeable);
	doctor_figure(d, "huge_kb", huge);
}

static void find_collapse(struct doctor *d)
{
	if (really_saved(d) <= 0 || !doctor_knows(d, HOST_huge_enabled) ||
	    doctor_is(d, HOST_huge_enabled, 2))
		return;
	if (!doctor_get(d, HOST_huge_ptes_none) && !doctor_get(d, HOST_huge_ptes_shared))
		return;
	doctor_find(d, FINDING_collapse);
	doctor_say(d,
		   "khugepaged fills up to %s empty or zero pages and copies up to %s shared ones "
		   "for one huge page",
		   sim_count(doctor_get(d, HOST_huge_ptes_none)).text,
		   sim_count(doctor_get(d, HOST_huge_ptes_shared)).text);
}

void doctor_find_worth(struct doctor *d)
{
	find_profit(d);
	find_losers(d);
	find_coverage(d);
	find_chains(d);
	find_high_limit(d);
	find_huge(d);
	find_collapse(d);
}
