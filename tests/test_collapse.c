/*
 * test_collapse.c - MADV_COLLAPSE: what it makes, by kernel. What it refuses is in
 * test_collapse_refused.c.
 */
#include "collapseone.h"

#include <errno.h>

/* ---- success ---- */

static void pages_and_holes_become_one_thp(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		uint64_t nr_ptes;

		start(profile, 1);
		mmworld_fill(w, mm, 0, 302);
		mmworld_read(w, mm, 302, 10);
		nr_ptes = mm->pt.nr_tables[3];
		assert_int_equal(mm->rss_anon, 302);
		assert_int_equal(collapse(0, BLOCK), 0);
		assert_true(collapseworld_is_huge(cw, mm, 0));
		assert_int_equal(mm->rss_anon, BLOCK);
		assert_int_equal(mm->nr_anon_pmds, 1);
		assert_int_equal(mm->pt.nr_tables[3], nr_ptes);
		assert_int_equal(w->sys.frames.nr_used, BLOCK);
		assert_int_equal(allocated(), 1);
		assert_int_equal(count(KSMSIM_COUNT_thp_fault_alloc), 0);
		assert_int_equal(count(KSMSIM_COUNT_khugepaged_pages_collapsed), 0);
		assert_int_equal(w->env.mthp[KSMSIM_MTHP_collapse_alloc][9],
				 profile == KS_PROFILE_V7_3);
		collapseworld_expect_filled(cw, mm, 0, 302);
		mmworld_expect_value(w, mm, 305, 0);
		mmworld_expect_value(w, mm, 511, 0);
		stop();
	}
}

static void the_new_thp_is_exclusive_dirty_and_writable(void **state)
{
	const struct ks_vma *vma;
	struct ks_folio *folio;
	struct ks_pte pte;

	(void)state;
	start(KS_PROFILE_V6_18, 2);
	mmworld_fill(w, mm, BLOCK, 3);
	assert_int_equal(collapse(BLOCK, BLOCK), 0);
	folio = folio_at(BLOCK);
	vma = &mm->vmas[0];
	pte = mmworld_pte(w, mm, BLOCK + 7);
	assert_int_equal(pte.bits,
			 KS_PTE(PRESENT) | KS_PTE(WRITE) | KS_PTE_MKDIRTY | KS_PTE(YOUNG));
	assert_int_equal(folio->flags, KS_FOLIO_EXCLUSIVE | KS_FOLIO_QUEUED);
	assert_int_equal(folio->gets, 0);
	assert_int_equal(folio->root, vma->anon_root);
	assert_int_equal(folio->index, vma->pgoff + BLOCK);
	stop();
}

static void it_is_mapped_as_the_vma_allows(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 3);
	assert_int_equal(ks_mprotect(&w->sys, mm, MMWORLD_BASE, BLOCK, MMWORLD_R), 0);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_false(mmworld_pte(w, mm, 0).bits & KS_PTE(WRITE));
	stop();
}

static void it_is_queued_only_while_the_knob_says_so(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	w->env.knob.shrink_underused = 0;
	mmworld_fill(w, mm, 0, 3);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(w->sys.frames.nr_split_queue, 0);
	stop();
	start(KS_PROFILE_V6_1, 1);
	mmworld_fill(w, mm, 0, 3);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(w->sys.frames.nr_split_queue, 0);
	stop();
}

static void what_is_huge_already_is_left_alone(void **state)
{
	ks_pfn pfn;

	(void)state;
	start(KS_PROFILE_V6_18, 2);
	w->env.knob.thp_enabled = KS_THP_ALWAYS;
	mmworld_fill(w, mm, 0, 2);
	mmworld_read(w, mm, BLOCK, 1);
	pfn = collapseworld_pfn(cw, mm, 0);
	assert_int_equal(collapse(0, 2 * BLOCK), 0);
	assert_int_equal(allocated(), 0);
	assert_int_equal(collapseworld_pfn(cw, mm, 0), pfn);
	assert_int_equal(mm->rss_anon, BLOCK);
	stop();
}

