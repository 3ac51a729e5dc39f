/*
 * test_doctor.c - doctor: each finding, and its arithmetic.
 *
 * The last test asks whether every row of sim/findings.def was made by some test
 * before it. How hosts and pastes are read is in test_host.c, what is
 * printed in test_cmd_doctor.c.
 */
#include <stdio.h>
#include <string.h>

#include "paste.h"

static bool made[FINDING_NR]; /* by some test */

static void examine(struct world *w)
{
	size_t i;

	if (!w->doctor.mem) {
		w->doctor.mem = &w->mem;
		w->doctor.now = &w->first;
	}
	assert_int_equal(doctor_examine(&w->doctor), 0);
	for (i = 0; i < w->doctor.nr_findings; i++)
		made[w->doctor.findings[i].id] = true;
}

static void later(struct world *w, const char *text, int64_t interval_ms)
{
	if (paste_named(w, &w->second, "G", text))
		fail_msg("%s", w->why);
	w->doctor = (struct doctor){
		.mem = &w->mem, .now = &w->second, .before = &w->first, .interval_ms = interval_ms
	};
}

static const struct doctor_finding *found(struct world *w, enum doctor_finding_id id)
{
	const struct doctor_finding *finding = doctor_has(&w->doctor, id);

	if (!finding)
		fail_msg("finding %d is missing", (int)id);
	return finding;
}

static void not_found(struct world *w, enum doctor_finding_id id)
{
	const struct doctor_finding *finding = doctor_has(&w->doctor, id);

	if (finding)
		fail_msg("finding %d: %s", (int)id, sim_buf_text(&finding->lines));
}

static int64_t figure(struct world *w, enum doctor_finding_id id, const char *name)
{
	const struct doctor_finding *finding = found(w, id);
	unsigned i;

	for (i = 0; i < finding->nr_figures; i++)
		if (!strcmp(finding->figures[i].name, name))
			return finding->figures[i].value;
	fail_msg("finding %d has no figure %s", (int)id, name);
	return 0;
}

static void says(struct world *w, enum doctor_finding_id id, const char *words)
{
	const char *lines = sim_buf_text(&found(w, id)->lines);

	if (!strstr(lines, words))
		fail_msg("'%s' is not in '%s'", words, lines);
}

/* ---- published figures ---- */

static void a_profit_that_misses_its_identity_is_told_with_the_difference(void **state)
{
	struct world *w = *state;

	paste(w, PASTE_HOST_OF_64_GIB);
	examine(w);
	assert_int_equal(figure(w, FINDING_profit_differs, "items"), 19671712);
	assert_int_equal(figure(w, FINDING_profit_differs, "computed"), 20283947008);
	assert_int_equal(figure(w, FINDING_profit_differs, "reported"), 20620539008);
	assert_int_equal(figure(w, FINDING_profit_differs, "difference"), 336592000);
	says(w, FINDING_profit_differs, "336,592,000 bytes more");
	says(w, FINDING_profit_differs, "fits 14,412,462 items, 5,259,250 fewer");
	says(w, FINDING_profit_differs, "nearly pages_sharing");
	assert_true(doctor_objects(&w->doctor));
	/* and the rest of that host */
	assert_int_equal(figure(w, FINDING_pays, "profit"), 20283947008);
	assert_int_equal(figure(w, FINDING_chains, "bytes"), (2604 - 176) * 4096);
	assert_int_equal(figure(w, FINDING_volatile, "volatile"), 12389223);
	not_found(w, FINDING_nobody);
	not_found(w, FINDING_scan_time);
}

/* ksmd at rest, 1000 pages saved by one shared page, and so many pages in all. */
static void at_rest(char *text, size_t size, int items, const char *profit)
{
	snprintf(text, size,
		 "run:0\nfull_scans:9\npages_shared:1\npages_sharing:1000\npages_unshared:%d\n"
		 "pages_volatile:0\nksm_zero_pages:0\ngeneral_profit:%s\n",
		 items - 1001, profit);
}

