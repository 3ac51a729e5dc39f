/*
 * test_features_thp.c - each behaviour of huge pages that differs between kernels,
 * switched on and off: one scenario, two outcomes.
 *
 * What surrounds the feature is linux-6.18, or what `given` switches beside it.
 */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

#define THP "thp enabled always\nproc A\nmmap A r 512\n"
/* a THP that is mapped by PTEs, all of them */
#define PTES THP "fill A r seeds:1\nmprotect A r+0:256 r\nmprotect A r+0:256 rw\n"
/* 512 pages, and what makes them a THP may come */
#define SMALL "proc A\nmmap A r 512\ntouch A r\nthp enabled always\n"

static const struct row {
	const char *feature;
	const char *given; /* other features: lines */
	const char *scenario;
	const char *on, *off; /* expectations */
} rows[] = {
	{ "split_zero_remap", "", THP "touch A r+0\nsplit A r\n", "A.rss_anon=0 A.r=zero",
	  "A.rss_anon=512 A.r=anon" },
	{ "shrinker_skips_mlocked", "",
	  THP "touch A r+0\nmlock A r\nthp khugepaged/max_ptes_none 10\nshrink\n",
	  "result=0 A.anon_huge=1", "result=1 A.anon_huge=0 A.rss_anon=512" },
	{ "underused_shrinker", "", THP "touch A r+0\n", "deferred_split_queue=1",
	  "deferred_split_queue=0" },
	{ "zap_batched", "", PTES "munmap A r\n", "thp_deferred_split_page=0",
	  "thp_deferred_split_page=1" },
	{ "split_counts_refusals", "", THP "touch A r+0\nsplit A r+0 order=1\n",
	  "thp_split_page_failed=1 hugepages-2048kB/split_failed=1",
	  "thp_split_page_failed=0 hugepages-2048kB/split_failed=0" },
	{ "guard_regions", "", "proc A\nmmap A r 2\nmadvise A r+1 GUARD_INSTALL\n",
	  "result=0 A.r+1=guard", "result=-EINVAL A.r+1=none" },
	{ "collapse_unmap_batched", "", PTES "madvise A r COLLAPSE\n",
	  "A.anon_huge=1 thp_deferred_split_page=0", "A.anon_huge=1 thp_deferred_split_page=1" },
	{ "collapse_needs_writable", "", SMALL "mprotect A r r\nmadvise A r COLLAPSE\n",
	  "A.anon_huge=0", "result=0 A.anon_huge=1" },
	{ "collapse_stops_on_pmd_none", "",
	  "proc A\nmmap A r 1024\ntouch A r+600\nmadvise A r COLLAPSE\n", "A.anon_huge=0",
	  "A.anon_huge=1" },
	{ "collapse_inside_block_ok", "", SMALL "madvise A r+1:2 COLLAPSE\n",
	  "result=0 A.anon_huge=0", "result=-EINVAL A.anon_huge=0" },
	{ "pageout_keeps_young", "",
	  SMALL "madvise A r PAGEOUT\ndrain\nmadvise A r HUGEPAGE\nkhugepaged\n", "result=1",
	  "result=0" },
	{ "lazyfree_batched", "", PTES "madvise A r FREE\ntouch A r+20\nshrink\n",
	  "A.r=order:9 A.rss_anon=512", "A.r+0:20=none A.r+20:492=anon" },
	{ "lazyfree_kept_if_held", "",
	  "proc A\nmmap A r 1\nfill A r seeds:1\nmadvise A r FREE\npin A r get\nshrink\n",
	  "A.r=anon,lazyfree", "A.r=anon,!lazyfree" },
	{ "khugepaged_enter_part", "",
	  SMALL "thp enabled never\nmadvise A r HUGEPAGE\n"
		"thp enabled madvise\nmadvise A r HUGEPAGE\nkhugepaged\n",
	  "result=0", "result=1" },
	{ "collapse_skips_lazyfree", "",
	  SMALL "madvise A r HUGEPAGE\nmadvise A r+3 FREE\ndrain\nkhugepaged\n",
	  "result=0 A.anon_huge=0", "result=1 A.anon_huge=1" },
	/* with as many mappings as pages and one more all pages count as shared */
	{ "large_mapcount", "feature mm_id 0\n",
	  PTES "madvise A r HUGEPAGE\nfork A B\nmunmap B r+0:511\n"
	       "thp khugepaged/max_ptes_shared 10\nkhugepaged\n",
	  "result=0 thp_scan_exceed_share_pte=1", "result=1 thp_scan_exceed_share_pte=0" },
	/* ten blocks that are left at their first entry */
	{ "khugepaged_counts_ptes", "",
	  "proc A\nmmap A r 5120\nmadvise A r NOHUGEPAGE\npoke A r+511 0 1\npoke A r+1023 0 1\n"
	  "poke A r+1535 0 1\npoke A r+2047 0 1\npoke A r+2559 0 1\npoke A r+3071 0 1\n"
	  "thp khugepaged/max_ptes_none 0\nthp khugepaged/pages_to_scan 1000\n"
	  "thp enabled always\nmadvise A r HUGEPAGE\nrun 1s\n",
	  "thp_scan_exceed_none_pte=6 khugepaged_full_scans=1",
	  "thp_scan_exceed_none_pte=2 khugepaged_full_scans=0" },
	/* an area for each page of the budget */
	{ "khugepaged_skips_disabled", "",
	  "thp khugepaged/pages_to_scan 3\nproc A\nmmap A r 512\nmmap A a 1\nmmap A b 1\n"
	  "touch A r+0\nmadvise A r HUGEPAGE\nthpdisable A all\n"
	  "proc B\nmmap B r 512\ntouch B r\nmadvise B r HUGEPAGE\nrun 1ms\n",
	  "B.anon_huge=1", "B.anon_huge=0" },
};

