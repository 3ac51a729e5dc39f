/*
 * doctor_pace.c - how long a full scan takes, what it costs, and whether ksmd gets on.
 *
 * A full scan is visits / pages_to_scan + 1 batches with a sleep between two. A
 * visit costs what this ksmd has used so far, divided by its visits, where that is
 * known; else what the cost table of the model says for pages of each class.
 *
 * How long a scan should take is the kernel's own answer: the advisor's target,
 * 200 s by default, also where the advisor is off.
 */
#include <inttypes.h>

#include "doctor.h"
#include "human.h"

#define TARGET_S 200	     /* advisor_target_scan_time where there is no such file */
#define MAX_CPU 70	     /* advisor_max_cpu likewise */
#define VISITS_TO_TRUST 1000 /* before an average over them means something */
#define STUCK_MS 1000	     /* that ksmd may be late */
#define NS_PER_MS 1000000

enum cost {
#define COST(name, ns, doc) COST_##name = (ns),
#include "ksmsim/costs.def"
};

static int64_t log2_of(int64_t value)
{
	int64_t levels = 0;

	for (; value > 0; value /= 2)
		levels++;
	return levels;
}

/* Of a visit in the steady state, from the cost table. */
static int64_t modelled_ns(const struct doctor *d)
{
	const int64_t unshared = doctor_get(d, HOST_pages_unshared);
	const int64_t levels = COST_stable_level * log2_of(doctor_get(d, HOST_pages_shared)) +
			       COST_unstable_level * log2_of(unshared);
	const int64_t all = d->merged * (COST_visit + COST_visit_merged) +
			    unshared * (COST_visit + COST_checksum + levels) +
			    doctor_get(d, HOST_pages_volatile) * (COST_visit + COST_checksum);

	return all / d->items;
}

static int64_t ns_per_visit(const struct doctor *d, bool *measured)
{
	const bool both = d->before && doctor_grew(d, HOST_pages_scanned) >= VISITS_TO_TRUST;
	const int64_t visits =
		both ? doctor_grew(d, HOST_pages_scanned) : doctor_get(d, HOST_pages_scanned);
	const int64_t ns =
		both ? doctor_grew(d, HOST_ksmd_cpu_ns) : doctor_get(d, HOST_ksmd_cpu_ns);

	*measured = ns > 0 && visits >= VISITS_TO_TRUST && ns / visits < NS_PER_MS;
	return *measured ? ns / visits : modelled_ns(d);
}

static int64_t skipped_permille(const struct doctor *d)
{
	const bool both = d->before && doctor_grew(d, HOST_pages_scanned) >= VISITS_TO_TRUST;
	const int64_t scanned =
		both ? doctor_grew(d, HOST_pages_scanned) : doctor_get(d, HOST_pages_scanned);
	int64_t skipped =
		both ? doctor_grew(d, HOST_pages_skipped) : doctor_get(d, HOST_pages_skipped);
	int64_t all;

	if (!doctor_is(d, HOST_smart_scan, 1) || skipped <= 0 || scanned < 0)
		return 0;
	if (__builtin_add_overflow(scanned, skipped, &all))
		return 0;
	while (skipped > INT64_MAX / 1000) {
		skipped /= 2;
		all /= 2;
	}
	return skipped * 1000 / all;
}

