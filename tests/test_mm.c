/*
 * test_mm.c - the system calls on address spaces, fork, exec and exit.
 */
#include "mmworld.h"

#include <errno.h>

static struct mmworld *w;
static struct ks_mm *mm;

static int set_up(void **state)
{
	(void)state;
	w = mmworld_new(KS_PROFILE_V6_18, 1);
	mm = mmworld_process(w, 8);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	mmworld_free(w);
	return 0;
}

static int64_t map_request(uint64_t vpn, uint64_t pages, unsigned flags)
{
	return ks_mmap(&w->sys, mm, &(struct ks_mmap){ vpn, pages, MMWORLD_RW, flags, 0, 0 });
}

static long advise(uint64_t page, uint64_t pages, enum ksmsim_advice advice)
{
	return ks_madvise(&w->sys, mm, MMWORLD_BASE + page, pages, advice);
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

/* ---- madvise, mlock ---- */

static void madvise_does_the_rest_behind_a_hole(void **state)
{
	(void)state;
	ks_munmap(&w->sys, mm, MMWORLD_BASE + 2, 2);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_MERGEABLE), -ENOMEM);
	assert_int_equal(w->advices, 2);
	assert_true(mm->vmas[0].flags & KS_VM_MERGEABLE);
	assert_true(mm->vmas[1].flags & KS_VM_MERGEABLE);
	assert_int_equal(advise(2, 1, KSMSIM_MADV_MERGEABLE), -ENOMEM);
	assert_int_equal(advise(20, 1, KSMSIM_MADV_MERGEABLE), -ENOMEM);
	assert_int_equal(advise(20, 0, KSMSIM_MADV_MERGEABLE), 0);
	assert_int_equal(w->advices, 2);
}

static void ksm_without_memory_is_told_as_eagain(void **state)
{
	(void)state;
	w->answer = -ENOMEM;
	assert_int_equal(advise(0, 8, KSMSIM_MADV_MERGEABLE), -EAGAIN);
	assert_false(mm->vmas[0].flags & KS_VM_MERGEABLE);
	w->answer = 0;
	advise(0, 8, KSMSIM_MADV_MERGEABLE);
	assert_int_equal(advise(2, 2, KSMSIM_MADV_UNMERGEABLE), 0);
	assert_false(w->advice_mergeable);
	mmworld_expect_vmas(mm, "aabbcccc");
}

static void flag_advices_split_and_refuse(void **state)
{
	(void)state;
	mmworld_map(w, mm, 8, 2, MMWORLD_RW, KSMSIM_MAP_SHARED);
	mmworld_map(w, mm, 10, 2, MMWORLD_RW, KSMSIM_MAP_DROPPABLE);
	assert_int_equal(advise(0, 2, KSMSIM_MADV_HUGEPAGE), 0);
	assert_int_equal(advise(1, 2, KSMSIM_MADV_NOHUGEPAGE), 0);
	mmworld_expect_vmas(mm, "abbcccccddee");
	assert_int_equal(mm->vmas[1].flags & (KS_VM_HUGEPAGE | KS_VM_NOHUGEPAGE), KS_VM_NOHUGEPAGE);
	assert_int_equal(advise(8, 1, KSMSIM_MADV_WIPEONFORK), -EINVAL);
	assert_int_equal(advise(10, 1, KSMSIM_MADV_KEEPONFORK), -EINVAL);
	assert_int_equal(advise(10, 1, KSMSIM_MADV_DODUMP), -EINVAL);
	assert_int_equal(advise(8, 1, KSMSIM_MADV_FREE), -EINVAL);
	assert_int_equal(advise(3, 1, KSMSIM_MADV_DONTFORK), 0);
	assert_int_equal(advise(3, 1, KSMSIM_MADV_DOFORK), 0);
	mmworld_expect_vmas(mm, "abbcccccddee");
}

