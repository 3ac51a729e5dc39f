/*
 * test_mm.c - the system calls on address spaces: mmap, munmap, mprotect, mremap, brk.
 *
 * Advice and locks are in test_madvise.c, whole address spaces in test_fork.c.
 */
#include "mmone.h"

#include <errno.h>

static int64_t map_request(uint64_t vpn, uint64_t pages, unsigned flags)
{
	return ks_mmap(&w->sys, mm, &(struct ks_mmap){ vpn, pages, MMWORLD_RW, flags, 0, 0 });
}

static uint64_t nr_ptes(const struct ks_mm *of)
{
	return of->pt.nr_tables[w->sys.tables.geo->levels - 1];
}

/* ---- mmap ---- */

static void mmap_refuses_bad_requests(void **state)
{
	const uint64_t end = ks_user_end(&w->sys);

	(void)state;
	assert_int_equal(map_request(0, 0, 0), -EINVAL);
	assert_int_equal(map_request(0, end + 1, 0), -ENOMEM);
	assert_int_equal(map_request(0, UINT64_MAX, 0), -ENOMEM);
	assert_int_equal(map_request(end - 1, 2, KSMSIM_MAP_FIXED), -ENOMEM);
	assert_int_equal(map_request(MMWORLD_BASE + 7, 2, KSMSIM_MAP_FIXED_NOREPLACE), -EEXIST);
	assert_int_equal(map_request(MMWORLD_BASE + 8, 2, KSMSIM_MAP_FIXED_NOREPLACE),
			 MMWORLD_BASE + 8);
	assert_int_equal(map_request(0, 1, KSMSIM_MAP_DROPPABLE | KSMSIM_MAP_LOCKED), -EINVAL);
	w->env.feature[KS_FEAT_vm_droppable] = false;
	assert_int_equal(map_request(0, 1, KSMSIM_MAP_DROPPABLE), -EINVAL);
}

static void mmap_places_top_down_and_takes_a_free_hint(void **state)
{
	int64_t first, second;

	(void)state;
	first = map_request(0, 4, KSMSIM_MAP_SHARED);
	second = map_request(0, 2, KSMSIM_MAP_SHARED);
	assert_int_equal(second, first - 2);
	assert_int_equal(map_request(MMWORLD_BASE + 20, 2, 0), MMWORLD_BASE + 20);
	/* a taken hint is ignored */
	assert_int_equal(map_request(MMWORLD_BASE + 7, 2, 0), second - 2);
	/* a hole that fits is used again */
	assert_int_equal(ks_munmap(&w->sys, mm, (uint64_t)first, 4), 0);
	assert_int_equal(map_request(0, 3, KSMSIM_MAP_SHARED), first + 1);
}

static void fixed_mmap_drops_what_is_there(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 8);
	mmworld_map(w, mm, 2, 3, MMWORLD_R, 0);
	mmworld_expect_vmas(mm, "aabbbccc");
	mmworld_expect_pages(w, mm, "ww...www");
	assert_int_equal(mm->rss_anon, 5);
}

static void locked_and_populate_fault_in_at_once(void **state)
{
	(void)state;
	mmworld_map(w, mm, 8, 2, MMWORLD_RW, KSMSIM_MAP_POPULATE);
	mmworld_map(w, mm, 10, 2, MMWORLD_R, KSMSIM_MAP_LOCKED);
	mmworld_map(w, mm, 12, 1, KSMSIM_PROT_NONE, KSMSIM_MAP_LOCKED);
	mmworld_expect_pages(w, mm, "........ww00.");
}