/* Ends the run with a message if it fails. */
static void run_row(const struct row *row, bool on)
{
	const struct sim_options options = { .check = true };
	struct sim_run *run = NULL;
	char text[4096], message[4096];
	FILE *in = tmpfile();
	int status;

	snprintf(text, sizeof(text), "feature %s %d\n%s%sexpect %s\n", row->feature, on, row->given,
		 row->scenario, on ? row->on : row->off);
	assert_non_null(in);
	fputs(text, in);
	rewind(in);
	assert_int_equal(sim_run_new(&options, message, sizeof(message), &run), 0);
	status = sim_run_lines(run, in, row->feature);
	if (status || sim_run_failed(run))
		fail_msg("%s=%d: %s%s", row->feature, on, sim_run_error(run), sim_run_failure(run));
	sim_run_free(run);
	fclose(in);
}

static void a_feature_decides_what_is_seen(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		run_row(&rows[i], true);
		run_row(&rows[i], false);
	}
}

static uint64_t place_of(struct ksmsim *sim, uint32_t pid, uint64_t vaddr, uint64_t pages,
			 unsigned flags)
{
	const struct ksmsim_mmap map = { .vaddr = vaddr,
					 .length = pages << 12,
					 .prot = KSMSIM_PROT_READ | KSMSIM_PROT_WRITE,
					 .flags = flags };
	int64_t ret = -1;

	assert_int_equal(ksmsim_mmap(sim, pid, &map, &ret), 0);
	assert_true(ret > 0);
	return (uint64_t)ret;
}

/* The first mapping is odd, so that the place below it is, too. */
static void whole_huge_pages_are_placed_on_their_boundary(void **state)
{
	const uint64_t block = UINT64_C(2) << 20;

	(void)state;
	for (int on = 0; on <= 1; on++) {
		struct ksmsim *sim = NULL;
		uint64_t top, vaddr;
		uint32_t pid = 0;

		assert_int_equal(ksmsim_new(NULL, &sim), 0);
		assert_int_equal(ksmsim_feature_set(sim, "mmap_aligns_thp", on), 0);
		assert_int_equal(ksmsim_spawn(sim, &pid), 0);
		top = place_of(sim, pid, 0, 3, 0);
		vaddr = place_of(sim, pid, 0, 512, 0);
		assert_int_equal(vaddr, on ? (top - block) / block * block : top - block);
		/* not with a hint, not shared, not a page more */
		top = vaddr;
		vaddr = place_of(sim, pid, UINT64_C(1) << 62, 512, 0);
		assert_int_equal(vaddr, top - block);
		top = vaddr;
		vaddr = place_of(sim, pid, 0, 513, 0);
		assert_int_equal(vaddr, top - block - 4096);
		top = vaddr;
		vaddr = place_of(sim, pid, 0, 512, KSMSIM_MAP_SHARED);
		assert_int_equal(vaddr, top - block);
		ksmsim_free(sim);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(whole_huge_pages_are_placed_on_their_boundary),
	cmocka_unit_test(a_feature_decides_what_is_seen),
};

TEST_MAIN(tests)