static void dontneed_drops_pages_but_not_locked_ones(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 4);
	mmworld_read(w, mm, 4, 1);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE + 2, 1, true), 0);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_DONTNEED), -EINVAL);
	mmworld_expect_pages(w, mm, "..ww0...");
	ks_mlock(&w->sys, mm, MMWORLD_BASE + 2, 1, false);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_DONTNEED), 0);
	mmworld_expect_pages(w, mm, "........");
	assert_int_equal(nr_ptes(mm), 1);
	mmworld_expect_value(w, mm, 1, 0);
}

/* mm/pt_reclaim.c */
static void dontneed_frees_a_table_if_it_covers_all_of_it(void **state)
{
	(void)state;
	for (unsigned reclaim = 0; reclaim < 2; reclaim++) {
		w->env.feature[KS_FEAT_pt_reclaim] = reclaim;
		mmworld_map(w, mm, 0, 1536, MMWORLD_RW, 0);
		mmworld_fill(w, mm, 0, 1);
		mmworld_fill(w, mm, 600, 1);
		mmworld_fill(w, mm, 1100, 1);
		assert_int_equal(advise(1, 1100, KSMSIM_MADV_DONTNEED), 0);
		assert_int_equal(nr_ptes(mm), reclaim ? 2 : 3);
		assert_int_equal(mm->rss_anon, 1);
		/* an empty table goes as well; upper tables stay */
		assert_int_equal(advise(512, 1024, KSMSIM_MADV_DONTNEED), 0);
		assert_int_equal(nr_ptes(mm), reclaim ? 1 : 3);
		assert_int_equal(advise(0, 512, KSMSIM_MADV_DONTNEED), 0);
		assert_int_equal(nr_ptes(mm), reclaim ? 0 : 3);
		assert_int_equal(mm->pt.nr_tables[2], 1);
	}
}

static void free_makes_pages_lazy_but_for_dirty_ones_that_others_map(void **state)
{
	struct ks_mm *child;
	struct ks_pte pte;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	mmworld_fill(w, mm, 4, 1);
	ks_frame_flag(ks_frame(&w->sys.frames, mmworld_pte(w, mm, 0).pfn), KS_FRAME_DIRTY, true);
	child = mmworld_fork(w, mm);
	mmworld_fill(w, mm, 1, 2);
	mmworld_make_ksm(w, mm, 2);
	ks_frame_flag(ks_frame(&w->sys.frames, mmworld_pte(w, mm, 1).pfn), KS_FRAME_DIRTY, true);
	assert_int_equal(advise(0, 8, KSMSIM_MADV_FREE), 0);
	ks_lru_drain(&w->env, &w->sys.frames);
	for (uint64_t i = 0; i < 5; i += i == 2 ? 2 : 1) {
		const struct ks_frame *frame = ks_frame(&w->sys.frames, mmworld_pte(w, mm, i).pfn);

		assert_int_equal(ks_frame_test(frame, KS_FRAME_LAZYFREE), i != 0);
		assert_int_equal(ks_frame_test(frame, KS_FRAME_DIRTY), i == 0);
	}
	pte = mmworld_pte(w, mm, 1);
	assert_int_equal(pte.bits, KS_PTE(PRESENT) | KS_PTE(WRITE));
	/* a clean lazily freed page is dropped by reclaim, a written one is swapped */
	mmworld_store(w, mm, 3, 4);
	advise(3, 1, KSMSIM_MADV_FREE);
	mmworld_store(w, mm, 3, 9);
	assert_int_equal(ks_swap_out(&w->sys, pte.pfn, false), 1);
	assert_int_equal(ks_swap_out(&w->sys, mmworld_pte(w, mm, 3).pfn, false), 1);
	mmworld_expect_pages(w, mm, "s.k$s...");
	mmworld_expect_value(w, mm, 1, 0);
	mmworld_expect_value(w, mm, 3, 9);
	mmworld_expect_value(w, child, 0, 1);
}