static void sixty_four_items_a_saved_page_are_the_break_even(void **state)
{
	struct world *w = *state;
	char text[512];

	at_rest(text, sizeof(text), 64000, "0");
	paste(w, text);
	examine(w);
	assert_int_equal(figure(w, FINDING_does_not_pay, "profit"), 0);
	not_found(w, FINDING_profit_differs);
}

static void one_item_less_pays(void **state)
{
	struct world *w = *state;
	char text[512];

	at_rest(text, sizeof(text), 63999, "64");
	paste(w, text);
	examine(w);
	assert_int_equal(figure(w, FINDING_pays, "profit"), 64);
	says(w, FINDING_pays, "it pays below 64");
	not_found(w, FINDING_does_not_pay);
	not_found(w, FINDING_profit_differs);
}

static void at_rest_one_item_is_enough_to_miss_the_identity(void **state)
{
	struct world *w = *state;
	char text[512];

	at_rest(text, sizeof(text), 63999, "0");
	paste(w, text);
	examine(w);
	assert_int_equal(figure(w, FINDING_profit_differs, "difference"), -64);
	assert_int_equal(figure(w, FINDING_profit_differs, "tolerance"), 0);
}

static void while_ksmd_runs_a_few_batches_may_lie_between_two_files(void **state)
{
	struct world *w = *state;
	char text[512];

	at_rest(text, sizeof(text), 63999, "4160064");
	text[4] = '1';
	paste(w, text);
	examine(w);
	not_found(w, FINDING_profit_differs);
}

static void beyond_these_batches_it_is_wrong_also_while_ksmd_runs(void **state)
{
	struct world *w = *state;
	char text[512];

	at_rest(text, sizeof(text), 63999, "4160065");
	text[4] = '1';
	paste(w, text);
	examine(w);
	assert_int_equal(figure(w, FINDING_profit_differs, "difference"), 4160001);
}

static void zero_pages_count_as_saved(void **state)
{
	struct world *w = *state;

	paste(w, "run:0\npages_shared:1\npages_sharing:1\npages_unshared:0\npages_volatile:0\n"
		 "ksm_zero_pages:50\ngeneral_profit:208768\n");
	examine(w);
	assert_int_equal(figure(w, FINDING_pays, "profit"), 51 * 4096 - 2 * 64);
	says(w, FINDING_pays, "only on the host, to root");
	not_found(w, FINDING_profit_differs);
}

static void pages_of_64_kib_save_more_each(void **state)
{
	struct world *w = *state;

	w->first.page = 65536;
	paste(w, "run:0\npages_shared:1\npages_sharing:1\npages_unshared:0\npages_volatile:0\n"
		 "general_profit:65408\n");
	examine(w);
	assert_int_equal(figure(w, FINDING_pays, "profit"), 65536 - 2 * 64);
	not_found(w, FINDING_profit_differs);
}

/* ---- each finding from a paste ---- */

#define CLASSES(shared, sharing, unshared, fickle)                                        \
	"pages_shared:" #shared "\npages_sharing:" #sharing "\npages_unshared:" #unshared \
	"\npages_volatile:" #fickle "\n"
#define PACE "pages_to_scan:100\nsleep_millisecs:20\n"

