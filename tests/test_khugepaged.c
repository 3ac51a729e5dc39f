/*
 * test_khugepaged.c - which blocks khugepaged collapses: its limits, and smaller folios. When
 * it comes to them is in test_khugepaged_pace.c.
 */
#include "khugeone.h"

/* ---- limits ---- */

static void one_hole_too_many_ends_it(void **state)
{
	(void)state;
	for (enum ks_profile profile = KS_PROFILE_V6_1; profile <= KS_PROFILE_V7_3;
	     profile = (enum ks_profile)(profile + 1)) {
		start(profile, 1);
		w->env.knob.max_ptes_none = 0;
		mmworld_fill(w, mm, 0, 511);
		make_known(mm, 1);
		assert_int_equal(wake(true), 0);
		assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_none_pte), 1);
		assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_exceed_none_pte][9],
				 profile == KS_PROFILE_V7_3);
		assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc), 0);
		w->env.knob.max_ptes_none = 1;
		assert_int_equal(wake(true), 1);
		assert_int_equal(count(KSMSIM_COUNT_khugepaged_pages_collapsed), 1);
		assert_int_equal(mm->rss_anon, BLOCK);
		stop();
	}
}

static void zero_pages_are_holes(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	w->env.knob.max_ptes_none = 510;
	mmworld_fill(w, mm, 0, 1);
	mmworld_read(w, mm, 1, 511);
	make_known(mm, 1);
	assert_int_equal(wake(true), 0);
	w->env.knob.max_ptes_none = 511;
	assert_int_equal(wake(true), 1);
	assert_int_equal(mm->rss_anon, BLOCK);
	stop();
}

/* Pages [0, @shared) are KSM pages that a child maps, too; the others are the process's own. */
static void share(unsigned shared)
{
	mmworld_fill(w, mm, 0, BLOCK);
	collapseworld_make_ksm(cw, mm, 0, shared);
	(void)mmworld_fork(w, mm);
	mmworld_fill(w, mm, shared, BLOCK - shared);
	make_known(mm, 1);
}

static void shared_pages_are_limited(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	share(300);
	assert_int_equal(wake(true), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_share_pte), 1);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc), 0);
	stop();
	start(KS_PROFILE_V6_18, 1);
	share(200);
	assert_int_equal(wake(true), 1);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc), 1);
	collapseworld_expect_filled(cw, mm, 0, BLOCK);
	stop();
}

static void ksm_pages_that_nobody_shares_do_not_count(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	w->env.knob.max_ptes_shared = 0;
	mmworld_fill(w, mm, 0, BLOCK);
	collapseworld_make_ksm(cw, mm, 0, 10);
	make_known(mm, 1);
	assert_int_equal(wake(true), 1);
	stop();
}

/* @nr pages are swapped out, and only those are not young again. */
static void swap_out(unsigned nr)
{
	mmworld_fill(w, mm, 0, BLOCK);
	ks_lru_drain(&w->env, &w->sys.frames);
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(ks_swap_out(&w->sys, collapseworld_pfn(cw, mm, i), false), 1);
	make_known(mm, 1);
}

static void swap_entries_are_limited(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	swap_out(65);
	assert_int_equal(wake(true), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_swap_pte), 1);
	assert_int_equal(mm->swap_pages, 65);
	stop();
	start(KS_PROFILE_V6_18, 1);
	swap_out(64);
	assert_int_equal(wake(true), 1);
	assert_int_equal(mm->swap_pages, 0);
	collapseworld_expect_filled(cw, mm, 0, BLOCK);
	stop();
}

/* The accessed bits go. */
static void grow_old(uint64_t page, uint64_t pages)
{
	for (uint64_t i = page; i < page + pages; i++) {
		struct ks_pte pte = mmworld_pte(w, mm, i);

		pte.bits &= ~(KS_PTE(YOUNG) | KS_PTE(WATCHED));
		ks_pte_set(&w->env, &w->sys.tables, &mm->pt, MMWORLD_BASE + i, pte);
	}
}

static void pages_must_be_in_use(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, BLOCK);
	make_known(mm, 1);
	grow_old(0, BLOCK);
	assert_int_equal(wake(true), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc), 0);
	assert_int_equal(collapseworld_collapse(cw, mm, 0, BLOCK), 0);
	stop();
}

static void with_swap_half_of_them_must_be_in_use(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	swap_out(1);
	grow_old(1, 256); /* 255 are young */
	assert_int_equal(wake(true), 0);
	mmworld_fill(w, mm, 0, 1); /* no swap entry any more */
	assert_int_equal(wake(true), 1);
	stop();
}

static void what_a_child_only_reads_is_in_use(void **state)
{
	struct ks_mm *child;

	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 100);
	make_known(mm, 1);
	child = mmworld_fork(w, mm);
	ks_mm_exit(&w->sys, mm);
	assert_int_equal(wake(true), 0);
	mmworld_read(w, child, 0, 1);
	assert_int_equal(wake(true), 1);
	assert_true(collapseworld_is_huge(cw, child, 0));
	stop();
}

static void lazily_freed_pages_stop_it_since_7_3(void **state)
{
	(void)state;
	for (enum ks_profile profile = KS_PROFILE_V6_18; profile <= KS_PROFILE_V7_3;
	     profile = (enum ks_profile)(profile + 1)) {
		start(profile, 1);
		mmworld_fill(w, mm, 0, BLOCK);
		make_known(mm, 1);
		assert_int_equal(ks_madvise(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_MADV_FREE), 0);
		assert_int_equal(wake(true), profile == KS_PROFILE_V6_18);
		stop();
	}
}

/* ---- smaller folios ---- */