static void populate_faults_in_and_refuses(void **state)
{
	(void)state;
	assert_int_equal(advise(0, 2, KSMSIM_MADV_POPULATE_READ), 0);
	assert_int_equal(advise(1, 2, KSMSIM_MADV_POPULATE_WRITE), 0);
	mmworld_expect_pages(w, mm, "0ww.....");
	assert_int_equal(advise(7, 2, KSMSIM_MADV_POPULATE_WRITE), -ENOMEM);
	mmworld_expect_pages(w, mm, "0ww....w");
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 4, 1, MMWORLD_R);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 5, 1, KSMSIM_PROT_NONE);
	assert_int_equal(advise(4, 1, KSMSIM_MADV_POPULATE_WRITE), -EINVAL);
	assert_int_equal(advise(4, 2, KSMSIM_MADV_POPULATE_READ), -EINVAL);
	mmworld_expect_pages(w, mm, "0ww.0..w");
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(advise(3, 1, KSMSIM_MADV_POPULATE_WRITE), -ENOMEM);
}

/* a surprise of the live kernel: mlock() populates by write faults */
static void mlock_copies_merged_pages_of_writable_memory(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 4);
	mmworld_make_ksm(w, mm, 0);
	mmworld_make_ksm(w, mm, 3);
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 3, 1, MMWORLD_R);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 8, true), 0);
	mmworld_expect_pages(w, mm, "wwwkwwww");
	assert_int_equal(w->env.count[KSMSIM_COUNT_cow_ksm], 1);
	assert_int_equal(w->ksm_freed, 1);
	/* read-only locked memory that becomes writable gets its copies then */
	ks_mprotect(&w->sys, mm, MMWORLD_BASE + 3, 1, MMWORLD_RW);
	mmworld_expect_pages(w, mm, "wwwwwwww");
	mmworld_expect_vmas(mm, "aaaaaaaa");
}

static void mlock_reports_holes_rights_and_memory(void **state)
{
	(void)state;
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE + 6, 4, true), -ENOMEM);
	assert_true(ks_vma_at(mm, MMWORLD_BASE + 6)->flags & KS_VM_LOCKED);
	mmworld_expect_pages(w, mm, "........");
	ks_mprotect(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PROT_NONE);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 1, true), -ENOMEM);
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE + 2, 1, true), -EAGAIN);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 8, false), 0);
	assert_int_equal(ks_mlock(&w->sys, mm, MMWORLD_BASE, 0, true), 0);
}

/* what drains the batch, as a live 6.18 shows it by the LRU flag of a page that waits there */
static void batch_is_drained_where_the_kernel_drains_it(void **state)
{
	const struct ks_frames *frames = &w->sys.frames;

	(void)state;
	for (unsigned unmap_drains = 0; unmap_drains < 2; unmap_drains++) {
		w->env.feature[KS_FEAT_unmap_drains_lru] = unmap_drains;
		mmworld_map(w, mm, 0, 8, MMWORLD_RW, 0);
		ks_lru_drain(&w->env, &w->sys.frames);
		mmworld_fill(w, mm, 0, 1);
		advise(4, 1, KSMSIM_MADV_DONTNEED);
		assert_int_equal(frames->nr_lru_batch, !unmap_drains);
		mmworld_fill(w, mm, 1, 1);
		ks_munmap(&w->sys, mm, MMWORLD_BASE + 7, 1);
		assert_int_equal(frames->nr_lru_batch, unmap_drains ? 0 : 2);
		mmworld_fill(w, mm, 2, 1);
		ks_mm_exit(&w->sys, mmworld_fork(w, mm));
		assert_int_equal(frames->nr_lru_batch, unmap_drains ? 0 : 3);
		mmworld_fill(w, mm, 3, 1);
		advise(6, 1, KSMSIM_MADV_FREE);
		assert_int_equal(frames->nr_lru_batch, 0);
		mmworld_fill(w, mm, 4, 1);
		advise(5, 1, KSMSIM_MADV_POPULATE_WRITE);
		assert_int_equal(frames->nr_lru_batch, 0);
		mmworld_fill(w, mm, 6, 1);
		ks_mlock(&w->sys, mm, MMWORLD_BASE + 6, 1, true);
		assert_int_equal(frames->nr_lru_batch, 0);
	}
}