static const struct sample {
	enum doctor_finding_id id;
	const char *text;
	const char *says; /* NULL: the finding must not be there */
} samples[] = {
	{ FINDING_stopped, "run:0\n" CLASSES(1, 1, 0, 0), "records kept: 2 pages, 2 of them" },
	{ FINDING_stopped, "run:1\n" CLASSES(1, 1, 0, 0), NULL },
	{ FINDING_unmerged, "run:2\n", "" },
	{ FINDING_offlining, "run:5\n", "run = 5 = 1 + 4" },
	{ FINDING_stopped, "run:5\n", NULL },
	{ FINDING_nobody, "run:1\n" CLASSES(0, 0, 0, 0), "= 0" },
	{ FINDING_nobody, "run:2\n" CLASSES(0, 0, 0, 0), NULL },
	{ FINDING_nobody, "run:1\n" CLASSES(0, 0, 0, 1), NULL },
	{ FINDING_not_scanned_yet,
	  "run:1\n" CLASSES(0, 0, 0, 0) "ksm_rmap_items 0\nksm_mergeable: yes\n",
	  "offer memory: 1" },
	{ FINDING_first_scans, "run:1\nfull_scans:1\n" PACE CLASSES(0, 0, 0, 1000),
	  "two full scans take about 440 ms" },
	{ FINDING_first_scans, "run:1\nfull_scans:2\n" CLASSES(0, 0, 0, 1000), NULL },
	{ FINDING_nothing_merges, "run:1\nfull_scans:2\n" CLASSES(0, 0, 900, 100),
	  "900 unshared (90 %), 100 volatile (10 %)" },
	{ FINDING_nothing_merges, "run:1\nfull_scans:2\n" CLASSES(1, 1, 900, 100), NULL },
	{ FINDING_no_pages_to_scan, "run:1\npages_to_scan:0\n", "" },
	{ FINDING_never_sleeps, "run:1\nsleep_millisecs:0\n", "" },
	{ FINDING_scan_slow, "run:1\nfull_scans:5\n" PACE CLASSES(0, 0, 4000000, 0),
	  "pages_to_scan for it = visits x sleep" },
	{ FINDING_scan_slow, "run:1\nfull_scans:5\n" PACE CLASSES(0, 0, 400000, 0), NULL },
	{ FINDING_scan_slow,
	  "advisor_target_scan_time:10\nrun:1\nfull_scans:5\n" PACE CLASSES(0, 0, 400000, 0),
	  "should be 10.0 s" },
	{ FINDING_advisor_limited,
	  "advisor_mode:none [scan-time]\nadvisor_max_pages_to_scan:110\nadvisor_max_cpu:70\n"
	  "run:1\nfull_scans:5\n" PACE CLASSES(0, 0, 4000000, 0),
	  "at most 110 pages a batch" },
	{ FINDING_advisor_limited,
	  "advisor_mode:none [scan-time]\nadvisor_max_pages_to_scan:30000\nadvisor_max_cpu:70\n"
	  "run:1\nfull_scans:5\n" PACE CLASSES(0, 0, 4000000, 0),
	  NULL },
	{ FINDING_scan_slow,
	  "advisor_mode:none [scan-time]\nadvisor_max_pages_to_scan:30000\nadvisor_max_cpu:70\n"
	  "run:1\nfull_scans:5\n" PACE CLASSES(0, 0, 4000000, 0),
	  NULL },
	{ FINDING_core_busy,
	  "run:1\npages_to_scan:100000\nsleep_millisecs:1\n" CLASSES(0, 0, 4000000, 0),
	  "(advisor_max_cpu)" },
	{ FINDING_smart_scan,
	  "smart_scan:1\npages_scanned:600\npages_skipped:400\n" CLASSES(0, 0, 10, 0), "= 40.0 %" },
	{ FINDING_smart_scan_off, "smart_scan:0\n" CLASSES(1, 1, 900, 0), "one in nine: 100" },
	{ FINDING_volatile, "full_scans:3\n" CLASSES(0, 0, 49, 51), "51 volatile (51 %)" },
	{ FINDING_volatile, "full_scans:3\n" CLASSES(0, 0, 50, 50), NULL },
	{ FINDING_sharing_alone, "run:0\n" CLASSES(0, 7, 0, 0), "pages_sharing = 7" },
	{ FINDING_sharing_alone, "run:1\n" CLASSES(0, 7, 0, 0), NULL },
	{ FINDING_above_limit, "run:0\nmax_page_sharing:4\n" CLASSES(2, 7, 0, 0), "2 x 3 = 6" },
	{ FINDING_above_limit, "run:0\nmax_page_sharing:4\n" CLASSES(2, 6, 0, 0), NULL },
	{ FINDING_zero_negative, "run:1\nksm_zero_pages:-3\n", "= -3: general_profit is 12,288" },
	{ FINDING_zero_negative, "run:1\nksm_zero_pages:18446744073709551613\n", "= -3" },
	{ FINDING_zero_pages_off, "use_zero_pages:0\n" CLASSES(1, 1, 0, 0), "" },
	{ FINDING_sums_differ,
	  "run:0\n" CLASSES(1, 1, 0, 0) "ksm_rmap_items 2\nksm_merging_pages 3\n", "1 too many" },
	{ FINDING_process_profit_differs,
	  "ksm_rmap_items 10\nksm_zero_pages 1\nksm_merging_pages 2\nksm_process_profit "
	  "11649\nrun:0\n",
	  "= 11,648, reported 11,649: 1 more" },
	{ FINDING_process_profit_differs,
	  "ksm_rmap_items 10\nksm_zero_pages 1\nksm_merging_pages 2\nksm_process_profit "
	  "11648\nrun:0\n",
	  NULL },
	{ FINDING_process_too_many, "ksm_rmap_items 1\nksm_merging_pages 2\nrun:0\n",
	  "ksm_merging_pages = 2, ksm_rmap_items = 1" },
	{ FINDING_processes_lose,
	  "ksm_rmap_items 100\nksm_zero_pages 0\nksm_merging_pages 1\nksm_rmap_items 65\n"
	  "ksm_merging_pages 1\nksm_rmap_items 64\nksm_merging_pages 1\n",
	  "F: (1 + 0) x 4096 - 100 x 64 = -2,304 bytes\nF:4: (1 + 0) x 4096 - 65 x 64 = -64 bytes\n"
	  "2 processes lose" },
	{ FINDING_coverage, "AnonPages:  4000 kB\n" CLASSES(0, 0, 100, 0), ": 10 %" },
	{ FINDING_chains, "stable_node_chains:2\nstable_node_dups:5\n" CLASSES(9, 900, 0, 0),
	  "5 - 2 = 3 copies" },
	{ FINDING_sharing_low, "stable_node_chains:2\nstable_node_dups:50\n" CLASSES(9, 900, 0, 0),
	  "50 - 2 = 48 copies" },
	{ FINDING_sharing_high, "max_page_sharing:5000\n" CLASSES(2, 98, 0, 0), "average: 50" },
	{ FINDING_empty_chains, "stable_node_chains:3\nstable_node_dups:2\n", "= 3" },
	{ FINDING_prune,
	  "stable_node_chains:1\nstable_node_dups:2\nstable_node_chains_prune_millisecs:3600000\n",
	  "1 h 0 min" },
	{ FINDING_nodes_apart, "merge_across_nodes:0\n/sys/devices/system/node/online:0-1,4\n",
	  "3 nodes" },
	{ FINDING_nodes_apart, "merge_across_nodes:0\n/sys/devices/system/node/online:0\n", NULL },
	{ FINDING_nodes_together, "merge_across_nodes:1\n/sys/devices/system/node/online:0-1\n",
	  "2 nodes" },
	{ FINDING_huge_pages,
	  "/sys/kernel/mm/transparent_hugepage/enabled:[always] madvise never\n" CLASSES(0, 0, 1,
											 0),
	  "= always" },
	{ FINDING_huge_pages,
	  "/sys/kernel/mm/transparent_hugepage/enabled:always madvise [never]\n" CLASSES(0, 0, 1,
											 0),
	  NULL },
	{ FINDING_collapse,
	  "/sys/kernel/mm/transparent_hugepage/enabled:always [madvise] never\n"
	  "/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none:511\n" CLASSES(1, 9, 0, 0),
	  "511" },
	{ FINDING_ignored, "/sys/kernel/mm/ksm/something_new:1\n", "something_new" },
};

