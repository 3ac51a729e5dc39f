/*
 * test_collapse_refused.c - MADV_COLLAPSE: what it refuses, by kernel, and what its events say.
 */
#include "collapseone.h"

#include <errno.h>

/* ---- refusals ---- */

static void a_block_without_a_table_ends_it_before_7_3(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		const bool goes_on = profile == KS_PROFILE_V7_3;

		start(profile, 3);
		mmworld_fill(w, mm, 0, BLOCK);
		mmworld_fill(w, mm, 2 * BLOCK, BLOCK);
		assert_int_equal(collapse(0, 3 * BLOCK), -EINVAL);
		assert_int_equal(allocated(), goes_on ? 2 : 1);
		assert_true(collapseworld_is_huge(cw, mm, 0));
		assert_int_equal(collapseworld_is_huge(cw, mm, 2 * BLOCK), goes_on);
		stop();
	}
}

static void ranges_are_rounded_inwards(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		start(profile, 2);
		mmworld_fill(w, mm, 0, 2 * BLOCK);
		assert_int_equal(collapse(1, 1), profile == KS_PROFILE_V7_3 ? 0 : -EINVAL);
		assert_int_equal(collapse(1, BLOCK), 0);
		assert_int_equal(collapse(0, 1), -0);
		assert_int_equal(allocated(), 0);
		assert_int_equal(collapse(1, 2 * BLOCK - 1), 0);
		assert_int_equal(allocated(), 1);
		assert_false(collapseworld_is_huge(cw, mm, 0));
		assert_true(collapseworld_is_huge(cw, mm, BLOCK));
		stop();
	}
}

static void it_drains_the_lru_batches_first(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 2);
	w->env.knob.lru_drain = 0;
	mmworld_fill(w, mm, 0, 4);
	assert_int_equal(ks_frame_refs(&w->sys.frames, collapseworld_pfn(cw, mm, 0)), 2);
	assert_int_equal(collapse(1, BLOCK), 0);
	assert_int_equal(ks_frame_refs(&w->sys.frames, collapseworld_pfn(cw, mm, 0)), 1);
	stop();
}

static void others_references_are_in_the_way(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		start(profile, 2);
		mmworld_fill(w, mm, 0, 2 * BLOCK);
		assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE + 77, 1, KSMSIM_PIN_GET),
				 0);
		assert_int_equal(collapse(0, 2 * BLOCK), -EAGAIN);
		assert_int_equal(allocated(), 1);
		assert_true(collapseworld_is_huge(cw, mm, BLOCK));
		assert_int_equal(ks_access_unpin(&w->sys, mm, MMWORLD_BASE + 77, 1), 1);
		assert_int_equal(collapse(0, BLOCK), 0);
		stop();
	}
}

static void a_pin_of_a_pte_mapped_thp_is_in_the_way(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	w->env.knob.thp_enabled = KS_THP_ALWAYS;
	mmworld_fill(w, mm, 0, 1);
	ks_split_pmd(&w->sys, mm, MMWORLD_BASE);
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE + 511, 1, KSMSIM_PIN_WRITE), 0);
	assert_int_equal(collapse(0, BLOCK), -EAGAIN);
	assert_int_equal(allocated(), 0);
	stop();
}

static void vmas_that_may_not_have_thps_are_refused(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		start(profile, 1);
		assert_int_equal(collapse(0, BLOCK), -EINVAL); /* never touched: no anon_vma */
		mmworld_fill(w, mm, 0, 2);
		assert_int_equal(
			ks_madvise(&w->sys, mm, MMWORLD_BASE, BLOCK, KSMSIM_MADV_NOHUGEPAGE), 0);
		assert_int_equal(collapse(0, BLOCK), -EINVAL);
		assert_int_equal(allocated(), 0);
		stop();
	}
}

static void a_disabled_process_is_refused(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 2);
	mm->thp_disable = KSMSIM_THP_DISABLE_ALL;
	assert_int_equal(collapse(0, BLOCK), -EINVAL);
	mm->thp_disable = KSMSIM_THP_DISABLE_EXCEPT_ADVISED;
	assert_int_equal(collapse(0, BLOCK), 0);
	stop();
}

