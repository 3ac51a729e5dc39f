/*
 * test_thp_cow.c - huge pages and fork: reuse, splits and copies on write, unsharing, and the
 * policy that decides; for all profiles. Pins and migration are in test_thp_pins.c.
 *
 * Numbers like S18 are those of the scenarios in the behaviour's specification.
 */
#include "thpworld.h"

/* ---- after fork ---- */

/* S17 */
static void last_owner_reuses_the_huge_page_uncounted(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		assert_int_equal(child->rss_anon, 512);
		assert_int_equal(child->nr_anon_pmds, 1);
		assert_int_equal(thpworld_refs(t, t->p, 0), 2);
		assert_false(thpworld_exclusive(t, t->p, 0));
		thpworld_exit(t, child);
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->nr_anon_pmds, 1);
		assert_true(thpworld_exclusive(t, t->p, 511));
		mmworld_expect_pages(t->w, t->p, "wwwwwwww");
	}
}

/* S18, S19 */
static void first_writer_splits_its_pmd_and_copies_one_page(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		thpworld_write(t, child, 7);
		assert_string_equal(thpworld_changed(t), "SPMD1");
		assert_int_equal(child->nr_anon_pmds, 0);
		assert_int_equal(child->rss_anon, 512);
		assert_int_equal(t->p->nr_anon_pmds, 1);
		assert_int_equal(thpworld_refs(t, t->p, 0), 512);
		assert_int_equal(thpworld_refs(t, child, 7), 2); /* in the LRU batch */
		assert_int_equal(ks_page_mapcount(&t->sys->frames, mmworld_pte(t->w, t->p, 7).pfn),
				 1);
		mmworld_expect_pages(t->w, child, "sssssssws");
		mmworld_expect_value(t->w, t->p, 7, 8);
		mmworld_expect_value(t->w, child, 7, 1007);
		mmworld_expect_value(t->w, child, 6, 7);
		/* S19: the same page: nobody maps that of the THP any more */
		thpworld_write(t, t->p, 7);
		assert_string_equal(thpworld_changed(t), "SD1 SPMD1 deferred[9]1 partial[9]1");
		assert_int_equal(thpworld_refs(t, t->p, 0), 1022);
		assert_int_equal(t->p->rss_anon, 512);
		assert_int_equal(t->sys->frames.nr_split_queue, 1);
	}
}

/* S20 */
static void pages_are_reused_one_by_one_where_the_kernel_does(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;
		const bool reuses = t->env->feature[KS_FEAT_mm_id];

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		thpworld_write(t, child, 7);
		thpworld_changed(t);
		thpworld_write(t, t->p, 8);
		assert_string_equal(thpworld_changed(t), "SPMD1");
		assert_int_equal(thpworld_refs(t, t->p, 0), 1022);
		thpworld_exit(t, child);
		assert_string_equal(thpworld_changed(t), "SD1 deferred[9]1 partial[9]1");
		thpworld_write(t, t->p, 9);
		assert_string_equal(thpworld_changed(t), reuses ? "PR1" : "");
		assert_int_equal(mmworld_pte(t->w, t->p, 9).pfn ==
					 mmworld_pte(t->w, t->p, 10).pfn - 1,
				 reuses);
		assert_int_equal(t->p->rss_anon, 512);
		mmworld_expect_pages(t->w, t->p, "ssssssssww");
	}
}

/* S21 */
static void child_that_exits_with_its_pmd_leaves_a_partial_folio(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;
		const bool reuses = t->env->feature[KS_FEAT_mm_id];

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		thpworld_write(t, t->p, 7);
		assert_string_equal(thpworld_changed(t), "SPMD1");
		thpworld_exit(t, child);
		assert_string_equal(thpworld_changed(t), "SD1 deferred[9]1 partial[9]1");
		thpworld_write(t, t->p, 9);
		assert_string_equal(thpworld_changed(t), reuses ? "PR1" : "");
		thpworld_write(t, t->p, 9);
		assert_string_equal(thpworld_changed(t), "");
	}
}

/* S22 */
static void last_page_of_a_folio_is_reused_by_the_old_kernel_only(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const bool reuses = t->env->feature[KS_FEAT_large_reuse_last_page];
		struct ks_mm *child;
		ks_pfn old;

		thpworld_fill(t);
		ks_munmap(t->sys, t->p, MMWORLD_BASE + 1, 511);
		assert_string_equal(thpworld_changed(t), "SD1 SPMD1 deferred[9]1 partial[9]1");
		child = mmworld_fork(t->w, t->p);
		thpworld_exit(t, child);
		old = mmworld_pte(t->w, t->p, 0).pfn;
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), reuses ? "PR1" : "nr[9]-1 partial[9]-1");
		assert_int_equal(mmworld_pte(t->w, t->p, 0).pfn == old, reuses);
		mmworld_expect_value(t->w, t->p, 0, 1000);
		assert_int_equal(t->p->rss_anon, 1);
	}
}

