/*
 * doctor_sums.c - counters that must add up, and by how much they do not.
 *
 * What a kernel at rest shows:
 *
 *	general_profit = (pages_sharing + ksm_zero_pages) x page - items x 64
 *	items          = shared + sharing + unshared + volatile
 *	               = sum over processes of ksm_rmap_items
 *	shared+sharing = sum over processes of ksm_merging_pages
 *	ksm_zero_pages = sum over processes of ksm_zero_pages
 *	process_profit = (merging + zero) x page - rmap_items x 64
 *
 * The files are read one after the other, and ksmd works on meanwhile. A difference
 * below what it can do in that time (doctor->slack visits) is no finding; where two
 * readings were the same, or nobody can move them, the slack is 0.
 */
#include <inttypes.h>
#include <string.h>

#include "doctor.h"
#include "human.h"

#define NAMED_MAX 5u /* processes of one finding that are shown by name */

static int64_t size_of(int64_t value)
{
	return value < 0 ? -value : value;
}

static void say_profit(struct doctor *d, int64_t computed)
{
	const int64_t page = (int64_t)d->now->page;

	doctor_say(d, "items          = shared + sharing + unshared + volatile");
	doctor_say(d, "               = %s + %s + %s + %s = %s",
		   sim_count(doctor_get(d, HOST_pages_shared)).text,
		   sim_count(doctor_get(d, HOST_pages_sharing)).text,
		   sim_count(doctor_get(d, HOST_pages_unshared)).text,
		   sim_count(doctor_get(d, HOST_pages_volatile)).text, sim_count(d->items).text);
	doctor_say(d,
		   "general_profit = (pages_sharing + ksm_zero_pages) x %" PRId64 " - items x %d",
		   page, DOCTOR_ITEM_BYTES);
	doctor_say(d, "               = %s x %" PRId64 " - %s x %d = %s", sim_count(d->saved).text,
		   page, sim_count(d->items).text, DOCTOR_ITEM_BYTES, sim_count(computed).text);
}

/* Is a gap of items nearly one of the classes? */
static void say_gap(struct doctor *d, int64_t gap)
{
	static const struct {
		const char *name;
		enum host_figure figure;
	} classes[] = { { "pages_shared", HOST_pages_shared },
			{ "pages_sharing", HOST_pages_sharing },
			{ "pages_unshared", HOST_pages_unshared },
			{ "pages_volatile", HOST_pages_volatile } };
	size_t i;

	for (i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
		const int64_t class = doctor_get(d, classes[i].figure);

		if (class && size_of(size_of(gap) - class) <= class / 100)
			doctor_say(d, "that is nearly %s (%s)", classes[i].name,
				   sim_count(class).text);
	}
}

static void find_profit(struct doctor *d)
{
	const int64_t page = (int64_t)d->now->page;
	const int64_t reported = doctor_get(d, HOST_general_profit);
	const int64_t computed = d->saved * page - d->items * DOCTOR_ITEM_BYTES;
	const int64_t allowed = d->slack * (page + DOCTOR_ITEM_BYTES);
	const int64_t less = d->saved * page - reported;
	int64_t by;

	if (!d->counted || !doctor_knows(d, HOST_general_profit))
		return;
	by = reported - computed;
	if (size_of(by) <= allowed)
		return;
	doctor_find(d, FINDING_profit_differs);
	say_profit(d, computed);
	doctor_say(d, "reported       = %s: %s bytes %s (%s); tolerance %s bytes",
		   sim_count(reported).text, sim_count(size_of(by)).text, by > 0 ? "more" : "less",
		   sim_bytes(size_of(by)).text, sim_count(allowed).text);
	doctor_figure(d, "items", d->items);
	doctor_figure(d, "computed", computed);
	doctor_figure(d, "reported", reported);
	doctor_figure(d, "difference", by);
	doctor_figure(d, "tolerance", allowed);
	if (less < 0 || less % DOCTOR_ITEM_BYTES)
		return;
	doctor_say(d, "the reported profit fits %s items, %s %s than the counters add up to",
		   sim_count(less / DOCTOR_ITEM_BYTES).text,
		   sim_count(size_of(d->items - less / DOCTOR_ITEM_BYTES)).text,
		   by > 0 ? "fewer" : "more");
	say_gap(d, d->items - less / DOCTOR_ITEM_BYTES);
}