static void a_guard_marker_fails_after_the_allocation(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 2);
	mmworld_fill(w, mm, 0, 2 * BLOCK);
	assert_int_equal(ks_madvise(&w->sys, mm, MMWORLD_BASE + 6, 1, KSMSIM_MADV_GUARD_INSTALL),
			 0);
	assert_int_equal(collapse(0, 2 * BLOCK), -EINVAL);
	assert_int_equal(allocated(), 1);
	assert_false(collapseworld_is_huge(cw, mm, BLOCK));
	stop();
}

static void without_memory_it_ends(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		const bool counted = profile == KS_PROFILE_V7_3;

		start(profile, 2);
		mmworld_fill(w, mm, 0, 2 * BLOCK);
		w->env.inject[KSMSIM_INJECT_thp] = 1;
		assert_int_equal(collapse(0, 2 * BLOCK), -ENOMEM);
		assert_int_equal(count(KSMSIM_COUNT_thp_collapse_alloc_failed), 1);
		assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_alloc_failed][9], counted);
		assert_int_equal(allocated(), 0);
		w->env.inject[KSMSIM_INJECT_thp_charge] = 1;
		assert_int_equal(collapse(0, 2 * BLOCK), -EBUSY);
		assert_int_equal(allocated(), 1);
		assert_int_equal(mm->nr_anon_pmds, 0);
		stop();
	}
}

static void each_vma_has_its_own_range(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 3);
	mmworld_fill(w, mm, 0, 3 * BLOCK);
	assert_int_equal(ks_mprotect(&w->sys, mm, MMWORLD_BASE + BLOCK, BLOCK / 2, MMWORLD_R), 0);
	/* the block in the middle has two VMAs: the first is all of its own range, which is less
	 * than a block */
	assert_int_equal(collapse(0, 3 * BLOCK), -EINVAL);
	assert_true(collapseworld_is_huge(cw, mm, 0));
	assert_false(collapseworld_is_huge(cw, mm, BLOCK));
	assert_false(collapseworld_is_huge(cw, mm, 2 * BLOCK));
	assert_int_equal(collapse(BLOCK + BLOCK / 2, BLOCK + BLOCK / 2), 0);
	assert_true(collapseworld_is_huge(cw, mm, 2 * BLOCK));
	stop();
}

/* ---- events ---- */

struct heard {
	unsigned nr;
	struct ksmsim_event event[8];
};

static void hear(void *self, const struct ksmsim_event *event)
{
	struct heard *heard = self;

	assert_in_range(heard->nr, 0, 7);
	heard->event[heard->nr++] = *event;
}

static void each_step_is_an_event(void **state)
{
	struct heard heard = { .nr = 0 };

	(void)state;
	start(KS_PROFILE_V6_18, 2);
	mmworld_fill(w, mm, 0, 10);
	ks_lru_drain(&w->env, &w->sys.frames);
	ks_swap_out(&w->sys, collapseworld_pfn(cw, mm, 9), false);
	w->env.listener = hear;
	w->env.listener_self = &heard;
	assert_int_equal(collapse(0, 2 * BLOCK), -EINVAL);
	assert_int_equal(heard.nr, 5);
	assert_int_equal(heard.event[0].trace, KSMSIM_TRACE_mm_collapse_huge_page_swapin);
	assert_int_equal(heard.event[0].swapped_in, 1);
	assert_int_equal(heard.event[0].ret, 1);
	assert_int_equal(heard.event[1].trace, KSMSIM_TRACE_mm_collapse_huge_page_isolate);
	assert_int_equal(heard.event[1].none_or_zero, 502);
	assert_string_equal(heard.event[1].status, "succeeded");
	assert_int_equal(heard.event[2].trace, KSMSIM_TRACE_mm_collapse_huge_page);
	assert_int_equal(heard.event[3].trace, KSMSIM_TRACE_mm_khugepaged_scan_pmd);
	assert_int_equal(heard.event[3].unmapped, 1);
	assert_int_equal(heard.event[3].referenced, 0);
	assert_int_equal(heard.event[3].mm, mm->id);
	/* the second block has no table */
	assert_int_equal(heard.event[4].trace, KSMSIM_TRACE_mm_khugepaged_scan_pmd);
	assert_string_equal(heard.event[4].status, "pmd_none");
	assert_true(heard.event[4].pfn == UINT64_MAX);
	stop();
}