static void last_page_of_a_held_folio_is_copied(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		ks_munmap(t->sys, t->p, MMWORLD_BASE + 1, 511);
		thpworld_pin(t, t->p, 0, KSMSIM_PIN_GET);
		child = mmworld_fork(t->w, t->p);
		thpworld_exit(t, child);
		thpworld_changed(t);
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "");
		assert_null(thpworld_folio(t, t->p, 0));
	}
}

/* S23 */
static void huge_page_of_the_last_of_three_is_reused(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *first, *last;

		thpworld_fill(t);
		first = mmworld_fork(t->w, t->p);
		last = mmworld_fork(t->w, t->p);
		thpworld_exit(t, t->p);
		thpworld_exit(t, first);
		thpworld_write(t, last, 0);
		assert_string_equal(thpworld_changed(t), "");
		mmworld_expect_pages(t->w, last, "wwww");
	}
}

/* S23, the variant: the folio knows two processes only */
static void third_process_copies_what_is_its_own(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *first, *last;

		thpworld_fill(t);
		first = mmworld_fork(t->w, t->p);
		last = mmworld_fork(t->w, t->p);
		thpworld_split_pmd(t, last);
		thpworld_exit(t, t->p);
		thpworld_exit(t, first);
		thpworld_changed(t);
		thpworld_write(t, last, 0);
		assert_string_equal(thpworld_changed(t), "SD1 deferred[9]1 partial[9]1");
	}
}

/* S26 */
static void forked_huge_zero_folio_is_written_as_by_the_parent(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const bool allocs = t->env->feature[KS_FEAT_huge_zero_write_allocs];
		struct ks_mm *child;

		thpworld_read(t, t->p, 0);
		thpworld_changed(t);
		child = mmworld_fork(t->w, t->p);
		assert_int_equal(thpworld_tables(child), 1);
		assert_int_equal(t->sys->huge_zero_refs, 2);
		assert_string_equal(thpworld_changed(t), "");
		thpworld_write(t, child, 0);
		assert_string_equal(thpworld_changed(t), allocs ? THPWORLD_FAULT : "SPMD1");
		assert_int_equal(child->rss_anon, allocs ? 512 : 1);
		assert_int_equal(t->p->rss_anon, 0);
		assert_non_null(ks_pmd_find(&t->sys->tables, &t->p->pt, MMWORLD_BASE));
	}
}

/* S25 */
static void child_of_a_wiped_vma_reads_the_huge_zero_folio(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		ks_madvise(t->sys, t->p, MMWORLD_BASE, THPWORLD_NR, KSMSIM_MADV_WIPEONFORK);
		child = mmworld_fork(t->w, t->p);
		thpworld_read(t, child, 0);
		assert_string_equal(thpworld_changed(t), "ZA1");
		assert_int_equal(child->rss_anon, 0);
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "");
		assert_true(thpworld_exclusive(t, t->p, 0));
	}
}

/* S27 */
static void small_page_is_reused_after_the_drain(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		t->env->knob.thp_enabled = KS_THP_NEVER;
		thpworld_write(t, t->p, 0);
		child = mmworld_fork(t->w, t->p);
		thpworld_exit(t, child);
		thpworld_write(t, t->p, 0);
		assert_string_equal(thpworld_changed(t), "PR1");
	}
}

/* S28 */
static void mthp_after_fork_by_profile(void **state)
{
	for (enum ks_profile profile = KS_PROFILE_V6_12; profile < KS_PROFILE_NR; profile++) {
		struct thpworld *t = thpworld_new(profile, THPWORLD_NR);
		struct ks_mm *child;

		t->env->thp_size[4] = KS_THP_SIZE_ALWAYS;
		t->env->thp_size[9] = KS_THP_SIZE_NEVER;
		thpworld_write(t, t->p, 5);
		child = mmworld_fork(t->w, t->p);
		thpworld_exit(t, child);
		thpworld_changed(t);
		thpworld_write(t, t->p, 5);
		assert_string_equal(thpworld_changed(t), profile == KS_PROFILE_V6_12
								 ? "deferred[4]1 partial[4]1"
								 : "PR1");
		assert_int_equal(t->p->rss_anon, 16);
		thpworld_free(t);
	}
	(void)state;
}