static void start_small(void)
{
	start(KS_PROFILE_V7_3, 1);
	w->env.thp_size[9] = KS_THP_SIZE_NEVER;
	mmworld_fill(w, mm, 5, 1);
	mmworld_fill(w, mm, 40, 1);
	w->env.thp_size[4] = KS_THP_SIZE_ALWAYS;
	make_known(mm, 1);
}

static void smaller_folios_are_made_where_pages_are(void **state)
{
	const struct ks_folio *folio;
	uint64_t nr_ptes;

	(void)state;
	start_small();
	nr_ptes = mm->pt.nr_tables[3];
	assert_int_equal(wake(true), 1);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_alloc][4], 2);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon][4], 2);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc), 0);
	assert_int_equal(mm->rss_anon, 32);
	assert_int_equal(mm->pt.nr_tables[3], nr_ptes);
	assert_false(is_huge(0));
	folio = ks_folio_of(&w->sys.frames, collapseworld_pfn(cw, mm, 0));
	assert_int_equal(folio->order, 4);
	assert_int_equal(folio->maps, 16);
	assert_int_equal(folio->flags, 0);
	assert_int_equal(collapseworld_pfn(cw, mm, 15), folio->head + 15);
	assert_true(ks_page_exclusive(&w->sys.frames, folio->head + 3));
	assert_int_equal(mmworld_pte(w, mm, 16).bits, 0);
	assert_int_not_equal(mmworld_pte(w, mm, 32).bits & KS_PTE(WRITE), 0);
	mmworld_expect_value(w, mm, 5, 6);
	mmworld_expect_value(w, mm, 40, 41);
	mmworld_expect_value(w, mm, 6, 0);
	stop();
}

static void folios_large_enough_are_left_alone(void **state)
{
	ks_pfn pfn;

	(void)state;
	start_small();
	assert_int_equal(wake(true), 1);
	pfn = collapseworld_pfn(cw, mm, 0);
	assert_int_equal(wake(true), 0);
	assert_int_equal(collapseworld_pfn(cw, mm, 0), pfn);
	/* found out too late for the counter */
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_alloc][4], 4);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon][4], 2);
	stop();
}

static void below_pmd_order_the_limit_is_all_or_nothing(void **state)
{
	(void)state;
	for (unsigned max = 0; max < 511; max += 255) {
		start_small();
		w->env.knob.max_ptes_none = max;
		assert_int_equal(wake(true), 0);
		assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_alloc][4], 0);
		mmworld_fill(w, mm, 32, 16);
		assert_int_equal(wake(true), 1);
		assert_int_equal(mm->rss_anon, 17);
		stop();
	}
}

static void the_largest_size_comes_first(void **state)
{
	(void)state;
	start(KS_PROFILE_V7_3, 1);
	w->env.thp_size[9] = KS_THP_SIZE_NEVER;
	mmworld_fill(w, mm, 100, 1);
	w->env.thp_size[4] = w->env.thp_size[9] = KS_THP_SIZE_ALWAYS;
	make_known(mm, 1);
	assert_int_equal(wake(true), 1);
	assert_true(is_huge(0));
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_alloc][4], 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc), 1);
	stop();
}

static void smaller_sizes_have_their_turn_where_the_largest_fails(void **state)
{
	(void)state;
	start(KS_PROFILE_V7_3, 1);
	w->env.thp_size[9] = KS_THP_SIZE_NEVER;
	mmworld_fill(w, mm, 0, 256 + 16);
	w->env.thp_size[4] = w->env.thp_size[8] = w->env.thp_size[9] = KS_THP_SIZE_ALWAYS;
	w->env.knob.fail_orders = UINT32_C(1) << 9;
	make_known(mm, 1);
	w->env.knob.max_ptes_none = 511;
	assert_int_equal(wake(true), 1);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc_failed), 1);
	/* both halves have pages, and may have holes */
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_nr_anon][8], 2);
	assert_int_equal(mm->rss_anon, BLOCK);
	stop();
}

static void below_pmd_order_nothing_is_swapped_in_or_shared(void **state)
{
	struct ks_mm *child;

	(void)state;
	start_small();
	child = mmworld_fork(w, mm);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(ks_swap_out(&w->sys, collapseworld_pfn(cw, mm, 40), false), 2);
	mmworld_fill(w, mm, 41, 1);
	mmworld_fill(w, mm, 256, 255); /* with swap entries half of the block must be in use */
	/* page 5 is shared, page 40 is swapped out, the others are in folios of that size */
	assert_int_equal(wake(true), 0);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_exceed_shared_pte][4], 1);
	assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_exceed_swap_pte][4], 1);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_share_pte), 0);
	assert_int_equal(child->swap_pages, 1);
	assert_int_equal(mm->swap_pages, 1);
	stop();
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(one_hole_too_many_ends_it),
	cmocka_unit_test(zero_pages_are_holes),
	cmocka_unit_test(shared_pages_are_limited),
	cmocka_unit_test(ksm_pages_that_nobody_shares_do_not_count),
	cmocka_unit_test(swap_entries_are_limited),
	cmocka_unit_test(pages_must_be_in_use),
	cmocka_unit_test(with_swap_half_of_them_must_be_in_use),
	cmocka_unit_test(what_a_child_only_reads_is_in_use),
	cmocka_unit_test(lazily_freed_pages_stop_it_since_7_3),
	cmocka_unit_test(smaller_folios_are_made_where_pages_are),
	cmocka_unit_test(folios_large_enough_are_left_alone),
	cmocka_unit_test(below_pmd_order_the_limit_is_all_or_nothing),
	cmocka_unit_test(the_largest_size_comes_first),
	cmocka_unit_test(smaller_sizes_have_their_turn_where_the_largest_fails),
	cmocka_unit_test(below_pmd_order_nothing_is_swapped_in_or_shared),
};

TEST_MAIN(tests)