static void each_finding_comes_from_its_counters(void **state)
{
	struct world *w;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(samples) / sizeof(*samples); i++) {
		w = paste_new();
		paste(w, samples[i].text);
		examine(w);
		if (!samples[i].says)
			not_found(w, samples[i].id);
		else
			says(w, samples[i].id, samples[i].says);
		paste_free(w);
	}
}

static void a_kernel_without_ksm_is_one_problem(void **state)
{
	struct world *w = *state;

	w->first.absent = true;
	examine(w);
	found(w, FINDING_absent);
	assert_int_equal(w->doctor.nr_findings, 1);
}

static void nothing_wrong_is_said_of_a_host_where_all_is_well(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\nfull_scans:50\nmax_page_sharing:256\nsmart_scan:1\nuse_zero_pages:1\n"
		 "pages_scanned:100000\npages_skipped:1000\nksm_zero_pages:0\n" PACE CLASSES(
			 10, 900, 90, 0) "general_profit:3622400\n");
	examine(w);
	assert_false(doctor_objects(&w->doctor));
	found(w, FINDING_scan_time);
	found(w, FINDING_pays);
}

/* ---- time ---- */

static void a_full_scan_is_its_batches_with_a_sleep_each(void **state)
{
	/* pages_to_scan 1000, sleep min(50, 25600 / GB): the published minutes of sleep alone */
	static const struct {
		int64_t gb, sleep, minutes_tenths;
	} hosts[] = { { 16, 50, 34 },
		      { 96, 50, 209 },
		      { 256, 50, 559 },
		      { 512, 50, 1118 },
		      { 1024, 25, 1118 } };
	struct world *w;
	char text[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		w = paste_new();
		snprintf(text, sizeof(text),
			 "pages_to_scan:1000\nsleep_millisecs:%d\npages_shared:0\n"
			 "pages_sharing:0\npages_unshared:%d\npages_volatile:0\n",
			 (int)hosts[i].sleep, (int)(hosts[i].gb << 18));
		paste(w, text);
		examine(w);
		assert_int_equal(w->doctor.pace.batches, (hosts[i].gb << 18) / 1000 + 1);
		assert_int_equal(w->doctor.pace.sleep_ms / 6000, hosts[i].minutes_tenths);
		paste_free(w);
	}
}