static void it_takes_the_pages_of_a_pte_mapped_thp(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		ks_pfn old;

		start(profile, 1);
		w->env.knob.thp_enabled = KS_THP_ALWAYS;
		mmworld_fill(w, mm, 0, BLOCK);
		old = collapseworld_pfn(cw, mm, 0);
		ks_split_pmd(&w->sys, mm, MMWORLD_BASE);
		assert_int_equal(collapse(0, BLOCK), 0);
		assert_int_equal(allocated(), 1);
		/* before 6.18 its pages go one by one: partially mapped for a moment */
		assert_int_equal(count(KSMSIM_COUNT_thp_deferred_split_page), !is_new(profile));
		assert_int_not_equal(collapseworld_pfn(cw, mm, 0), old);
		assert_int_equal(w->sys.frames.nr_used, BLOCK);
		collapseworld_expect_filled(cw, mm, 0, BLOCK);
		stop();
	}
}

static void a_thp_with_pages_elsewhere_stays_partially_mapped(void **state)
{
	ks_pfn old;

	(void)state;
	start(KS_PROFILE_V6_18, 3);
	w->env.knob.thp_enabled = KS_THP_ALWAYS;
	mmworld_fill(w, mm, 0, BLOCK);
	old = collapseworld_pfn(cw, mm, 0);
	/* the first half moves into the last block; a new page takes its place */
	assert_int_equal(ks_mremap(&w->sys, mm, MMWORLD_BASE, 256, 256,
				   KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED,
				   MMWORLD_BASE + 2 * BLOCK + 256),
			 MMWORLD_BASE + 2 * BLOCK + 256);
	assert_int_equal(mmworld_map(w, mm, 0, 256, MMWORLD_RW, 0), MMWORLD_BASE);
	mmworld_store(w, mm, 0, 1);
	assert_int_equal(count(KSMSIM_COUNT_thp_deferred_split_page), 0);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_deferred_split_page), 1);
	assert_int_equal(collapseworld_pfn(cw, mm, 2 * BLOCK + 256), old);
	assert_int_equal(folio_at(2 * BLOCK + 256)->maps, 256);
	mmworld_expect_value(w, mm, 0, 1);
	collapseworld_expect_filled(cw, mm, 256, 256);
	stop();
}

static void others_keep_the_pages_they_share(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		struct ks_mm *child;
		ks_pfn pfn;

		start(profile, 1);
		mmworld_fill(w, mm, 0, BLOCK);
		child = mmworld_fork(w, mm);
		pfn = collapseworld_pfn(cw, mm, 9);
		assert_int_equal(collapse(0, BLOCK), is_new(profile) ? 0 : -EINVAL);
		assert_int_equal(allocated(), is_new(profile));
		assert_int_equal(collapseworld_pfn(cw, child, 9), pfn);
		assert_int_equal(ks_page_mapcount(&w->sys.frames, pfn), is_new(profile) ? 1 : 2);
		assert_int_equal(child->rss_anon, BLOCK);
		collapseworld_expect_filled(cw, mm, 0, BLOCK);
		collapseworld_expect_filled(cw, child, 0, BLOCK);
		stop();
	}
}

static void one_writable_page_is_enough_for_old_kernels(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_12, 1);
	mmworld_fill(w, mm, 0, BLOCK);
	(void)mmworld_fork(w, mm);
	mmworld_store(w, mm, 100, 101);
	assert_int_equal(collapse(0, BLOCK), 0);
	collapseworld_expect_filled(cw, mm, 0, BLOCK);
	stop();
}

static void an_empty_table_becomes_a_thp_of_zeros(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		start(profile, 1);
		w->env.feature[KS_FEAT_pt_reclaim] = false;
		mmworld_fill(w, mm, 0, 1);
		assert_int_equal(ks_madvise(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_MADV_DONTNEED), 0);
		assert_int_equal(collapse(0, BLOCK), is_new(profile) ? 0 : -EINVAL);
		assert_int_equal(allocated(), is_new(profile));
		assert_int_equal(mm->rss_anon, is_new(profile) ? BLOCK : 0);
		stop();
	}
}

static void limits_do_not_bind_it(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	w->env.knob.max_ptes_none = w->env.knob.max_ptes_swap = w->env.knob.max_ptes_shared = 0;
	mmworld_fill(w, mm, 0, 300);
	(void)mmworld_fork(w, mm);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(ks_swap_out(&w->sys, collapseworld_pfn(cw, mm, 0), false), 2);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(count(KSMSIM_COUNT_thp_scan_exceed_none_pte), 0);
	stop();
}