static void merge_any_marks_before_merging_if_early(void **state)
{
	(void)state;
	mm->vmas[0].flags |= KS_VM_MERGEABLE;
	mm->merge_any = true;
	mmworld_map(w, mm, 8, 2, MMWORLD_RW, 0);
	mmworld_expect_vmas(mm, "aaaaaaaaaa");
	w->env.feature[KS_FEAT_early_vma_flag] = false;
	mmworld_map(w, mm, 10, 2, MMWORLD_RW, 0);
	mmworld_expect_vmas(mm, "aaaaaaaaaabb");
	assert_true(mm->vmas[1].flags & KS_VM_MERGEABLE);
	/* what merges is not marked: it takes the flags that it met */
	mm->vmas[1].flags &= ~(uint32_t)KS_VM_MERGEABLE;
	mmworld_map(w, mm, 12, 2, MMWORLD_RW, 0);
	mmworld_expect_vmas(mm, "aaaaaaaaaabbbb");
	assert_false(mm->vmas[1].flags & KS_VM_MERGEABLE);
}

static void stacks_are_not_for_huge_pages(void **state)
{
	(void)state;
	mmworld_map(w, mm, 8, 1, MMWORLD_RW, KSMSIM_MAP_STACK);
	w->env.feature[KS_FEAT_map_stack_nohuge] = false;
	mmworld_map(w, mm, 9, 1, MMWORLD_RW, KSMSIM_MAP_STACK);
	mmworld_expect_vmas(mm, "aaaaaaaabc");
	assert_true(mm->vmas[1].flags & KS_VM_NOHUGEPAGE);
	assert_false(mm->vmas[2].flags & KS_VM_NOHUGEPAGE);
}

/* ---- munmap ---- */

static void munmap_skips_holes_and_refuses_nothing(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 8);
	assert_int_equal(ks_munmap(&w->sys, mm, MMWORLD_BASE, 0), -EINVAL);
	assert_int_equal(ks_munmap(&w->sys, mm, ks_user_end(&w->sys), 1), -EINVAL);
	assert_int_equal(ks_munmap(&w->sys, mm, MMWORLD_BASE + 3, 2), 0);
	assert_int_equal(ks_munmap(&w->sys, mm, MMWORLD_BASE + 2, 4), 0);
	mmworld_expect_vmas(mm, "aa....bb");
	mmworld_expect_pages(w, mm, "ww....ww");
	assert_int_equal(ks_munmap(&w->sys, mm, MMWORLD_BASE + 3, 2), 0);
	assert_int_equal(w->env.cost_count[KS_COST_zap], 4);
}

/* mm/memory.c:free_pgtables(): a table goes with the last VMA in its span */
static void munmap_frees_tables_that_no_vma_needs(void **state)
{
	(void)state;
	mmworld_map(w, mm, 510, 4, MMWORLD_RW, 0);
	mmworld_fill(w, mm, 0, 1);
	mmworld_fill(w, mm, 510, 4);
	assert_int_equal(nr_ptes(mm), 2);
	ks_munmap(&w->sys, mm, MMWORLD_BASE + 510, 4);
	assert_int_equal(nr_ptes(mm), 1);
	ks_munmap(&w->sys, mm, MMWORLD_BASE, 8);
	assert_int_equal(nr_ptes(mm), 0);
}

/* ---- mprotect ---- */

static void mprotect_stops_at_a_hole(void **state)
{
	(void)state;
	ks_munmap(&w->sys, mm, MMWORLD_BASE + 3, 1);
	assert_int_equal(ks_mprotect(&w->sys, mm, MMWORLD_BASE, 8, MMWORLD_R), -ENOMEM);
	assert_false(ks_vma_at(mm, MMWORLD_BASE)->flags & KS_VM_WRITE);
	assert_true(ks_vma_at(mm, MMWORLD_BASE + 4)->flags & KS_VM_WRITE);
	assert_int_equal(ks_mprotect(&w->sys, mm, MMWORLD_BASE + 3, 1, MMWORLD_R), -ENOMEM);
	assert_int_equal(ks_mprotect(&w->sys, mm, MMWORLD_BASE, 0, MMWORLD_R), 0);
}

/* mm/mprotect.c:can_change_pte_writable() */
static void write_given_back_reaches_exclusive_pages_at_once(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	child = mmworld_fork(w, mm);
	mmworld_fill(w, mm, 2, 2);
	mmworld_read(w, mm, 4, 1);
	mmworld_make_ksm(w, mm, 3);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 8, MMWORLD_R);
	mmworld_expect_pages(w, mm, "ssek0...");
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 8, MMWORLD_RW);
	mmworld_expect_pages(w, mm, "sswk0...");
	mmworld_expect_pages(w, child, "ss......");
}