static void find_shares(struct doctor *d)
{
	const int64_t shared = doctor_get(d, HOST_pages_shared),
		      sharing = doctor_get(d, HOST_pages_sharing),
		      limit = doctor_get(d, HOST_max_page_sharing);

	if (!d->counted)
		return;
	if (!shared && sharing > d->slack) {
		doctor_find(d, FINDING_sharing_alone);
		doctor_say(d, "pages_shared = 0, pages_sharing = %s", sim_count(sharing).text);
		doctor_figure(d, "pages_sharing", sharing);
	} else if (limit && sharing > doctor_times(shared, limit - 1) + d->slack) {
		doctor_find(d, FINDING_above_limit);
		doctor_say(
			d,
			"pages_sharing = %s > pages_shared x (max_page_sharing - 1) = %s x %s = %s",
			sim_count(sharing).text, sim_count(shared).text, sim_count(limit - 1).text,
			sim_count(doctor_times(shared, limit - 1)).text);
	}
}

static void find_negative(struct doctor *d)
{
	const int64_t zero = doctor_get(d, HOST_ksm_zero_pages);

	if (zero >= 0)
		return;
	doctor_find(d, FINDING_zero_negative);
	doctor_say(d, "ksm_zero_pages = %s: general_profit is %s bytes too low, or more",
		   sim_count(zero).text, sim_count(-zero * (int64_t)d->now->page).text);
	doctor_figure(d, "ksm_zero_pages", zero);
}

/* ---- sums over the processes ---- */

static int64_t sum_slack(const struct doctor *d)
{
	return 2 * d->now->moved + d->slack;
}

static void find_leak(struct doctor *d)
{
	if (!d->leaked)
		return;
	doctor_find(d, FINDING_zero_leaked);
	doctor_say(d, "ksm_zero_pages = %s, sum over the processes = %s: %s too many",
		   sim_count(doctor_get(d, HOST_ksm_zero_pages)).text,
		   sim_count(doctor_sum(d, HOST_stat_zero)).text, sim_count(d->leaked).text);
	doctor_say(d, "general_profit is too high by %s x %" PRIu64 " = %s bytes",
		   sim_count(d->leaked).text, d->now->page,
		   sim_count(d->leaked * (int64_t)d->now->page).text);
	doctor_figure(d, "ksm_zero_pages", doctor_get(d, HOST_ksm_zero_pages));
	doctor_figure(d, "sum", doctor_sum(d, HOST_stat_zero));
	doctor_figure(d, "leaked", d->leaked);
}

/* One counter of KSM against the sum over the processes. */
static void find_sum(struct doctor *d, const char *what, int64_t all, enum host_figure figure,
		     const char *line)
{
	const int64_t sum = doctor_sum(d, figure);

	if (sum > all + sum_slack(d)) {
		doctor_find(d, FINDING_sums_differ);
		doctor_say(d, "%s = %s, sum of %s = %s: %s too many", what, sim_count(all).text,
			   line, sim_count(sum).text, sim_count(sum - all).text);
		doctor_figure(d, "ksm", all);
		doctor_figure(d, "sum", sum);
	} else if (d->now->all_processes && sum < all - sum_slack(d)) {
		doctor_find(d, FINDING_gone_processes);
		doctor_say(d, "%s = %s, sum of %s = %s: %s missing", what, sim_count(all).text,
			   line, sim_count(sum).text, sim_count(all - sum).text);
		doctor_figure(d, "ksm", all);
		doctor_figure(d, "sum", sum);
	}
}

/* ---- one process ---- */

static int64_t profit_of(const struct doctor *d, const struct host_figures *f)
{
	return (f->value[HOST_stat_merging] + f->value[HOST_stat_zero]) * (int64_t)d->now->page -
	       f->value[HOST_stat_items] * DOCTOR_ITEM_BYTES;
}