/* pages of a locked area live on in the mlock batch, unless unmapping drains it; others do not */
static void locked_pages_outlive_munmap_and_exit(void **state)
{
	(void)state;
	for (unsigned unmap_drains = 0; unmap_drains < 2; unmap_drains++) {
		struct ks_mm *child;
		ks_pfn locked, loose, last;

		w->env.feature[KS_FEAT_unmap_drains_lru] = unmap_drains;
		child = ks_mm_new(&w->sys, 7);
		mmworld_map(w, child, 0, 4, MMWORLD_RW, 0);
		mmworld_fill(w, child, 0, 4);
		assert_int_equal(ks_mlock(&w->sys, child, MMWORLD_BASE + 1, 2, true), 0);
		loose = mmworld_pte(w, child, 0).pfn;
		locked = mmworld_pte(w, child, 1).pfn;
		last = mmworld_pte(w, child, 2).pfn;
		ks_munmap(&w->sys, child, MMWORLD_BASE, 2);
		assert_false(ks_frame_live(&w->sys.frames, loose));
		assert_int_equal(ks_frame_live(&w->sys.frames, locked), !unmap_drains);
		ks_mm_exit(&w->sys, child);
		ks_mm_free(&w->sys, child);
		assert_int_equal(ks_frame_live(&w->sys.frames, last), !unmap_drains);
		ks_lru_drain(&w->env, &w->sys.frames);
		assert_false(ks_frame_live(&w->sys.frames, locked));
		assert_false(ks_frame_live(&w->sys.frames, last));
	}
}

/* ---- fork, exec, exit ---- */

static void fork_shares_pages_read_only(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	mmworld_read(w, mm, 2, 1);
	mmworld_make_ksm(w, mm, 1);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, mm, "sk0.....");
	mmworld_expect_pages(w, child, "sk0.....");
	assert_int_equal(child->rss_anon, 2);
	assert_int_equal(ks_frame_maps(ks_frame(&w->sys.frames, mmworld_pte(w, mm, 0).pfn)), 2);
	assert_int_equal(w->env.cost_count[KS_COST_fork_page], 3);
	assert_int_equal(w->forks, 0);
}

/* mm/memory.c:vma_needs_copy(): nothing is copied that a fault can rebuild */
static void fork_skips_tables_of_vmas_without_anon_vma(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_read(w, mm, 0, 4);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, child, "........");
	assert_int_equal(nr_ptes(child), 0);
}

static void fork_obeys_the_advices(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 8);
	advise(0, 2, KSMSIM_MADV_DONTFORK);
	advise(4, 2, KSMSIM_MADV_WIPEONFORK);
	ks_mlock(&w->sys, mm, MMWORLD_BASE + 6, 2, true);
	child = mmworld_fork(w, mm);
	mmworld_expect_vmas(child, "..aabbcc");
	mmworld_expect_pages(w, child, "..ss..ss");
	mmworld_expect_pages(w, mm, "wwsswwss");
	assert_int_equal(child->vmas[1].anon_vma, 0);
	assert_false(child->vmas[2].flags & KS_VM_LOCKED);
	mmworld_expect_value(w, child, 4, 0);
	mmworld_expect_value(w, mm, 4, 5);
}