static void clean_pages_wait_for_a_fault_before_6_2(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 1);
	advise(0, 1, KSMSIM_MADV_FREE);
	w->env.feature[KS_FEAT_mprotect_clean_writable] = false;
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 1, MMWORLD_R);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 1, MMWORLD_RW);
	mmworld_expect_pages(w, mm, "e");
	w->env.feature[KS_FEAT_mprotect_clean_writable] = true;
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 1, MMWORLD_R);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 1, MMWORLD_RW);
	mmworld_expect_pages(w, mm, "w");
}

/* ---- mremap ---- */

static int64_t remap(uint64_t page, uint64_t old_pages, uint64_t new_pages, unsigned flags,
		     uint64_t to)
{
	return ks_mremap(&w->sys, mm, MMWORLD_BASE + page, old_pages, new_pages, flags,
			 MMWORLD_BASE + to);
}

static void mremap_refuses_bad_requests(void **state)
{
	const unsigned move = KSMSIM_MREMAP_MAYMOVE, fixed = move | KSMSIM_MREMAP_FIXED;

	(void)state;
	assert_int_equal(remap(0, 8, 8, KSMSIM_MREMAP_FIXED, 20), -EINVAL);
	assert_int_equal(remap(0, 8, 8, KSMSIM_MREMAP_DONTUNMAP, 20), -EINVAL);
	assert_int_equal(remap(0, 8, 4, move | KSMSIM_MREMAP_DONTUNMAP, 20), -EINVAL);
	assert_int_equal(remap(0, 8, 0, 0, 0), -EINVAL);
	assert_int_equal(remap(9, 1, 2, move, 0), -EFAULT);
	assert_int_equal(remap(4, 8, 9, move, 0), -EFAULT);
	assert_int_equal(remap(0, 0, 4, move, 0), -EINVAL);
	assert_int_equal(remap(0, 4, 4, fixed, 3), -EINVAL);
	assert_int_equal(remap(0, 4, 5, 0, 0), -ENOMEM);
	mmworld_expect_vmas(mm, "aaaaaaaa.");
}

static void mremap_shrinks_and_grows_in_place(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 8);
	assert_int_equal(remap(0, 8, 3, 0, 0), MMWORLD_BASE);
	mmworld_expect_pages(w, mm, "www.....");
	assert_int_equal(remap(0, 3, 12, 0, 0), MMWORLD_BASE);
	mmworld_expect_vmas(mm, "aaaaaaaaaaaa.");
	mmworld_expect_pages(w, mm, "www.........");
}

static void mremap_moves_entries_and_frees_the_old_tables(void **state)
{
	struct ks_pte old[3];

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	for (uint64_t i = 0; i < 3; i++)
		old[i] = mmworld_pte(w, mm, i);
	assert_int_equal(remap(0, 8, 8, KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, 1022),
			 MMWORLD_BASE + 1022);
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(mmworld_pte(w, mm, 1022 + i).pfn, old[i].pfn);
		assert_int_equal(mmworld_pte(w, mm, 1022 + i).bits, old[i].bits);
	}
	mmworld_expect_pages(w, mm, "........");
	assert_int_equal(nr_ptes(mm), 2);
	mmworld_expect_value(w, mm, 1023, 2);
}

static void dontunmap_leaves_an_empty_vma_without_anon_vma(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 8);
	assert_int_equal(
		remap(0, 8, 8,
		      KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED | KSMSIM_MREMAP_DONTUNMAP, 16),
		MMWORLD_BASE + 16);
	mmworld_expect_vmas(mm, "aaaaaaaa........bbbbbbbb.");
	mmworld_expect_pages(w, mm, "................wwwwwwww");
	assert_int_equal(mm->vmas[0].anon_vma, 0);
	mmworld_expect_value(w, mm, 3, 0);
}