static void ksmds_own_time_is_better_than_the_table(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\npages_scanned:100000\n" PACE CLASSES(0, 0, 1000, 0));
	w->first.figures.value[HOST_ksmd_cpu_ns] = 500000000;
	w->first.figures.known[HOST_ksmd_cpu_ns] = true;
	examine(w);
	assert_int_equal(figure(w, FINDING_scan_time, "measured"), 1);
	assert_int_equal(figure(w, FINDING_scan_time, "ns_per_visit"), 5000);
	assert_int_equal(figure(w, FINDING_scan_time, "cpu_ms"), 5);
	assert_int_equal(figure(w, FINDING_scan_time, "scan_ms"), 11 * 20 + 5);
	assert_int_equal(figure(w, FINDING_scan_time, "ksmd_permille"), 5000 / 225);
}

static void a_target_below_the_cpu_time_is_out_of_reach(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\nadvisor_target_scan_time:1\npages_scanned:100000\n" PACE CLASSES(
			 0, 0, 1000000, 0));
	w->first.figures.value[HOST_ksmd_cpu_ns] = 500000000;
	w->first.figures.known[HOST_ksmd_cpu_ns] = true;
	examine(w);
	says(w, FINDING_scan_slow, "not to be had: the CPU time alone is 5.0 s");
}

static void a_sleep_above_the_target_is_what_to_change(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\npages_to_scan:100\nsleep_millisecs:300000\n" CLASSES(0, 0, 1000, 0));
	examine(w);
	says(w, FINDING_scan_slow,
	     "not to be had with this sleep_millisecs: one sleep is 5 min 0 s");
}