static void a_block_without_a_table_is_told_by_the_kernels_word(void **state)
{
	static const struct {
		enum ks_profile profile;
		const char *status;
	} kernels[] = { { KS_PROFILE_V6_1, "pmd_none" },
			{ KS_PROFILE_V6_18, "pmd_none" },
			{ KS_PROFILE_V7_3, "no_pte_table" } };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct heard heard = { .nr = 0 };

		start(kernels[i].profile, 2);
		mmworld_fill(w, mm, BLOCK, 1);
		w->env.listener = hear;
		w->env.listener_self = &heard;
		assert_int_equal(collapse(0, BLOCK), -EINVAL);
		assert_int_equal(heard.nr, 1);
		assert_string_equal(heard.event[0].status, kernels[i].status);
		stop();
	}
}

/* The first block fails at the second mapping of its KSM page, which goes back by way of the batch; the
 * second block maps it, too. In the third one a page is held. */
static void a_page_that_waits_is_told_from_one_that_is_held(void **state)
{
	static const enum ksmsim_trace scan = KSMSIM_TRACE_mm_khugepaged_scan_pmd;
	struct heard heard = { .nr = 0 };
	unsigned scans = 0;
	const char *status[3] = { NULL };

	(void)state;
	start(KS_PROFILE_V6_18, 3);
	for (unsigned block = 0; block < 3; block++)
		mmworld_fill(w, mm, block * BLOCK, 10);
	collapseworld_make_ksm(cw, mm, 3, 1);
	collapseworld_merge(cw, mm, 5, 3);
	collapseworld_merge(cw, mm, BLOCK + 5, 3);
	ks_folio_get(&w->env, &w->sys.frames, collapseworld_pfn(cw, mm, 2 * BLOCK + 5), 1);
	w->env.listener = hear;
	w->env.listener_self = &heard;
	assert_int_equal(collapse(0, 3 * BLOCK), -EAGAIN);
	w->env.listener = NULL;
	for (unsigned i = 0; i < heard.nr; i++) {
		if (heard.event[i].trace == scan && scans < 3)
			status[scans++] = heard.event[i].status;
	}
	assert_int_equal(scans, 3);
	assert_string_equal(status[0], "page_locked");
	assert_string_equal(status[1], "page_not_in_lru");
	assert_string_equal(status[2], "not_suitable_page_count");
	ks_folio_put(&w->env, &w->sys.frames, collapseworld_pfn(cw, mm, 2 * BLOCK + 5), 1);
	stop();
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(a_block_without_a_table_ends_it_before_7_3),
	cmocka_unit_test(ranges_are_rounded_inwards),
	cmocka_unit_test(it_drains_the_lru_batches_first),
	cmocka_unit_test(others_references_are_in_the_way),
	cmocka_unit_test(a_pin_of_a_pte_mapped_thp_is_in_the_way),
	cmocka_unit_test(vmas_that_may_not_have_thps_are_refused),
	cmocka_unit_test(a_disabled_process_is_refused),
	cmocka_unit_test(a_guard_marker_fails_after_the_allocation),
	cmocka_unit_test(without_memory_it_ends),
	cmocka_unit_test(each_vma_has_its_own_range),
	cmocka_unit_test(each_step_is_an_event),
	cmocka_unit_test(a_block_without_a_table_is_told_by_the_kernels_word),
	cmocka_unit_test(a_page_that_waits_is_told_from_one_that_is_held),
};

TEST_MAIN(tests)