/* mm/mremap.c:move_vma(): KSM pages are copied apart at the old place */
static void moving_mergeable_memory_unmerges_first(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 8);
	assert_int_equal(remap(2, 2, 2, KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, 20),
			 MMWORLD_BASE + 20);
	assert_int_equal(w->unmerges, 0);
	advise(4, 4, KSMSIM_MADV_MERGEABLE);
	assert_int_equal(remap(5, 2, 2, KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, 30),
			 MMWORLD_BASE + 30);
	assert_int_equal(w->unmerges, 1);
	assert_int_equal(w->unmerge_start, MMWORLD_BASE + 5);
	assert_int_equal(w->unmerge_end, MMWORLD_BASE + 7);
	assert_true(ks_vma_at(mm, MMWORLD_BASE + 30)->flags & KS_VM_MERGEABLE);
	w->answer = -ENOMEM;
	assert_int_equal(remap(4, 1, 1, KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, 40), -ENOMEM);
	assert_non_null(ks_vma_at(mm, MMWORLD_BASE + 4));
}

static void old_length_zero_maps_shared_memory_twice(void **state)
{
	(void)state;
	mmworld_map(w, mm, 8, 2, MMWORLD_RW, KSMSIM_MAP_SHARED);
	mmworld_store(w, mm, 9, 5);
	assert_int_equal(remap(8, 0, 2, KSMSIM_MREMAP_MAYMOVE | KSMSIM_MREMAP_FIXED, 12),
			 MMWORLD_BASE + 12);
	mmworld_expect_value(w, mm, 13, 5);
	mmworld_expect_vmas(mm, "aaaaaaaabb..cc.");
}

/* ---- brk ---- */

static void brk_grows_shrinks_and_keeps_a_gap(void **state)
{
	const uint64_t start = (uint64_t)ks_brk(&w->sys, mm, 0);

	(void)state;
	assert_int_equal(ks_brk(&w->sys, mm, start + 4), start + 4);
	assert_int_equal(ks_brk(&w->sys, mm, start + 8), start + 8);
	assert_int_equal(mm->nr_vmas, 2);
	assert_int_equal(ks_brk(&w->sys, mm, start + 2), start + 2);
	assert_null(ks_vma_at(mm, start + 2));
	assert_int_equal(map_request(start + 6, 1, KSMSIM_MAP_FIXED), start + 6);
	assert_int_equal(ks_brk(&w->sys, mm, start + 6), start + 2);
	assert_int_equal(ks_brk(&w->sys, mm, start + 5), start + 5);
	assert_int_equal(ks_brk(&w->sys, mm, start), start);
	assert_null(ks_vma_at(mm, start));
}

static const struct CMUnitTest tests[] = {
	MMONE_TEST(mmap_refuses_bad_requests),
	MMONE_TEST(mmap_places_top_down_and_takes_a_free_hint),
	MMONE_TEST(fixed_mmap_drops_what_is_there),
	MMONE_TEST(locked_and_populate_fault_in_at_once),
	MMONE_TEST(merge_any_marks_before_merging_if_early),
	MMONE_TEST(stacks_are_not_for_huge_pages),
	MMONE_TEST(munmap_skips_holes_and_refuses_nothing),
	MMONE_TEST(munmap_frees_tables_that_no_vma_needs),
	MMONE_TEST(mprotect_stops_at_a_hole),
	MMONE_TEST(write_given_back_reaches_exclusive_pages_at_once),
	MMONE_TEST(clean_pages_wait_for_a_fault_before_6_2),
	MMONE_TEST(mremap_refuses_bad_requests),
	MMONE_TEST(mremap_shrinks_and_grows_in_place),
	MMONE_TEST(mremap_moves_entries_and_frees_the_old_tables),
	MMONE_TEST(dontunmap_leaves_an_empty_vma_without_anon_vma),
	MMONE_TEST(moving_mergeable_memory_unmerges_first),
	MMONE_TEST(old_length_zero_maps_shared_memory_twice),
	MMONE_TEST(brk_grows_shrinks_and_keeps_a_gap),
};

TEST_MAIN(tests)