static void before_two_scans_nobody_is_blamed(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\nfull_scans:1\n" CLASSES(0, 0, 100,
						 0) "ksm_rmap_items 100\nksm_merging_pages 0\n");
	examine(w);
	not_found(w, FINDING_processes_lose);
	not_found(w, FINDING_does_not_pay);
	not_found(w, FINDING_nothing_merges);
}

static void skipped_visits_shorten_the_scan(void **state)
{
	struct world *w = *state;

	paste(w,
	      "smart_scan:1\npages_scanned:25\npages_skipped:75\n" PACE CLASSES(0, 0, 100000, 0));
	examine(w);
	assert_int_equal(figure(w, FINDING_scan_time, "visits"), 25000);
	says(w, FINDING_smart_scan, "may wait 9 full scans");
}

/* ---- two readings ---- */

static void a_ksmd_that_visits_nothing_is_stuck(void **state)
{
	static const char text[] =
		"run:1\nfull_scans:5\npages_scanned:900\npages_skipped:0\n" PACE CLASSES(0, 0, 10,
											 0);
	struct world *w = *state;

	paste(w, text);
	later(w, text, 10000);
	examine(w);
	assert_int_equal(figure(w, FINDING_stuck, "visits"), 0);
	says(w, FINDING_stuck, "full_scans stays at 5, visits in 10.0 s: 0");
}

static void a_ksmd_that_sleeps_longer_than_the_interval_is_not_stuck(void **state)
{
	static const char text[] = "run:1\nfull_scans:5\npages_scanned:900\npages_to_scan:100\n"
				   "sleep_millisecs:60000\n" CLASSES(0, 0, 10, 0);
	struct world *w = *state;

	paste(w, text);
	later(w, text, 10000);
	examine(w);
	not_found(w, FINDING_stuck);
}

static void visits_without_a_full_scan_are_stuck_when_it_is_long_over(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\nfull_scans:5\npages_scanned:900\n" PACE CLASSES(0, 0, 10, 0));
	later(w, "run:1\nfull_scans:5\npages_scanned:950\n" PACE CLASSES(0, 0, 10, 0), 10000);
	examine(w);
	says(w, FINDING_stuck, "visits in 10.0 s: 50");
	says(w, FINDING_stuck, "a full scan should take 20 ms");
}

static void an_interval_shorter_than_a_scan_is_no_reason_to_worry(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\nfull_scans:5\npages_scanned:900\n" PACE CLASSES(0, 0, 100000, 0));
	later(w, "run:1\nfull_scans:5\npages_scanned:50900\n" PACE CLASSES(0, 0, 100000, 0), 10000);
	examine(w);
	not_found(w, FINDING_stuck);
	says(w, FINDING_measured, "50,000 visits (5,000 a second), 0 full scans");
	says(w, FINDING_measured, "no full scan ended");
}

static void copies_between_two_readings_are_told_by_the_second(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\nfull_scans:5\n/proc/vmstat:cow_ksm 100\n");
	later(w, "run:1\nfull_scans:6\n/proc/vmstat:cow_ksm 5100\n", 10000);
	examine(w);
	assert_int_equal(figure(w, FINDING_copies, "copies"), 5000);
	assert_int_equal(figure(w, FINDING_copies, "copies_per_second"), 500);
}

static void a_counter_that_falls_ends_the_comparison(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\nfull_scans:5\n");
	later(w, "run:1\nfull_scans:4\n", 10000);
	examine(w);
	says(w, FINDING_restarted, "full_scans: 5, then 4");
	not_found(w, FINDING_measured);
}

/* ---- processes ---- */

static void append_file(struct ksmsim *sim, char *text, size_t size, const char *file)
{
	const size_t used = strlen(text);
	char value[64];
	int64_t length;

	assert_int_equal(ksmsim_sysfs_read(sim, file, value, sizeof(value), &length), 0);
	if (length > 0)
		snprintf(text + used, size - used, "/sys/kernel/mm/%s:%s", file, value);
}

