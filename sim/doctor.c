/*
 * doctor.c - the findings of a host's KSM: the list, and what its settings say.
 *
 * Every figure may be missing: old kernels have fewer files, and people paste what
 * they have. A finding is made only of figures that are known, never of defaults.
 *
 * The order in which findings are made is that of doctor_examine(); the order in
 * which they are shown is that of their severity, then of the table.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "doctor.h"
#include "human.h"

#define SLACK_MIN 1000 /* visits: what ksmd does in the few ms that grep takes */

static const struct row {
	const char *name;
	enum doctor_severity severity;
} rows[] = {
#define FINDING(name, severity, what, change) { #name, DOCTOR_##severity },
#include "findings.def"
};

const struct ksmsim_row *sim_findings(size_t *nr)
{
	static const struct ksmsim_row list[] = {
#define FINDING(name, severity, what, change) { #name, #severity, "", what },
#include "findings.def"
	};

	*nr = sizeof(list) / sizeof(*list);
	return list;
}

enum doctor_severity doctor_severity_of(enum doctor_finding_id id)
{
	return rows[id].severity;
}

/* ---- the list ---- */

void doctor_find(struct doctor *d, enum doctor_finding_id id)
{
	struct doctor_finding *finding;

	if (d->failed)
		return;
	if (!sim_grow(d->mem, &d->findings, &d->capacity, d->nr_findings, sizeof(*d->findings))) {
		d->failed = true;
		return;
	}
	finding = &d->findings[d->nr_findings++];
	memset(finding, 0, sizeof(*finding));
	finding->id = id;
	finding->lines.mem = d->mem;
}

void doctor_say(struct doctor *d, const char *format, ...)
{
	struct sim_buf *lines;
	va_list args;

	if (d->failed)
		return;
	lines = &d->findings[d->nr_findings - 1].lines;
	va_start(args, format);
	sim_buf_vprintf(lines, format, args);
	va_end(args);
	sim_buf_put(lines, "\n", 1);
	d->failed = lines->failed;
}

void doctor_figure(struct doctor *d, const char *name, int64_t value)
{
	struct doctor_finding *finding;

	if (d->failed)
		return;
	finding = &d->findings[d->nr_findings - 1];
	if (finding->nr_figures == DOCTOR_FIGURES_MAX)
		return;
	finding->figures[finding->nr_figures].name = name;
	finding->figures[finding->nr_figures++].value = value;
}

const struct doctor_finding *doctor_has(const struct doctor *d, enum doctor_finding_id id)
{
	size_t i;

	for (i = 0; i < d->nr_findings; i++)
		if (d->findings[i].id == id)
			return &d->findings[i];
	return NULL;
}

bool doctor_objects(const struct doctor *d)
{
	size_t i;

	for (i = 0; i < d->nr_findings; i++)
		if (doctor_severity_of(d->findings[i].id) != DOCTOR_NOTE)
			return true;
	return false;
}

void doctor_free(struct doctor *d)
{
	size_t i;

	for (i = 0; i < d->nr_findings; i++)
		sim_buf_free(&d->findings[i].lines);
	if (d->mem)
		sim_free(d->mem, d->findings);
	d->findings = NULL;
	d->nr_findings = d->capacity = 0;
}

/* ---- figures ---- */

int64_t doctor_times(int64_t a, int64_t b)
{
	int64_t product;

	return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

int64_t doctor_grew(const struct doctor *d, enum host_figure figure)
{
	int64_t by;

	if (!d->before || !host_knows(d->before, figure) || !doctor_knows(d, figure))
		return 0;
	return __builtin_sub_overflow(doctor_get(d, figure), host_get(d->before, figure), &by) ? 0
											       : by;
}

bool doctor_runs(const struct doctor *d)
{
	return !doctor_knows(d, HOST_run) || (doctor_get(d, HOST_run) & 1);
}

int64_t doctor_sum(const struct doctor *d, enum host_figure figure)
{
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < d->now->nr_processes; i++)
		if (__builtin_add_overflow(sum, d->now->processes[i].figures.value[figure], &sum))
			return INT64_MAX;
	return sum;
}