static void swapped_pages_are_read_without_a_page_fault(void **state)
{
	uint64_t faults;

	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 4);
	ks_lru_drain(&w->env, &w->sys.frames);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ks_swap_out(&w->sys, collapseworld_pfn(cw, mm, i), i == 2), 1);
	assert_int_equal(mm->swap_pages, 3);
	faults = count(KSMSIM_COUNT_pgfault);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(count(KSMSIM_COUNT_pgfault), faults);
	assert_int_equal(mm->swap_pages, 0);
	assert_int_equal(mm->rss_anon, BLOCK);
	assert_int_equal(w->sys.swap.live, 0);
	collapseworld_expect_filled(cw, mm, 0, 4);
	stop();
}

static void no_memory_to_swap_in_ends_it(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 2);
	mmworld_fill(w, mm, 0, BLOCK + 1);
	ks_lru_drain(&w->env, &w->sys.frames);
	ks_swap_out(&w->sys, collapseworld_pfn(cw, mm, 5), false);
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(collapse(0, 2 * BLOCK), -EINVAL);
	assert_int_equal(allocated(), 1);
	assert_false(collapseworld_is_huge(cw, mm, BLOCK));
	assert_int_equal(w->sys.frames.nr_thp_blocks, 0);
	stop();
}

static void most_pages_choose_the_node(void **state)
{
	(void)state;
	start_nodes(KS_PROFILE_V6_18, 1, 2);
	mmworld_fill(w, mm, 0, 2);
	mm->nid = 1;
	mmworld_fill(w, mm, 2, 3);
	mm->nid = 0;
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(folio_at(0)->nid, 1);
	stop();
}

static void of_equal_nodes_it_is_the_first(void **state)
{
	(void)state;
	start_nodes(KS_PROFILE_V6_18, 1, 3);
	mm->nid = 2;
	mmworld_fill(w, mm, 0, 2);
	mm->nid = 1;
	mmworld_fill(w, mm, 2, 2);
	mm->nid = 0;
	mmworld_fill(w, mm, 4, 1);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(folio_at(0)->nid, 1);
	stop();
}

static void droppable_memory_gives_a_droppable_thp(void **state)
{
	(void)state;
	for (unsigned droppable = 0; droppable < 2; droppable++) {
		start(KS_PROFILE_V6_18, 1);
		mmworld_fill(w, mm, 0, 2);
		mm->vmas[0].flags |= droppable ? KS_VM_DROPPABLE : 0;
		assert_int_equal(collapse(0, BLOCK), 0);
		assert_int_equal(ks_folio_test(folio_at(0), KS_FOLIO_LAZYFREE), droppable);
		stop();
	}
}

static void locked_memory_gives_a_locked_thp(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 40);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, BLOCK, true), 0);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_true(ks_folio_test(folio_at(0), KS_FOLIO_MLOCKED));
	assert_int_equal(w->sys.frames.nr_used, BLOCK);
	stop();
}

static void what_others_keep_is_locked_no_longer(void **state)
{
	struct ks_mm *child;

	(void)state;
	start(KS_PROFILE_V6_18, 1);
	w->env.thp_size[4] = KS_THP_SIZE_ALWAYS;
	mmworld_fill(w, mm, 0, 16);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, BLOCK, true), 0);
	assert_true(ks_folio_test(folio_at(0), KS_FOLIO_MLOCKED));
	child = mmworld_fork(w, mm);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_false(ks_folio_test(ks_folio_of(&w->sys.frames, collapseworld_pfn(cw, child, 0)),
				   KS_FOLIO_MLOCKED));
	assert_true(ks_folio_test(folio_at(0), KS_FOLIO_MLOCKED));
	stop();
}

/* ---- KSM ---- */

static void ksm_pages_are_copied_if_each_is_there_once(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, BLOCK);
	collapseworld_make_ksm(cw, mm, 0, 300);
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(w->ksm_freed, 300);
	assert_int_equal(count(KSMSIM_COUNT_cow_ksm), 0);
	assert_int_equal(mm->rss_anon, BLOCK);
	collapseworld_expect_filled(cw, mm, 0, BLOCK);
	stop();
}

static void a_ksm_page_that_is_there_twice_cannot_be_locked(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 2);
	mmworld_fill(w, mm, 0, 2 * BLOCK);
	collapseworld_make_ksm(cw, mm, 3, 1);
	collapseworld_merge(cw, mm, 400, 3);
	assert_int_equal(collapse(0, 2 * BLOCK), -EAGAIN);
	/* a THP was allocated, and given back; the next block has its turn */
	assert_int_equal(allocated(), 2);
	assert_false(collapseworld_is_huge(cw, mm, 0));
	assert_true(collapseworld_is_huge(cw, mm, BLOCK));
	assert_int_equal(w->sys.frames.nr_thp_blocks, 1);
	stop();
}