/* The model's files add up to the byte; a doctor that sees otherwise is wrong. */
static void the_files_of_the_model_add_up(void **state)
{
	const struct ksmsim_mmap req = { .length = 512 * 4096,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE };
	const struct ksmsim_content content = { .kind = KSMSIM_CONTENT_WORD, .value = 1 };
	struct world *w = *state;
	const struct ksmsim_row *rows;
	char text[8192] = "";
	struct ksmsim *sim;
	uint32_t pid;
	int64_t at;
	size_t i, nr;

	assert_int_equal(ksmsim_new(NULL, &sim), 0);
	assert_int_equal(ksmsim_spawn(sim, &pid), 0);
	assert_int_equal(ksmsim_mmap(sim, pid, &req, &at), 0);
	assert_int_equal(ksmsim_fill(sim, pid, (uint64_t)at, 512, &content, NULL), 0);
	assert_int_equal(
		ksmsim_madvise(sim, pid, (uint64_t)at, req.length, KSMSIM_MADV_MERGEABLE, NULL), 0);
	assert_int_equal(ksmsim_sysfs_write(sim, "ksm/run", "1", 1, NULL), 0);
	assert_int_equal(ksmsim_run(sim, 2000000000), 0);
	rows = ksmsim_table_rows(KSMSIM_TABLE_KNOBS, &nr);
	for (i = 0; i < nr; i++)
		if (!strncmp(rows[i].file, "ksm/", 4))
			append_file(sim, text, sizeof(text), rows[i].file);
	rows = ksmsim_table_rows(KSMSIM_TABLE_COUNTERS, &nr);
	for (i = 0; i < nr; i++)
		if (!strncmp(rows[i].file, "ksm/", 4))
			append_file(sim, text, sizeof(text), rows[i].file);
	ksmsim_free(sim);
	paste(w, text);
	w->first.quiet = true;
	examine(w);
	assert_false(doctor_objects(&w->doctor));
	assert_int_equal(w->doctor.items, 512);
	assert_int_equal(figure(w, FINDING_pays, "profit"),
			 host_get(&w->first, HOST_general_profit));
	assert_int_equal(figure(w, FINDING_chains, "dups"), 2);
}

static void smaps_and_ksm_stat_are_joined_and_compared(void **state)
{
	struct world *w = *state;

	paste(w, "run:0\n" CLASSES(1, 99, 0, 0));
	assert_int_equal(paste_named(w, &w->first, "d/42/ksm_stat",
				     "ksm_rmap_items 100\nksm_merging_pages 100\n"),
			 0);
	assert_int_equal(paste_named(w, &w->first, "d/42/smaps",
				     "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n"
				     "Anonymous:  4096 kB\nKSM:   40 kB\nAnonHugePages: 2048 kB\n"
				     "VmFlags: rd wr mr mw me ac mg \n"
				     "7f0000400000-7f0000500000 rw-p 00000000 00:00 0 [heap: mg]\n"
				     "Anonymous:  1024 kB\nKSM:    0 kB\nAnonHugePages:    0 kB\n"
				     "VmFlags: rd wr mr mw me ac\n"),
			 0);
	examine(w);
	assert_int_equal(w->first.nr_processes, 1);
	assert_string_equal(w->first.processes[0].name, "d/42");
	assert_int_equal(w->first.processes[0].figures.value[HOST_mergeable_vmas], 1);
	assert_int_equal(w->first.processes[0].figures.value[HOST_smaps_anon_kb], 5120);
	says(w, FINDING_smaps_differs, "40 kB = 10 pages, ksm_merging_pages = 100");
	assert_int_equal(figure(w, FINDING_huge_pages, "huge_kb"), 2048);
	assert_int_equal(figure(w, FINDING_huge_pages, "mergeable_kb"), 4096);
	not_found(w, FINDING_sums_differ);
}