static void shared_mthp_is_copied_page_by_page_into_single_pages(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V7_3, THPWORLD_NR);
	struct ks_mm *child;

	(void)state;
	t->env->thp_size[4] = KS_THP_SIZE_ALWAYS;
	t->env->thp_size[9] = KS_THP_SIZE_NEVER;
	thpworld_write(t, t->p, 5);
	child = mmworld_fork(t->w, t->p);
	thpworld_changed(t);
	thpworld_write(t, child, 5);
	assert_string_equal(thpworld_changed(t), "");
	assert_null(thpworld_folio(t, child, 5));
	assert_non_null(thpworld_folio(t, child, 6));
	mmworld_expect_value(t->w, t->p, 5, 1005);
	thpworld_free(t);
}

static void locked_folio_is_unlocked_with_the_page_that_leaves(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		thpworld_split_pmd(t, t->p);
		t->p->vmas[0].flags |= KS_VM_LOCKED;
		ks_folio_flag(thpworld_folio(t, t->p, 0), KS_FOLIO_MLOCKED, true);
		thpworld_write(t, t->p, 3);
		assert_int_equal(ks_folio_test(thpworld_folio(t, child, 3), KS_FOLIO_MLOCKED),
				 profile == KS_PROFILE_V6_1);
		thpworld_changed(t);
	}
}

static void only_locked_memory_unlocks_a_huge_page_on_its_way_out(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *first, *second;

		t->p->vmas[0].flags |= KS_VM_LOCKED;
		thpworld_fill(t);
		first = mmworld_fork(t->w, t->p);
		second = mmworld_fork(t->w, t->p);
		thpworld_exit(t, first);
		assert_true(ks_folio_test(thpworld_folio(t, second, 0), KS_FOLIO_MLOCKED));
		thpworld_exit(t, t->p);
		assert_false(ks_folio_test(thpworld_folio(t, second, 0), KS_FOLIO_MLOCKED));
		assert_int_equal(thpworld_refs(t, second, 0), 1);
	}
}

/* ---- unshare ---- */

static void unshare_takes_ownership_or_copies_read_only(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		assert_int_equal(thpworld_fault(t, child, 7, KS_FAULT_UNSHARE), KS_FAULT_DONE);
		assert_string_equal(thpworld_changed(t), "SPMD1");
		mmworld_expect_pages(t->w, child, "ssssssses");
		assert_int_equal(mmworld_pte(t->w, child, 7).bits,
				 KS_PTE(PRESENT) | KS_PTE(YOUNG) | KS_PTE(SOFT));
		thpworld_write(t, child, 7);
		assert_string_equal(thpworld_changed(t), "PR1");
		thpworld_exit(t, child);
		thpworld_changed(t);
		assert_int_equal(thpworld_fault(t, t->p, 3, KS_FAULT_UNSHARE), KS_FAULT_DONE);
		mmworld_expect_pages(t->w, t->p, "eeeeeee");
		assert_int_equal(t->p->nr_anon_pmds, 1);
		thpworld_write(t, t->p, 3);
		assert_string_equal(thpworld_changed(t), "");
	}
}

/* 2.6: with the newer kernels it is as if it had been written */
static void unshare_of_the_huge_zero_folio_by_profile(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		const bool allocs = t->env->feature[KS_FEAT_huge_zero_write_allocs];

		assert_int_equal(thpworld_pin(t, t->p, 1, KSMSIM_PIN_READ), 0);
		assert_string_equal(thpworld_changed(t),
				    allocs ? "FA1 ZA1 alloc[9]1 nr[9]1" : "SPMD1 ZA1");
		mmworld_expect_pages(t->w, t->p, allocs ? "wwww" : "0e00");
		assert_int_equal(t->p->nr_pins, 1);
	}
}

/* ---- policy: the whole of it ---- */

static bool answer;

static bool cow_pmd(void *self, const struct ksmsim_cow_question *question)
{
	(void)self;
	assert_int_equal(question->mappings, 2);
	assert_false(question->hugepage);
	return answer;
}