static void pages_isolated_in_vain_wait_in_the_lru_batch(void **state)
{
	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 40);
	collapseworld_make_ksm(cw, mm, 30, 1);
	collapseworld_merge(cw, mm, 33, 30);
	assert_int_equal(collapse(0, BLOCK), -EAGAIN);
	/* pages 32 to 0: the first 31 filled a batch, the last two wait */
	assert_int_equal(ks_frame_refs(&w->sys.frames, collapseworld_pfn(cw, mm, 32)), 1);
	assert_int_equal(ks_frame_refs(&w->sys.frames, collapseworld_pfn(cw, mm, 2)), 1);
	assert_int_equal(ks_frame_refs(&w->sys.frames, collapseworld_pfn(cw, mm, 1)), 2);
	assert_int_equal(ks_frame_refs(&w->sys.frames, collapseworld_pfn(cw, mm, 0)), 2);
	stop();
}

static void ksm_zero_pages_count_as_holes(void **state)
{
	(void)state;
	FOR_EACH_PROFILE
	{
		const bool tracked = profile != KS_PROFILE_V6_1;

		start(profile, 1);
		mmworld_fill(w, mm, 0, 110);
		for (unsigned i = 0; i < 100; i++)
			mmworld_make_ksm_zero(w, mm, i);
		assert_int_equal(count(KSMSIM_COUNT_ksm_zero_pages), tracked ? 100 : 0);
		assert_int_equal(mm->rss_anon, 10);
		assert_int_equal(collapse(0, BLOCK), 0);
		assert_int_equal(count(KSMSIM_COUNT_ksm_zero_pages), 0);
		assert_int_equal(mm->ksm_zero_pages, 0);
		assert_int_equal(mm->rss_anon, BLOCK);
		mmworld_expect_value(w, mm, 99, 0);
		collapseworld_expect_filled(cw, mm, 100, 10);
		stop();
	}
}

static void watched_entries_ring(void **state)
{
	struct ks_leaf *leaf;

	(void)state;
	start(KS_PROFILE_V6_18, 1);
	mmworld_fill(w, mm, 0, 10);
	leaf = ks_leaf(&w->sys.tables, ks_leaf_find(&w->sys.tables, &mm->pt, MMWORLD_BASE));
	ks_leaf_watch(leaf, 4, true);
	w->rings = 0;
	assert_int_equal(collapse(0, BLOCK), 0);
	assert_int_equal(w->rings, 1);
	stop();
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(pages_and_holes_become_one_thp),
	cmocka_unit_test(the_new_thp_is_exclusive_dirty_and_writable),
	cmocka_unit_test(it_is_mapped_as_the_vma_allows),
	cmocka_unit_test(it_is_queued_only_while_the_knob_says_so),
	cmocka_unit_test(what_is_huge_already_is_left_alone),
	cmocka_unit_test(it_takes_the_pages_of_a_pte_mapped_thp),
	cmocka_unit_test(a_thp_with_pages_elsewhere_stays_partially_mapped),
	cmocka_unit_test(others_keep_the_pages_they_share),
	cmocka_unit_test(one_writable_page_is_enough_for_old_kernels),
	cmocka_unit_test(an_empty_table_becomes_a_thp_of_zeros),
	cmocka_unit_test(limits_do_not_bind_it),
	cmocka_unit_test(swapped_pages_are_read_without_a_page_fault),
	cmocka_unit_test(no_memory_to_swap_in_ends_it),
	cmocka_unit_test(most_pages_choose_the_node),
	cmocka_unit_test(of_equal_nodes_it_is_the_first),
	cmocka_unit_test(droppable_memory_gives_a_droppable_thp),
	cmocka_unit_test(locked_memory_gives_a_locked_thp),
	cmocka_unit_test(what_others_keep_is_locked_no_longer),
	cmocka_unit_test(ksm_pages_are_copied_if_each_is_there_once),
	cmocka_unit_test(a_ksm_page_that_is_there_twice_cannot_be_locked),
	cmocka_unit_test(pages_isolated_in_vain_wait_in_the_lru_batch),
	cmocka_unit_test(ksm_zero_pages_count_as_holes),
	cmocka_unit_test(watched_entries_ring),
};

TEST_MAIN(tests)