static void what_no_process_has_is_of_those_that_ended(void **state)
{
	struct world *w = *state;

	paste(w, "run:0\n" CLASSES(1, 9, 0, 0) "ksm_zero_pages:7\n");
	w->first.quiet = w->first.all_processes = true;
	examine(w);
	says(w, FINDING_gone_processes, "10 missing");
	assert_int_equal(figure(w, FINDING_zero_leaked, "leaked"), 7);
	/* leaked pages save nothing */
	assert_int_equal(figure(w, FINDING_pays, "profit"), 9 * 4096 - 10 * 64);
}

static void processes_that_cannot_be_read_are_counted(void **state)
{
	struct world *w = *state;

	paste(w, "run:1\n");
	w->first.unreadable = 3;
	w->first.looked_at = 4;
	examine(w);
	says(w, FINDING_unreadable, "read: 4, not readable: 3");
}

static void of_a_ksmd_at_rest_only_all_processes_tell_that_nobody_offers(void **state)
{
	struct world *w = *state;

	paste(w, "run:0\n" CLASSES(0, 0, 0, 0));
	w->first.looked_at = 4;
	w->first.unreadable = 1;
	examine(w);
	not_found(w, FINDING_nobody);
	doctor_free(&w->doctor);
	w->first.unreadable = 0;
	examine(w);
	says(w, FINDING_nobody, "processes read: 4");
}

static void every_row_of_the_table_was_found_by_some_test(void **state)
{
	const struct ksmsim_row *rows;
	size_t i, nr;

	(void)state;
	rows = sim_findings(&nr);
	assert_int_equal(nr, FINDING_NR);
	for (i = 0; i < nr; i++)
		if (!made[i])
			fail_msg("no test makes %s", rows[i].name);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, paste_enter, paste_leave)

static const struct CMUnitTest tests[] = {
	TEST(a_profit_that_misses_its_identity_is_told_with_the_difference),
	TEST(sixty_four_items_a_saved_page_are_the_break_even),
	TEST(one_item_less_pays),
	TEST(at_rest_one_item_is_enough_to_miss_the_identity),
	TEST(while_ksmd_runs_a_few_batches_may_lie_between_two_files),
	TEST(beyond_these_batches_it_is_wrong_also_while_ksmd_runs),
	TEST(zero_pages_count_as_saved),
	TEST(pages_of_64_kib_save_more_each),
	TEST(each_finding_comes_from_its_counters),
	TEST(a_kernel_without_ksm_is_one_problem),
	TEST(nothing_wrong_is_said_of_a_host_where_all_is_well),
	TEST(a_full_scan_is_its_batches_with_a_sleep_each),
	TEST(ksmds_own_time_is_better_than_the_table),
	TEST(a_target_below_the_cpu_time_is_out_of_reach),
	TEST(a_sleep_above_the_target_is_what_to_change),
	TEST(before_two_scans_nobody_is_blamed),
	TEST(skipped_visits_shorten_the_scan),
	TEST(a_ksmd_that_visits_nothing_is_stuck),
	TEST(a_ksmd_that_sleeps_longer_than_the_interval_is_not_stuck),
	TEST(visits_without_a_full_scan_are_stuck_when_it_is_long_over),
	TEST(an_interval_shorter_than_a_scan_is_no_reason_to_worry),
	TEST(copies_between_two_readings_are_told_by_the_second),
	TEST(a_counter_that_falls_ends_the_comparison),
	TEST(the_files_of_the_model_add_up),
	TEST(smaps_and_ksm_stat_are_joined_and_compared),
	TEST(what_no_process_has_is_of_those_that_ended),
	TEST(processes_that_cannot_be_read_are_counted),
	TEST(of_a_ksmd_at_rest_only_all_processes_tell_that_nobody_offers),
	TEST(every_row_of_the_table_was_found_by_some_test),
};

TEST_MAIN(tests)