static void policy_may_copy_the_whole_huge_page(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		t->sys->policy.cow_pmd = cow_pmd;
		answer = true;
		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		thpworld_write(t, child, 7);
		assert_string_equal(thpworld_changed(t), THPWORLD_FAULT);
		assert_int_equal(child->nr_anon_pmds, 1);
		assert_int_equal(child->rss_anon, 512);
		assert_int_equal(thpworld_tables(child), 1);
		assert_int_equal(t->env->cost_count[KS_COST_copy_pmd], 1);
		mmworld_expect_pages(t->w, child, "wwww");
		mmworld_expect_value(t->w, child, 511, 512);
		mmworld_expect_value(t->w, t->p, 7, 8);
		assert_int_equal(thpworld_refs(t, t->p, 0), 1);
		thpworld_write(t, t->p, 7);
		assert_string_equal(thpworld_changed(t), "");
		assert_int_equal(t->p->nr_anon_pmds, 1);
	}
}

static void whole_copy_without_memory_is_the_kernels_way(void **state)
{
	struct thpworld *t;

	(void)state;
	THPWORLD_EACH(t)
	{
		struct ks_mm *child;

		t->sys->policy.cow_pmd = cow_pmd;
		thpworld_fill(t);
		child = mmworld_fork(t->w, t->p);
		answer = true;
		t->env->inject[KSMSIM_INJECT_thp] = 1;
		thpworld_write(t, child, 7);
		assert_string_equal(thpworld_changed(t), "FF1 SPMD1 fall[9]1");
		thpworld_exit(t, child);
		child = mmworld_fork(t->w, t->p);
		answer = false;
		thpworld_write(t, child, 7);
		assert_string_equal(thpworld_changed(t), "SPMD1");
	}
}

static void whole_copy_in_locked_memory_unlocks_the_old_one(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);
	struct ks_mm *child;

	(void)state;
	t->sys->policy.cow_pmd = cow_pmd;
	answer = true;
	t->p->vmas[0].flags |= KS_VM_LOCKED;
	thpworld_fill(t);
	child = mmworld_fork(t->w, t->p);
	thpworld_write(t, t->p, 7);
	assert_true(ks_folio_test(thpworld_folio(t, t->p, 7), KS_FOLIO_MLOCKED));
	assert_false(ks_folio_test(thpworld_folio(t, child, 7), KS_FOLIO_MLOCKED));
	thpworld_free(t);
}

static void unshare_by_whole_copy_stays_read_only(void **state)
{
	struct thpworld *t = thpworld_new(KS_PROFILE_V6_18, THPWORLD_NR);
	struct ks_mm *child;

	(void)state;
	t->sys->policy.cow_pmd = cow_pmd;
	answer = true;
	thpworld_fill(t);
	child = mmworld_fork(t->w, t->p);
	assert_int_equal(thpworld_fault(t, child, 7, KS_FAULT_UNSHARE), KS_FAULT_DONE);
	mmworld_expect_pages(t->w, child, "eeee");
	assert_string_equal(thpworld_changed(t), THPWORLD_FAULT);
	thpworld_free(t);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(last_owner_reuses_the_huge_page_uncounted),
	cmocka_unit_test(first_writer_splits_its_pmd_and_copies_one_page),
	cmocka_unit_test(pages_are_reused_one_by_one_where_the_kernel_does),
	cmocka_unit_test(child_that_exits_with_its_pmd_leaves_a_partial_folio),
	cmocka_unit_test(last_page_of_a_folio_is_reused_by_the_old_kernel_only),
	cmocka_unit_test(last_page_of_a_held_folio_is_copied),
	cmocka_unit_test(huge_page_of_the_last_of_three_is_reused),
	cmocka_unit_test(third_process_copies_what_is_its_own),
	cmocka_unit_test(forked_huge_zero_folio_is_written_as_by_the_parent),
	cmocka_unit_test(child_of_a_wiped_vma_reads_the_huge_zero_folio),
	cmocka_unit_test(small_page_is_reused_after_the_drain),
	cmocka_unit_test(mthp_after_fork_by_profile),
	cmocka_unit_test(shared_mthp_is_copied_page_by_page_into_single_pages),
	cmocka_unit_test(locked_folio_is_unlocked_with_the_page_that_leaves),
	cmocka_unit_test(only_locked_memory_unlocks_a_huge_page_on_its_way_out),
	cmocka_unit_test(unshare_takes_ownership_or_copies_read_only),
	cmocka_unit_test(unshare_of_the_huge_zero_folio_by_profile),
	cmocka_unit_test(policy_may_copy_the_whole_huge_page),
	cmocka_unit_test(whole_copy_without_memory_is_the_kernels_way),
	cmocka_unit_test(whole_copy_in_locked_memory_unlocks_the_old_one),
	cmocka_unit_test(unshare_by_whole_copy_stays_read_only),
};

TEST_MAIN(tests)