static bool profit_is_wrong(const struct doctor *d, const struct host_figures *f)
{
	const int64_t allowed = d->slack * ((int64_t)d->now->page + DOCTOR_ITEM_BYTES);

	return f->known[HOST_stat_profit] && f->known[HOST_stat_merging] &&
	       f->known[HOST_stat_items] &&
	       size_of(f->value[HOST_stat_profit] - profit_of(d, f)) > allowed;
}

static bool merges_too_many(const struct doctor *d, const struct host_figures *f)
{
	return f->known[HOST_stat_items] &&
	       f->value[HOST_stat_merging] > f->value[HOST_stat_items] + d->slack;
}

static int64_t mapped_ksm(const struct doctor *d, const struct host_figures *f)
{
	return f->value[HOST_smaps_ksm_kb] * 1024 / (int64_t)d->now->page;
}

/* More than one in a hundred: pages come and go between the two files. */
static bool smaps_differs(const struct doctor *d, const struct host_figures *f)
{
	const int64_t merging = f->value[HOST_stat_merging];

	return f->known[HOST_smaps_ksm_kb] && f->known[HOST_stat_merging] &&
	       size_of(mapped_ksm(d, f) - merging) > merging / 100 + d->slack;
}

static void say_process_profit(struct doctor *d, const struct host_process *p)
{
	const int64_t computed = profit_of(d, &p->figures),
		      reported = p->figures.value[HOST_stat_profit];

	doctor_say(d, "%s: (%s + %s) x %" PRIu64 " - %s x %d = %s, reported %s: %s %s", p->name,
		   sim_count(p->figures.value[HOST_stat_merging]).text,
		   sim_count(p->figures.value[HOST_stat_zero]).text, d->now->page,
		   sim_count(p->figures.value[HOST_stat_items]).text, DOCTOR_ITEM_BYTES,
		   sim_count(computed).text, sim_count(reported).text,
		   sim_count(size_of(reported - computed)).text,
		   reported > computed ? "more" : "less");
}

static void say_too_many(struct doctor *d, const struct host_process *p)
{
	doctor_say(d, "%s: ksm_merging_pages = %s, ksm_rmap_items = %s", p->name,
		   sim_count(p->figures.value[HOST_stat_merging]).text,
		   sim_count(p->figures.value[HOST_stat_items]).text);
}

static void say_smaps(struct doctor *d, const struct host_process *p)
{
	doctor_say(d, "%s: smaps KSM: %s kB = %s pages, ksm_merging_pages = %s", p->name,
		   sim_count(p->figures.value[HOST_smaps_ksm_kb]).text,
		   sim_count(mapped_ksm(d, &p->figures)).text,
		   sim_count(p->figures.value[HOST_stat_merging]).text);
}

/* One finding for all processes of which something is so. */
static void find_processes(struct doctor *d, enum doctor_finding_id id,
			   bool (*is)(const struct doctor *d, const struct host_figures *f),
			   void (*say)(struct doctor *d, const struct host_process *p))
{
	int64_t nr = 0;
	size_t i;

	for (i = 0; i < d->now->nr_processes; i++) {
		if (!is(d, &d->now->processes[i].figures))
			continue;
		if (!nr++)
			doctor_find(d, id);
		if (nr <= NAMED_MAX)
			say(d, &d->now->processes[i]);
	}
	if (nr > NAMED_MAX)
		doctor_say(d, "and %s more", sim_count(nr - NAMED_MAX).text);
	if (nr)
		doctor_figure(d, "processes", nr);
}

void doctor_find_sums(struct doctor *d)
{
	find_profit(d);
	find_shares(d);
	find_negative(d);
	find_leak(d);
	if (d->counted) {
		find_sum(d, "shared + sharing", d->merged, HOST_stat_merging, "ksm_merging_pages");
		find_sum(d, "items", d->items, HOST_stat_items, "ksm_rmap_items");
	}
	find_processes(d, FINDING_process_profit_differs, profit_is_wrong, say_process_profit);
	find_processes(d, FINDING_process_too_many, merges_too_many, say_too_many);
	find_processes(d, FINDING_smaps_differs, smaps_differs, say_smaps);
}
