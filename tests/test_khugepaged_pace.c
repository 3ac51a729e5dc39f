/*
 * test_khugepaged_pace.c - when khugepaged comes to a block: its list, its budget, its pace in
 * virtual time.
 */
#include "khugeone.h"

#include "pacing.h"

#define MS UINT64_C(1000000)

/* ---- the list ---- */

static void small_faults_do_not_make_an_mm_known(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	w->env.knob.thp_enabled = KS_THP_ALWAYS;
	advise(mm, 0, BLOCK); /* never touched: no anon_vma */
	assert_int_equal(mm->khugepaged_slot, 0);
	mmworld_fill(w, mm, 0, 1); /* a PMD fault does */
	assert_int_not_equal(mm->khugepaged_slot, 0);
	stop();
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 1);
	w->env.knob.thp_enabled = KS_THP_ALWAYS;
	mmworld_fill(w, mm, 1, 1);
	assert_int_equal(mm->khugepaged_slot, 0);
	assert_int_equal(wake(true), 0);
	stop();
}

static void a_child_of_a_known_mm_is_known(void **state)
{
	struct ks_mm *child;

	(void)state;
	start(KS_PROFILE_V6_18, 1);
	child = mmworld_fork(w, mm);
	assert_int_equal(child->khugepaged_slot, 0);
	mmworld_fill(w, mm, 0, 1);
	make_known(mm, 1);
	child = mmworld_fork(w, mm);
	assert_int_not_equal(child->khugepaged_slot, 0);
	mmworld_fill(w, child, 0, 1); /* what it inherited is old */
	assert_int_equal(wake(true), 2);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 1);
	ks_mm_exit(&w->sys, child);
	ks_mm_exit(&w->sys, mm);
	assert_int_equal(cw->khugepaged.first, 0);
	assert_int_equal(cw->khugepaged.slots.live, 0);
	stop();
}

static void a_disabled_process_is_passed_over(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 1);
	make_known(mm, 1);
	mm->thp_disable = KSMSIM_THP_DISABLE_ALL;
	assert_int_equal(wake(true), 0);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 1);
	mm->thp_disable = KSMSIM_THP_DISABLE_EXCEPT_ADVISED;
	assert_int_equal(wake(true), 1);
	stop();
}

static void it_needs_somebody_who_may_have_thps(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 1);
	make_known(mm, 1);
	assert_true(ks_khugepaged_enabled(&w->sys));
	w->env.thp_size[9] = KS_THP_SIZE_NEVER;
	w->env.thp_size[4] = KS_THP_SIZE_ALWAYS;
	assert_false(ks_khugepaged_enabled(&w->sys));
	assert_int_equal(wake(true), 0);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 0);
	w->env.feature[KS_FEAT_mthp_collapse] = true;
	assert_true(ks_khugepaged_enabled(&w->sys));
	w->env.feature[KS_FEAT_mthp_collapse] = false;
	w->env.thp_size[9] = KS_THP_SIZE_ALWAYS;
	w->env.knob.thp_enabled = KS_THP_NEVER;
	assert_true(ks_khugepaged_enabled(&w->sys));
	w->env.feature[KS_FEAT_mthp] = false;
	assert_false(ks_khugepaged_enabled(&w->sys));
	stop();
}

/* ---- the budget ---- */

static void a_wake_up_looks_at_eight_blocks(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 20);
	w->env.knob.max_ptes_none = 0;
	for (unsigned i = 0; i < 20; i++)
		mmworld_fill(w, mm, i * BLOCK, 1);
	make_known(mm, 20);
	/* 1 for the mm and 512 for each block: the eighth exceeds 4096 */
	assert_int_equal(wake(false), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_none_pte), 8);
	assert_int_equal(wake(false), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_none_pte), 16);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 0);
	/* the last four, and, the list having begun anew, the first three or four */
	assert_int_equal(wake(false), 0);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 1);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_none_pte), 24);
	stop();
}

static void since_7_3_it_counts_what_it_looks_at(void **state)
{
	(void)state;
	start(KS_PROFILE_V7_3, 20);
	w->env.knob.max_ptes_none = 0;
	w->env.knob.khugepaged_pages_to_scan = 16;
	for (unsigned i = 0; i < 20; i++)
		mmworld_fill(w, mm, i * BLOCK, 1);
	make_known(mm, 20);
	/* two entries of each: the page and the first hole */
	assert_int_equal(wake(false), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_none_pte), 8);
	stop();
}