static void add_up(struct doctor *d)
{
	const int64_t batches = 2 * doctor_get(d, HOST_pages_to_scan),
		      zero = doctor_get(d, HOST_ksm_zero_pages);

	d->counted = doctor_knows(d, HOST_pages_shared) && doctor_knows(d, HOST_pages_sharing) &&
		     doctor_knows(d, HOST_pages_unshared) && doctor_knows(d, HOST_pages_volatile);
	d->merged = doctor_get(d, HOST_pages_shared) + doctor_get(d, HOST_pages_sharing);
	d->items =
		d->merged + doctor_get(d, HOST_pages_unshared) + doctor_get(d, HOST_pages_volatile);
	d->saved = doctor_get(d, HOST_pages_sharing) + doctor_get(d, HOST_ksm_zero_pages);
	/* processes write to zero pages also while ksmd rests */
	if (!d->now->quiet && (doctor_runs(d) || zero))
		d->slack = batches > SLACK_MIN ? batches : SLACK_MIN;
	d->leaked = zero - doctor_sum(d, HOST_stat_zero);
	if (!d->now->all_processes || zero <= 0 || d->leaked <= 2 * d->now->moved + d->slack)
		d->leaked = 0;
}

/* ---- why nothing merges ---- */

static void find_run(struct doctor *d)
{
	const int64_t run = doctor_get(d, HOST_run);

	if (!doctor_knows(d, HOST_run))
		return;
	if (run & 4) {
		doctor_find(d, FINDING_offlining);
		doctor_say(d, "run = %" PRId64 " = %" PRId64 " + 4", run, run & 3);
	}
	if ((run & 3) == 0) {
		doctor_find(d, FINDING_stopped);
		if (d->counted && d->items)
			doctor_say(d, "records kept: %s pages, %s of them merged",
				   sim_count(d->items).text, sim_count(d->merged).text);
	} else if (!(run & 1)) {
		doctor_find(d, FINDING_unmerged);
	}
}

/* Processes that offer memory; -1: nobody said. */
static int64_t count_offering(const struct doctor *d)
{
	int64_t offering = 0;
	bool told = d->now->looked_at > 0;
	size_t i;

	for (i = 0; i < d->now->nr_processes; i++) {
		const struct host_figures *f = &d->now->processes[i].figures;

		told |= f->known[HOST_stat_mergeable];
		offering += f->value[HOST_stat_mergeable] || f->value[HOST_mergeable_vmas];
	}
	return told ? offering : -1;
}

static void find_nobody(struct doctor *d)
{
	const int64_t offering = count_offering(d);

	if (!d->counted || d->items)
		return;
	/* a ksmd at rest has no records of newcomers, so then it is up to the processes */
	if (!doctor_is(d, HOST_run, 1) && (offering < 0 || (!offering && d->now->unreadable)))
		return;
	if (offering > 0) {
		if (!doctor_runs(d))
			return;
		doctor_find(d, FINDING_not_scanned_yet);
		doctor_say(d, "processes that offer memory: %s; records: 0",
			   sim_count(offering).text);
		doctor_figure(d, "processes", offering);
		return;
	}
	doctor_find(d, FINDING_nobody);
	doctor_say(d, "records = shared + sharing + unshared + volatile = 0");
	if (offering < 0)
		return;
	doctor_say(d, "processes read: %s, of them with ksm_mergeable: yes: 0",
		   sim_count((int64_t)d->now->looked_at).text);
	if (d->now->unreadable)
		doctor_say(d, "processes that could not be read: %s",
			   sim_count((int64_t)d->now->unreadable).text);
	doctor_figure(d, "processes_read", (int64_t)d->now->looked_at);
}

static int64_t percent(int64_t part, int64_t whole)
{
	return whole ? doctor_times(part, 100) / whole : 0;
}

static void say_classes(struct doctor *d)
{
	const int64_t unshared = doctor_get(d, HOST_pages_unshared),
		      fickle = doctor_get(d, HOST_pages_volatile);

	doctor_say(d,
		   "of %s pages: %s merged (%" PRId64 " %%), %s unshared (%" PRId64
		   " %%), %s volatile (%" PRId64 " %%)",
		   sim_count(d->items).text, sim_count(d->merged).text,
		   percent(d->merged, d->items), sim_count(unshared).text,
		   percent(unshared, d->items), sim_count(fickle).text, percent(fickle, d->items));
	doctor_figure(d, "items", d->items);
	doctor_figure(d, "unshared", unshared);
	doctor_figure(d, "volatile", fickle);
}