static void fork_copies_pinned_exclusive_pages_for_the_child(void **state)
{
	struct ks_mm *child = NULL;
	ks_pfn pinned;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	assert_int_equal(ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_WRITE), 0);
	pinned = mmworld_pte(w, mm, 0).pfn;
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 7, &child), -ENOMEM);
	assert_int_equal(w->sys.nr_mms, 1);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, mm, "ws......");
	mmworld_expect_pages(w, child, "ws......");
	assert_int_equal(mmworld_pte(w, mm, 0).pfn, pinned);
	assert_int_not_equal(mmworld_pte(w, child, 0).pfn, pinned);
	mmworld_expect_value(w, child, 0, 1);
	/* a plain reference does not count as a pin */
	ks_access_unpin(&w->sys, mm, MMWORLD_BASE, 1);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_GET);
	mmworld_expect_pages(w, mmworld_fork(w, mm), "ss......");
}

/* many plain references look like a pin, but only to a process that ever pinned */
static void fork_looks_for_pins_only_where_some_were_made(void **state)
{
	ks_pfn pfn;

	(void)state;
	mmworld_fill(w, mm, 0, 1);
	pfn = mmworld_pte(w, mm, 0).pfn;
	ks_frame_hold(&w->env, &w->sys.frames, pfn, 1100, 0);
	mmworld_expect_pages(w, mmworld_fork(w, mm), "s.......");
	ks_frame_release(&w->env, &w->sys.frames, pfn, 1100, 0);
}

static void fork_copies_ksm_zero_pages_with_their_mark(void **state)
{
	struct ks_mm *child;

	(void)state;
	mmworld_fill(w, mm, 0, 2);
	mmworld_make_ksm_zero(w, mm, 1);
	child = mmworld_fork(w, mm);
	mmworld_expect_pages(w, child, "sz......");
	/* the number goes with the mm; the machine's grows only where KSM hears of the child */
	assert_int_equal(child->ksm_zero_pages, 1);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 1);
	mm->registered = true;
	child = mmworld_fork(w, mm);
	assert_int_equal(child->ksm_zero_pages, 1);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 2);
	mm->registered = false;
	/* what a failed fork had copied is unmapped again, though it was never added */
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 4, 1, KSMSIM_PIN_WRITE);
	w->env.inject[KSMSIM_INJECT_frame] = 1;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 9, &child), -ENOMEM);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 1);
}

static void fork_registers_the_child_of_a_registered_parent(void **state)
{
	struct ks_mm *child = NULL;

	(void)state;
	mm->registered = true;
	mm->merge_any = true;
	child = mmworld_fork(w, mm);
	assert_true(child->merge_any);
	assert_int_equal(w->forks, 1);
	/* a failure is ignored if the child is registered last, else fork fails */
	w->answer = -ENOMEM;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 8, &child), 0);
	w->env.feature[KS_FEAT_fork_enter_last] = false;
	assert_int_equal(ks_mm_fork(&w->sys, mm, 9, &child), -ENOMEM);
	assert_int_equal(w->sys.nr_mms, 3);
}

static void exec_gives_a_new_mm_and_ends_the_old_one(void **state)
{
	struct ks_mm *next;

	(void)state;
	mmworld_fill(w, mm, 0, 8);
	mm->merge_any = true;
	mm->registered = true;
	next = ks_mm_exec(&w->sys, mm);
	assert_int_equal(w->execs, 1);
	assert_int_equal(w->exits, 1);
	assert_int_equal(next->pid, mm->pid);
	assert_int_not_equal(next->id, mm->id);
	assert_int_equal(next->nr_vmas, 0);
	assert_true(next->merge_any);
	assert_false(mm->alive);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(w->sys.frames.nr_used, 0);
	ks_mm_free(&w->sys, mm);
	assert_null(ks_mm_find(&w->sys, 1));
	assert_ptr_equal(ks_mm_find(&w->sys, next->id), next);
}