static void a_collapse_lets_the_lock_go(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 3);
	w->env.knob.khugepaged_pages_to_scan = 1027;
	mmworld_fill(w, mm, 0, 3 * BLOCK);
	make_known(mm, 3);
	/* 1 + 512, again 1 + 512, which leaves 1 */
	assert_int_equal(wake(false), 3);
	stop();
	start(KS_PROFILE_V6_18, 3);
	w->env.knob.khugepaged_pages_to_scan = 1026;
	mmworld_fill(w, mm, 0, 3 * BLOCK);
	make_known(mm, 3);
	assert_int_equal(wake(false), 2);
	assert_false(is_huge(2 * BLOCK));
	stop();
}

static void holes_cost_as_much_as_blocks(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 64);
	mmworld_fill(w, mm, 40 * BLOCK, BLOCK);
	make_known(mm, 64);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(wake(false), 0);
		assert_int_equal(cw->khugepaged.vpn - MMWORLD_BASE, (i + 1) * 8 * BLOCK);
	}
	assert_int_equal(wake(false), 1);
	stop();
}

static void a_pass_over_the_widest_holes_is_quick(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 1);
	assert_int_equal(mmworld_map(w, mm, BLOCK, UINT64_C(1) << 33, MMWORLD_RW, 0),
			 MMWORLD_BASE + BLOCK);
	mmworld_fill(w, mm, UINT64_C(1) << 33, 1);
	make_known(mm, (UINT64_C(1) << 33) / BLOCK + 1);
	assert_int_equal(wake(true), 2);
	assert_true(is_huge(UINT64_C(1) << 33));
	stop();
}

static void the_next_wake_up_goes_on_where_the_last_one_ended(void **state)
{
	struct ks_mm *second;

	(void)state;
	start(KS_PROFILE_V6_18, 8);
	mmworld_fill(w, mm, 0, 1);
	make_known(mm, 8);
	second = mmworld_process(w, BLOCK);
	mmworld_fill(w, second, 0, 1);
	make_known(second, 1);
	assert_int_equal(wake(false), 1);
	assert_false(collapseworld_is_huge(cw, second, 0));
	assert_int_equal(wake(false), 1);
	assert_true(collapseworld_is_huge(cw, second, 0));
	stop();
}

static void an_mm_that_exits_under_the_cursor_leaves_its_slot(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 20);
	w->env.knob.max_ptes_none = 0;
	mmworld_fill(w, mm, 0, 1);
	make_known(mm, 20);
	assert_int_equal(wake(false), 0);
	assert_int_not_equal(cw->khugepaged.cursor, 0);
	ks_mm_exit(&w->sys, mm);
	ks_mm_free(&w->sys, mm);
	assert_int_equal(cw->khugepaged.slots.live, 1);
	assert_int_equal(wake(false), 0);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 1);
	assert_int_equal(cw->khugepaged.slots.live, 0);
	stop();
}

static void the_second_failed_allocation_ends_a_wake_up(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 4);
	mmworld_fill(w, mm, 0, 4 * BLOCK);
	make_known(mm, 4);
	w->env.inject[KSMSIM_INJECT_thp] = 1;
	assert_int_equal(wake(true), 3);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc_failed), 1);
	stop();
	start(KS_PROFILE_V6_18, 4);
	mmworld_fill(w, mm, 0, 4 * BLOCK);
	make_known(mm, 4);
	w->env.inject[KSMSIM_INJECT_thp] = 2;
	assert_int_equal(wake(true), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc_failed), 2);
	assert_int_equal(wake(true), 4);
	stop();
}

/* ---- in virtual time ---- */

static struct ks_ksm ksm;
static struct ks_ksmd ksmd;

static void start_clock(unsigned blocks)
{
	start(KS_PROFILE_V6_18, blocks);
	ks_ksm_init(&ksm, &w->sys);
	ks_khugepaged_hooks(&cw->khugepaged, &w->sys.hooks);
	ks_ksmd_init(&ksmd, &ksm);
	ksmd.khugepaged = &cw->khugepaged;
}