static void find_merging(struct doctor *d)
{
	const int64_t scans = doctor_get(d, HOST_full_scans);

	if (!d->counted || !d->items || !doctor_knows(d, HOST_full_scans))
		return;
	if (scans < 2) {
		if (!doctor_runs(d))
			return;
		doctor_find(d, FINDING_first_scans);
		doctor_say(d, "full_scans = %" PRId64, scans);
		if (d->pace.known)
			doctor_say(d, "two full scans take about %s",
				   sim_wait((uint64_t)doctor_times(2, d->pace.scan_ms)).text);
		return;
	}
	if (!d->merged && !d->saved) {
		doctor_find(d, FINDING_nothing_merges);
		doctor_say(d, "full_scans = %s, pages_shared = pages_sharing = 0",
			   sim_count(scans).text);
		say_classes(d);
	}
	if (doctor_get(d, HOST_pages_volatile) > d->items / 2) {
		doctor_find(d, FINDING_volatile);
		say_classes(d);
		if (doctor_is(d, HOST_smart_scan, 1))
			doctor_say(d,
				   "smart_scan is on: it leaves out %" PRId64 ".%" PRId64
				   " %% of the visits; those pages count as volatile",
				   d->pace.skipped_permille / 10, d->pace.skipped_permille % 10);
	}
}

/* ---- settings ---- */

static void find_smart_scan(struct doctor *d)
{
	const int64_t lonely = d->items - d->merged;

	if (!d->counted || !d->items || !doctor_knows(d, HOST_smart_scan))
		return;
	if (!doctor_get(d, HOST_smart_scan)) {
		doctor_find(d, FINDING_smart_scan_off);
		doctor_say(d, "pages that are not merged, visited in every scan: %s",
			   sim_count(lonely).text);
		doctor_say(d, "with smart_scan, in the long run one in nine: %s",
			   sim_count(lonely / 9).text);
		return;
	}
	doctor_find(d, FINDING_smart_scan);
	doctor_say(d,
		   "pages_skipped / (pages_scanned + pages_skipped) = %" PRId64 ".%" PRId64
		   " %% of the visits left out",
		   d->pace.skipped_permille / 10, d->pace.skipped_permille % 10);
	doctor_figure(d, "skipped_permille", d->pace.skipped_permille);
	if (d->pace.known)
		doctor_say(d, "a page that was unique for long may wait 9 full scans: %s",
			   sim_wait((uint64_t)doctor_times(9, d->pace.scan_ms)).text);
}

static void find_zero_pages_off(struct doctor *d)
{
	if (d->items && doctor_is(d, HOST_use_zero_pages, 0))
		doctor_find(d, FINDING_zero_pages_off);
}

static void find_nodes(struct doctor *d)
{
	const int64_t nodes = doctor_get(d, HOST_nodes);

	if (doctor_is(d, HOST_nodes, 1) || !doctor_knows(d, HOST_merge_across_nodes))
		return;
	if (!doctor_get(d, HOST_merge_across_nodes)) {
		doctor_find(d, FINDING_nodes_apart);
		if (nodes)
			doctor_say(d,
				   "%" PRId64 " nodes: up to %" PRId64
				   " copies of one content are kept; pages_shared = %s",
				   nodes, nodes, sim_count(doctor_get(d, HOST_pages_shared)).text);
		else
			doctor_say(d, "matters only if the host has more than one node");
	} else if (nodes) {
		doctor_find(d, FINDING_nodes_together);
		doctor_say(d, "%" PRId64 " nodes, %s merged pages", nodes,
			   sim_count(d->merged).text);
	}
}

static void find_around(struct doctor *d)
{
	if (d->now->unreadable) {
		doctor_find(d, FINDING_unreadable);
		doctor_say(d, "read: %s, not readable: %s",
			   sim_count((int64_t)d->now->looked_at).text,
			   sim_count((int64_t)d->now->unreadable).text);
	}
	if (d->now->ignored) {
		doctor_find(d, FINDING_ignored);
		doctor_say(d, "%s lines, the first: %s", sim_count((int64_t)d->now->ignored).text,
			   d->now->first_ignored);
	}
}

int doctor_examine(struct doctor *d)
{
	if (d->now->absent) {
		doctor_find(d, FINDING_absent);
		return d->failed ? KSMSIM_ENOMEM : 0;
	}
	add_up(d);
	doctor_pace(d);
	find_run(d);
	find_nobody(d);
	find_merging(d);
	doctor_find_pace(d);
	doctor_find_progress(d);
	doctor_find_sums(d);
	doctor_find_worth(d);
	find_smart_scan(d);
	find_zero_pages_off(d);
	find_nodes(d);
	find_around(d);
	return d->failed ? KSMSIM_ENOMEM : 0;
}