static int64_t plus(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

void doctor_pace(struct doctor *d)
{
	struct doctor_pace *pace = &d->pace;
	const int64_t batch = doctor_get(d, HOST_pages_to_scan);

	pace->skipped_permille = skipped_permille(d);
	pace->target_ms = doctor_times(1000, doctor_knows(d, HOST_advisor_target_scan_time)
						     ? doctor_get(d, HOST_advisor_target_scan_time)
						     : TARGET_S);
	pace->known = d->counted && d->items && batch && doctor_knows(d, HOST_sleep_millisecs);
	if (!pace->known)
		return;
	pace->visits = d->items - d->items / 1000 * pace->skipped_permille;
	pace->batches = pace->visits / batch + 1;
	pace->ns_per_visit = ns_per_visit(d, &pace->measured);
	pace->sleep_ms = doctor_times(pace->batches, doctor_get(d, HOST_sleep_millisecs));
	pace->cpu_ms = doctor_times(pace->visits, pace->ns_per_visit) / NS_PER_MS;
	pace->scan_ms = plus(pace->sleep_ms, pace->cpu_ms);
}

/* ---- one full scan ---- */

static int64_t permille(int64_t part, int64_t whole)
{
	return whole > 0 ? doctor_times(part, 1000) / whole : 0;
}

static void say_scan(struct doctor *d)
{
	const struct doctor_pace *p = &d->pace;
	const int64_t share = permille(p->cpu_ms, p->scan_ms);

	doctor_say(d,
		   "visits    = %s records, less %" PRId64 ".%" PRId64
		   " %% that smart_scan leaves out = %s",
		   sim_count(d->items).text, p->skipped_permille / 10, p->skipped_permille % 10,
		   sim_count(p->visits).text);
	doctor_say(d, "batches   = visits / pages_to_scan + 1 = %s / %s + 1 = %s",
		   sim_count(p->visits).text, sim_count(doctor_get(d, HOST_pages_to_scan)).text,
		   sim_count(p->batches).text);
	doctor_say(d, "sleep     = batches x %s ms = %s",
		   sim_count(doctor_get(d, HOST_sleep_millisecs)).text,
		   sim_wait((uint64_t)p->sleep_ms).text);
	doctor_say(d, "CPU       = visits x %s ns (%s) = %s", sim_count(p->ns_per_visit).text,
		   p->measured ? "measured: ksmd's CPU time / pages_scanned" : "modelled",
		   sim_wait((uint64_t)p->cpu_ms).text);
	doctor_say(d, "full scan = %s, with %" PRId64 ".%" PRId64 " %% of one core",
		   sim_wait((uint64_t)p->scan_ms).text, share / 10, share % 10);
	doctor_say(d, "equal pages that appear now merge after two scans: %s",
		   sim_wait((uint64_t)doctor_times(2, p->scan_ms)).text);
	doctor_figure(d, "visits", p->visits);
	doctor_figure(d, "batches", p->batches);
	doctor_figure(d, "sleep_ms", p->sleep_ms);
	doctor_figure(d, "cpu_ms", p->cpu_ms);
	doctor_figure(d, "ns_per_visit", p->ns_per_visit);
	doctor_figure(d, "measured", p->measured);
	doctor_figure(d, "scan_ms", p->scan_ms);
	doctor_figure(d, "ksmd_permille", share);
}

static int64_t max_cpu(const struct doctor *d)
{
	const int64_t known = doctor_get(d, HOST_advisor_max_cpu);

	return known > 0 ? known : MAX_CPU;
}

/* The shortest scan that the advisor's limits allow. */
static int64_t advised_ms(const struct doctor *d, int64_t *by_pages, int64_t *by_cpu)
{
	const struct doctor_pace *p = &d->pace;
	const int64_t most = doctor_get(d, HOST_advisor_max_pages_to_scan);

	*by_cpu = doctor_times(p->cpu_ms, 100) / max_cpu(d);
	*by_pages =
		most ? plus(doctor_times(p->visits / most + 1, doctor_get(d, HOST_sleep_millisecs)),
			    p->cpu_ms)
		     : INT64_MAX;
	return *by_cpu > *by_pages ? *by_cpu : *by_pages;
}

/* What the target needs, if the advisor is not there to find out. */
static void say_needed(struct doctor *d)
{
	const struct doctor_pace *p = &d->pace;
	const int64_t sleep = doctor_get(d, HOST_sleep_millisecs);
	const int64_t left = p->target_ms - p->cpu_ms;
	int64_t batch;

	if (left <= 0) {
		doctor_say(d, "not to be had: the CPU time alone is %s, and there is one ksmd",
			   sim_wait((uint64_t)p->cpu_ms).text);
		return;
	}
	if (left <= sleep) {
		doctor_say(d, "not to be had with this sleep_millisecs: one sleep is %s",
			   sim_wait((uint64_t)sleep).text);
		return;
	}
	batch = sleep ? p->visits / (left / sleep) + 1 : doctor_get(d, HOST_pages_to_scan);
	doctor_say(d,
		   "pages_to_scan for it = visits x sleep / (%s - CPU) = %s; ksmd then has %" PRId64
		   " %% of one core",
		   sim_wait((uint64_t)p->target_ms).text, sim_count(batch).text,
		   permille(p->cpu_ms, p->target_ms) / 10);
	doctor_figure(d, "pages_to_scan_needed", batch);
}

static void say_advisor(struct doctor *d)
{
	int64_t by_pages, by_cpu;
	const int64_t ms = advised_ms(d, &by_pages, &by_cpu);

	doctor_say(d,
		   "advisor, at most %s pages a batch: %s at best; at most %" PRId64
		   " %% of a core: %s at best",
		   sim_count(doctor_get(d, HOST_advisor_max_pages_to_scan)).text,
		   sim_wait((uint64_t)by_pages).text, max_cpu(d), sim_wait((uint64_t)by_cpu).text);
	doctor_say(d, "so it reaches %s",
		   sim_wait((uint64_t)(ms > d->pace.target_ms ? ms : d->pace.target_ms)).text);
	doctor_figure(d, "advisor_best_ms", ms);
}

static void find_slow(struct doctor *d)
{
	const struct doctor_pace *p = &d->pace;
	const bool advised = doctor_is(d, HOST_advisor_mode, 1);
	int64_t by_pages, by_cpu;

	if (advised ? advised_ms(d, &by_pages, &by_cpu) <= p->target_ms
		    : p->scan_ms <= p->target_ms)
		return;
	doctor_find(d, advised ? FINDING_advisor_limited : FINDING_scan_slow);
	doctor_say(d, "full scan = %s, should be %s (advisor_target_scan_time%s)",
		   sim_wait((uint64_t)p->scan_ms).text, sim_wait((uint64_t)p->target_ms).text,
		   doctor_knows(d, HOST_advisor_target_scan_time) ? "" : " of newer kernels");
	doctor_figure(d, "scan_ms", p->scan_ms);
	doctor_figure(d, "target_ms", p->target_ms);
	if (!advised)
		say_needed(d);
	if (doctor_knows(d, HOST_advisor_max_pages_to_scan))
		say_advisor(d);
}

static void find_busy(struct doctor *d)
{
	const int64_t share = permille(d->pace.cpu_ms, d->pace.scan_ms);

	if (doctor_is(d, HOST_sleep_millisecs, 0)) {
		doctor_find(d, FINDING_never_sleeps);
		return;
	}
	if (!d->pace.known || share / 10 < max_cpu(d))
		return;
	doctor_find(d, FINDING_core_busy);
	doctor_say(d,
		   "CPU / full scan = %s / %s = %" PRId64 " %%, at most %" PRId64
		   " %% (advisor_max_cpu) is usual",
		   sim_wait((uint64_t)d->pace.cpu_ms).text,
		   sim_wait((uint64_t)d->pace.scan_ms).text, share / 10, max_cpu(d));
	doctor_figure(d, "ksmd_permille", share);
}

void doctor_find_pace(struct doctor *d)
{
	if (doctor_is(d, HOST_pages_to_scan, 0))
		doctor_find(d, FINDING_no_pages_to_scan);
	if (doctor_runs(d))
		find_busy(d);
	if (!d->pace.known)
		return;
	doctor_find(d, FINDING_scan_time);
	say_scan(d);
	find_slow(d);
}

/* ---- two readings ---- */

static bool find_restarted(struct doctor *d)
{
	static const enum host_figure growing[] = { HOST_full_scans, HOST_pages_scanned,
						    HOST_pages_skipped };
	static const char *const names[] = { "full_scans", "pages_scanned", "pages_skipped" };
	size_t i;

	for (i = 0; i < sizeof(growing) / sizeof(*growing); i++) {
		if (doctor_grew(d, growing[i]) >= 0)
			continue;
		doctor_find(d, FINDING_restarted);
		doctor_say(d, "%s: %s, then %s", names[i],
			   sim_count(host_get(d->before, growing[i])).text,
			   sim_count(doctor_get(d, growing[i])).text);
		return true;
	}
	return false;
}

/* Did ksmd have something to do, and the time for it? */
static bool had_time(const struct doctor *d)
{
	const bool work = d->items || doctor_sum(d, HOST_stat_mergeable) > 0;

	return work && doctor_is(d, HOST_run, 1) && host_get(d->before, HOST_run) == 1 &&
	       doctor_get(d, HOST_pages_to_scan) > 0 && doctor_knows(d, HOST_sleep_millisecs) &&
	       d->interval_ms >
		       plus(doctor_times(2, doctor_get(d, HOST_sleep_millisecs)), STUCK_MS);
}

static void find_stuck(struct doctor *d)
{
	const int64_t visits =
		plus(doctor_grew(d, HOST_pages_scanned), doctor_grew(d, HOST_pages_skipped));
	const bool known =
		doctor_knows(d, HOST_pages_scanned) && host_knows(d->before, HOST_pages_scanned);
	const bool passed = d->pace.known && !d->pace.skipped_permille &&
			    d->interval_ms > doctor_times(3, plus(d->pace.scan_ms, STUCK_MS));

	if (!had_time(d) || !doctor_knows(d, HOST_full_scans) || doctor_grew(d, HOST_full_scans))
		return;
	if (!(known && !visits) && !passed)
		return;
	doctor_find(d, FINDING_stuck);
	doctor_say(d, "full_scans stays at %s, visits in %s: %s",
		   sim_count(doctor_get(d, HOST_full_scans)).text,
		   sim_wait((uint64_t)d->interval_ms).text, sim_count(visits).text);
	if (d->pace.known)
		doctor_say(d, "a full scan should take %s",
			   sim_wait((uint64_t)d->pace.scan_ms).text);
	doctor_figure(d, "visits", visits);
	doctor_figure(d, "interval_ms", d->interval_ms);
}

static int64_t per_second(const struct doctor *d, int64_t value)
{
	return doctor_times(value < 0 ? 0 : value, 1000) / d->interval_ms;
}

static void find_measured(struct doctor *d)
{
	const int64_t visits = doctor_grew(d, HOST_pages_scanned),
		      scans = doctor_grew(d, HOST_full_scans),
		      cpu = doctor_grew(d, HOST_ksmd_cpu_ns) / NS_PER_MS;
	const int64_t merged =
		doctor_grew(d, HOST_pages_sharing) + doctor_grew(d, HOST_ksm_zero_pages);
	const int64_t share = permille(cpu < 0 ? 0 : cpu, d->interval_ms);

	doctor_find(d, FINDING_measured);
	doctor_say(d, "in %s: %s visits (%s a second), %s full scans, %s pages saved more",
		   sim_wait((uint64_t)d->interval_ms).text, sim_count(visits).text,
		   sim_count(per_second(d, visits)).text, sim_count(scans).text,
		   sim_count(merged).text);
	if (doctor_knows(d, HOST_ksmd_cpu_ns) && host_knows(d->before, HOST_ksmd_cpu_ns))
		doctor_say(d, "ksmd had %" PRId64 ".%" PRId64 " %% of one core", share / 10,
			   share % 10);
	if (!scans && d->pace.known && d->interval_ms < d->pace.scan_ms)
		doctor_say(d, "no full scan ended: one takes %s, longer than the interval",
			   sim_wait((uint64_t)d->pace.scan_ms).text);
	doctor_figure(d, "interval_ms", d->interval_ms);
	doctor_figure(d, "visits", visits);
	doctor_figure(d, "full_scans", scans);
	doctor_figure(d, "saved_pages", merged);
}

static void find_copies(struct doctor *d)
{
	const int64_t copies = doctor_grew(d, HOST_cow_ksm);

	if (copies <= 0 || !per_second(d, copies))
		return;
	doctor_find(d, FINDING_copies);
	doctor_say(d, "cow_ksm: %s copies in %s, %s a second", sim_count(copies).text,
		   sim_wait((uint64_t)d->interval_ms).text, sim_count(per_second(d, copies)).text);
	doctor_figure(d, "copies", copies);
	doctor_figure(d, "copies_per_second", per_second(d, copies));
}

void doctor_find_progress(struct doctor *d)
{
	if (!d->before || d->interval_ms <= 0 || find_restarted(d))
		return;
	find_stuck(d);
	find_measured(d);
	find_copies(d);
}