static void stop_clock(void)
{
	ks_ksm_destroy(&ksm);
	stop();
}

static void run_until(uint64_t ms)
{
	ks_ksmd_run(&ksmd, ms * MS);
	assert_int_equal(w->env.now_ns, ms * MS);
}

static void it_wakes_up_every_ten_seconds(void **state)
{
	(void)state;
	start_clock(1);
	w->env.knob.max_ptes_none = 0;
	run_until(7000);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 0);
	mmworld_fill(w, mm, 0, 1);
	make_known(mm, 1); /* the first one wakes it */
	run_until(7001);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 1);
	run_until(16999);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 1);
	run_until(17001);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 2);
	run_until(47002);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 5);
	stop_clock();
}

static void another_sleep_wakes_it(void **state)
{
	(void)state;
	start_clock(1);
	mmworld_fill(w, mm, 0, 1);
	w->env.knob.max_ptes_none = 0;
	make_known(mm, 1);
	run_until(1000);
	w->env.knob.scan_sleep_millisecs = 4000;
	run_until(1001);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 2);
	run_until(5002);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 3);
	stop_clock();
}

static void without_memory_it_sleeps_in_the_middle(void **state)
{
	(void)state;
	start_clock(4);
	mmworld_fill(w, mm, 0, 4 * BLOCK);
	make_known(mm, 4);
	w->env.inject[KSMSIM_INJECT_thp] = 1;
	run_until(59999);
	assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc_failed), 1);
	assert_int_equal(mm->nr_anon_pmds, 0);
	run_until(60001);
	assert_int_equal(mm->nr_anon_pmds, 3);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 1);
	run_until(70002);
	assert_int_equal(mm->nr_anon_pmds, 4);
	stop_clock();
}

static void what_it_does_takes_time(void **state)
{
	const uint64_t cost = 180000 + BLOCK * 15;

	(void)state;
	start_clock(1);
	mmworld_fill(w, mm, 0, BLOCK);
	make_known(mm, 1);
	w->env.task_ns = 0;
	run_until(1);
	assert_int_equal(w->env.task_ns, cost);
	assert_int_equal(w->env.ksmd_ns, 0);
	assert_int_equal(ks_khugepaged_due(&cw->khugepaged), 10000 * MS + cost);
	stop_clock();
}

static void where_nobody_is_known_it_does_nothing(void **state)
{
	(void)state;
	start_clock(1);
	mmworld_fill(w, mm, 0, 1);
	assert_int_equal(ks_khugepaged_due(&cw->khugepaged), UINT64_MAX);
	run_until(100000);
	assert_int_equal(count(KSMSIM_COUNT_khugepaged_full_scans), 0);
	assert_int_equal(w->env.cost_count[KS_COST_collapse_pte], 0);
	stop_clock();
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(small_faults_do_not_make_an_mm_known),
	cmocka_unit_test(a_child_of_a_known_mm_is_known),
	cmocka_unit_test(a_disabled_process_is_passed_over),
	cmocka_unit_test(it_needs_somebody_who_may_have_thps),
	cmocka_unit_test(a_wake_up_looks_at_eight_blocks),
	cmocka_unit_test(since_7_3_it_counts_what_it_looks_at),
	cmocka_unit_test(a_collapse_lets_the_lock_go),
	cmocka_unit_test(holes_cost_as_much_as_blocks),
	cmocka_unit_test(a_pass_over_the_widest_holes_is_quick),
	cmocka_unit_test(the_next_wake_up_goes_on_where_the_last_one_ended),
	cmocka_unit_test(an_mm_that_exits_under_the_cursor_leaves_its_slot),
	cmocka_unit_test(the_second_failed_allocation_ends_a_wake_up),
	cmocka_unit_test(it_wakes_up_every_ten_seconds),
	cmocka_unit_test(another_sleep_wakes_it),
	cmocka_unit_test(without_memory_it_sleeps_in_the_middle),
	cmocka_unit_test(what_it_does_takes_time),
	cmocka_unit_test(where_nobody_is_known_it_does_nothing),
};

TEST_MAIN(tests)