static void exit_rings_before_it_unmaps(void **state)
{
	(void)state;
	mmworld_fill(w, mm, 0, 8);
	mmworld_make_ksm_zero(w, mm, 2);
	mm->registered = true;
	ks_mm_exit(&w->sys, mm);
	assert_int_equal(w->exits, 1);
	assert_int_equal(w->exit_rss, 7);
	assert_false(w->exit_alive);
	assert_int_equal(w->env.count[KSMSIM_COUNT_ksm_zero_pages], 0);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(w->sys.frames.nr_used, 0);
	assert_int_equal(w->sys.tables.leaves.live, 0);
}

static void exit_gives_back_pins_but_not_what_others_hold(void **state)
{
	ks_pfn held;

	(void)state;
	mmworld_fill(w, mm, 0, 3);
	held = mmworld_pte(w, mm, 0).pfn;
	ks_access_pin(&w->sys, mm, MMWORLD_BASE, 1, KSMSIM_PIN_HELD);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 1, 1, KSMSIM_PIN_GET);
	ks_access_pin(&w->sys, mm, MMWORLD_BASE + 2, 1, KSMSIM_PIN_WRITE);
	ks_mm_exit(&w->sys, mm);
	ks_lru_drain(&w->env, &w->sys.frames);
	assert_int_equal(w->sys.frames.nr_used, 1);
	assert_true(ks_frame_live(&w->sys.frames, held));
}

#define mm_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest tests[] = {
	mm_test(mmap_refuses_bad_requests),
	mm_test(mmap_places_top_down_and_takes_a_free_hint),
	mm_test(fixed_mmap_drops_what_is_there),
	mm_test(locked_and_populate_fault_in_at_once),
	mm_test(merge_any_marks_before_merging_if_early),
	mm_test(stacks_are_not_for_huge_pages),
	mm_test(munmap_skips_holes_and_refuses_nothing),
	mm_test(munmap_frees_tables_that_no_vma_needs),
	mm_test(mprotect_stops_at_a_hole),
	mm_test(write_given_back_reaches_exclusive_pages_at_once),
	mm_test(clean_pages_wait_for_a_fault_before_6_2),
	mm_test(mremap_refuses_bad_requests),
	mm_test(mremap_shrinks_and_grows_in_place),
	mm_test(mremap_moves_entries_and_frees_the_old_tables),
	mm_test(dontunmap_leaves_an_empty_vma_without_anon_vma),
	mm_test(moving_mergeable_memory_unmerges_first),
	mm_test(old_length_zero_maps_shared_memory_twice),
	mm_test(brk_grows_shrinks_and_keeps_a_gap),
	mm_test(madvise_does_the_rest_behind_a_hole),
	mm_test(ksm_without_memory_is_told_as_eagain),
	mm_test(flag_advices_split_and_refuse),
	mm_test(dontneed_drops_pages_but_not_locked_ones),
	mm_test(dontneed_frees_a_table_if_it_covers_all_of_it),
	mm_test(free_makes_pages_lazy_but_for_dirty_ones_that_others_map),
	mm_test(populate_faults_in_and_refuses),
	mm_test(mlock_copies_merged_pages_of_writable_memory),
	mm_test(mlock_reports_holes_rights_and_memory),
	mm_test(batch_is_drained_where_the_kernel_drains_it),
	mm_test(locked_pages_outlive_munmap_and_exit),
	mm_test(fork_shares_pages_read_only),
	mm_test(fork_skips_tables_of_vmas_without_anon_vma),
	mm_test(fork_obeys_the_advices),
	mm_test(fork_copies_pinned_exclusive_pages_for_the_child),
	mm_test(fork_looks_for_pins_only_where_some_were_made),
	mm_test(fork_copies_ksm_zero_pages_with_their_mark),
	mm_test(fork_registers_the_child_of_a_registered_parent),
	mm_test(exec_gives_a_new_mm_and_ends_the_old_one),
	mm_test(exit_rings_before_it_unmaps),
	mm_test(exit_gives_back_pins_but_not_what_others_hold),
};

TEST_MAIN(tests)
